"""dask's scheduler "processes" in the group "start"."""

from concurrent.futures import ProcessPoolExecutor

import dask
from pool_rows import trivial
from start import idle, ready

task = dask.delayed(trivial, pure=False)

if __name__ == "__main__":
    with ProcessPoolExecutor(2) as pool, dask.config.set(scheduler="processes", pool=pool):
        assert dask.compute(task()) == ("ok",)
        ready()
        idle(lambda: dask.compute(*[task() for _ in range(50)]))
