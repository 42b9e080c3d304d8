"""dask.distributed with a local cluster of 2 processes with a thread each."""

from distributed import Client, LocalCluster
from pool_rows import measure_pool, trivial


def connect():
    return Client(LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None))


if __name__ == "__main__":
    with connect() as client:
        measure_pool(
            lambda: client.submit(trivial, pure=False).result(),
            lambda n: client.gather([client.submit(trivial, pure=False) for _ in range(n)]),
            lambda f, items: client.gather(client.map(f, items, pure=False)),
        )
