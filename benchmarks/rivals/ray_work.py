"""Ray in the groups "efficiency" and "jobs": one task per call."""

import logging
import os

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray  # isort: skip
from measure import PLAN, measure, selected  # isort: skip
from work_rows import work_rows  # isort: skip


def map_over(function, items):
    task = TASKS.get(function)
    if task is None:
        task = TASKS[function] = ray.remote(function)
    return ray.get([task.remote(item) for item in items])


TASKS = {}

if __name__ == "__main__":
    rows = selected(work_rows(map_over))
    if rows:
        here = os.path.dirname(os.path.abspath(__file__))
        ray.init(
            num_cpus=PLAN.get("numCpus"),
            object_store_memory=PLAN.get("objectStoreMemory"),
            logging_level=logging.ERROR,
            runtime_env={"env_vars": {"PYTHONPATH": here, "BENCH_ARITHMETIC": os.environ["BENCH_ARITHMETIC"]}},
        )
        ray.get([ray.remote(lambda: None).remote() for _ in range(50)])
        measure(rows)
        ray.shutdown()
