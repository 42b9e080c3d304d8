"""dask.distributed in the group "start"."""

from start import idle, ready  # isort: skip
from distributed_cluster import connect
from pool_rows import trivial

if __name__ == "__main__":
    with connect() as client:
        assert client.submit(trivial).result() == "ok"
        ready()
        idle(lambda: client.gather([client.submit(trivial, pure=False) for _ in range(50)]))
