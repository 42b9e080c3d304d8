"""Ray in the groups "envelope" and "memory": the same as envelope.mjs."""

import asyncio
import gc
import logging
import os
import sys
import time

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import numpy as np
import ray
from measure import PLAN, Samples, expect_equal, measure, selected

ARGUMENTS, RETURNS, REFS, LIST = 10_000, 3000, 10_000, 100
QUEUED, TENTHS = 1_000_000, 10
GIB, LARGEST_GIB = 2**30, (1, 2, 3, 4, 6, 8)
HELD_TASKS, HELD_REFS, HELD_ACTORS = 100_000, 50_000, 10


@ray.remote
def ok():
    return b"ok"


@ray.remote
def sum_of(*lists):
    return sum(len(each) for each in lists)


@ray.remote
def lists(n):
    return [[1] * LIST for _ in range(n)]


@ray.remote
def ends_of(array):
    return len(array), int(array[0]), int(array[-1])


@ray.remote(num_cpus=0, max_concurrency=100)
class Gate:
    def __init__(self):
        self.event = asyncio.Event()

    async def open(self):
        self.event.set()

    async def opened(self):
        await self.event.wait()
        return b"ok"


@ray.remote
def wait_for(gate):
    return ray.get(gate.opened.remote())


@ray.remote
class Idle:
    def here(self):
        return b"ok"


def timed(work, check):
    def sample():
        started = time.perf_counter()
        value = work()
        seconds = time.perf_counter() - started
        check(value)
        return seconds

    return lambda: Samples(sample, 3)


def once(sample):
    return lambda: Samples(sample, 1)


def status_kib(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name + ":"))


def resident():
    gc.collect()
    return status_kib("VmRSS") * 1024


def tree_pss_mb():
    parents, tree = {}, {os.getpid()}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as stat:
                    parents[int(name)] = int(stat.read().rsplit(") ", 1)[1].split()[1])
            except OSError:
                pass
    size = 0
    while size != len(tree):
        size = len(tree)
        tree |= {pid for pid, parent in parents.items() if parent in tree}
    total = 0
    for pid in tree:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as rollup:
                total += next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
        except (OSError, StopIteration):
            pass
    return total / 1024


MILLION = {}


def queue_million():
    if not MILLION:
        gate = Gate.remote()
        blockers = [wait_for.remote(gate) for _ in range(2)]
        started = time.perf_counter()
        refs = [ok.remote() for _ in range(QUEUED)]
        ray.get(gate.open.remote())
        tenths, before = [], time.perf_counter()
        for tenth in range(TENTHS):
            part = refs[tenth * QUEUED // TENTHS : (tenth + 1) * QUEUED // TENTHS]
            for first in range(0, len(part), 10_000):
                expect_equal(ray.get(part[first : first + 10_000]).count(b"ok"), min(10_000, len(part) - first))
            tenths.append(time.perf_counter() - before)
            before = time.perf_counter()
        MILLION["rate"] = QUEUED / (time.perf_counter() - started)
        MILLION["rss"] = status_kib("VmHWM") / 1024
        MILLION["steadiness"] = tenths[0] / tenths[-1]
        ray.get(blockers)
        ray.kill(gate)
    return MILLION


def arguments():
    args = [[1] * LIST for _ in range(ARGUMENTS)]
    return timed(lambda: ray.get(sum_of.remote(*args)), lambda total: expect_equal(total, ARGUMENTS * LIST))()


def largest_object():
    largest = 0
    for gib in LARGEST_GIB:
        try:
            array = np.zeros(gib * GIB, dtype=np.uint8)
            array[0], array[-1] = 1, 2
            expect_equal(ray.get(ends_of.remote(ray.put(array)), timeout=120), (gib * GIB, 1, 2))
            largest = gib
        except Exception as error:
            print(f"  {gib} GiB: {error}"[:200], file=sys.stderr)
            break
    return largest


def per_queued_task():
    gate = Gate.remote()
    blockers = [wait_for.remote(gate) for _ in range(2)]
    time.sleep(1)
    before = resident()
    refs = [ok.remote() for _ in range(HELD_TASKS)]
    time.sleep(1)
    each = (resident() - before) / HELD_TASKS
    ray.get(gate.open.remote())
    for first in range(0, HELD_TASKS, 10_000):
        ray.get(refs[first : first + 10_000])
    ray.get(blockers)
    ray.kill(gate)
    return each


def per_ref():
    before = resident()
    refs = [ray.put(i) for i in range(HELD_REFS)]
    each = (resident() - before) / HELD_REFS
    expect_equal(ray.get(refs[-1]), HELD_REFS - 1)
    return each


def per_actor():
    before = tree_pss_mb()
    actors = [Idle.remote() for _ in range(HELD_ACTORS)]
    ray.get([actor.here.remote() for actor in actors])
    time.sleep(2)
    each = (tree_pss_mb() - before) / HELD_ACTORS
    for actor in actors:
        ray.kill(actor)
    return each


ENVELOPE = [
    ("10,000 arguments", "s", arguments),
    (
        "3,000 returns",
        "s",
        timed(
            lambda: ray.get(lists.options(num_returns=RETURNS).remote(RETURNS)),
            lambda values: expect_equal(sum(map(len, values)), RETURNS * LIST),
        ),
    ),
    (
        "get of 10,000 refs",
        "s",
        timed(
            lambda: ray.get([ray.put([1] * LIST) for _ in range(REFS)]),
            lambda values: expect_equal(sum(map(len, values)), REFS * LIST),
        ),
    ),
    ("largest object", "GiB", once(largest_object), "heavy"),
    ("1,000,000 queued tasks", "tasks/s", once(lambda: queue_million()["rate"]), "heavy"),
    ("1,000,000 queued tasks: driver at most", "MB", once(lambda: queue_million()["rss"]), "heavy"),
    (
        "1,000,000 queued tasks: last tenth against first",
        "of its rate",
        once(lambda: queue_million()["steadiness"]),
        "heavy",
    ),
]
MEMORY = [
    ("memory per queued task", "bytes", once(per_queued_task)),
    ("memory per ref", "bytes", once(per_ref)),
    ("memory per actor", "MB (PSS)", once(per_actor)),
]

if __name__ == "__main__":
    rows = selected({"envelope": ENVELOPE, "memory": MEMORY})
    if rows:
        ray.init(
            num_cpus=PLAN.get("numCpus"),
            object_store_memory=PLAN.get("objectStoreMemory"),
            logging_level=logging.ERROR,
        )
        ray.get([ok.remote() for _ in range(1000)])
        measure(rows)
        ray.shutdown()
