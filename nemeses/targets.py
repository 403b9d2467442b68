"""Whom a fault strikes: roles in words, resolved to node names when the fault strikes.

A scenario names roles and not nodes, so that the same seed hits "the primary of slot 7629" again after a failover
has moved it. Roles are taken from what each reachable node says of itself; of two nodes that claim a slot the one
with the higher configuration epoch owns it (the rule of the cluster itself), so a deposed primary on the wrong side
of a partition is not mistaken for the owner. Where Sentinels watch, the primary is the one that they name.

| target | strikes |
|---|---|
| `primary of slot 7629` | the node that serves the slot |
| `replica of slot 7629` | one replica of that node |
| `a primary`, `a replica` | one, drawn from the fault's own stream |
| `all primaries`, `all replicas` | all that are reachable |
| `majority`, `minority` | drawn primaries: more than half of them; as many as possible but fewer than half |
| `n3`, `s1`, `p1`, `all` | that node (a server, a Sentinel, a proxy), every node: reachable or not |

`with replicas` after a target adds the replicas of each primary in it (`minority with replicas`); without it a
replica of a struck primary stays outside and can take over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

from nemeses.sentinels import Sight, is_sentinel, newest, sentinels
from nemeses.stream import Stream
from nemeses.system import InjectionFailed, ReplyError, System, Unreachable
from nemeses.view import Row, View

SLOTS = 16_384
"""Hash slots of a cluster."""
WITH_REPLICAS = " with replicas"
NODE = re.compile(r"[nsp]\d+")
"""The name of a node."""


class TargetError(ValueError):
    """A text is no target; the message names the nearest one that is."""


@dataclass(frozen=True)
class Target:
    """A parsed target."""

    form: str
    """One of the keys of `FORMS`."""
    number: int | None = None
    """The slot, or the number of the node, where the form has one."""
    with_replicas: bool = False

    def __str__(self) -> str:
        """The target as `parse` reads it."""
        text = self.form if self.number is None else self.form.replace("N", str(self.number))
        return text + WITH_REPLICAS * self.with_replicas


@dataclass(frozen=True)
class Survey:
    """Who is what at one moment: the rows in which the reachable nodes describe themselves."""

    rows: Mapping[str, Row]
    """By node name; a node that did not answer is missing."""
    watched: Sight | None = None
    """What Sentinels say, where there are any."""

    @classmethod
    def take(cls, system: System, timeout_ms: int = 300) -> Survey:
        """Ask every node; one that is dead or stopped costs the timeout at most."""
        rows = {}
        watchers = sentinels(system)
        for name in system.nodes:
            if name not in watchers and not is_proxy(name):
                with suppress(Unreachable, ReplyError):  # whoever cannot say what it is has no role now
                    rows[name] = View.fetch(system, name, timeout_ms).myself
        return cls(rows, newest(system, timeout_ms) if watchers else None)

    @cached_property
    def _owners(self) -> list[str | None]:
        owners: list[str | None] = [None] * SLOTS
        for name, row in sorted(self.rows.items(), key=lambda item: item[1].epoch):
            if row.is_primary:
                for first, last in row.slots:
                    owners[first : last + 1] = [name] * (last + 1 - first)
        return owners

    def owner(self, slot: int) -> str | None:
        """Name of the reachable node that owns a slot, or None."""
        return self._owners[slot]

    @cached_property
    def primaries(self) -> list[str]:
        """The reachable nodes that own slots, by their first slot; and those that are primary outside a cluster."""
        alone = [name for name, row in self.rows.items() if row.is_primary and row.alone and not self._deposed(name)]
        return [*dict.fromkeys(name for name in self._owners if name is not None), *alone]

    def _deposed(self, name: str) -> bool:
        """Whether Sentinels name another primary than this one."""
        return self.watched is not None and self.watched.primary != name

    @cached_property
    def replicas(self) -> list[str]:
        """The reachable replicas: by their primary's first slot, then by name."""
        order = {name: position for position, name in enumerate(self.primaries)}
        found = [(order.get(row.primary or "", SLOTS), name) for name, row in self.rows.items() if not row.is_primary]
        return [name for _, name in sorted(found)]

    def replicas_of(self, primary: str) -> list[str]:
        """The reachable replicas of a node, by name."""
        return sorted(name for name, row in self.rows.items() if row.primary == primary)

    def heir(self, name: str) -> str | None:
        """Who has what a primary had: itself, or the one that took its place; None if that one does not answer."""
        row = self.rows.get(name)
        heir = name if row is None or row.is_primary else row.primary
        return heir if heir in self.rows else None

    def slots(self, name: str) -> list[int]:
        """The slots that a node owns, ascending."""
        return [slot for slot, owner in enumerate(self._owners) if owner == name]

    def role(self, name: str) -> str:
        """What a node is, in words: `primary of slots 0-5460`, `replica of n1`, `primary without slots`, `down`.

        Outside a cluster a primary is just that, or `deposed primary` when Sentinels name another.
        """
        if is_sentinel(name):
            return "Sentinel"
        if is_proxy(name):
            return "proxy"
        row = self.rows.get(name)
        if row is None:
            return "down"
        if not row.is_primary:
            return f"replica of {row.primary}"
        ranges = [str(first) if first == last else f"{first}-{last}" for first, last in row.slots]
        more = f" and {len(ranges) - 3} more ranges" if len(ranges) > 3 else ""
        if row.alone:
            return "deposed primary" if self._deposed(name) else "primary"
        return f"primary of slots {','.join(ranges[:3])}{more}" if ranges else "primary without slots"


Choose = Callable[[Survey, Collection[str], int, Stream], list[str]]
"""Survey, names of all nodes, the target's number (-1 without one) and the strike's stream to node names."""


def _primary_of_slot(survey: Survey, nodes: Collection[str], slot: int, draw: Stream) -> list[str]:
    owner = survey.owner(slot)
    return [] if owner is None else [owner]


def _replica_of_slot(survey: Survey, nodes: Collection[str], slot: int, draw: Stream) -> list[str]:
    owner = survey.owner(slot)
    return [] if owner is None else _one(survey.replicas_of(owner), draw)


def _one(names: list[str], draw: Stream) -> list[str]:
    return [draw.choice(names)] if names else []


def _some(survey: Survey, count: int, draw: Stream) -> list[str]:
    drawn = list(survey.primaries)
    draw.shuffle(drawn)
    return sorted(drawn[: max(count, 0)], key=survey.primaries.index)


def _named(letter: str) -> Choose:
    def choose(survey: Survey, nodes: Collection[str], number: int, draw: Stream) -> list[str]:
        return [name] if (name := f"{letter}{number}") in nodes else []

    return choose


FORMS: dict[str, Choose] = {
    "primary of slot N": _primary_of_slot,
    "replica of slot N": _replica_of_slot,
    "a primary": lambda survey, nodes, number, draw: _one(survey.primaries, draw),
    "a replica": lambda survey, nodes, number, draw: _one(survey.replicas, draw),
    "all primaries": lambda survey, nodes, number, draw: survey.primaries,
    "all replicas": lambda survey, nodes, number, draw: survey.replicas,
    "majority": lambda survey, nodes, number, draw: _some(survey, len(survey.primaries) // 2 + 1, draw),
    "minority": lambda survey, nodes, number, draw: _some(survey, (len(survey.primaries) - 1) // 2, draw),
    "nN": _named("n"),
    "sN": _named("s"),
    "pN": _named("p"),
    "all": lambda survey, nodes, number, draw: list(nodes),
}
"""Every form of a target; N stands for a number."""


def is_proxy(node: str) -> bool:
    """Whether a node is a proxy, by its name: what it answers is said by some server behind it."""
    return node.startswith("p")


def parse(text: str) -> Target:
    """Read a target. Raises TargetError."""
    words = " ".join(text.split())
    base = words.removesuffix(WITH_REPLICAS)
    numbers = re.findall(r"\d+", base)
    form = re.sub(r"\d+", "N", base)
    if form not in FORMS or len(numbers) > 1:
        near = get_close_matches(re.sub(r"\d+", "N", base.lower()), FORMS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"write one of {', '.join(FORMS)}"
        raise TargetError(f"{text!r} is no target of a fault: {hint} (N is a number)")
    number = int(numbers[0]) if numbers else None
    if number is not None and form.endswith("slot N") and number >= SLOTS:
        raise TargetError(f"{text!r}: slots go from 0 to {SLOTS - 1}")
    return Target(form, number, base != words)


def resolve(system: System, target: Target, draw: Stream) -> list[str]:
    """The nodes that a target means now. Raises InjectionFailed when there is none."""
    return pick(Survey.take(system), system.nodes, target, draw)


def pick(survey: Survey, nodes: Collection[str], target: Target, draw: Stream) -> list[str]:
    """The nodes that a target means by a survey; `nodes` names all nodes. Raises InjectionFailed for none."""
    chosen = FORMS[target.form](survey, nodes, -1 if target.number is None else target.number, draw)
    if target.with_replicas:
        chosen = [*chosen, *(name for primary in chosen for name in survey.replicas_of(primary))]
    if not chosen:
        roles = ", ".join(f"{name}: {survey.role(name)}" for name in nodes)
        raise InjectionFailed(f"no reachable node is {str(target)!r} now ({roles})")
    return list(dict.fromkeys(chosen))
