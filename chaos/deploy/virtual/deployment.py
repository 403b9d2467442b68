"""The deployment `virtual`: unmodified server programs in a world of its own time, network and chance.

The same seed gives the same run, byte for byte, for the same server binary, libc, shim and kernel (how much a socket
takes at once is the kernel's affair).
"""

from __future__ import annotations

import contextlib
import platform
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from chaos.deploy.addresses import BUS_PORT, DATA_PORT, Addresses
from chaos.deploy.directives import collect, configuration, last_words, refuse_ours, remove_data
from chaos.deploy.programs import CONFIGURATION, PROGRAMS
from chaos.deploy.servers import Server
from chaos.deploy.virtual.calls import Calls
from chaos.deploy.virtual.control import Control
from chaos.deploy.virtual.launching import environment
from chaos.deploy.virtual.links import Disturbance, Links
from chaos.deploy.virtual.load import VirtualLoad
from chaos.deploy.virtual.network import Network
from chaos.deploy.virtual.process import Process
from chaos.deploy.virtual.program import Program
from chaos.deploy.virtual.program_load import ProgramLoad
from chaos.deploy.virtual.simulated_faults import SIMULATED, SimulatedFaults
from chaos.deploy.virtual.trace import Trace
from chaos.deploy.virtual.world import Event, Fibre, World
from chaos.errors import RunFailed, ServerError
from chaos.member import Member
from chaos.routes import ROUTES
from nemeses.stream import derive
from nemeses.system import Node, Port, ReplyError, SystemFault, Unreachable, WaitTimeout

if TYPE_CHECKING:
    from chaos.plan import Plan
    from chaos.topologies.base import Topology

T = TypeVar("T")
CAPABILITIES = SIMULATED | {"kill", "pause", "links", "loseable", "loss", "delay", "bandwidth", "skew"}
"""What this deployment can do; `loseable`: a node can be restarted without its data."""
POLL_NS = 20_000_000
"""Between two looks at a condition that is awaited."""
START_TIMEOUT_MS = 20_000
END_TIMEOUT_MS = 30_000
"""A server may wait `shutdown-timeout` (10 s) for its replicas before it obeys SIGTERM."""
PIECES = 16
"""A payload goes and comes in so many pieces; see `Probe.round_trip_ms`."""
EPOCH_NS = 1_700_000_000 * 10**9
"""What the shim's wall clocks say at the beginning of the world."""
NUMBERS = 1_000
"""Process numbers that a node has for its process and what that starts, before the next start's."""
FIRST_PROGRAM = 50_000
"""Process number of the program that is client 0; those of nodes begin at 100,000."""


class VirtualDeployment(SimulatedFaults):
    """Implements `System` and `Threads` of `nemeses.system`, and what `CAPABILITIES` names."""

    isolation = "simulated network"
    capabilities = CAPABILITIES
    epoch_ns = EPOCH_NS

    def __init__(self, server: Server, shim: Path, members: Sequence[Member], directory: Path, *, seed: int) -> None:
        """Prepare nodes, their directories and the network between them; nothing is started.

        `members` are the nodes, and what each is told; `directory` is for data and logs and is made.
        `seed` decides latencies and what servers draw at random. Raises ServerError for a directive that is not the
        user's to set.
        """
        refuse_ours(members, "virtual")
        self.began_ns = 0
        self.server = server
        self.directory = directory.absolute()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.addresses = Addresses("127.0")
        self.world = World()
        self._shim = shim
        self._members = {member.name: member for member in members}
        self._numbers = {name: number for number, name in enumerate(self._members, 1)}
        self._seed = seed
        self._starts = dict.fromkeys(self._members, 0)
        hosts = {name: self.addresses.node(number) for name, number in self._numbers.items()}
        self.nodes: Mapping[str, Node] = {name: Node(name, host, DATA_PORT, BUS_PORT) for name, host in hosts.items()}
        self._names = {host: name for name, host in hosts.items()}
        self._calls = {}
        self._crashes = {}
        self.links = Links(seed)
        self.network = Network(self.world, self.links, self._names)
        self.trace = Trace(self.directory.parent)
        self._control = Control(
            self.world, self.network, lambda node: (hosts[node], DATA_PORT), self.addresses.controller
        )
        self._processes = {
            name: Process(self.world, self.network, name, host, self.trace) for name, host in hosts.items()
        }

    # Life of the whole

    @property
    def notes(self) -> Sequence[str]:
        """What the promise of identity depends on."""
        libc, shim = " ".join(platform.libc_ver()), self._shim.stem.partition("-")[2]
        return (f"virtual time: repeatable with the same server, {libc}, kernel {platform.release()} and shim {shim}",)

    def start_all(self) -> None:
        """Start all nodes; returns when each answers. Raises ServerError with the server's own words."""
        for name in self.nodes:
            self._prepare(name)
            self._spawn(name)
        for process in self._processes.values():
            process.begin()
        for name in self.nodes:
            self.wait(f"{name} answers after its start", self._answers(name), START_TIMEOUT_MS)

    def stop_all(self) -> None:
        """Note what every node holds, and SIGKILL it. May be called twice."""
        for name, process in self._processes.items():
            if process.running and not process.paused and not self.world.broken:
                with contextlib.suppress(SystemFault, RunFailed):  # without DEBUG there is none
                    self.trace.digest(name, self.call(name, "DEBUG", "DIGEST").decode())
        for process in self._processes.values():
            process.kill()
        self.trace.close()

    def collect_logs(self, target: Path) -> None:
        """Copy each node's log, its configuration file and its nodes.conf into `target`, which is made."""
        target.mkdir(parents=True, exist_ok=True)
        for name in self.nodes:
            collect(self.directory / name, name, target)

    # What runs beside the servers is this deployment's own: nothing else can stand still while time does

    def load(self, plan: Plan, run_dir: Path, topology: Topology) -> VirtualLoad | ProgramLoad:
        """The clients of a run, in this process or in programs of their own; see `chaos.load.Load`."""
        made = VirtualLoad if ROUTES[plan.scenario.clients.route].has_machines else ProgramLoad
        return made(plan, run_dir, self, topology)

    def thread(self, target: Callable[[], None], name: str) -> Fibre:
        """See `nemeses.system.Threads`."""
        return self.world.thread(target, name)

    def event(self) -> Event:
        """See `nemeses.system.Threads`."""
        return self.world.event()

    def program(self, client: int, command: Sequence[str | Path], more: Mapping[str, str] | None = None) -> Program:
        """An unmodified program, started as the machine of a client; see `chaos.deploy.virtual.program`.

        `more` are variables beside those that it needs. Raises BadInput for what cannot be run so.
        """
        name, host = f"c{client}", self.addresses.client(client)
        seed = derive(self._seed, "program", client)
        variables = environment(self._shim, name, host, seed, FIRST_PROGRAM + client)
        process = Process(self.world, self.network, name, host, self.trace)
        program = Program(self.world, process, self.directory / name)
        program.start(command, {**variables, **(more or {})})
        return program

    # System

    def now_ns(self) -> int:
        """See `System.now_ns`."""
        return self.world.read_clock() - self.began_ns

    def sleep_until(self, time_ns: int) -> None:
        """See `System.sleep_until`."""
        self.world.sleep_until(time_ns + self.began_ns)

    def wait(self, what: str, condition: Callable[[], T | None], timeout_ms: int = 10_000) -> T:
        """See `System.wait`."""
        return self._wait(what, condition, timeout_ms, interruptible=True)

    def call(self, node: str, *arguments: str | bytes | int, timeout_ms: int = 1_000) -> Any:
        """See `System.call`."""
        return self._control.call(node, *arguments, timeout_ms=timeout_ms)

    def interrupt(self) -> None:
        """See `Deployment.interrupt`."""
        self.world.interrupt()

    def clear_interrupt(self) -> None:
        """See `Deployment.clear_interrupt`."""
        self.world.clear_interrupt()

    def client_address(self, client: int) -> str:
        """The address that nodes are told a client has."""
        return self.addresses.client(client)

    def is_client(self, host: str, port: int) -> bool:
        """Whether this is the address of a client of the run."""
        return self.addresses.is_client(host)

    def translate(self, host: str, port: int) -> str | None:
        """See `Deployment.translate`."""
        return self._names.get(host) if port == DATA_PORT else None

    # Kill

    def kill(self, node: str) -> None:
        """See `Kill.kill`."""
        self._processes[node].kill()

    def terminate(self, node: str) -> None:
        """See `Kill.terminate`. Raises WaitTimeout when the server does not obey."""
        process = self._processes[node]
        process.send_signal(signal.SIGTERM)
        self._wait(f"{node} ends", lambda: not process.running, END_TIMEOUT_MS, interruptible=False)

    def start(self, node: str, *, keep_data: bool = True) -> None:
        """See `Kill.start`. Raises ServerError when it ends again at once."""
        if self._processes[node].running:
            return
        self._turn_on(node)
        if not keep_data:
            remove_data(self.directory / node)
        self._spawn(node)
        self._processes[node].begin()
        what = f"{node} answers after its start"
        self._wait(what, self._answers(node), START_TIMEOUT_MS, interruptible=False)

    def running(self, node: str) -> bool:
        """See `Kill.running`."""
        return self._processes[node].running

    # Pause

    def pause(self, node: str) -> None:
        """See `Pause.pause`. Raises Unreachable when there is no process."""
        if not self._processes[node].running:
            raise Unreachable(f"{node} has no process")
        self._processes[node].pause()

    def resume(self, node: str) -> None:
        """See `Pause.resume`."""
        self._processes[node].resume()

    def paused(self, node: str) -> bool:
        """Whether the world gives the process no turns."""
        return self._processes[node].paused

    # Links

    def cut(self, sources: Collection[str], destinations: Collection[str], *, port: Port = "all") -> str:
        """See `Links.cut`."""
        return self.links.cut(sources, destinations, port)

    def heal(self, handle: str) -> None:
        """See `Links.heal`."""
        self.links.heal(handle)

    def heal_all(self) -> None:
        """See `Links.heal_all`."""
        self.links.heal_all()

    # Loss, Delay, Bandwidth

    def lose(self, sources: Collection[str], destinations: Collection[str], *, percent: float) -> str:
        """See `Loss.lose`: what is lost comes late, as TCP sends it again."""
        return self.links.disturb(sources, destinations, Disturbance(loss=percent / 100))

    def delay(self, sources: Collection[str], destinations: Collection[str], *, ms: float, jitter_ms: float) -> str:
        """See `Delay.delay`."""
        what = Disturbance(delay_ns=round(ms * 1e6), jitter_ns=round(jitter_ms * 1e6))
        return self.links.disturb(sources, destinations, what)

    def limit(self, sources: Collection[str], destinations: Collection[str], *, kbit: float) -> str:
        """See `Bandwidth.limit`."""
        return self.links.disturb(sources, destinations, Disturbance(bits_per_s=kbit * 1_000))

    def round_trip_ms(self, source: str, destination: str, *, payload: int = 0, timeout_ms: int = 5_000) -> float:
        """See `Probe.round_trip_ms`."""
        self._control.call(destination, "PING", timeout_ms=timeout_ms, source=source)  # connects
        began = self.world.now
        for _ in range(PIECES if payload else 1):
            piece = bytes(payload // PIECES)
            self._control.call(destination, "ECHO", piece, timeout_ms=timeout_ms, source=source)
        return (self.world.now - began) / 1e6

    # Skew

    def skew(self, node: str, offset_ms: float) -> None:
        """See `Skew.skew`."""
        self._processes[node].skew_ns = round(offset_ms * 1e6)

    def skew_of(self, node: str) -> float:
        """See `Skew.skew_of`."""
        seconds, us = self.call(node, "TIME")
        return (int(seconds) * 10**9 + int(us) * 1_000 - EPOCH_NS - self.world.now) / 1e6

    # How it is made

    def _prepare(self, name: str) -> None:
        directory = self.directory / name
        directory.mkdir(exist_ok=True)
        self._calls[name] = Calls(directory)
        host = self.nodes[name].host
        ours = {"port": str(DATA_PORT), "bind": host, "bind-source-addr": host}
        member = self._members[name]
        (directory / CONFIGURATION).write_text(
            configuration({**PROGRAMS[member.program].defaults, **member.config, **ours})
        )

    def _spawn(self, name: str) -> None:
        """A new process with its own seed and numbers; its environment is the same wherever the run is."""
        start = self._starts[name]
        self._starts[name] += 1
        seed, number = derive(self._seed, "server", name, start), self._numbers[name] * 100 + start % 100
        variables = environment(self._shim, name, self.nodes[name].host, seed, number * NUMBERS)
        directory = self.directory / name
        try:
            command = PROGRAMS[self._members[name].program].command(self.server.path)
            self._processes[name].spawn(command, directory, variables, directory / "server.log")
        except OSError as error:
            raise ServerError(f"{name}: {self.server.path} cannot be started: {error}") from error

    def _answers(self, name: str) -> Callable[[], bool]:
        process = self._processes[name]
        log = self.directory / name / "server.log"

        def answers() -> bool:
            if process.status is not None:
                raise ServerError(f"{name} did not start: {last_words(log)} (log: {log})")
            try:
                return bool(self.call(name, "PING") == b"PONG")
            except ReplyError as error:
                return str(error).startswith("LOADING")

        return answers

    def _wait(self, what: str, condition: Callable[[], T | None], timeout_ms: int, *, interruptible: bool) -> T:
        world = self.world
        deadline = world.now + timeout_ms * 1_000_000
        last: Exception | None = None
        while True:
            try:
                if found := condition():
                    return found
                last = None
            except (Unreachable, ReplyError) as error:
                last = error
            if world.now >= deadline:
                because = "" if last is None else f"; last: {last}"
                raise WaitTimeout(f"{what}: not within {timeout_ms} ms{because}")
            world.sleep_until(world.now + POLL_NS, interruptible=interruptible)
