"""joblib's default backend (loky) with 2 processes, kept between batches. joblib joins short tasks to batches by itself."""

from joblib import Parallel, delayed
from pool_rows import measure_pool, trivial

if __name__ == "__main__":
    with Parallel(n_jobs=2) as parallel:
        measure_pool(
            lambda: parallel([delayed(trivial)()])[0],
            lambda n: parallel(delayed(trivial)() for _ in range(n)),
            lambda f, items: parallel(delayed(f)(item) for item in items),
        )
