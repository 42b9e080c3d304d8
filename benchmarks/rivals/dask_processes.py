"""dask's own scheduler "processes" on a pool of 2 that is kept: what `pip install dask` brings. For dask.distributed see distributed_cluster.py."""

from concurrent.futures import ProcessPoolExecutor

import dask
from pool_rows import measure_pool, trivial

task = dask.delayed(trivial, pure=False)

if __name__ == "__main__":
    with ProcessPoolExecutor(2) as pool, dask.config.set(scheduler="processes", pool=pool):
        measure_pool(
            lambda: dask.compute(task())[0],
            lambda n: dask.compute(*[task() for _ in range(n)]),
            lambda f, items: dask.compute(*[dask.delayed(f, pure=False)(item) for item in items]),
        )
