"""multiprocessing.Pool in the group "start"."""

import multiprocessing

from pool_rows import trivial
from start import idle, ready

if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        assert pool.apply(trivial) == "ok"
        ready()
        idle(lambda: pool.map(trivial, range(50), chunksize=1))
