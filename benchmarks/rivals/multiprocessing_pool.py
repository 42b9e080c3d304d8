"""multiprocessing.Pool with 2 processes; each task a call of its own (apply_async), none of them chunked together.

Jobs go by pool.map, which chunks."""

import multiprocessing

from pool_rows import measure_pool, trivial

if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        measure_pool(
            lambda: pool.apply(trivial),
            lambda n: [result.get() for result in [pool.apply_async(trivial) for _ in range(n)]],
            pool.map,
        )
