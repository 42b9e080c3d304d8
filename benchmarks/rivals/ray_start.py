"""Ray in the group "start". The clock of "init to first result" starts after the imports."""

import logging
import os

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray  # isort: skip
from start import idle, ready  # isort: skip


@ray.remote
def one():
    return 1


ray.init(num_cpus=2, logging_level=logging.ERROR)
assert ray.get(one.remote()) == 1
ready()
idle(lambda: ray.get([one.remote() for _ in range(50)]))
ray.shutdown()
