"""The deployment `docker`: each node a container of an untouched image, on an internal network of the run's own.

Faults on links are made in the containers' network namespaces from outside, so any image can be tested. Clients and
the controller run on this machine, and reach the nodes through the bridge, or by published ports where the bridge is
not on this machine; see `network`.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from chaos.deploy import skew
from chaos.deploy.addresses import BUS_PORT, DATA_PORT
from chaos.deploy.clock import Clock
from chaos.deploy.control import Control
from chaos.deploy.directives import collect, configuration, last_words, refuse_ours, remove_data
from chaos.deploy.docker.containers import CONFIGURATION, LOOPBACK, Container, published_port
from chaos.deploy.docker.engine import Engine
from chaos.deploy.docker.images import DATA, Image
from chaos.deploy.docker.inside import FromHelpers, FromHere, Gone, Inside
from chaos.deploy.docker.links import ContainerLinks
from chaos.deploy.docker.network import Network, open_network
from chaos.deploy.endpoints import Shape
from chaos.deploy.programs import PROGRAMS
from chaos.deploy.round_trip import measure_ms
from chaos.deploy.skew import WrongClock
from chaos.errors import ServerError
from chaos.member import Member
from chaos.transport import local_address
from nemeses.system import InjectionFailed, Node, Port, ReplyError, Unreachable

CAPABILITIES = frozenset({"kill", "pause", "links", "loss", "loseable", "delay", "bandwidth"})
"""What every deployment on Docker can do."""
START_TIMEOUT_MS = 20_000
PORTS_TRIED = 50
END_TIMEOUT_S = 30
"""A server may wait `shutdown-timeout` (10 s) for its replicas before it obeys SIGTERM."""


class DockerDeployment(Clock):
    """Implements `System`, `Kill`, `Pause`, `Links`, `Loss`, `Delay` and `Bandwidth` of `nemeses.system`.

    And `Skew` where that is wanted. Nodes are `n1` to `nN`.
    """

    def __init__(
        self,
        engine: Engine,
        image: Callable[[], Image],
        members: Sequence[Member],
        run: Path,
        directory: Path,
        *,
        began_ns: int,
        clients: int,
        enter: bool | None = None,
        published: bool | None = None,
        wanted: Collection[str] = (),
    ) -> None:
        """Prepare; nothing is made on the engine yet but the network.

        `image` is called at the start, for it may take a while. `run` is the directory that what is made is labelled
        with, and `directory` is for the nodes' data and logs. `enter` says whether links are cut from this machine, and
        `published` whether nodes are reached by published ports; both are found out unless given. Clocks can be set
        wrong when `wanted` has `skew`. `members`, `began_ns` and
        `clients` are as for `LocalDeployment`. Raises ServerError.
        """
        super().__init__(began_ns)
        refuse_ours(members, "docker")
        self.notes: Sequence[str] = ()
        self.server = "unknown"
        self.published: dict[str, tuple[str, int]] = {}
        """See `chaos.deploy.base.Publishes`; empty where addresses can be reached."""
        self._engine = engine
        self._find_image = image
        self._run = run
        self._directory = directory.absolute()
        self._members = {member.name: member for member in members}
        self._numbers = {member.name: number for number, member in enumerate(members, 1)}
        with contextlib.ExitStack() as ends:
            ends.callback(engine.close)
            self._network: Network = open_network(engine, run, len(members), clients, enter, published)
            ends.callback(self._network.close)
            addresses = self._network.addresses
            own = {name: addresses.node(number) for name, number in self._numbers.items()}
            self.nodes: Mapping[str, Node] = {
                name: Node(name, address, DATA_PORT, BUS_PORT) for name, address in own.items()
            }
            self._names = {address: name for name, address in own.items()}
            self._containers = {name: self._container(name, "skew" in wanted) for name in own}
            self._inside: Inside = FromHere() if addresses.own else FromHelpers(engine, run, self._network.name)
            ends.callback(self._inside.close)
            self._links = ContainerLinks(engine, addresses.endpoints(self._numbers), self._containers, self._inside)
            self._control = Control(self._reached_at)
            ends.callback(self._control.close)
            self._ends = ends.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_all()

    # Life of the whole

    def start_all(self) -> None:
        """Make and start all containers at once; returns when each answers. Raises ServerError."""
        image = self._find_image()
        self.notes = [image.note] if image.note else []
        self._engine.each(self._containers.values(), lambda container: self._launch(container, image))
        for name in self._containers:
            self.wait(f"{name} answers after its start", self._answers(name), START_TIMEOUT_MS)
        self.server = f"{self._version(next(iter(self.nodes)))} (image {image.name})"

    def stop_all(self) -> None:
        """Keep every log, and remove everything that was made. May be called twice."""
        made = [container for container in self._containers.values() if container.id is not None]
        self._engine.each(made, self._end)
        self._ends.close()

    def collect_logs(self, target: Path) -> None:
        """Copy each node's log, its configuration file and its nodes.conf into `target`, which is made."""
        target.mkdir(parents=True, exist_ok=True)
        for name, container in self._containers.items():
            collect(container.directory, name, target)

    # System

    @property
    def isolation(self) -> str:
        """How links are cut, and how nodes are reached where that is not by their addresses."""
        return f"{self._inside.words}; nodes reached by published ports" if self.publishes else self._inside.words

    @property
    def publishes(self) -> bool:
        """Whether nodes are reached by published ports; then there are no links of clients that could be cut."""
        return self._network.addresses.published

    @property
    def capabilities(self) -> frozenset[str]:
        """What this deployment can do: `CAPABILITIES`, and `skew` where it was wanted."""
        return CAPABILITIES | {"skew"} if self._skewed else CAPABILITIES

    def call(self, node: str, *arguments: str | bytes | int, timeout_ms: int = 1_000) -> Any:
        """See `System.call`. Goes to the node from the bridge's own address, or by its published port."""
        return self._control.call(node, *arguments, timeout_ms=timeout_ms)

    def client_address(self, client: int) -> str:
        """What client number `client` (from 0) binds before it connects, so that cuts can tell it apart."""
        return self._network.addresses.client(client)

    def is_client(self, host: str, port: int) -> bool:
        """Whether a client of the run speaks from there; see `chaos.topologies.rest.KnowsClients`."""
        return self._network.addresses.is_client(host, port)

    def translate(self, host: str, port: int) -> str | None:
        """Name of the node that goes by this address in redirections and slot maps; None for a stranger."""
        return self._names.get(host) if port == DATA_PORT else None

    # Kill

    def kill(self, node: str) -> None:
        """See `Kill.kill`."""
        self._containers[node].end("SIGKILL", END_TIMEOUT_S)

    def terminate(self, node: str) -> None:
        """See `Kill.terminate`. Raises WaitTimeout when the server does not obey."""
        self._containers[node].end("SIGTERM", END_TIMEOUT_S)

    def start(self, node: str, *, keep_data: bool = True) -> None:
        """See `Kill.start`. Raises ServerError when it ends again at once."""
        container = self._containers[node]
        if not keep_data and not container.state.running:
            remove_data(container.directory)
        container.start()
        self._links.restore(node)
        self.wait_anyway(f"{node} answers after its start", self._answers(node), START_TIMEOUT_MS)

    def running(self, node: str) -> bool:
        """See `Kill.running`."""
        return self._containers[node].state.running

    # Pause

    def pause(self, node: str) -> None:
        """See `Pause.pause`. Raises Unreachable when there is no process."""
        container = self._containers[node]
        container.pause()
        self.wait_anyway(f"{node} stops", lambda: container.frozen)

    def resume(self, node: str) -> None:
        """See `Pause.resume`."""
        container = self._containers[node]
        container.resume()
        self.wait_anyway(f"{node} goes on", lambda: not container.frozen)

    def paused(self, node: str) -> bool:
        """See `Pause.paused`."""
        return self._containers[node].frozen

    # Links, Loss, Delay and Bandwidth

    def cut(self, sources: Collection[str], destinations: Collection[str], *, port: Port = "all") -> str:
        """See `Links.cut`."""
        return self._links.cut(sources, destinations, port=port)

    def lose(self, sources: Collection[str], destinations: Collection[str], *, percent: float) -> str:
        """See `Loss.lose`."""
        return self._links.lose(sources, destinations, percent=percent)

    def delay(self, sources: Collection[str], destinations: Collection[str], *, ms: float, jitter_ms: float) -> str:
        """See `Delay.delay`."""
        return self._links.shape(sources, destinations, Shape(ms, jitter_ms))

    def limit(self, sources: Collection[str], destinations: Collection[str], *, kbit: float) -> str:
        """See `Bandwidth.limit`."""
        return self._links.shape(sources, destinations, Shape(kbit=kbit))

    def round_trip_ms(self, source: str, destination: str, *, payload: int = 0, timeout_ms: int = 5_000) -> float:
        """See `Probe.round_trip_ms`."""
        try:
            if source in self._containers:
                address = self.nodes[destination].host, DATA_PORT
                return self._inside.round_trip_ms(self._containers[source], address, payload, timeout_ms / 1000)
            return self._round_trip_of_client(
                int(source[1:]), self._reached_at(destination), payload, timeout_ms / 1000
            )
        except (OSError, Gone) as error:
            raise Unreachable(f"{destination}: no round trip from {source}: {error}") from error

    def _round_trip_of_client(self, client: int, address: tuple[str, int], payload: int, timeout_s: float) -> float:
        """From the next of its ports that is free: the client itself has connections from some of them."""
        for left in reversed(range(PORTS_TRIED)):
            try:
                return measure_ms(address, local_address(self.client_address(client)), payload, timeout_s)
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL) or not left:
                    raise
        raise AssertionError("the last try ends with an answer or an error")

    def heal(self, handle: str) -> None:
        """See `Links.heal`."""
        self._links.heal(handle)

    def heal_all(self) -> None:
        """See `Links.heal_all`."""
        self._links.heal_all()

    # Skew

    @property
    def _skewed(self) -> list[WrongClock]:
        return [container.clock for container in self._containers.values() if container.clock is not None]

    def skew(self, node: str, offset_ms: float) -> None:
        """See `Skew.skew`. Raises InjectionFailed where `skew` is none of the capabilities."""
        clock = self._containers[node].clock
        if clock is None:
            raise InjectionFailed("skew was not asked for when the nodes were prepared")
        clock.set(offset_ms)

    def skew_of(self, node: str) -> float:
        """See `Skew.skew_of`."""
        return skew.ahead_ms(self.call, node)

    # How it is made

    def _container(self, name: str, skewed: bool) -> Container:
        directory = self._directory / name
        directory.mkdir(parents=True, exist_ok=True)
        return Container(self._engine, name, directory, WrongClock(directory) if skewed else None)

    def _launch(self, container: Container, image: Image) -> None:
        address = self.nodes[container.name].host
        bound = "0.0.0.0" if self.publishes else address
        ours = {"port": str(DATA_PORT), "bind": bound, "dir": DATA, "cluster-announce-ip": address}
        file = container.directory / Path(CONFIGURATION).name
        member = self._members[container.name]
        program = PROGRAMS[member.program]
        file.write_text(configuration({**program.defaults, **member.config, **ours}))
        file.chmod(0o666)  # a Sentinel keeps what it knows in it, and looks beforehand whether it may
        place = self._inside.place(container.name, self._network.place(address))
        if self.publishes and place.holder is not None:
            self.published[container.name] = LOOPBACK, published_port(self._engine, place.holder)
        container.create(
            image.name, [*image.command, CONFIGURATION, *program.options], place, self._run, self._network.name
        )
        container.start()

    def _reached_at(self, node: str) -> tuple[str, int]:
        """Where this machine reaches a node."""
        return self.published.get(node) or (self.nodes[node].host, DATA_PORT)

    def _end(self, container: Container) -> None:
        container.save_log()
        container.remove()

    def _answers(self, node: str) -> Callable[[], bool]:
        container = self._containers[node]

        def answers() -> bool:
            try:
                return bool(self.call(node, "PING") == b"PONG")
            except ReplyError as error:
                return str(error).startswith("LOADING")
            except Exception:
                if not container.state.running:
                    container.save_log()
                    raise ServerError(f"{node} did not start: {last_words(container.log)}") from None
                raise

        return answers

    def _version(self, node: str) -> str:
        """Name and version of the server, as it says itself; Valkey also says which Redis it takes after."""
        lines = self.call(node, "INFO", "server").decode().splitlines()
        said = dict(line.split(":", 1) for line in lines if ":" in line)
        return f"valkey {said['valkey_version']}" if "valkey_version" in said else f"redis {said['redis_version']}"
