"""Nodes join and leave those among which the clients share the keys.

No server takes part in that where clients shard by themselves: the clients get another list of nodes, and from then on
look for some keys elsewhere. What was stored stays where it is. The clients are told while they work, and each process
of them takes the list up when it hears of it, so for a moment they disagree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nemeses.evidence import began
from nemeses.fault import Check, Strike
from nemeses.system import InjectionFailed, Membership


def asked(options: Mapping[str, Any]) -> tuple[int, int]:
    """How many nodes are to join and how many to leave; one joins where neither is said."""
    add, remove = options.get("add", 0), options.get("remove", 0)
    return (add, remove) if add or remove else (1, 0)


class ResizeFault:
    """Lets `add` spare nodes join and `remove` of the target's nodes leave; heals by the reverse.

    Spare nodes join in the order of their numbers. Of the target's nodes (all, unless it names one) those that leave
    are drawn. A resize that outlasts the load stays: no client is at work any more that could be told of its end.
    """

    kind = "resize"
    requires = frozenset({"resize"})
    default_target = "all"
    options: Mapping[str, Any] = {"add": 0, "remove": 0}
    checks: Mapping[str, Check] = {}

    def inject(self, strike: Strike) -> dict[str, Any]:
        """Tell the clients, and see that every process of them has taken the new list up."""
        membership = _membership(strike)
        joining, leaving = _chosen(strike, membership)
        strike.nodes[:] = [*joining, *leaving]
        strike.state["changed"] = joining, leaving
        began(strike)
        return _change(strike, membership, joining, leaving)

    def heal(self, strike: Strike) -> dict[str, Any]:
        """Who joined leaves, and who left joins again; clients that have ended already are told nothing."""
        joined, left = strike.state.get("changed", ((), ()))
        if not (joined or left):
            return {}
        evidence = _change(strike, _membership(strike), left, joined)
        strike.state.pop("changed")
        return evidence


def _membership(strike: Strike) -> Membership:
    if strike.membership is None:
        raise InjectionFailed("the clients do not share the keys among nodes themselves: use topology shards")
    return strike.membership


def _chosen(strike: Strike, membership: Membership) -> tuple[list[str], list[str]]:
    add, remove = asked(strike.planned.options)
    spare = [node for node in membership.spares if node not in membership.nodes]
    members = [node for node in strike.nodes if node in membership.nodes]
    if add > len(spare):
        raise InjectionFailed(f"{add} nodes cannot join: spare are {', '.join(spare) or 'none'}")
    if remove > len(members):
        raise InjectionFailed(f"{remove} nodes cannot leave: of the target {', '.join(members) or 'none'} are members")
    if remove >= len(membership.nodes) + add:
        raise InjectionFailed(f"{remove} nodes cannot leave: no node would be left")
    strike.draw.shuffle(members)
    return spare[:add], sorted(members[:remove])


def _change(strike: Strike, membership: Membership, joining: Sequence[str], leaving: Sequence[str]) -> dict[str, Any]:
    """Tell, and say who was a member before and after, when it was said and when each process of clients did it."""
    before, sent_ns = list(membership.nodes), strike.system.now_ns()
    wanted = {*before, *joining} - {*leaving}
    heard_ns = membership.change([node for node in strike.system.nodes if node in wanted])
    if heard_ns:
        strike.note("told", {"from": ", ".join(before), "to": ", ".join(membership.nodes)})
    return {"since_ns": sent_ns, "from": before, "to": list(membership.nodes), "heard_ns": dict(heard_ns)}
