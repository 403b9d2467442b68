"""The Docker engine: how it is reached, and how what is ours is told from what is not.

Everything made here carries two labels: `cachequake.owner`, who made it, and, unless all runs share it,
`cachequake.run`, the run directory that it was made for. Nothing without them is ever touched.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Generic, TypeVar

from docker.client import DockerClient
from docker.errors import APIError, DockerException, NotFound
from requests.exceptions import RequestException

from chaos.deploy.docker.orders import given
from chaos.errors import ServerError

T = TypeVar("T")
OWNER = "cachequake.owner"
RUN = "cachequake.run"
TIMEOUT_S = 60
"""For one request; pulling an image sends news more often than that."""
AT_ONCE = 8
"""Requests under way at once: containers are made and removed in parallel."""
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""What engines call machines."""
UNIX = "unix://"
DEFAULT_URL = f"{UNIX}/var/run/docker.sock"


def url() -> str:
    """Where the engine is that the environment names (`DOCKER_HOST`), or the one on this machine."""
    return os.environ.get("DOCKER_HOST") or DEFAULT_URL


def owner() -> str:
    """Who makes things here. Other users and machines may share the engine; their runs are theirs to clean."""
    if (orders := given()) is not None:
        return orders.owner
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def labels(run: Path | None = None) -> dict[str, str]:
    """The labels of what is made for a run, or for all runs."""
    shared = {OWNER: owner()}
    return shared if run is None else {**shared, RUN: str(run.absolute())}


class Engine:
    """The engine that the environment names (`DOCKER_HOST`), or the one on this machine. Every thread has a client.

    Methods raise ServerError with the engine's own words.
    """

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        """Look whether it answers. `timeout_s` is for each request. Raises ServerError when it does not answer."""
        self._timeout_s = timeout_s
        self._mine = threading.local()
        self._clients: list[DockerClient] = []
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="docker")
        self.url = url()
        place = self.url.removeprefix(UNIX)
        if place != self.url and not Path(place).exists():
            raise ServerError(f"the Docker engine does not answer: there is no socket {place}")
        try:
            with told("the Docker engine does not answer"):
                self.version: Mapping[str, Any] = self.api.version()
                self.info: Mapping[str, Any] = self.api.info()
        except ServerError:
            self.close()
            raise

    @property
    def api(self) -> Any:
        """The library's low-level client, one for the calling thread. Its methods raise what `told` translates."""
        if not hasattr(self._mine, "client"):
            self._mine.client = DockerClient.from_env(timeout=self._timeout_s)
            self._clients.append(self._mine.client)
        return self._mine.client.api

    @property
    def is_here(self) -> bool:
        """Whether the engine runs on this machine, so that its containers' processes and addresses are at hand.

        In a container they are not, although the engine may be.
        """
        return given() is None and self.url.startswith(UNIX) and self.info.get("OperatingSystem") != "Docker Desktop"

    def reason_against_our_programs(self) -> str | None:
        """Why containers cannot run programs of this machine, in one sentence; None when they can."""
        theirs = f"{self.version['Os']}/{self.version['Arch']}"
        machine = platform.machine()
        ours = f"{sys.platform}/{_ARCHITECTURES.get(machine, machine)}"
        return None if ours == theirs else f"it runs programs of {theirs}, and those of this machine are {ours}"

    @property
    def is_rootless(self) -> bool:
        """Whether the engine runs without root: then root inside a container is the user outside."""
        return any("name=rootless" in option for option in self.info.get("SecurityOptions") or ())

    def each(self, items: Iterable[T], do: Callable[[T], object]) -> None:
        """Call `do` with each of the items, in parallel; raises the first error once all have come to an end.

        Not to be called by `do` itself.
        """
        done = [self._pool.submit(do, item) for item in items]
        wait(done)
        for one in done:
            one.result()

    def close(self) -> None:
        """Close the clients of all threads. May be called twice."""
        self._pool.shutdown()
        while self._clients:
            self._clients.pop().close()

    # What is ours

    def runs(self) -> set[str]:
        """Runs of this owner that have something on the engine."""
        with told("listing what runs have left"):
            found = [*self._containers(), *self._networks(), *self._volumes()]
        return {item["Labels"][RUN] for item in found if RUN in item["Labels"]}

    def remove_run(self, run: str) -> Iterator[str]:
        """Remove the containers, networks, volumes and images made for a run, and say of each that it was removed."""
        with told(f"removing what {run} has left"):
            containers, networks = self._containers(run), self._networks(run)
            images = self.api.images(filters=_marks(run))
            self.each([container["Id"] for container in containers], self.remove_container)
            yield from (f"removed container {container['Names'][0].lstrip('/')}" for container in containers)
            for network in networks:
                self.remove_network(network["Id"])
                yield f"removed network {network['Name']}"
            for volume in self._volumes(run):
                self.remove_volume(volume["Name"])
                yield f"removed volume {volume['Name']}"
            for image in images:
                self.api.remove_image(image["Id"], force=True)
                yield f"removed image {image['Id']}"

    def remove_images(self) -> list[str]:
        """Remove the images that all runs share, unless a container uses one; says what was removed."""
        said = []
        with told("removing images"):
            for image in self.api.images(filters=_marks()):
                with contextlib.suppress(APIError):  # a container uses it
                    self.api.remove_image(image["Id"], force=False)
                    said.append(f"removed image {(image['RepoTags'] or [image['Id']])[0]}")
        return said

    def remove_container(self, container: str) -> None:
        """Kill and remove it, with its unnamed volumes; without effect when it is gone."""
        with told(f"removing container {container}"), contextlib.suppress(NotFound):
            self.api.remove_container(container, force=True, v=True)

    def remove_network(self, network: str) -> None:
        """Remove it; without effect when it is gone."""
        with told(f"removing network {network}"), contextlib.suppress(NotFound):
            self.api.remove_network(network)

    def remove_volume(self, volume: str) -> None:
        """Remove it; without effect when it is gone."""
        with told(f"removing volume {volume}"), contextlib.suppress(NotFound):
            self.api.remove_volume(volume)

    def _containers(self, run: str | None = None) -> list[dict[str, Any]]:
        return list(self.api.containers(all=True, filters=_marks(run)))

    def _networks(self, run: str | None = None) -> list[dict[str, Any]]:
        return list(self.api.networks(filters=_marks(run)))

    def _volumes(self, run: str | None = None) -> list[dict[str, Any]]:
        return self.api.volumes(filters=_marks(run))["Volumes"] or []


def _marks(run: str | None = None) -> dict[str, list[str]]:
    """What finds our things by their labels: all of them, or those of a run."""
    mine = [f"{OWNER}={owner()}"]
    return {"label": mine if run is None else [*mine, f"{RUN}={run}"]}


class Once(Generic[T]):
    """Something that is made by the first thread that needs it, for all of them."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: list[T] = []
        self._lock = threading.Lock()

    def __call__(self) -> T:
        """What was made. Raises what making it raises."""
        with self._lock:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Turn what the docker library raises into a ServerError that says what was being done."""
    try:
        yield
    except (DockerException, RequestException) as error:
        raise ServerError(f"{what}: {in_words(error)}") from error


def in_words(error: Exception) -> str:
    """The engine's own explanation, on one line."""
    explanation = getattr(error, "explanation", None) or str(error) or type(error).__name__
    if isinstance(explanation, bytes):
        explanation = explanation.decode(errors="replace")
    return " ".join(str(explanation).split())
