"""Whose data survived: whether what one primary lacked, the system lacks.

A read that misses an acknowledged write may only be stale: it came from a node that others have replaced, while the
write lives on with its successor. It proves a loss when the node that answered it is the one whose data the system
went on with. In Redis Cluster the claim with the greater configuration epoch wins a slot ("Redis Cluster
specification", configuration epoch and "last failover wins"), and a node that loses to it discards its own data when
it becomes a replica. So, for a write that `acknowledger` confirmed and a later read in which `answerer` lacks it,
the write is gone for good if

* the answerer claimed the slot with a greater epoch than the acknowledger had, or they are the same node and it ended
  or gave the slot away in between (else it merely answered wrongly); and no other node that was known at that time
  claimed the slot with a still greater epoch;
* everyone who claimed the slot with a greater epoch afterwards had been, just before, a replica of a node that
  descends from the answerer (and not of the acknowledger), or was handed the slot by one.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property

from checkers.context import OBSERVER_LAG_NS, Timeline, View
from checkers.events import NEVER
from checkers.reigns import ENDING


@dataclass
class Lineage:
    """Decides survival for the views of one timeline."""

    timeline: Timeline
    _known: dict[tuple[str, str, int, int, int, int, int], bool] = field(default_factory=dict)

    def supersedes(self, answerer: str, read_ns: int, acknowledger: str, acknowledged_ns: int, slot: int) -> bool:
        """Whether what `answerer` lacked in `slot` at `read_ns` is lost, though `acknowledger` had confirmed it.

        Both must have answered as primaries (neither for ASKING nor for READONLY). False also when the views do not
        suffice to tell.
        """
        question = (answerer, acknowledger, slot, *self._moment(acknowledged_ns), *self._moment(read_ns))
        if question not in self._known:
            before = self._claim(acknowledger, acknowledged_ns, slot)
            after = self._claim(answerer, read_ns, slot)
            self._known[question] = bool(
                before
                and after
                and self._replaced(before, after, acknowledged_ns, read_ns, slot)
                and self._survives(before, after, read_ns, slot)
            )
        return self._known[question]

    @cached_property
    def _changes(self) -> list[int]:
        views = (view.time_ns for known in self.timeline.views.values() for view in known)
        handovers = (handover.time_ns for handover in self.timeline.handovers)
        faults = (fault.start_ns for fault in self.timeline.faults)
        return sorted([*views, *handovers, *faults])

    def _moment(self, time_ns: int) -> tuple[int, int]:
        """All that an answer depends on in a time: how much had been recorded by then, and within the lag after."""
        return bisect_right(self._changes, time_ns), bisect_right(self._changes, time_ns + OBSERVER_LAG_NS)

    def _claim(self, node: str, time_ns: int, slot: int) -> View | None:
        """The claim under which a node served a slot: its view then, or the next if the claim was just new.

        Outside a cluster a replica may have answered, so the views until the observer must have noticed have to agree.
        """
        view = self.timeline.view(node, time_ns)
        later = [v for v in self.timeline.views.get(node, ()) if time_ns < v.time_ns <= time_ns + OBSERVER_LAG_NS]
        if not self.timeline.owners_only:
            if view is None or any(v.epoch != view.epoch or not v.claims(slot) for v in [view, *later]):
                return None
        elif view is None or not view.claims(slot):
            view = next((v for v in later if v.claims(slot)), None)
        return None if view is None or view.epoch is None else view

    def _replaced(self, before: View, after: View, acknowledged_ns: int, read_ns: int, slot: int) -> bool:
        """Whether the data that took the write had made room for other data when the read was answered."""
        if after.node != before.node:
            return _epoch(after) > _epoch(before)
        ended = any(
            fault.kind in ENDING and before.node in fault.nodes and acknowledged_ns < fault.start_ns <= read_ns
            for fault in self.timeline.faults
        )
        between = (v for v in self.timeline.views[before.node] if acknowledged_ns < v.time_ns <= read_ns)
        return ended or any(not view.up or not view.claims(slot) for view in between)

    def _survives(self, before: View, after: View, read_ns: int, slot: int) -> bool:
        rivals = (self.timeline.view(node, read_ns) for node in self.timeline.views if node != after.node)
        if any(rival and rival.claims(slot) and _epoch(rival) >= _epoch(after) for rival in rivals):
            return False
        family = {after.node}
        for claim in self.timeline.claims:
            if claim.time_ns > read_ns and claim.claims(slot) and _epoch(claim) > _epoch(after):
                if claim.node not in family and not self._inherits(claim, family, before.node, read_ns, slot):
                    return False
                family.add(claim.node)
        return True

    def _inherits(self, claim: View, family: set[str], acknowledger: str, read_ns: int, slot: int) -> bool:
        earlier = self.timeline.view(claim.node, claim.time_ns - 1)
        if earlier is not None and earlier.role == "replica" and earlier.primary in family - {acknowledger}:
            return True
        return any(
            handover.target == claim.node
            and handover.source in family
            and handover.time_ns > read_ns
            and any(first <= slot <= last for first, last in handover.slots)
            for handover in self.timeline.handovers
        )


def _epoch(view: View) -> int:
    """An unknown epoch might be greater than any."""
    return NEVER if view.epoch is None else view.epoch
