"""The rows that make sense for a pool of workers in Python; the same as pool_rows.mjs."""

from measure import Rate, expect_equal, measure, selected
from work_rows import work_rows

OK = "ok"


def trivial(_=None):
    return OK


def measure_pool(call, many, map_over):
    """call() runs one trivial task; many(n) runs n; map_over(f, items) gives f of each, as the pool's users do it."""

    def at_once(n, amount):
        return lambda: Rate(lambda: many(n), amount, lambda values: expect_equal(list(values), [OK] * n))

    tasks = [
        ("single client tasks sync", "tasks/s", lambda: Rate(call, 1, lambda value: expect_equal(value, OK))),
        ("single client tasks async", "tasks/s", at_once(1000, 1000)),
        ("single client tasks async, 10k in flight", "tasks/s", at_once(10_000, 10_000)),
        ("single client tasks and get batch", "batches/s", at_once(1000, 1)),
    ]
    measure(selected({"tasks": tasks, **work_rows(map_over)}))
