"""What shows that links are cut: the nodes' own view, messages that do not arrive, a replica that stands still.

Between servers that are in no cluster it is requests that are not answered any more (`nemeses.round_trips`).

A cut is seen by the nodes only after half a node timeout, when the next ping stays unanswered. A shorter one is
proven by messages: PUBLISH travels over the bus to every node, and each counts what arrives (CLUSTER INFO). A
connect that fails in the kernel makes a server try again from an address of its choice, so a link may fall and
stand again a moment later, around the cut: only what stays down counts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from nemeses.evidence import await_proof, info, lasting
from nemeses.round_trips import RoundTrips, outside_clusters
from nemeses.system import InjectionFailed, Port, ReplyError, System, Unreachable, WaitTimeout
from nemeses.targets import Survey
from nemeses.view import View

STAYS_MS = 250
"""A server tries to reconnect every 100 ms; what is down for this long found no way around."""
ARRIVES_MS = 500
"""A message over an open bus link arrives within milliseconds (41 at most were seen, with delayed acknowledgements)."""
QUIET_MS = 100
"""A link on which nothing arrived for this long, and before the cut something did, is silent."""
CHANNEL = "cachequake:probe"
_RECEIVED = "cluster_stats_messages_publish_received"


class Cut(NamedTuple):
    """What the nodes and clients `sources` send to `destinations` is dropped."""

    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    port: Port = "all"


def pairs(cuts: Iterable[Cut], port: Port, nodes: Collection[str]) -> list[tuple[str, str]]:
    """The directed links between nodes that are cut on a port, sender first."""
    found = {
        (source, destination)
        for cut in cuts
        if cut.port in ("all", port)
        for source in cut.sources
        for destination in cut.destinations
        if source != destination and source in nodes and destination in nodes
    }
    return sorted(found)


def seen_by_nodes(system: System, cuts: Collection[Cut], timeout_ms: int) -> dict[str, Any]:
    """Wait until one end at least of every cut bus link sees the other one gone, and return who sees what.

    A link with an end that does not answer the controller proves nothing and is left out. Raises InjectionFailed.
    """
    links = pairs(cuts, "bus", system.nodes)

    def gone() -> dict[str, Any] | None:
        views = _views(system, {end for link in links for end in link})
        sights: dict[str, dict[str, str]] = {}
        for one, other in links:
            if one not in views or other not in views:
                continue
            both = {(one, other): _sight(views[one], other), (other, one): _sight(views[other], one)}
            if not any(both.values()):
                return None
            for (witness, of), sight in both.items():
                if sight:
                    sights.setdefault(witness, {})[of] = sight
        return sights

    return await_proof(system, "the nodes to see the cut", lasting(system, gone, STAYS_MS), timeout_ms)


def _views(system: System, names: Iterable[str]) -> dict[str, View]:
    views = {}
    for name in names:
        try:
            views[name] = View.fetch(system, name, timeout_ms=300)
        except (Unreachable, ReplyError):
            continue
    return views


def _sight(view: View, of: str) -> str | None:
    """How a node shows in a view if it shows as gone."""
    if not view.knows(of):
        return None
    row = view.row(of)
    if row.failing:
        return "fail" if "fail" in row.flags else "fail?"
    return None if row.link_up else "disconnected"


class Silence:
    """Proof by messages: before the cut they arrive, after it they do not."""

    def __init__(self, system: System, cuts: Collection[Cut]) -> None:
        """Send messages along every cut that is to be; only where one arrives can its absence prove anything."""
        self._system = system
        self._judged: list[tuple[list[str], list[str]]] = []
        for cut in cuts:
            routes = pairs([cut], "bus", system.nodes)
            sources, ends = sorted({s for s, _ in routes}), sorted({d for _, d in routes})
            if arrived := self._arrived(sources, ends, ARRIVES_MS):
                self._judged.append((sources, arrived))

    def prove(self, timeout_ms: int = 2_000) -> dict[str, Any]:
        """After the cut: nothing arrives. Raises InjectionFailed when something does, or nothing can be said."""
        if not self._judged:
            raise InjectionFailed("no message crossed these links even before the cut, so nothing can show it")
        for sources, ends in self._judged:
            # other messages count too, and late ones of before: so one that arrives is no disproof if the next do not
            quiet = partial(self._silent, sources, ends)
            what = f"messages of {', '.join(sources)} to stay away from {', '.join(ends)}"
            await_proof(self._system, what, quiet, timeout_ms)
        return {"silent": [{"from": sources, "to": ends} for sources, ends in self._judged]}

    def crossed(self, timeout_ms: int) -> bool:
        """After healing: whether a message arrives in time along any of the cuts. Raises Interrupted."""
        try:
            self._system.wait("a message to cross", self._crosses, timeout_ms)
        except WaitTimeout:
            return False
        return True

    def _crosses(self) -> bool:
        return any(self._arrived(sources, ends, STAYS_MS) for sources, ends in self._judged)

    def _silent(self, sources: list[str], ends: list[str]) -> bool:
        return not self._arrived(sources, ends, QUIET_MS)

    def _arrived(self, sources: list[str], ends: list[str], within_ms: int) -> list[str]:
        return sorted(set(ends) - set(late(self._system, sources, ends, within_ms)))


def late(system: System, sources: Iterable[str], ends: Iterable[str], within_ms: int) -> list[str]:
    """Send one message from each source; the nodes of `ends` that have got none in time (or do not answer)."""
    before = _counts(system, ends)
    for source in sources:
        with suppress(Unreachable, ReplyError):  # a dead source sends nothing, and nothing of it arrives
            system.call(source, "PUBLISH", CHANNEL, "1", timeout_ms=300)
    missing: list[str] = []
    try:
        system.wait("arrival", lambda: _all_counted(system, before), within_ms)
    except WaitTimeout:
        now = _counts(system, before)
        missing = [end for end in before if now.get(end, -1) <= before[end]]
    return [*missing, *(end for end in ends if end not in before)]


def _all_counted(system: System, before: Mapping[str, int]) -> bool:
    now = _counts(system, before)
    return all(now.get(end, -1) > count for end, count in before.items())


def _counts(system: System, nodes: Iterable[str]) -> dict[str, int]:
    """Messages that each node has received over the bus; a node that does not answer is left out."""
    counts = {}
    for node in nodes:
        try:
            lines = system.call(node, "CLUSTER", "INFO", timeout_ms=300).decode().splitlines()
        except (Unreachable, ReplyError):
            continue
        found = dict(line.split(":", 1) for line in lines if ":" in line)
        counts[node] = int(found.get(_RECEIVED, 0))  # the server leaves out what is zero
    return counts


def standing_still(system: System, cuts: Collection[Cut], survey: Survey, timeout_ms: int) -> dict[str, Any]:
    """Wait until every replica behind the cut lacks what its primary had a moment ago. Raises InjectionFailed."""
    cut = set(pairs(cuts, "data", system.nodes))
    links = [
        (str(row.primary), name)
        for name, row in survey.rows.items()
        if not row.is_primary and {(row.primary, name), (name, row.primary)} & cut
    ]
    if not links:
        raise InjectionFailed("no replication link crosses the cut, so it cuts nothing off: target a node with a peer")
    proofs = {
        f"{primary}->{replica}": await_proof(
            system, f"{replica} to fall behind {primary}", _behind(system, primary, replica), timeout_ms
        )
        for primary, replica in links
    }
    return {"behind": proofs}


def _behind(system: System, primary: str, replica: str) -> Callable[[], dict[str, int | str] | None]:
    """Two looks, far enough apart for a byte to travel: the replica has not what the primary had at the first one."""
    first: tuple[int, int] | None = None

    def condition() -> dict[str, int | str] | None:
        nonlocal first
        told = info(system, replica, "replication")
        if told.get("master_link_status") != "up":
            return {"link": told.get("master_link_status", "none")}
        has = int(told["slave_repl_offset"])
        if first is None or has >= first[1]:
            first = system.now_ns(), int(info(system, primary, "replication")["master_repl_offset"])
            return None
        if system.now_ns() - first[0] < STAYS_MS * 1_000_000:
            return None
        return {"replica": has, "primary": first[1]}

    return condition


def before_cut(system: System, cuts: Collection[Cut], survey: Survey) -> Silence | RoundTrips | None:
    """What is to be tried before these cuts are made, to show afterwards that they hold. Raises InjectionFailed.

    None when only replication links are cut: what shows that needs no comparison.
    """
    if outside_clusters(survey):
        if not (links := pairs(cuts, "data", system.nodes)):
            raise InjectionFailed("servers outside a cluster have no bus that could be cut: choose another shape")
        return RoundTrips(system, links)
    return Silence(system, cuts) if pairs(cuts, "bus", system.nodes) else None


def proof_of_cut(
    system: System, cuts: Collection[Cut], survey: Survey, silence: Silence | RoundTrips | None, for_ms: int
) -> dict[str, Any]:
    """The evidence that suits these cuts, as soon as there is enough of it. Raises InjectionFailed.

    Replication's for cuts of data ports alone; the nodes' view when the cut lasts long enough for them to notice;
    else silence. `silence` is what `before_cut` returned.
    """
    if isinstance(silence, RoundTrips):
        return silence.prove()
    if silence is None:
        return standing_still(system, cuts, survey, 3_000)
    # whoever answers: another fault may have killed nodes since the survey
    notice_ms = 2 * _node_timeout_ms(system, survey.rows) + STAYS_MS
    if for_ms < notice_ms:
        return silence.prove()
    # nodes that were restarted, or a failover under way, can make it longer; it may take as long as the cut does
    return {"views": seen_by_nodes(system, cuts, min(for_ms, 2 * notice_ms))}


def _node_timeout_ms(system: System, nodes: Iterable[str]) -> int:
    """The `cluster-node-timeout`, of the first of these nodes that answers. Raises InjectionFailed and ReplyError."""
    for node in nodes:
        with suppress(Unreachable):
            return int(system.call(node, "CONFIG", "GET", "cluster-node-timeout")[1])
    raise InjectionFailed("no node answers the controller, so nothing can show the cut")
