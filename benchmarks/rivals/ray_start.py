"""Ray in the group "start". The clock of "init to first result" starts after the imports."""

import logging
import os
import sys
import time

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray  # isort: skip
from start import again, idle, ready  # isort: skip


@ray.remote
def one():
    return 1


ray.init(num_cpus=2, logging_level=logging.ERROR)
assert ray.get(one.remote()) == 1
ready()
idle(lambda: ray.get([one.remote() for _ in range(50)]))
ray.shutdown()
if "again" in sys.argv:
    started = time.perf_counter()
    ray.init(num_cpus=2, logging_level=logging.ERROR)
    assert ray.get(one.remote()) == 1
    again(time.perf_counter() - started)
    ray.shutdown()
