"""The same thing done to many, on the workers of a Dask cluster: an existing engine where one machine is too small.

Every worker runs servers of its own, in a directory of its own; what it leaves there comes back with its answer. The
package and the server programs must be on the workers' machines.
"""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from chaos.errors import BadInput, RunFailed
from chaos.store import adopt_run

if TYPE_CHECKING:
    from distributed import Client

In = TypeVar("In")
Out = TypeVar("Out")
Task = Callable[[Path, In], Out]
"""Does something to an item, and leaves directories of runs below the path."""
CONNECT_S = 10


class DaskWorkers:
    """What the workers of a cluster do."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def count(self) -> int:
        """How many things they do at a time. Raises RunFailed when there is no worker."""
        threads: int = sum(self._client.nthreads().values())
        if not threads:
            raise RunFailed(f"the Dask cluster at {self._client.scheduler_info()['address']} has no worker")
        return threads

    def each(
        self, task: Task[In, Out], out: Path, items: Iterable[In], arrived: Callable[[Path], object]
    ) -> Iterator[Out]:
        """Call the task with every item; yields what it returns, in the order of the items.

        Its runs are moved into `out`, and `arrived` is told of each: it may have to learn where it is now.
        """
        futures = self._client.map(partial(_away, task), list(items), pure=False)
        for future in futures:
            answer, runs = future.result()
            for run_dir in unpack(runs, out):
                arrived(run_dir)
            yield answer


@contextmanager
def dask_workers(address: str, jobs: int) -> Iterator[DaskWorkers]:
    """Workers of the cluster whose scheduler is at `address` (`tcp://host:8786`); "" starts `jobs` workers here.

    Raises BadInput without the package `distributed`, or when nobody answers at the address.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise BadInput("--dask needs the package distributed: pip install 'cachequake[dask]'") from error
    if address:
        try:
            client = Client(address, timeout=CONNECT_S)
        except (OSError, TimeoutError, ValueError) as error:
            raise BadInput(f"--dask {address}: no scheduler answers there: {error}") from error
        with client:
            yield DaskWorkers(client)
    else:
        with (
            LocalCluster(n_workers=jobs, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            yield DaskWorkers(client)


def _away(task: Task[In, Out], item: In) -> tuple[Out, bytes]:
    with tempfile.TemporaryDirectory(prefix="cachequake-") as folder:
        answer = task(Path(folder), item)
        return answer, pack(Path(folder))


def pack(out: Path) -> bytes:
    """The directories of runs below `out`, as one compressed archive."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=1) as tar:
        for run_dir in sorted(out.iterdir()):
            if run_dir.is_dir() and not run_dir.is_symlink():
                tar.add(run_dir, run_dir.name)
    return archive.getvalue()


def unpack(archive: bytes, out: Path) -> list[Path]:
    """Put the runs of an archive into `out`, each under a name that nobody has yet, the last as the latest."""
    with tempfile.TemporaryDirectory(prefix=".arriving-", dir=_made(out)) as folder:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
            tar.extractall(folder, filter="data")
        return [adopt_run(Path(folder) / name, out) for name in sorted(os.listdir(folder))]


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
