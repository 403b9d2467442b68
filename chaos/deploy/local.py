"""The deployment `local`: server processes on this machine, one loopback address each.

In a network namespace of the run's own links are cut and slowed in the kernel; elsewhere a proxy stands between the
nodes. Which of the two is in `isolation`.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from chaos.deploy import skew
from chaos.deploy.addresses import BUS_PORT, DATA_PORT
from chaos.deploy.clock import Clock
from chaos.deploy.control import Control
from chaos.deploy.directives import collect, configuration, last_words, refuse_ours, remove_data
from chaos.deploy.endpoints import Shape, Shaper
from chaos.deploy.network import Isolation, open_network
from chaos.deploy.processes import Process, Spawner
from chaos.deploy.programs import CONFIGURATION, PROGRAMS, unbound
from chaos.deploy.round_trip import measure_ms
from chaos.deploy.servers import Server
from chaos.errors import ServerError
from chaos.member import Member
from nemeses.system import InjectionFailed, Node, Port, ReplyError, Unreachable, WaitTimeout

if TYPE_CHECKING:
    from chaos.deploy.loss import PacketLoss

CAPABILITIES = frozenset({"kill", "pause", "links", "loseable"})
"""What every local deployment can do; `loseable`: a node can be restarted without its data."""
ON_DEMAND = frozenset({"delay", "bandwidth", "skew"})
"""What costs something, and is made ready only for runs that want it."""
START_TIMEOUT_MS = 20_000
END_TIMEOUT_S = 30
"""A server may wait `shutdown-timeout` (10 s) for its replicas before it obeys SIGTERM."""


class LocalDeployment(Clock):
    """Implements `System`, `Kill`, `Pause` and `Links` of `nemeses.system`.

    And where that is possible `Loss`, and `Delay`, `Bandwidth` and `Skew` where they are wanted, too.

    Nodes go by the names of their members.
    """

    def __init__(
        self,
        server: Server,
        members: Sequence[Member],
        directory: Path,
        *,
        began_ns: int,
        clients: int,
        isolation: Isolation | None = None,
        wanted: Collection[str] = (),
    ) -> None:
        """Prepare nodes, their directories and links; nothing is started.

        `members` are the nodes, and what each is told; `directory` is for data and logs and is made.
        `began_ns` is `time.monotonic_ns()` at the begin of the run; `clients` is how many clients (`c0`, ...) the run
        has. `isolation` is found out unless given. Of `ON_DEMAND`, what is `wanted` is made ready.

        Raises ServerError for a directive that is not the user's to set, and where clocks cannot be set wrong.
        """
        super().__init__(began_ns)
        self.notes: Sequence[str] = ()
        self.server = server
        self.directory = directory.absolute()
        self.directory.mkdir(parents=True, exist_ok=True)
        refuse_ours(members, "local")
        numbers = {member.name: number for number, member in enumerate(members, 1)}
        with contextlib.ExitStack() as ends:
            self._network = open_network(numbers, clients, isolation, wanted, ends, unbound(members))
            own = {name: self._network.addresses.node(number) for name, number in numbers.items()}
            self._own = own
            self.nodes: Mapping[str, Node] = {
                name: Node(name, host, DATA_PORT, BUS_PORT) for name, host in self._network.dialled.items()
            }
            self._names = {host: name for hosts in (own, self._network.dialled) for name, host in hosts.items()}
            self._control = Control(lambda node: (own[node], DATA_PORT), self._network.addresses.controller)
            self._spawner = Spawner(self.directory)
            self._clocks: dict[str, skew.WrongClock] = {}
            self._proxies = {m.name: own[m.name] for m in members if PROGRAMS[m.program].proxy is not None}
            servers = [member.name for member in members if member.program == "server"]
            behind = {name: (host, DATA_PORT) for name, host in self._network.dialled.items() if name in servers}
            self._processes = {
                member.name: self._process(member, own[member.name], behind, "skew" in wanted) for member in members
            }
            self._ends = ends.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_all()

    # Life of the whole

    def start_all(self) -> None:
        """Start all nodes at once; returns when each answers. Raises ServerError with the server's own words."""
        for process in self._processes.values():
            self._spawn(process)
        for name in self._processes:
            self.wait(f"{name} answers after its start", self._answers(name), START_TIMEOUT_MS)

    def stop_all(self) -> None:
        """SIGKILL every server, undo every cut and give everything back. May be called twice."""
        for process in self._processes.values():
            process.end(signal.SIGKILL, END_TIMEOUT_S)
        self._spawner.close()
        self._control.close()
        self._ends.close()

    def collect_logs(self, target: Path) -> None:
        """Copy each node's log, its configuration file and its nodes.conf into `target`, which is made."""
        target.mkdir(parents=True, exist_ok=True)
        for name, process in self._processes.items():
            collect(process.directory, name, target)

    # System

    @property
    def isolation(self) -> Isolation:
        """How links are cut."""
        return self._network.isolation

    @property
    def capabilities(self) -> frozenset[str]:
        """What this deployment can do: `CAPABILITIES`, and what else is possible and was wanted."""
        loss = {"loss"} if self._network.loss is not None else set()
        clocks = {"skew"} if self._clocks else set()
        return CAPABILITIES | loss | self._network.shapers.keys() | clocks

    def call(self, node: str, *arguments: str | bytes | int, timeout_ms: int = 1_000) -> Any:
        """See `System.call`. Goes straight to the node from an address of the controller's own."""
        return self._control.call(node, *arguments, timeout_ms=timeout_ms)

    def client_address(self, client: int) -> str:
        """What client number `client` (from 0) binds before it connects, so that cuts can tell it apart."""
        return self._network.addresses.client(client)

    def is_client(self, host: str, port: int) -> bool:
        """Whether a client of the run speaks from there, or a proxy; see `chaos.topologies.rest.KnowsClients`."""
        return self._network.addresses.is_client(host) or host in self._proxies.values()

    def translate(self, host: str, port: int) -> str | None:
        """Name of the node that goes by this address in redirections and slot maps; None for a stranger."""
        return self._names.get(host) if port == DATA_PORT else None

    # Kill

    def kill(self, node: str) -> None:
        """See `Kill.kill`."""
        self._processes[node].end(signal.SIGKILL, END_TIMEOUT_S)

    def terminate(self, node: str) -> None:
        """See `Kill.terminate`. Raises WaitTimeout when the server does not obey."""
        try:
            self._processes[node].end(signal.SIGTERM, END_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise WaitTimeout(f"{node} did not end within {END_TIMEOUT_S} s of SIGTERM") from error

    def start(self, node: str, *, keep_data: bool = True) -> None:
        """See `Kill.start`. Raises ServerError when it ends again at once."""
        process = self._processes[node]
        if not keep_data and not process.running:
            remove_data(process.directory)
        self._spawn(process)
        self.wait_anyway(f"{node} answers after its start", self._answers(node), START_TIMEOUT_MS)

    def running(self, node: str) -> bool:
        """See `Kill.running`."""
        return self._processes[node].running

    # Pause

    def pause(self, node: str) -> None:
        """See `Pause.pause`. Raises Unreachable when there is no process."""
        process = self._processes[node]
        try:
            process.signal(signal.SIGSTOP)
        except ProcessLookupError as error:
            raise Unreachable(str(error)) from error
        self.wait_anyway(f"{node} stops", lambda: process.stopped)

    def resume(self, node: str) -> None:
        """See `Pause.resume`."""
        process = self._processes[node]
        with contextlib.suppress(ProcessLookupError):
            process.signal(signal.SIGCONT)
        self.wait_anyway(f"{node} goes on", lambda: process.continued)

    def paused(self, node: str) -> bool:
        """See `Pause.paused`."""
        return self._processes[node].stopped

    # Links

    def cut(self, sources: Collection[str], destinations: Collection[str], *, port: Port = "all") -> str:
        """See `Links.cut`."""
        return self._network.links.cut(sources, destinations, port)

    def heal(self, handle: str) -> None:
        """See `Links.heal`."""
        self._network.links.heal(handle)
        for layer in self._slowing:
            layer.heal(handle)

    def heal_all(self) -> None:
        """See `Links.heal_all`."""
        self._network.links.heal_all()
        for layer in self._slowing:
            layer.heal_all()

    def lose(self, sources: Collection[str], destinations: Collection[str], *, percent: float) -> str:
        """See `Loss.lose`. Raises InjectionFailed where `loss` is none of the capabilities."""
        if self._network.loss is None:
            raise InjectionFailed("this kernel, or the proxy that stands in for it, cannot lose packets")
        return self._network.loss.lose(sources, destinations, percent)

    @property
    def _slowing(self) -> list[Shaper | PacketLoss]:
        return [*([] if self._network.loss is None else [self._network.loss]), *self._network.shapers.values()]

    # Delay and Bandwidth

    def delay(self, sources: Collection[str], destinations: Collection[str], *, ms: float, jitter_ms: float) -> str:
        """See `Delay.delay`. Raises InjectionFailed where `delay` is none of the capabilities."""
        return self._shaper("delay").shape(sources, destinations, Shape(ms, jitter_ms))

    def limit(self, sources: Collection[str], destinations: Collection[str], *, kbit: float) -> str:
        """See `Bandwidth.limit`. Raises InjectionFailed where `bandwidth` is none of the capabilities."""
        return self._shaper("bandwidth").shape(sources, destinations, Shape(kbit=kbit))

    def round_trip_ms(self, source: str, destination: str, *, payload: int = 0, timeout_ms: int = 5_000) -> float:
        """See `Probe.round_trip_ms`."""
        address = self._own[source] if source in self._own else self.client_address(int(source[1:]))
        node = self.nodes[destination]
        try:
            echoes = destination not in self._proxies
            return measure_ms((node.host, node.port), (address, 0), payload, timeout_ms / 1000, echoes=echoes)
        except OSError as error:
            raise Unreachable(f"{destination}: no round trip from {source}: {error}") from error

    def _shaper(self, capability: str) -> Shaper:
        if capability not in self._network.shapers:
            raise InjectionFailed(f"{capability} was not asked for when the nodes were prepared, or is not possible")
        return self._network.shapers[capability]

    # Skew

    def skew(self, node: str, offset_ms: float) -> None:
        """See `Skew.skew`. Raises InjectionFailed where `skew` is none of the capabilities."""
        if node not in self._clocks:
            raise InjectionFailed("skew was not asked for when the nodes were prepared")
        self._clocks[node].set(offset_ms)

    def skew_of(self, node: str) -> float:
        """See `Skew.skew_of`."""
        return skew.ahead_ms(self.call, node)

    # How it is made

    def _process(self, member: Member, own: str, servers: Mapping[str, tuple[str, int]], skewed: bool) -> Process:
        name, program = member.name, PROGRAMS[member.program]
        directory = self.directory / name
        directory.mkdir(exist_ok=True)
        if program.proxy is not None:
            command = program.proxy.prepare(member, directory, (own, DATA_PORT), servers)
            return Process(name, command, directory, self._spawner, {})
        ours = {"port": str(DATA_PORT), "bind": own, "bind-source-addr": own}
        if self._network.dialled[name] != own:
            ours |= dict.fromkeys(program.announces, self._network.dialled[name])
        (directory / CONFIGURATION).write_text(configuration({**program.defaults, **member.config, **ours}))
        if skewed:
            self._clocks[name] = skew.WrongClock(directory)
        environment = self._clocks[name].environment if skewed else {}
        return Process(name, program.command(self.server.path), directory, self._spawner, environment)

    def _spawn(self, process: Process) -> None:
        try:
            process.spawn()
        except OSError as error:
            raise ServerError(f"{process.name}: {process.command[0]} cannot be started: {error}") from error

    def _answers(self, node: str) -> Callable[[], bool]:
        process = self._processes[node]

        def answers() -> bool:
            if process.status is not None:
                raise ServerError(f"{node} did not start: {last_words(process.log)} (log: {process.log})")
            try:
                return bool(self.call(node, "PING") == b"PONG")
            except ReplyError as error:
                return str(error).startswith("LOADING")

        return answers
