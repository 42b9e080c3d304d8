"""Ray's side of src/microbenchmark: the same rows, counts and sizes, on a local cluster that ray.init() starts."""

import logging
import os
import time

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import numpy as np
import ray
from measure import PLAN, Rate, Samples, expect_equal, measure, selected
from ray.util import placement_group, remove_placement_group

OK = b"ok"
ARRAY_LENGTH = 50_000_000
ARRAY_BYTES = ARRAY_LENGTH * 8
TEN_MEGABYTES = 1_250_000
BATCH, REFS = 1000, 10_000
PUTTERS, PUTS_EACH = 2, 20
CLIENTS, TASKS_EACH = 4, 2500
N, CALLS_EACH, CALLERS, CALLS_WITH_REF = 2, 5000, 4, 1000
QUEUED = 1_000_000
GROUPS = 100


@ray.remote
def small_value():
    return OK


@ray.remote
def put_small(n):
    for _ in range(n):
        ray.put(0)
    return n


@ray.remote
def many_refs(n):
    return [ray.put(1) for _ in range(n)]


@ray.remote
def big_array(last):
    return np.full(ARRAY_LENGTH, last, dtype=np.float64)


def count_ok(refs):
    return sum(value == OK for value in ray.get(refs))


@ray.remote(num_cpus=0)
class Server:
    def small_value(self):
        return OK

    def small_value_with_arg(self, _x):
        return OK

    def task_batch(self, n):
        return count_ok([small_value.remote() for _ in range(n)])


@ray.remote(num_cpus=0)
class AsyncServer:
    async def small_value(self):
        return OK

    async def small_value_with_arg(self, _x):
        return OK


@ray.remote(num_cpus=0)
class Client:
    def __init__(self, servers):
        self.servers = servers

    def call_all(self, n):
        return count_ok([s.small_value.remote() for s in self.servers for _ in range(n)])

    def call_all_with_ref(self, n):
        ref = ray.put(0)
        return count_ok([s.small_value_with_arg.remote(ref) for s in self.servers for _ in range(n)])


@ray.remote
def call_in_turn(servers, n):
    return count_ok([servers[i % len(servers)].small_value.remote() for i in range(n)])


@ray.remote(num_cpus=0)
class Putter:
    def __init__(self):
        self.array = np.ones(TEN_MEGABYTES, dtype=np.float64)

    def put(self, n):
        for _ in range(n):
            ray.put(self.array)
        return n


@ray.remote(num_cpus=0, max_concurrency=100)
class Gate:
    def __init__(self):
        import asyncio

        self.event = asyncio.Event()

    async def open(self):
        self.event.set()

    async def opened(self):
        await self.event.wait()
        return OK


@ray.remote
def wait_for(gate):
    return ray.get(gate.opened.remote())


def kill_all(*actors):
    for actor in actors:
        ray.kill(actor)


def equals(expected):
    return lambda actual: expect_equal(actual, expected)


# ----------------------------------------------------------------------------------------------------------------- objects


def get_calls():
    ref = ray.put(0)
    return Rate(lambda: ray.get(ref), 1, equals(0))


def put_calls():
    return Rate(lambda: ray.put(0), 1, lambda ref: expect_equal(ray.get(ref), 0))


def multi_put_calls():
    return Rate(lambda: ray.get([put_small.remote(100) for _ in range(10)]), 1000, equals([100] * 10))


def memcpy():
    source, target = np.ones(ARRAY_LENGTH), np.full(ARRAY_LENGTH, 2.0)
    return Rate(lambda: np.copyto(target, source), ARRAY_BYTES / 1e9, lambda _: expect_equal(target[-1], 1.0))


def put_gigabytes():
    array = np.ones(ARRAY_LENGTH)
    array[-1] = 7
    return Rate(lambda: ray.put(array), ARRAY_BYTES / 1e9, lambda ref: expect_equal(ray.get(ref)[-1], 7.0))


def put_against_memcpy():
    array, target = np.ones(ARRAY_LENGTH), np.full(ARRAY_LENGTH, 2.0)
    last = None

    def sample():
        nonlocal last
        last = None
        started = time.perf_counter()
        np.copyto(target, array)
        copied = time.perf_counter()
        last = ray.put(array)
        return (copied - started) / (time.perf_counter() - copied)

    return Samples(sample, 15, lambda: expect_equal(ray.get(last)[-1], 1.0))


def private_bytes():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))


def get_400_mb():
    made = 0

    def sample():
        nonlocal made
        made += 1
        ref = big_array.remote(made)
        ray.wait([ref])
        before = private_bytes()
        started = time.perf_counter()
        array = ray.get(ref)
        took = time.perf_counter() - started
        expect_equal(len(array), ARRAY_LENGTH)
        if private_bytes() - before > ARRAY_BYTES / 10:
            raise AssertionError("get copied the array")
        expect_equal(array[-1], made)
        return took * 1000

    return Samples(sample, 5)


def multi_put_gigabytes():
    putters = [Putter.remote() for _ in range(PUTTERS)]
    return Rate(
        lambda: ray.get([p.put.remote(PUTS_EACH) for p in putters]),
        PUTTERS * PUTS_EACH * TEN_MEGABYTES * 8 / 1e9,
        equals([PUTS_EACH] * PUTTERS),
        lambda: kill_all(*putters),
    )


def get_many_refs():
    ref = many_refs.remote(REFS)

    def check(refs):
        expect_equal(len(refs), REFS)
        expect_equal(ray.get(refs[-1]), 1)

    return Rate(lambda: ray.get(ref), 1, check)


# ------------------------------------------------------------------------------------------------------------------- tasks


def tasks_sync():
    return Rate(lambda: ray.get(small_value.remote()), 1, equals(OK))


def tasks_at_once(n, amount):
    return lambda: Rate(lambda: ray.get([small_value.remote() for _ in range(n)]), amount, equals([OK] * n))


def wait_1k():
    def run():
        done, left, first = 0, [small_value.remote() for _ in range(BATCH)], True
        while left:
            # As in Ray's own script: fetching is triggered once.
            ready, left = ray.wait(left, fetch_local=first)
            first = False
            done += len(ready)
        return done

    return Rate(run, 1, equals(BATCH))


def multi_tasks():
    clients = [Server.remote() for _ in range(CLIENTS)]
    return Rate(
        lambda: ray.get([c.task_batch.remote(TASKS_EACH) for c in clients]),
        CLIENTS * TASKS_EACH,
        equals([TASKS_EACH] * CLIENTS),
        lambda: kill_all(*clients),
    )


def million_queued():
    def sample():
        gate = Gate.remote()
        blockers = [wait_for.remote(gate) for _ in range(2)]
        started = time.perf_counter()
        refs = [small_value.remote() for _ in range(QUEUED)]
        gate.open.remote()
        ok = sum(count_ok(refs[i : i + 10_000]) for i in range(0, QUEUED, 10_000))
        seconds = time.perf_counter() - started
        expect_equal(ok, QUEUED)
        ray.get(blockers)
        return QUEUED / seconds

    return Samples(sample, 1)


def placement_groups():
    def run():
        groups = [placement_group([{"custom": 0.001}]) for _ in range(GROUPS)]
        ready = [group.wait(timeout_seconds=30) for group in groups]
        for group in groups:
            remove_placement_group(group)
        return ready

    return Rate(run, GROUPS, equals([True] * GROUPS))


# ------------------------------------------------------------------------------------------------------------------ actors


def one_by_one(make):
    def prepare():
        server = make()
        return Rate(lambda: ray.get(server.small_value.remote()), 1, equals(OK), lambda: kill_all(server))

    return prepare


def at_once(make, call=lambda server, _i: server.small_value.remote()):
    def prepare():
        server = make()
        return Rate(
            lambda: ray.get([call(server, i) for i in range(BATCH)]),
            BATCH,
            equals([OK] * BATCH),
            lambda: kill_all(server),
        )

    return prepare


def one_to_many(make):
    def prepare():
        servers = [make() for _ in range(N)]
        client = Client.remote(servers)
        return Rate(
            lambda: ray.get(client.call_all.remote(CALLS_EACH)),
            N * CALLS_EACH,
            equals(N * CALLS_EACH),
            lambda: kill_all(client, *servers),
        )

    return prepare


def many_to_many(make):
    def prepare():
        servers = [make() for _ in range(N)]
        return Rate(
            lambda: ray.get([call_in_turn.remote(servers, CALLS_EACH) for _ in range(CALLERS)]),
            CALLERS * CALLS_EACH,
            equals([CALLS_EACH] * CALLERS),
            lambda: kill_all(*servers),
        )

    return prepare


def with_ref():
    servers = [Server.remote() for _ in range(N)]
    clients = [Client.remote([server]) for server in servers]
    return Rate(
        lambda: ray.get([c.call_all_with_ref.remote(CALLS_WITH_REF) for c in clients]),
        N * CALLS_WITH_REF,
        equals([CALLS_WITH_REF] * N),
        lambda: kill_all(*clients, *servers),
    )


OBJECTS = [
    ("single client get calls (Plasma Store)", "gets/s", get_calls),
    ("single client put calls (Plasma Store)", "puts/s", put_calls),
    ("multi client put calls (Plasma Store)", "puts/s", multi_put_calls),
    ("memcpy 400 MB", "GB/s", memcpy),
    ("single client put gigabytes", "GB/s", put_gigabytes),
    ("put 400 MB against memcpy", "of memcpy's rate", put_against_memcpy),
    ("single client get 400 MB", "ms", get_400_mb),
    ("multi client put gigabytes", "GB/s", multi_put_gigabytes),
    ("single client get object containing 10k refs", "gets/s", get_many_refs),
]
TASKS = [
    ("single client tasks sync", "tasks/s", tasks_sync),
    ("single client tasks async", "tasks/s", tasks_at_once(BATCH, BATCH)),
    ("single client tasks async, 10k in flight", "tasks/s", tasks_at_once(10_000, 10_000)),
    ("single client tasks and get batch", "batches/s", tasks_at_once(BATCH, 1)),
    ("single client wait 1k refs", "batches/s", wait_1k),
    ("multi client tasks async", "tasks/s", multi_tasks),
    ("placement group create/removal", "groups/s", placement_groups),
    ("1M queued tasks", "tasks/s", million_queued, "heavy"),
]
ACTORS = [
    ("1:1 actor calls sync", "calls/s", one_by_one(Server.remote)),
    ("1:1 actor calls async", "calls/s", at_once(Server.remote)),
    ("1:1 actor calls concurrent", "calls/s", at_once(lambda: Server.options(max_concurrency=16).remote())),
    ("1:n actor calls async", "calls/s", one_to_many(Server.remote)),
    ("n:n actor calls async", "calls/s", many_to_many(Server.remote)),
    ("n:n actor calls with arg async", "calls/s", with_ref),
    ("1:1 async-actor calls sync", "calls/s", one_by_one(AsyncServer.remote)),
    ("1:1 async-actor calls async", "calls/s", at_once(AsyncServer.remote)),
    (
        "1:1 async-actor calls with args async",
        "calls/s",
        at_once(AsyncServer.remote, lambda server, i: server.small_value_with_arg.remote(i)),
    ),
    ("1:n async-actor calls async", "calls/s", one_to_many(AsyncServer.remote)),
    ("n:n async-actor calls async", "calls/s", many_to_many(AsyncServer.remote)),
]

if __name__ == "__main__":
    rows = selected({"objects": OBJECTS, "tasks": TASKS, "actors": ACTORS})
    if rows:
        ray.init(
            num_cpus=PLAN.get("numCpus"),
            resources={"custom": 100},
            object_store_memory=PLAN.get("objectStoreMemory"),
            logging_level=logging.ERROR,
        )
        measure(rows)
        ray.shutdown()
