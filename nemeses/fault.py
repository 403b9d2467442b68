"""A fault: planned from the seed before anything runs, executed by a kind, and recorded with its evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from nemeses.stream import Stream
from nemeses.system import Membership, System


class Reached(msgspec.Struct, frozen=True):
    """A moment in the progress of the load: a client has begun so many operations, within a window of time."""

    client: int
    operations: int
    earliest_ms: int
    latest_ms: int
    """If the client has not come so far by then, that is the moment."""


class PlannedFault(msgspec.Struct, frozen=True):
    """A fault as the plan lists it; everything that chance decides is already decided, or comes from `seed`."""

    number: int
    kind: str
    target: str
    """A role, resolved when the fault strikes: `primary of slot 7629`, `a replica`, `n3` (see `nemeses.targets`)."""
    at_ms: int
    for_ms: int
    seed: int
    """Seed of the stream for choices that need the system's state (which primary "a primary" is)."""
    options: dict[str, Any] = {}
    when: Reached | None = None
    """Instead of at `at_ms`, as a replay has it: another machine is not as quick."""


class ExecutedFault(msgspec.Struct):
    """What became of a planned fault; times in nanoseconds since the run began."""

    number: int
    kind: str
    target: str
    nodes: list[str]
    """The nodes that were hit."""
    roles: dict[str, str]
    """What each of them was at that moment, for example `{"n1": "primary of slots 0-5460"}`."""
    injected_ns: int | None = None
    """From when on it held, which was verified afterwards; None if that never was."""
    healed_ns: int | None = None
    """From when on it was undone."""
    evidence: dict[str, Any] = {}
    error: str | None = None
    struck_ns: int | None = None
    """When it began to be injected; None if it never was."""
    resolved: dict[str, str] = {}
    """Whom the target named, and what each was: others than those that were hit, where the kind chooses a victim."""


class Progress(Protocol):
    """How far the clients have come."""

    def begun(self, client: int, operations: int) -> bool:
        """Whether a client has begun so many operations; may be asked again and again."""


@dataclass
class Strike:
    """One fault while it happens: what its kind gets to work with."""

    system: System
    planned: PlannedFault
    nodes: list[str]
    """The target, resolved to node names."""
    clients: int
    """How many clients the run has (`c0` … are endpoints of links)."""
    draw: Stream
    note: Callable[[str, Mapping[str, Any]], None]
    """`note(step, value)` writes a step of the fault (a slot handed over, a promotion) into the history."""
    state: dict[str, Any] = field(default_factory=dict)
    """What `inject` leaves for `heal`."""
    moving: dict[int, int] = field(default_factory=dict)
    """Slots that a fault of this schedule has chosen to move, with its number, until it is healed: nobody moves a slot
    to two places at a time. The same for all strikes of a schedule."""
    membership: Membership | None = None
    """Among whom the clients share the keys; None where nodes know that."""


Check = Callable[[Any], Any]
"""Looks at the value of an option; raises ValueError, which says what would be right."""


class Fault(Protocol):
    """A kind of fault. Stateless: everything of one strike is in its `Strike`.

    What is said here of the attributes but `kind` holds for classes that are derived from this one and say nothing.
    One that random mixtures should vary may have an attribute `mix`: see `nemeses.mixture.mix_of`.
    """

    kind: str
    requires: frozenset[str] = frozenset()
    """Capabilities without which a deployment cannot do it."""
    default_target: str = "a primary"
    options: Mapping[str, Any] = {}
    """Every option with its default; an option's type is its default's type (None: any)."""
    checks: Mapping[str, Check] = {}
    """What more an option's value must be, for those of which the type does not say enough."""

    def inject(self, strike: Strike) -> dict[str, Any]:
        """Make the fault take hold and return the evidence that it did. Raises InjectionFailed.

        `since_ns` in the evidence is the time from which it held; what proves that was seen later.
        """

    def heal(self, strike: Strike) -> dict[str, Any]:
        """Undo it and return the evidence, with `since_ns` if that was before this returns.

        Must work after a failed or half-done `inject`, when called twice, and when the run was asked to end.
        """
