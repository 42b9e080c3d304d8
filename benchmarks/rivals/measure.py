"""How a row is measured: the same as src/microbenchmark/measure.ts, for rivals in Python.

A row is (name, unit, prepare). prepare() gives a Rate or a Samples. Prints one JSON line per row.
"""

import json
import re
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any, Callable, Optional

PLAN = json.loads(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].startswith("{") else {}
SETTLE_SECONDS, WARM_UP_SECONDS, ROUNDS, ROUND_SECONDS = (0.5, 0.3, 3, 0.4) if PLAN.get("quick") else (2, 1, 4, 2)
ROUNDS = PLAN.get("rounds", ROUNDS)


@dataclass
class Rate:
    run: Callable[[], Any]
    amount: float
    check: Optional[Callable[[Any], None]] = None
    close: Optional[Callable[[], Any]] = None


@dataclass
class Samples:
    sample: Callable[[], float]
    samples: int
    close: Optional[Callable[[], Any]] = None


def expect_equal(actual, expected):
    if actual != expected:
        raise AssertionError(f"wrong result: {actual!r} instead of {expected!r}")


def _repeat(work, step, seconds_min):
    count, seconds, last = 0, 0.0, None
    started = time.perf_counter()
    while seconds < seconds_min:
        for _ in range(step):
            last = work.run()
        count += step
        seconds = time.perf_counter() - started
    return count, seconds, last


def _rounds(work):
    count, _, last = _repeat(work, 1, WARM_UP_SECONDS)
    if work.check:
        work.check(last)
    step = count // 10 + 1
    rates = []
    for _ in range(ROUNDS):
        count, seconds, last = _repeat(work, step, ROUND_SECONDS)
        rates.append(work.amount * count / seconds)
        if work.check:
            work.check(last)
    return rates


def _samples(work):
    if work.samples > 1:
        work.sample()
    return [work.sample() for _ in range(work.samples)]


def selected(groups):
    """The rows that the plan asks for. A row is (name, unit, prepare) or (name, unit, prepare, "heavy")."""
    group, only = PLAN.get("group"), re.compile(PLAN.get("only", ""), re.IGNORECASE)
    rows = groups.get(group, []) if group else [row for rows in groups.values() for row in rows]
    return [row for row in rows if only.search(row[0]) and (len(row) == 3 or PLAN.get("heavy"))]


def measure(rows):
    for name, unit, prepare, *_ in rows:
        line = {"name": name, "unit": unit}
        work = None
        try:
            work = prepare()
            time.sleep(SETTLE_SECONDS)
            rounds = _rounds(work) if isinstance(work, Rate) else _samples(work)
            line |= {"value": statistics.median(rounds), "rounds": rounds}
        except Exception as error:  # a row that fails is a row of the table
            line["error"] = f"{type(error).__name__}: {error}"[:300]
        finally:
            if work is not None and work.close:
                work.close()
        print(json.dumps(line), flush=True)
