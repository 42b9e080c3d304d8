"""Optuna's side of the search quality table: one JSON line per run, in the form that ours.mjs prints. Times are CPU time.

python optuna_quality.py --sampler tpe --runs branin:0,levy5:3 [--parallel 8] [--trials 200]
"""

import argparse
import json
import math
import time
import warnings

import optuna

warnings.filterwarnings("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)

HARTMANN_A = [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
HARTMANN_P = [
    [1312, 1696, 5569, 124, 8283, 5886],
    [2329, 4135, 8307, 3736, 1004, 9991],
    [2348, 1451, 3522, 2883, 3047, 6650],
    [4047, 8828, 8732, 5743, 1091, 381],
]


def branin(v):
    x, y = v
    return (y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6) ** 2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def camel(v):
    x, y = v
    return (4 - 2.1 * x * x + x**4 / 3) * x * x + x * y + (-4 + 4 * y * y) * y * y


def hartmann6(v):
    return -sum(
        c * math.exp(-sum(a * (x - p * 1e-4) ** 2 for a, p, x in zip(row_a, row_p, v)))
        for c, row_a, row_p in zip([1, 1.2, 3, 3.2], HARTMANN_A, HARTMANN_P)
    )


def rosenbrock(v):
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in zip(v, v[1:]))


def ackley(v):
    d = len(v)
    return (
        -20 * math.exp(-0.2 * math.sqrt(sum(x * x for x in v) / d))
        - math.exp(sum(math.cos(2 * math.pi * x) for x in v) / d)
        + 20
        + math.e
    )


def rastrigin(v):
    return 10 * len(v) + sum(x * x - 10 * math.cos(2 * math.pi * x) for x in v)


def levy(v):
    w = [1 + (x - 1) / 4 for x in v]
    middle = sum((a - 1) ** 2 * (1 + 10 * math.sin(math.pi * a + 1) ** 2) for a in w[:-1])
    return math.sin(math.pi * w[0]) ** 2 + middle + (w[-1] - 1) ** 2 * (1 + math.sin(2 * math.pi * w[-1]) ** 2)


FUNCTIONS = {
    "branin": (branin, [(-5, 10), (0, 15)], 0.39788735772973816),
    "camel": (camel, [(-3, 3), (-2, 2)], -1.0316284534898774),
    "hartmann6": (hartmann6, [(0, 1)] * 6, -3.322368011415515),
    "rosenbrock2": (rosenbrock, [(-5, 10)] * 2, 0.0),
    "rosenbrock5": (rosenbrock, [(-5, 10)] * 5, 0.0),
    "ackley5": (ackley, [(-20, 30)] * 5, 0.0),
    "rastrigin5": (rastrigin, [(-5.12, 5.12)] * 5, 0.0),
    "levy5": (levy, [(-10, 10)] * 5, 0.0),
}
CHECKPOINTS = [25, 50, 100, 200]


def sampler(name, seed):
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if name == "tpe":
        return optuna.samplers.TPESampler(seed=seed)
    if name == "cma":
        return optuna.samplers.CmaEsSampler(seed=seed)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    return optuna.samplers.QMCSampler(seed=seed, scramble=True)


def run(name, function, seed, trials, parallel):
    f, box, optimum = FUNCTIONS[function]
    study = optuna.create_study(sampler=sampler(name, seed))
    best, regrets, running, costs = math.inf, [], [], []

    def finish():
        nonlocal best
        trial, value = running.pop(0)
        study.tell(trial, value)
        best = min(best, value)
        done = len(costs) - len(running)
        if done in CHECKPOINTS:
            regrets.append(best - optimum)

    for _ in range(trials):
        start = time.process_time()
        trial = study.ask()
        point = [trial.suggest_float(f"x{i}", low, high) for i, (low, high) in enumerate(box)]
        costs.append((time.process_time() - start) * 1000)
        running.append((trial, f(point)))
        if len(running) == parallel:
            finish()
    while running:
        finish()
    last = sorted(costs[-10:])
    return {
        "by": "optuna", "sampler": name, "function": function, "seed": seed, "parallel": parallel,
        "regrets": regrets, "suggestMs": sum(costs) / len(costs), "lastSuggestMs": (last[4] + last[5]) / 2,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--sampler", required=True)
    parser.add_argument("--runs", required=True)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--parallel", type=int, default=1)
    args = parser.parse_args()
    if args.sampler == "gp":
        import torch

        torch.set_num_threads(1)
    for each in args.runs.split(","):
        function, seed = each.split(":")
        print(json.dumps(run(args.sampler, function, int(seed), args.trials, args.parallel)), flush=True)
