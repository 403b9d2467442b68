"""What a nemesis may ask of the system under test, as capabilities.

A deployment implements `System` and those capability protocols that it really has, and lists their names in
`capabilities`. A fault names the capabilities it needs, so a scenario that asks for what a deployment cannot do is
refused before anything starts.

Everything here is synchronous and takes its time from the system: `now_ns`, `sleep_until` and `wait` are the only
ways to let time pass, so a deployment that owns the clock (virtual time) can run the same faults.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

T = TypeVar("T")
FORMED = frozenset({"slots", "promotion", "resize"})
"""Capabilities that depend on what the nodes form and not on where they run: slots that move, replicas that are
promoted on demand (CLUSTER FAILOVER or SENTINEL FAILOVER), nodes that join and leave."""
Port = Literal["all", "data", "bus"]
"""Which connections a cut concerns: all, those of clients and replication, or those of the cluster bus."""


class SystemFault(Exception):
    """Base of what can go wrong between the controller and the system under test."""


class Unreachable(SystemFault):
    """A node did not answer the controller: refused, reset or timed out; the message says which."""


class ReplyError(SystemFault):
    """A node answered with an error; the message is the server's text, prefix included."""


class WaitTimeout(SystemFault):
    """A condition did not come true before its deadline; the message says what was awaited and for how long."""


class InjectionFailed(SystemFault):
    """A fault was asked for and could not be verified to have taken hold. An error of ours, never tolerated."""


class Interrupted(SystemFault):
    """The run was asked to end (Ctrl-C, SIGTERM) while something waited."""


@dataclass(frozen=True)
class Node:
    """A server of the system: where clients reach it. `name` is what histories and reports call it (`n1`)."""

    name: str
    host: str
    port: int
    bus_port: int


class System(Protocol):
    """The system under test, as far as every nemesis may use it. Safe to call from several threads."""

    @property
    def nodes(self) -> Mapping[str, Node]:
        """All nodes by name, dead ones included, in the order of their numbers."""

    @property
    def capabilities(self) -> frozenset[str]:
        """Names of the capabilities that this deployment has.

        They are `kill`, `pause`, `links`, `loss`, `loseable`, `delay`, `bandwidth` and `skew`; and, where the
        machines are simulated, `power`, `calls`, `crash` and `reorder`.
        """

    def now_ns(self) -> int:
        """Nanoseconds since the run began, on the clock that stamps the history."""

    def sleep_until(self, time_ns: int) -> None:
        """Return at `time_ns` of that clock. Raises Interrupted when the run is asked to end first."""

    def wait(self, what: str, condition: Callable[[], T | None], timeout_ms: int = 10_000) -> T:
        """Call `condition` until it returns something true, and return that.

        A condition may raise Unreachable or ReplyError: that counts as "not yet", and the last one is quoted
        when the deadline passes. Raises WaitTimeout then, and Interrupted when the run is asked to end.
        """

    def call(self, node: str, *arguments: str | bytes | int, timeout_ms: int = 1_000) -> Any:
        """Send one command to a node by the controller's own way, which no fault cuts, and return its reply.

        Bulk strings come back as bytes, maps as flat lists (RESP2). Raises Unreachable and ReplyError.
        """


class Membership(Protocol):
    """The nodes among which the clients share the keys, where they decide that themselves (capability `resize`)."""

    @property
    def nodes(self) -> Sequence[str]:
        """Those that the clients were told last."""

    @property
    def spares(self) -> Sequence[str]:
        """Servers that are started and empty, and can join."""

    def change(self, nodes: Sequence[str]) -> Mapping[str, int]:
        """Tell all clients, and return when each client process took it up, in nanoseconds since the run began.

        Empty, and nothing is changed, when no client is at work any more. Raises WaitTimeout.
        """


@runtime_checkable
class Commanded(Protocol):
    """A system that somebody else runs, who has given commands that bring faults about."""

    command_timeout_ms: int
    """How long a command, and then its effect, may take."""

    def commanded(self, fault: str) -> bool:
        """Whether there is a command for a kind of fault."""

    def command(self, fault: str, node: str) -> Mapping[str, Any]:
        """Carry it out on a node, and return the evidence that it did not fail. Raises InjectionFailed."""


@runtime_checkable
class Kill(Protocol):
    """Can end and start server processes (capability `kill`)."""

    def kill(self, node: str) -> None:
        """SIGKILL, and return once the process is gone."""

    def terminate(self, node: str) -> None:
        """SIGTERM, and return once the process is gone."""

    def start(self, node: str, *, keep_data: bool = True) -> None:
        """Start a dead node on its old address, and return once it answers PING or says LOADING.

        Without `keep_data` its AOF and RDB files are removed first; its cluster identity (nodes.conf) stays.
        """

    def running(self, node: str) -> bool:
        """Whether the process exists (a paused one does)."""


@runtime_checkable
class Power(Protocol):
    """Knows what of a node's files is safe on the disk (capability `power`)."""

    def drop_unsynced(self, node: str) -> Mapping[str, int]:
        """Take from a dead node what it wrote and never synced; says how many bytes were lost, by file."""


Call = Literal["write", "send", "fsync", "rename"]
"""A call by which a process changes the world: bytes to a file, bytes to a connection, fsync or fdatasync, rename."""


@dataclass(frozen=True)
class CallRule:
    """Which calls of a node's processes go wrong, and how. Calls are counted from 1, from when the rule was given."""

    call: Call
    process: Literal["server", "child", "both"]
    """Whose calls: the server's, or those of a child that it forks to save its data."""
    file: str = "*"
    """Pattern of the file names (without directories) that are concerned; of addresses for `send`."""
    first: int = 1
    """The number of the first call that goes wrong."""
    most: int = 0
    """So many go wrong; 0 for all from the first on."""
    error: str | None = None
    """The name of the error with which a call is refused (`ENOSPC`); None: the process is killed (SIGKILL)."""
    after: bool = False
    """Whether the process is killed when the call has taken place, not before."""


@dataclass(frozen=True)
class CallsSeen:
    """What became of a rule."""

    seen: int
    """Calls that it was about."""
    struck: int
    """How many of them went wrong."""
    time_ns: int
    """When the first of those was made, in nanoseconds since the run began; without meaning when `struck` is 0."""
    what: str
    """The file of the last that went wrong, or the address that was sent to."""


@runtime_checkable
class Calls(Protocol):
    """Can let a server's own calls go wrong (capability `calls`)."""

    def rule_calls(self, node: str, rule: CallRule) -> None:
        """Let calls of the node go wrong, also after restarts, in place of what went wrong before."""

    def pass_calls(self, node: str) -> None:
        """Let every call of the node pass again."""

    def calls_seen(self, node: str) -> CallsSeen:
        """What has become of the node's last rule."""


@dataclass(frozen=True)
class CrashPlan:
    """When a machine crashes, and what of its last bytes arrives."""

    moment: Literal["any", "reply", "replication"]
    """At once, or as soon as bytes for a client are under way, or bytes for another node's data port."""
    to_nodes: int | None
    """So many bytes of what is under way to other nodes still arrive, of each connection; None: all."""
    to_clients: int | None
    """The same of what is under way to clients."""


@dataclass(frozen=True)
class CrashSeen:
    """What became of a crash."""

    time_ns: int
    """When the machine crashed, in nanoseconds since the run began."""
    under_way: Mapping[str, int]
    """Bytes that it had sent and that had not arrived then, by who was to get them."""
    arrived: int
    """How many bytes have arrived since."""


@runtime_checkable
class Machines(Protocol):
    """Can crash whole machines: their peers hear nothing, not even that a connection ends (capability `crash`).

    `Kill.start` turns such a machine on again.
    """

    def crash(self, node: str, plan: CrashPlan) -> None:
        """Crash at the moment that `plan` names; returns at once."""

    def spare(self, node: str) -> None:
        """Crash no more, if the moment has not come yet."""

    def crash_seen(self, node: str) -> CrashSeen | None:
        """What became of the node's last crash; None while its moment has not come."""


@runtime_checkable
class Reorder(Protocol):
    """Can change the order in which messages of different connections arrive (capability `reorder`)."""

    def reorder(self, sources: Collection[str], destinations: Collection[str], *, window_ms: float) -> str:
        """Hold back each message from `sources` to `destinations` by up to `window_ms`, drawn for each by itself.

        Each connection keeps its own order. Returns a handle for `Links.heal`.
        """

    def reordered(self, handle: str) -> tuple[int, int]:
        """Messages since then, and how many arrived before one that would have been there first."""


@runtime_checkable
class Pause(Protocol):
    """Can stop and continue server processes (capability `pause`)."""

    def pause(self, node: str) -> None:
        """SIGSTOP or the freezer, and return once every thread of the process has stopped."""

    def resume(self, node: str) -> None:
        """Undo `pause`; without effect on a node that is not paused."""

    def paused(self, node: str) -> bool:
        """Whether the process is stopped, read from the operating system and not from what was asked."""


@runtime_checkable
class Links(Protocol):
    """Can cut links (capability `links`). An endpoint is a node (`n1`) or a client (`c0`)."""

    def cut(self, sources: Collection[str], destinations: Collection[str], *, port: Port = "all") -> str:
        """Drop what `sources` send to `destinations` (one direction), and return a handle for `heal`.

        Returns once the kernel has the rules. Cuts add up; a link is open when no cut covers it.
        """

    def heal(self, handle: str) -> None:
        """Undo one cut (or loss, delay, limit). Without effect when it was already healed."""

    def heal_all(self) -> None:
        """Undo every cut, loss, delay and limit of this run."""


@runtime_checkable
class Loss(Protocol):
    """Can lose packets (capability `loss`)."""

    def lose(self, sources: Collection[str], destinations: Collection[str], *, percent: float) -> str:
        """Drop that share of the packets from `sources` to `destinations`; returns a handle for `heal`."""


class Flag(Protocol):
    """What is asked of `threading.Event`."""

    def set(self) -> None:
        """Raise it."""

    def is_set(self) -> bool:
        """Whether it is up."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is up, at most `timeout` seconds; says whether it is."""


class Thread(Protocol):
    """What is asked of `threading.Thread`."""

    def start(self) -> None:
        """Let it run."""

    def join(self) -> None:
        """Wait until it has ended."""


@runtime_checkable
class Threads(Protocol):
    """A system that owns time, and so decides which thread runs: threads and flags must be its own."""

    def thread(self, target: Callable[[], None], name: str) -> Thread:
        """A thread, not started yet."""

    def event(self) -> Flag:
        """A flag, not raised."""


class _RealThreads:
    def thread(self, target: Callable[[], None], name: str) -> Thread:
        return threading.Thread(target=target, name=name, daemon=True)

    def event(self) -> Flag:
        return threading.Event()


def threads_of(system: System) -> Threads:
    """Where threads that use this system, and the flags between them, come from."""
    return system if isinstance(system, Threads) else _RealThreads()


@runtime_checkable
class Probe(Protocol):
    """Can time what crosses a link, from one of its ends."""

    def round_trip_ms(self, source: str, destination: str, *, payload: int = 0, timeout_ms: int = 5_000) -> float:
        """Milliseconds that a request of so many bytes and its equally long answer take on an open connection.

        A payload goes and comes in 16 pieces, one after the other: a network may let pass at once what is small.
        `source` is a node or a client, and the connection is one as it would open itself; `destination` is a node.
        Raises Unreachable.
        """


@runtime_checkable
class Delay(Probe, Protocol):
    """Can make packets late (capability `delay`)."""

    def delay(self, sources: Collection[str], destinations: Collection[str], *, ms: float, jitter_ms: float) -> str:
        """Make what `sources` send to `destinations` (one direction) `ms` later, give or take up to `jitter_ms`.

        Delays add up. Returns a handle for `Links.heal`.
        """


@runtime_checkable
class Bandwidth(Probe, Protocol):
    """Can limit bandwidth (capability `bandwidth`)."""

    def limit(self, sources: Collection[str], destinations: Collection[str], *, kbit: float) -> str:
        """Let through no more than so many kilobits a second from each source to each destination.

        Returns a handle for `Links.heal`.
        """


@runtime_checkable
class Skew(Protocol):
    """Can set the wall clock of a server wrong (capability `skew`)."""

    def skew(self, node: str, offset_ms: float) -> None:
        """Let the node's wall clock be `offset_ms` ahead of (negative: behind) the real time, also after restarts.

        It takes hold at the server's next look at the clock. Its monotonic clock stays right.
        """

    def skew_of(self, node: str) -> float:
        """How many milliseconds the server's own TIME is ahead of the real time. Raises Unreachable."""
