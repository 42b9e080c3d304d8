"""joblib in the group "start"."""

from joblib import Parallel, delayed
from pool_rows import trivial
from start import idle, ready

if __name__ == "__main__":
    with Parallel(n_jobs=2) as parallel:
        assert parallel([delayed(trivial)()]) == ["ok"]
        ready()
        idle(lambda: parallel(delayed(trivial)() for _ in range(50)))
