"""Links that are cut between nodes, by shape; and links that lose packets.

| shape | what is cut |
|---|---|
| `isolate` | each target from every other node |
| `halves` | the targets, together, from all other nodes (`target: minority`) |
| `ring` | every node from all but its two neighbours in a ring of all nodes, drawn from the stream |
| `bridge` | the other nodes, in two halves drawn from the stream, from each other; the targets reach both |
| `one-way-in`, `one-way-out` | what the targets should get; what they send |
| `bus` | `isolate` on the cluster bus only: clients and replication go on |
| `data` | `isolate` on the data port only: replication stops, the cluster sees nothing |
| `replication` | each target from its replicas (or its primary), on the data port only |
| `replica-bus` | the same, on the cluster bus only: the replicas have the data and hear nothing of the slots |

With `with_clients: k` the first k clients share the targets' fate (they reach the targets only), and the other
clients do not reach the targets; without it every client reaches every node, as clients outside a cluster may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from nemeses.evidence import began, on_each
from nemeses.fault import Check, Strike
from nemeses.link_evidence import Cut, Silence, before_cut, late, proof_of_cut
from nemeses.round_trips import RoundTrips, outside_clusters, prober
from nemeses.stream import Stream
from nemeses.system import InjectionFailed, Interrupted, Links, Loss, Port, System, Unreachable
from nemeses.targets import Survey
from nemeses.words import one_of

Shape = Callable[[Sequence[str], Sequence[str], Survey, Stream], list[Cut]]
"""Targets, all nodes, the survey and the strike's stream to what is cut."""
CROSSES_MS = 1_000
"""How long after healing we look for a message that crosses. Seeing none is told, and is no failure of the heal."""


def _both(some: Iterable[str], others: Iterable[str], port: Port = "all") -> list[Cut]:
    one, other = tuple(some), tuple(others)
    if not one or not other:
        return []
    return [Cut(one, other, port), Cut(other, one, port)]


def _rest(nodes: Sequence[str], targets: Sequence[str]) -> list[str]:
    return [node for node in nodes if node not in targets]


def _alone(port: Port) -> Shape:
    def shape(targets: Sequence[str], nodes: Sequence[str], survey: Survey, draw: Stream) -> list[Cut]:
        return [cut for node in targets for cut in _both([node], _rest(nodes, [node]), port)]

    return shape


def _ring(targets: Sequence[str], nodes: Sequence[str], survey: Survey, draw: Stream) -> list[Cut]:
    ring = list(nodes)
    draw.shuffle(ring)
    strangers = {
        node: _rest(nodes, [node, ring[place - 1], ring[(place + 1) % len(ring)]]) for place, node in enumerate(ring)
    }
    return [Cut((node,), tuple(others)) for node, others in strangers.items() if others]


def _bridge(targets: Sequence[str], nodes: Sequence[str], survey: Survey, draw: Stream) -> list[Cut]:
    others = _rest(nodes, targets)
    draw.shuffle(others)
    return _both(others[: len(others) // 2], others[len(others) // 2 :])


def _within_shards(port: Port) -> Shape:
    def shape(targets: Sequence[str], nodes: Sequence[str], survey: Survey, draw: Stream) -> list[Cut]:
        primaries = {node: row.primary for node, row in survey.rows.items() if row.primary is not None}
        peers = {node: [primaries[node]] if node in primaries else survey.replicas_of(node) for node in targets}
        return [cut for node, ends in peers.items() for cut in _both([node], ends, port)]

    return shape


SHAPES: dict[str, Shape] = {
    "isolate": _alone("all"),
    "halves": lambda targets, nodes, survey, draw: _both(targets, _rest(nodes, targets)),
    "ring": _ring,
    "bridge": _bridge,
    "one-way-in": lambda targets, nodes, survey, draw: _both(targets, _rest(nodes, targets))[1:],
    "one-way-out": lambda targets, nodes, survey, draw: _both(targets, _rest(nodes, targets))[:1],
    "bus": _alone("bus"),
    "data": _alone("data"),
    "replication": _within_shards("data"),
    "replica-bus": _within_shards("bus"),
}
"""Every shape, in the order of the table above."""


def with_clients(targets: Sequence[str], nodes: Sequence[str], pinned: int, clients: int) -> list[Cut]:
    """The cuts that pin the first `pinned` of `clients` to the side of the targets. Raises InjectionFailed."""
    outside = _rest(nodes, targets)
    if not outside:
        raise InjectionFailed("with_clients: every node is a target, so there is no side to pin a client to")
    names = [f"c{number}" for number in range(clients)]
    return [*_both(names[:pinned], outside), *_both(names[pinned:], targets)]


def linker(system: System) -> Links:
    """The system as one that can cut links. Raises InjectionFailed."""
    if not isinstance(system, Links):
        raise InjectionFailed("this deployment cannot cut links: choose one with the capability `links`")
    return system


class PartitionFault:
    """Cuts links, believes it only when the nodes show it, and heals by undoing exactly these cuts."""

    kind = "partition"
    requires = frozenset({"links"})
    default_target = "a primary"
    options: Mapping[str, Any] = {"shape": "isolate", "with_clients": 0}
    checks: Mapping[str, Check] = {"shape": one_of(SHAPES)}

    def inject(self, strike: Strike) -> dict[str, Any]:
        """Cut, and wait for the proof that fits the shape and the length of the fault."""
        system, links = strike.system, linker(strike.system)
        survey = Survey.take(system)
        cuts = self._cuts(strike, survey)
        silence = strike.state["silence"] = before_cut(system, cuts, survey)
        handles = strike.state["handles"] = []
        since_ns = began(strike)  # from the first cut on nothing is as it was; all of them hold by `cut_ns`
        for cut in cuts:  # one by one: when one fails, those before it are known to `heal`
            handles.append(links.cut(cut.sources, cut.destinations, port=cut.port))  # noqa: PERF401
        cut_ns = system.now_ns()
        strike.note("cut", {"links": len(cuts), "shape": strike.planned.options["shape"]})
        seen = proof_of_cut(system, cuts, survey, silence, strike.planned.for_ms)
        return {"since_ns": since_ns, "cut_ns": cut_ns, "seen_ns": system.now_ns(), **seen}

    def _cuts(self, strike: Strike, survey: Survey) -> list[Cut]:
        options, nodes = strike.planned.options, list(strike.system.nodes)
        cuts = SHAPES[options["shape"]](strike.nodes, nodes, survey, strike.draw)
        if options["shape"] == "ring":
            strike.nodes[:] = nodes
        if not cuts:
            raise InjectionFailed(f"{options['shape']} of {', '.join(strike.nodes)} leaves no link to cut")
        if options["with_clients"]:
            strike.state["clients"] = list(range(options["with_clients"]))
            cuts += with_clients(strike.nodes, nodes, options["with_clients"], strike.clients)
        return cuts

    def heal(self, strike: Strike) -> dict[str, Any]:
        """Undo the cuts; then see whether a message crosses again, unless the run is over."""
        links = linker(strike.system)
        handles = strike.state.get("handles", [])
        on_each(handles, links.heal)
        open_ns = strike.system.now_ns()
        silence: Silence | RoundTrips | None = strike.state.pop("silence", None)
        evidence = {"since_ns": open_ns, "healed": len(handles)}
        if silence is None or not handles:
            return evidence
        try:
            return {**evidence, "crossed": silence.crossed(CROSSES_MS), "seen_ns": strike.system.now_ns()}
        except Interrupted:
            return evidence


class LossFault:
    """Loses a share of the packets between the targets and all other nodes, in both directions."""

    kind = "loss"
    requires = frozenset({"loss"})
    default_target = "a primary"
    options: Mapping[str, Any] = {"percent": 0.2}
    checks: Mapping[str, Check] = {}

    PROBE_MS = 150
    """A message without a lost packet arrives within 41 ms; a lost one is sent again after 200 ms at the earliest."""
    LUCK = 1e-4
    """With a smaller chance of so many messages getting through in time, nothing was lost at all."""

    def inject(self, strike: Strike) -> dict[str, Any]:
        """Lose, and send messages until one comes late."""
        system, percent = strike.system, strike.planned.options["percent"]
        if not isinstance(system, Loss):
            raise InjectionFailed("this deployment cannot lose packets: choose one with the capability `loss`")
        others = _rest(list(system.nodes), strike.nodes)
        if not others or not 0 < percent <= 1:
            raise InjectionFailed(f"losing {percent:.0%} between {', '.join(strike.nodes)} and others loses nothing")
        handles = strike.state["handles"] = []
        for cut in _both(strike.nodes, others):  # one by one, as above
            handles.append(system.lose(cut.sources, cut.destinations, percent=percent * 100))  # noqa: PERF401
        since_ns = began(strike)
        seen = self._slow if outside_clusters(Survey.take(system)) else self._delayed
        return {"since_ns": since_ns, **seen(strike, others, percent)}

    def _slow(self, strike: Strike, others: list[str], percent: float) -> dict[str, Any]:
        """Proof without a bus: a connection whose opening and one request take long, or that does not come about."""
        system, tried, luck = strike.system, 0, 1.0
        while luck > self.LUCK:
            source, other = strike.nodes[tried % len(strike.nodes)], others[tried % len(others)]
            begun_ns = system.now_ns()
            with suppress(Unreachable):
                prober(system).round_trip_ms(source, other, timeout_ms=2 * self.PROBE_MS)
            took_ms = (system.now_ns() - begun_ns) / 1e6
            tried += 1
            luck *= (1 - percent) ** 2  # a request and its answer, at least
            if took_ms > self.PROBE_MS:
                return {"round_trips": tried, "late": {source: [other]}, "seen_ns": system.now_ns()}
        raise InjectionFailed(f"{tried} requests were all answered in time: no packet was lost")

    def _delayed(self, strike: Strike, others: list[str], percent: float) -> dict[str, Any]:
        sent, luck = 0, 1.0
        while luck > self.LUCK:
            for source in strike.nodes:
                overdue = late(strike.system, [source], others, self.PROBE_MS)
                sent += len(others)
                luck *= (1 - percent) ** len(others)
                if overdue:
                    return {"messages": sent, "late": {source: overdue}, "seen_ns": strike.system.now_ns()}
        raise InjectionFailed(f"{sent} messages all arrived in time: no packet was lost")

    def heal(self, strike: Strike) -> dict[str, Any]:
        """Lose no more."""
        handles = strike.state.get("handles", [])
        on_each(handles, linker(strike.system).heal)
        return {"since_ns": strike.system.now_ns(), "healed": len(handles)}
