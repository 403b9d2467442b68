"""One container: made, started, ended, frozen, looked at, removed. The image inside is left as it is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker.errors import APIError
from docker.types import LogConfig
from requests.exceptions import ConnectionError as NoAnswer
from requests.exceptions import ReadTimeout

from chaos.deploy import skew
from chaos.deploy.addresses import DATA_PORT
from chaos.deploy.docker.engine import Engine, in_words, labels, told
from chaos.deploy.docker.images import DATA
from chaos.deploy.skew import WrongClock
from chaos.errors import ServerError
from nemeses.system import SystemFault, Unreachable, WaitTimeout

MEMORY = "512m"
PROCESSES = 256
NOBODY = 65534
LOOPBACK = "127.0.0.1"
"""Where ports are published, and only there."""
CONFIGURATION = f"{DATA}/server.conf"
_LIBRARY = "/cachequake-skew.so"
"""Where the library that sets a clock wrong is mounted."""
_FREEZERS = (("/sys/fs/cgroup/freezer{}/freezer.state", "FROZEN"), ("/sys/fs/cgroup{}/cgroup.events", "frozen 1"))
"""Where cgroup v1 and v2 say that a group is frozen, and how."""


@dataclass(frozen=True)
class Place:
    """Where a container is put: on a network at an address of its own, or into the network of another container."""

    mode: str
    """Name of the network, or `container:ID`."""
    address: str | None = None
    ports: str | None = None
    """A second network, from which the port for data is published on the engine's loopback."""

    @property
    def holder(self) -> str | None:
        """Id of the container whose network it is, where that is another one."""
        kind, colon, holder = self.mode.partition(":")
        return holder if colon and kind == "container" else None


@dataclass(frozen=True)
class State:
    """What the engine says of a container."""

    running: bool
    """A frozen one does."""
    paused: bool
    pid: int
    """Its first process as this machine's kernel counts, 0 without one; another one after each start."""
    exit_code: int


class Container:
    """A server in a container. Safe to use from several threads."""

    def __init__(self, engine: Engine, name: str, directory: Path, clock: WrongClock | None = None) -> None:
        """`name` is the node's; `directory` is mounted as its data; `clock` is the server's where it can be wrong."""
        self._engine = engine
        self.name = name
        self.directory = directory
        self.log = directory / "server.log"
        self.clock = clock
        self.id: str | None = None

    def create(self, image: str, command: Sequence[str], place: Place, run: Path, prefix: str) -> None:
        """Make it, without starting it. `prefix` begins its name."""
        self.id = create(
            self._engine,
            image,
            place,
            run,
            f"{prefix}-{self.name}",
            {"command": list(command), "user": self._user(), "environment": self._environment()},
            {
                "binds": self._binds(),
                "mem_limit": MEMORY,
                "tmpfs": {"/tmp": ""},
            },
        )

    def _environment(self) -> dict[str, str]:
        if self.clock is None:
            return {}
        return {"LD_PRELOAD": _LIBRARY, skew.VARIABLE: f"{DATA}/{self.clock.file.name}"}

    def _binds(self) -> dict[str, dict[str, str]]:
        binds = {str(self.directory): {"bind": DATA, "mode": "rw"}}
        if self.clock is not None:
            binds[str(self.clock.library)] = {"bind": _LIBRARY, "mode": "ro"}
        return binds

    def _user(self) -> str:
        """Who owns its data: nobody when we are root, else we ourselves."""
        if self._engine.is_rootless:
            return "0:0"
        if os.geteuid() != 0:
            return f"{os.getuid()}:{os.getgid()}"
        os.chown(self.directory, NOBODY, NOBODY)
        return f"{NOBODY}:{NOBODY}"

    def start(self) -> None:
        """Start it unless it runs. Raises ServerError."""
        with told(f"starting the container of {self.name}"):
            self._engine.api.start(self.id)

    def end(self, signal: str, timeout_s: float) -> None:
        """Send a signal and return when it is gone; a frozen one is thawed for it. Without effect on a dead one."""
        try:
            self._engine.api.kill(self.id, signal)
        except APIError as error:
            if error.status_code != 409:  # 409: it does not run
                raise SystemFault(f"{self.name}: {in_words(error)}") from error
        try:
            self._engine.api.wait(self.id, timeout=timeout_s)
        except (ReadTimeout, NoAnswer) as error:
            raise WaitTimeout(f"{self.name} did not end within {timeout_s} s of {signal}") from error

    def pause(self) -> None:
        """Freeze all of its processes. Raises Unreachable when there is none."""
        try:
            self._engine.api.pause(self.id)
        except APIError as error:
            if not self.state.running:
                raise Unreachable(f"{self.name} does not run") from error
            if not self.state.paused:
                raise SystemFault(f"{self.name}: {in_words(error)}") from error

    def resume(self) -> None:
        """Thaw them; without effect when it is not frozen."""
        try:
            self._engine.api.unpause(self.id)
        except APIError as error:
            if self.state.paused:
                raise SystemFault(f"{self.name}: {in_words(error)}") from error

    @property
    def state(self) -> State:
        """What the engine says of it now. Raises ServerError."""
        with told(f"looking at the container of {self.name}"):
            found: dict[str, Any] = self._engine.api.inspect_container(self.id)["State"]
        return State(bool(found["Running"]), bool(found["Paused"]), int(found["Pid"]), int(found["ExitCode"]))

    @property
    def frozen(self) -> bool:
        """Whether the kernel says that it is frozen; where its word cannot be had, whether the engine does."""
        state = self.state
        if not (state.running and state.paused):
            return False
        seen = _frozen(state.pid) if self._engine.is_here else None
        return True if seen is None else seen

    def save_log(self) -> None:
        """Write what it has said so far into the file `log`."""
        if self.id is not None:
            with contextlib.suppress(APIError):
                self.log.write_bytes(self._engine.api.logs(self.id))

    def remove(self) -> None:
        """Kill and remove it; its data stay. Raises ServerError."""
        if self.id is not None:
            self._engine.remove_container(self.id)
            self.id = None


def create(
    engine: Engine,
    image: str,
    place: Place,
    run: Path,
    name: str,
    options: Mapping[str, Any],
    host: Mapping[str, Any],
) -> str:
    """Make a container with our labels, and return its id. No new privileges, and a root that cannot be written to.

    It has no capability but those that `host` adds; `options` and `host` are arguments of the docker library's
    `create_container` and `create_host_config`.
    """
    api = engine.api
    options, host = dict(options), dict(host)
    if place.ports is not None:
        options["ports"] = [DATA_PORT]
        host["port_bindings"] = {DATA_PORT: (LOOPBACK, None)}
    if place.address is not None:
        endpoint = api.create_endpoint_config(ipv4_address=place.address)
        options["networking_config"] = api.create_networking_config({place.mode: endpoint})
        options["hostname"] = name
    with told(f"making the container {name}"):
        created = api.create_container(
            image,
            name=name,
            labels=labels(run),
            host_config=api.create_host_config(
                network_mode=place.mode,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                read_only=True,
                log_config=LogConfig(type=LogConfig.types.JSON),
                **{"pids_limit": PROCESSES, **host},
            ),
            **options,
        )
        if place.ports is not None:
            api.connect_container_to_network(created["Id"], place.ports)
    return str(created["Id"])


def published_port(engine: Engine, container: str) -> int:
    """The port of the engine's loopback at which a container's port for data is published. Raises ServerError."""
    with told(f"looking for the port that container {container} is reached at"):
        ports = engine.api.inspect_container(container)["NetworkSettings"]["Ports"]
    for binding in ports.get(f"{DATA_PORT}/tcp") or ():
        return int(binding["HostPort"])
    raise ServerError(f"the engine has not published the port of container {container}, so nothing reaches it")


def _frozen(pid: int) -> bool | None:
    """Whether the control group of a process is frozen; None when that cannot be found out."""
    try:
        groups = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in groups:
        _, controllers, path = line.split(":", 2)
        place, word = _FREEZERS["freezer" not in controllers]
        if controllers in ("", "freezer"):
            with contextlib.suppress(OSError):
                return word in Path(place.format(path)).read_text()
    return None
