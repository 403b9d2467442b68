"""What faults that slow links have in common: which links they are, and how long something takes to cross them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nemeses.evidence import await_proof, began, on_each
from nemeses.fault import Check, Strike
from nemeses.link_evidence import Cut
from nemeses.system import InjectionFailed, Interrupted, Links, Probe, WaitTimeout
from nemeses.words import one_of

BETWEEN = ("all", "nodes", "clients")
"""Whose links with the targets are slow: of all others, of the other nodes, of the clients."""
OPTIONS: Mapping[str, Any] = {"between": "all"}
CHECKS: Mapping[str, Check] = {"between": one_of(BETWEEN)}
SAMPLES = 3
"""A round trip is the shortest of so many: the machine makes some slower, and none faster."""
SEEN_MS = 3_000
"""Beyond what a round trip should take: how long the change may take to show."""

Slow = Callable[[tuple[str, ...], tuple[str, ...]], str]
"""Slows what sources send to destinations, and returns a handle."""


def _peers(strike: Strike) -> tuple[list[str], list[str]]:
    """The other nodes, and the clients, whose links with the targets are concerned."""
    between = strike.planned.options["between"]
    nodes = [node for node in strike.system.nodes if node not in strike.nodes]
    clients = [f"c{number}" for number in range(strike.clients)]
    return nodes if between != "clients" else [], clients if between != "nodes" else []


def directions(strike: Strike) -> list[Cut]:
    """Both directions between the targets and their peers. Raises InjectionFailed when there is no peer."""
    between = strike.planned.options["between"]
    nodes, clients = _peers(strike)
    targets, peers = tuple(strike.nodes), tuple(nodes + clients)
    if not peers:
        raise InjectionFailed(f"all nodes are targets: there are no links to slow between them and other {between}")
    return [Cut(targets, peers), Cut(peers, targets)]


def sampled(strike: Strike) -> list[tuple[str, str]]:
    """Links that are measured: each target from one other node and from one client, where those are concerned."""
    nodes, clients = _peers(strike)
    return [(peer, target) for target in strike.nodes for peer in (*nodes[:1], *clients[:1])]


def round_trips(strike: Strike, payload: int, timeout_ms: int) -> dict[str, float]:
    """The shortest of some round trips over each sampled link, in ms. Raises Unreachable."""
    system = strike.system
    assert isinstance(system, Probe)
    return {
        f"{peer}->{target}": round(
            min(
                system.round_trip_ms(peer, target, payload=payload, timeout_ms=timeout_ms)
                for _ in range(1 if payload else SAMPLES)
            ),
            3,
        )
        for peer, target in sampled(strike)
    }


def slow_down(strike: Strike, slow: Slow, least_ms: float, payload: int = 0) -> dict[str, Any]:
    """Slow the links of a strike, and measure before and after. Raises InjectionFailed unless it takes `least_ms`."""
    timeout_ms = round(SEEN_MS + 4 * least_ms)
    cuts = directions(strike)
    before = round_trips(strike, payload, timeout_ms)
    handles = strike.state["handles"] = []
    since_ns = began(strike)
    for cut in cuts:  # one by one: when the second one fails, the first is known to `heal`
        handles.append(slow(cut.sources, cut.destinations))  # noqa: PERF401

    def slowed() -> dict[str, float] | None:
        now = round_trips(strike, payload, timeout_ms)
        return now if min(now.values()) >= least_ms else None

    after = await_proof(strike.system, f"round trips of {least_ms:.0f} ms or more", slowed, timeout_ms)
    strike.state["payload"], strike.state["least_ms"] = payload, least_ms
    return {"since_ns": since_ns, "seen_ns": strike.system.now_ns(), "before_ms": before, "round_trip_ms": after}


def speed_up(strike: Strike) -> dict[str, Any]:
    """Undo it, and measure again unless the run is over. A link that is still busy is told, and no failure."""
    system = strike.system
    handles = strike.state.get("handles", [])
    assert isinstance(system, Links)
    on_each(handles, system.heal)
    evidence: dict[str, Any] = {"since_ns": system.now_ns(), "healed": len(handles)}
    least_ms: float | None = strike.state.pop("least_ms", None)
    if least_ms is None:
        return evidence
    payload, timeout_ms = strike.state["payload"], round(SEEN_MS + 4 * least_ms)

    def fast() -> dict[str, float] | None:
        now = round_trips(strike, payload, timeout_ms)
        return now if max(now.values()) < least_ms else None

    try:
        return evidence | {"round_trip_ms": system.wait("round trips as before", fast, timeout_ms)}
    except (Interrupted, WaitTimeout) as error:
        return evidence | {"not_seen": str(error)}
