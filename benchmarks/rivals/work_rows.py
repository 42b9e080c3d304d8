"""The rows of work/rows.mjs for the sides in Python: the same loops, compiled from work/arithmetic.c and called by ctypes."""

import ctypes
import json
import os
import time
from pathlib import Path

from measure import Samples

WORKERS, SAMPLES = 2, 5
SIZES = json.loads((Path(__file__).parent.parent / "work" / "sizes.json").read_text())
_library = None


def _compiled():
    global _library
    if _library is None:
        _library = ctypes.CDLL(os.environ["BENCH_ARITHMETIC"])
        for name in ("orbit", "periodogram", "chi_squared"):
            getattr(_library, name).restype = ctypes.c_double
    return _library


def orbit(args):
    return _compiled().orbit(*args)


def periodogram(args):
    return _compiled().periodogram(*args)


def chi_squared(args):
    return _compiled().chi_squared(*args)


def spin(args):
    end = time.perf_counter() + args[0] / 1000
    while time.perf_counter() < end:
        pass
    return args[0]


FUNCTIONS = {"orbit": orbit, "periodogram": periodogram, "chiSquared": chi_squared}


def _expect_sum(values, expected):
    total = sum(values)
    if not abs(total - expected) <= 1e-9 * abs(expected):
        raise AssertionError(f"wrong result: {total} instead of {expected}")


def work_rows(map_over):
    """map_over(function of one argument, list of arguments) gives the results."""

    def efficiency(ms, tasks):
        def sample():
            started = time.perf_counter()
            done = map_over(spin, [(ms,)] * tasks)
            took = time.perf_counter() - started
            _expect_sum(done, tasks * ms)
            return 100 * tasks * ms / 1000 / (WORKERS * took)

        return lambda: Samples(sample, SAMPLES)

    def job(call, count, args, expected):
        def sample():
            started = time.perf_counter()
            values = map_over(FUNCTIONS[call], [(i, *args) for i in range(count)])
            seconds = time.perf_counter() - started
            _expect_sum(values, expected)
            return seconds

        return lambda: Samples(sample, SAMPLES)

    return {
        "efficiency": [
            (f"parallel efficiency, {each['ms']} ms tasks", "%", efficiency(each["ms"], each["tasks"]))
            for each in SIZES["efficiency"]
        ],
        "jobs": [
            (each["name"], "s", job(each["call"], each["count"], each["args"], each["sum"])) for each in SIZES["jobs"]
        ],
    }
