"""Ray Tune's side of hundred.mjs: ray_tune.py DIRECTORY TRIALS. Defaults but for its output, and 2 CPUs."""

import json
import logging
import sys
import time

import ray
from ray import tune


def quadratic(config):
    tune.report({"loss": (config["x"] - 0.3) ** 2})


ray.init(num_cpus=2, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
started = time.perf_counter()
results = tune.Tuner(
    quadratic,
    param_space={"x": tune.uniform(0, 1)},
    tune_config=tune.TuneConfig(metric="loss", mode="min", num_samples=int(sys.argv[2])),
    run_config=tune.RunConfig(storage_path=sys.argv[1], verbose=0),
).fit()
seconds = time.perf_counter() - started
best = results.get_best_result().metrics["loss"]
ray.shutdown()
print(json.dumps({"trials": len(results), "best": best, "fitSeconds": seconds}))
