"""Nodes join and leave those among which the keys are shared.

Where clients shard by themselves no server takes part in that: the clients get another list of nodes, and from then on
look for some keys elsewhere. What was stored stays where it is. The clients are told while they work, and each process
of them takes the list up when it hears of it, so for a moment they disagree.

In a cluster a primary without slots takes an even share from each of the others, or one gives all of its slots away,
keys and all; clients follow redirections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nemeses.evidence import began
from nemeses.fault import Check, Strike
from nemeses.migrate import METHODS, carry_out, finish
from nemeses.moving import Move
from nemeses.system import InjectionFailed, Membership
from nemeses.targets import Survey
from nemeses.words import one_of


def asked(options: Mapping[str, Any]) -> tuple[int, int]:
    """How many nodes are to join and how many to leave; one joins where neither is said."""
    add, remove = options.get("add", 0), options.get("remove", 0)
    return (add, remove) if add or remove else (1, 0)


class ResizeFault:
    """Lets `add` spare nodes join and `remove` of the target's nodes leave; heals by the reverse, but for a cluster.

    Spare nodes join in the order of their numbers. Of the target's nodes (all, unless it names one) those that leave
    are drawn. A resize that outlasts the load stays: no client is at work any more that could be told of its end.
    """

    kind = "resize"
    requires = frozenset({"resize"})
    default_target = "all"
    options: Mapping[str, Any] = {"add": 0, "remove": 0, "method": "auto", "batch": 20}
    """`method` and `batch`: how slots move, as in `migrate`."""
    checks: Mapping[str, Check] = {"method": one_of(METHODS)}

    def inject(self, strike: Strike) -> dict[str, Any]:
        """Tell the clients, and see that every process of them has taken the new list up; or move the slots."""
        membership = strike.membership
        if membership is None:
            return _move_slots(strike)
        joining, leaving = _chosen(strike, membership.nodes, membership.spares)
        strike.nodes[:] = [*joining, *leaving]
        strike.state["changed"] = joining, leaving
        began(strike)
        return _change(strike, membership, joining, leaving)

    def heal(self, strike: Strike) -> dict[str, Any]:
        """Who joined leaves, and who left joins again; clients that have ended already are told nothing.

        In a cluster nothing is moved back, as with `migrate`.
        """
        membership = strike.membership
        if membership is None:
            return finish(strike)
        joined, left = strike.state.get("changed", ((), ()))
        if not (joined or left):
            return {}
        evidence = _change(strike, membership, left, joined)
        strike.state.pop("changed")
        return evidence


def _chosen(strike: Strike, current: Sequence[str], spares: Sequence[str]) -> tuple[list[str], list[str]]:
    """Who is to join and who to leave. Raises InjectionFailed."""
    add, remove = asked(strike.planned.options)
    spare = [node for node in spares if node not in current]
    members = [node for node in strike.nodes if node in current]
    if add > len(spare):
        raise InjectionFailed(f"{add} nodes cannot join: spare are {', '.join(spare) or 'none'}")
    if remove > len(members):
        raise InjectionFailed(f"{remove} nodes cannot leave: of the target {', '.join(members) or 'none'} are members")
    if remove >= len(current) + add:
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


def _move_slots(strike: Strike) -> dict[str, Any]:
    """Move slots until all who stay or join own about as many. Primaries without slots are spare."""
    survey = Survey.take(strike.system)
    before = survey.primaries
    spares = [name for name, row in survey.rows.items() if row.is_primary and not row.alone and not survey.slots(name)]
    joining, leaving = _chosen(strike, before, spares)
    strike.nodes[:] = [*joining, *leaving]
    after = [node for node in strike.system.nodes if node in {*before, *joining} - {*leaving}]
    owned = {node: survey.slots(node) for node in [*before, *joining]}
    evidence = carry_out(strike, shares(owned, after))
    return {**evidence, "from": before, "to": after, "heard_ns": {"cluster": evidence["seen_ns"]}}


def shares(owned: Mapping[str, Sequence[int]], after: Sequence[str]) -> list[Move]:
    """The fewest slots that have to move so that the nodes of `after` own all of them, as many each or one more.

    Each gives away its last ones; who has most may keep one more.
    """
    total = sum(map(len, owned.values()))
    least, more = divmod(total, len(after))
    richest = sorted(after, key=lambda node: -len(owned[node]))
    quota = {node: least + (place < more) for place, node in enumerate(richest)}
    given = [(node, slot) for node, slots in owned.items() for slot in slots[quota.get(node, 0) :]]
    parts: dict[tuple[str, str], list[int]] = {}
    for node in after:
        for source, slot in [given.pop() for _ in range(quota[node] - min(quota[node], len(owned[node])))]:
            parts.setdefault((source, node), []).append(slot)
    return [Move(source, target, tuple(sorted(slots))) for (source, target), slots in parts.items()]
