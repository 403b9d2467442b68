"""When a cluster is at rest: what it then holds is what it will keep.

At rest: no connection of the run's clients is left on any node (what was in a socket's buffer has run or never will),
all nodes answer and know each other as well, all agree who serves what, no slot is open, and every replica has all
that its primary has. A replica that says its link is up may still lack thousands of keys: only offsets tell.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple, Protocol, runtime_checkable

from nemeses.system import System, Unreachable, WaitTimeout
from nemeses.view import View

CLIENT_PREFIX = "cq-"
"""What the names of connections (CLIENT SETNAME) of the run's clients begin with."""
OPEN_SLOTS_MS = 3_000
"""How long slots may keep convergence waiting by being open; a crashed migration leaves them open for ever."""
LASTING = 4
"""A disagreement about the map that did not change for this part of the deadline is there to stay."""


class Unrest(NamedTuple):
    """Why a cluster is not at rest."""

    reason: str
    lasting: bool = False
    """Everything else is at rest, and this will not go away: the nodes disagree for good about who serves what."""

    def __str__(self) -> str:
        return self.reason


@runtime_checkable
class KnowsClients(Protocol):
    """A deployment that tells clients by their address.

    The name does not always tell: a connection that was cut before its CLIENT SETNAME came through has none, and what
    its client sent still waits to be sent again.
    """

    def is_client(self, host: str, port: int) -> bool:
        """Whether a client of the run speaks from there, or a proxy for it."""


@runtime_checkable
class Offers(Protocol):
    """A deployment whose nodes do not offer every command."""

    def offers(self, *words: object) -> bool:
        """Whether they offer a command, given by its first words."""


def offered(system: System, *words: object) -> bool:
    """Whether nodes of a system offer a command; all do but those that somebody else runs."""
    return not isinstance(system, Offers) or system.offers(*words)


RESET = ("", "?:0")
"""What Valkey 9.1 and Redis 7.0 call the other end of a connection that was reset: it may have been a client's, and
what was sent on it may still be read. The server drops it in its next turn."""
Check = Callable[[System, dict[str, View]], str | None]
"""Says what keeps the cluster from being at rest, or None; gets each node's view."""


def come_to_rest(system: System, nodes: Collection[str], checks: Iterable[Check], deadline_ms: int) -> Unrest | None:
    """Wait until servers that are in no cluster are at rest; None, or why they were not within `deadline_ms`.

    Clients are gone and replicas have caught up, and none of `checks` objects. Raises Interrupted.
    """

    def no_clients(system: System, _: dict[str, View]) -> str | None:
        return _clients_left(system, nodes, CLIENT_PREFIX)

    try:
        await_all(system, "the servers come to rest", (no_clients, caught_up, *checks), deadline_ms, nodes)
    except WaitTimeout as error:
        return Unrest(str(error))
    return None


def converge(
    system: System, deadline_ms: int, client_prefix: str = CLIENT_PREFIX, nodes: Collection[str] | None = None
) -> Unrest | None:
    """Wait until the cluster is at rest, so that what it then holds decides durability. Does not raise for it.

    `nodes` are those that form it: all, unless given.

    Open slots are waited for only as long as somebody may still close them. Returns None, or why it was not at rest
    within `deadline_ms` from now; a disagreement about the map that does not change any more ends the wait early.
    Raises Interrupted when the run is asked to end.
    """
    names = system.nodes if nodes is None else nodes
    closing = system.now_ns() + min(OPEN_SLOTS_MS, deadline_ms // 2) * 1_000_000
    map_ = _LastMap(deadline_ms // LASTING)

    def no_open_slots(system: System, views: dict[str, View]) -> str | None:
        return None if system.now_ns() >= closing else _open_slots(views)

    def no_clients(system: System, _: dict[str, View]) -> str | None:
        return _clients_left(system, names, client_prefix)

    def at_rest() -> Unrest | bool:
        views = _views(system, names)
        _none_objects(system, views, (no_clients, _knows_all_well, caught_up))
        try:
            _none_objects(system, views, (_agree, _serves, no_open_slots))
        except Unreachable as objection:
            if not map_.lasts(system.now_ns(), views):
                raise
            return Unrest(f"{objection}, and that did not change for {map_.lasting_ms} ms", lasting=True)
        return True

    try:
        found = system.wait("the cluster comes to rest", at_rest, deadline_ms)
    except WaitTimeout as error:
        return Unrest(str(error))
    return found if isinstance(found, Unrest) else None


class _LastMap:
    """What the nodes believed when it was last seen to change."""

    def __init__(self, lasting_ms: int) -> None:
        self.lasting_ms = lasting_ms
        self._believed: Any = None
        self._since_ns = 0

    def lasts(self, now_ns: int, views: dict[str, View]) -> bool:
        """Whether they have believed the same for long enough."""
        believed = {name: (view.owners(), view.myself.importing, view.myself.migrating) for name, view in views.items()}
        if believed != self._believed:
            self._believed, self._since_ns = believed, now_ns
        return now_ns - self._since_ns >= self.lasting_ms * 1_000_000


def info(system: System, node: str, section: str, timeout_ms: int = 1_000) -> dict[str, str]:
    """A section of INFO, or with section `cluster-info` the reply of CLUSTER INFO, as a table."""
    command = ("CLUSTER", "INFO") if section == "cluster-info" else ("INFO", section)
    lines = system.call(node, *command, timeout_ms=timeout_ms).decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def await_all(
    system: System, what: str, checks: Iterable[Check], timeout_ms: int, nodes: Collection[str] | None = None
) -> None:
    """Wait until no check objects; they get the views of `nodes`, which are all unless given.

    Raises WaitTimeout, which quotes the objection that was left, and Interrupted.
    """
    wanted = list(checks)

    def at_rest() -> bool:
        _none_objects(system, _views(system, system.nodes if nodes is None else nodes), wanted)
        return True

    system.wait(what, at_rest, timeout_ms)


def _views(system: System, nodes: Collection[str]) -> dict[str, View]:
    return {name: View.fetch(system, name) for name in nodes}


def _none_objects(system: System, views: dict[str, View], checks: Iterable[Check]) -> None:
    """Raise Unreachable, which means "not yet" and is quoted when time is up, with the first objection."""
    objection = next((said for check in checks if (said := check(system, views))), None)
    if objection:
        raise Unreachable(objection)


def _knows_all_well(_: System, views: dict[str, View]) -> str | None:
    for name, view in views.items():
        for other in views:
            if not view.knows(other):
                return f"{name} does not know {other}"
            row = view.row(other)
            if row.failing or not row.link_up or "handshake" in row.flags:
                return f"{name} has no good link to {other} (flags {','.join(sorted(row.flags))})"
    return None


def _serves(system: System, views: dict[str, View]) -> str | None:
    for name in views:
        state = info(system, name, "cluster-info").get("cluster_state")
        if state != "ok":
            return f"cluster_state of {name} is {state}"
    return None


def _agree(_: System, views: dict[str, View]) -> str | None:
    (first, view), *others = views.items()
    for name, other in others:
        if other.owners() != view.owners():
            return f"{first} and {name} disagree about who serves which slots"
    return None


def caught_up(system: System, views: dict[str, View]) -> str | None:
    """Each replica is linked to its primary, in the same history, and has at least what that had a moment before.

    Where nodes do not tell, nobody knows.
    """
    if not offered(system, "INFO", "REPLICATION"):
        return None
    for name, view in views.items():
        primary = view.myself.primary
        if primary is None:
            continue
        if primary not in views or not views[primary].myself.is_primary:
            return f"{name} replicates {primary}, which is no primary"
        theirs = info(system, primary, "replication")  # first: its offset may only grow until the replica is asked
        ours = info(system, name, "replication")
        if ours.get("master_link_status") != "up":
            return f"{name} is not linked to its primary {primary}"
        if ours.get("master_replid") != theirs.get("master_replid"):
            return f"{name} follows another history than its primary {primary}"
        lag = int(theirs["master_repl_offset"]) - int(ours.get("slave_repl_offset", 0))
        if lag > 0:
            return f"{name} is {lag} bytes behind its primary {primary}"
    return None


def _open_slots(views: dict[str, View]) -> str | None:
    for name, view in views.items():
        if slots := sorted(view.myself.open_slots):
            return f"{len(slots)} slots are open on {name}, the first is {slots[0]}"
    return None


def clients_gone(system: System, views: dict[str, View]) -> str | None:
    """No connection of the run's clients is left."""
    return _clients_left(system, views, CLIENT_PREFIX)


def _clients_left(system: System, nodes: Collection[str], prefix: str) -> str | None:
    if not offered(system, "CLIENT", "LIST"):
        return None  # they are closed, and a node has read what they sent before it reads a command sent afterwards
    of_a_client = _by_address(system)
    for name in nodes:
        lines = system.call(name, "CLIENT", "LIST").decode(errors="replace").splitlines()
        connections = [dict(item.partition("=")[::2] for item in line.split(" ")) for line in lines]
        left = sum(
            connection["name"].startswith(prefix) or of_a_client(connection["addr"]) for connection in connections
        )
        if left:
            return f"{left} connections of clients are left on {name}"
    return None


def _by_address(system: System) -> Callable[[str], bool]:
    """What says whether a connection may be a client's by where it comes from; never where nobody can tell."""
    if not isinstance(system, KnowsClients):  # asked once: to ask for a protocol is slow
        return lambda address: False
    is_client = system.is_client

    def of_a_client(address: str) -> bool:
        host, _, port = address.rpartition(":")
        return address in RESET or is_client(host, int(port))

    return of_a_client


SETTLED: tuple[Check, ...] = (_knows_all_well, _agree, _serves, caught_up)
"""The checks of a cluster that nobody is using."""
