"""Random mixtures: a list of kinds, one every so often, turned into planned faults before anything runs.

A pure function of the stream. Within a mixture each fault ends before the next one begins, so two of them never hold
the same shard; and the last one leaves time to recover before the run ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nemeses import FAULTS, validate_options
from nemeses.fault import PlannedFault
from nemeses.stream import Stream

RECOVERY_MS = 500
"""Between the end of one fault and the beginning of the next."""
SHORTEST_MS = 200
"""A fault with less room than this is left out."""


@dataclass(frozen=True)
class Mix:
    """What chance may choose from for one kind."""

    targets: Sequence[str]
    for_ms: tuple[int, int]
    """The shortest and the longest that it holds."""
    options: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """The values of each option to draw from."""
    margin_ms: int = 1_000
    """Between the end of this fault and the end of the run, at least: healing takes time, too."""


_ONE = ("a primary", "a primary", "a replica")
TABLE: dict[str, Mix] = {
    "kill": Mix(_ONE, (500, 4_000)),
    "terminate": Mix(_ONE, (500, 4_000)),
    "restart": Mix(_ONE, (200, 500), {"down_ms": (0, 0, 300)}),
    "power-loss": Mix(_ONE, (500, 4_000)),
    "crash": Mix(_ONE, (1_000, 4_000), {"moment": ("replication", "reply"), "to_clients": (None, "all")}),
    "kill-at": Mix(_ONE, (1_000, 4_000), {"call": ("send",), "number": (1, 5, 20), "moment": ("before", "after")}),
    "kill-child": Mix(_ONE, (500, 1_000), {"call": ("write", "fsync", "rename"), "moment": ("before", "after")}),
    "disk": Mix(_ONE, (1_500, 4_000), {"error": ("EIO", "ENOSPC"), "call": ("write", "fsync")}),
    "pause": Mix(_ONE, (200, 4_000)),
    "partition": Mix(
        ("a primary", "a primary", "a replica", "minority"),
        (500, 4_000),
        {"shape": ("isolate", "isolate", "halves", "ring", "bridge", "one-way-in", "one-way-out", "bus")},
    ),
    "loss": Mix(_ONE, (1_000, 4_000), {"percent": (0.1, 0.2, 0.3)}),
    "delay": Mix(_ONE, (1_000, 4_000), {"delay_ms": (20, 50, 100), "jitter_ms": (0, 10)}),
    "bandwidth": Mix(_ONE, (1_000, 4_000), {"kbit": (500, 2_000)}),
    "reorder": Mix(_ONE, (1_000, 4_000), {"window_ms": (5, 20, 100)}),
    "skew": Mix(_ONE, (1_000, 4_000), {"offset_ms": (500, 2_000, 5_000), "direction": ("ahead", "behind")}),
    "failover": Mix(("a primary",), (200, 500), {"mode": ("graceful", "graceful", "force", "takeover")}),
    "migrate": Mix(("a primary",), (200, 1_000), {"method": ("auto", "classic"), "slots": (1, 3, 8)}),
    "migrate-crash": Mix(
        ("a primary",), (1_000, 4_000), {"victim": ("source", "target"), "slots": (2, 5), "fix": (True,)}, 5_000
    ),
    "migrate-cancel": Mix(("a primary",), (500, 2_000), {"after": (0.0, 0.5, 1.0), "slots": (2, 5)}, 5_000),
    "resize": Mix(("all",), (1_000, 4_000), {"remove": (1,)}),
}
"""By kind. A mixture mends the migrations that it crashed: what is left open would spoil every fault after it. It
takes nodes out only: whether one is spare it does not know. Its disks refuse writes, so it needs `appendonly`."""


def mix_of(kind: str) -> Mix:
    """What chance may choose from: of a kind that another package adds, its attribute `mix`, where it has one.

    Without that it strikes its default target with its options as they are. Raises KeyError for no kind of fault.
    """
    if kind in TABLE:
        return TABLE[kind]
    fault = FAULTS[kind]
    mix: Mix = getattr(fault, "mix", None) or Mix((fault.default_target,), (500, 4_000))
    return mix


def expand(
    kinds: Sequence[str],
    every_ms: int,
    duration_ms: int,
    draw: Stream,
    *,
    first_number: int = 0,
    taken: Iterable[PlannedFault] = (),
) -> list[PlannedFault]:
    """Faults of `kinds`, one in each stretch of `every_ms` from the second one on, numbered from `first_number`.

    A fault that would meet one of `taken` (planned otherwise) is left out. Numbers drawn for one stretch do not
    depend on the others. Raises ValueError for a kind that no mixture knows.
    """
    for kind in kinds:
        validate_options(kind, {})
    faults: list[PlannedFault] = []
    busy = list(taken)
    for begin_ms in range(every_ms, duration_ms, every_ms):
        own = Stream(draw.bits())
        fault = draw_one(
            kinds, begin_ms, begin_ms + every_ms - RECOVERY_MS, duration_ms, own, first_number + len(faults)
        )
        if fault is not None and not any(_meet(fault, other) for other in busy):
            faults.append(fault)
    return faults


def draw_one(
    kinds: Sequence[str], begin_ms: int, until_ms: int, duration_ms: int, draw: Stream, number: int
) -> PlannedFault | None:
    """A fault of one of `kinds` between two times of a run, or None where there is no room."""
    kind = draw.choice(kinds)
    mix = mix_of(kind)
    latest_ms = min(until_ms, duration_ms - mix.margin_ms)
    room_ms = latest_ms - begin_ms
    shortest, longest = min(mix.for_ms[0], room_ms), min(mix.for_ms[1], room_ms)
    if shortest < SHORTEST_MS:
        return None
    for_ms = draw.between(shortest, longest)
    at_ms = draw.between(begin_ms, latest_ms - for_ms)
    given = {name: draw.choice(values) for name, values in mix.options.items()}
    return PlannedFault(
        number, kind, draw.choice(mix.targets), at_ms, for_ms, draw.bits(), validate_options(kind, given)
    )


def _meet(fault: PlannedFault, other: PlannedFault) -> bool:
    return (
        fault.at_ms < other.at_ms + other.for_ms + RECOVERY_MS
        and other.at_ms < fault.at_ms + fault.for_ms + RECOVERY_MS
    )
