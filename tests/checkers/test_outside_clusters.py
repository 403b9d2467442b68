"""Outside a cluster a replica answers reads, too: what an answer then does not prove."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from checkers.context import OBSERVER_LAG_NS, Timeline, in_cluster
from checkers.events import Event
from checkers.history import History, from_events
from checkers.lineage import Lineage
from checkers.reigns import reigns
from checkers.slots import check_slots

LAG = OBSERVER_LAG_NS
SLOT = 42


def view(time: int, node: str, role: str, epoch: int | None, primary: str | None = None) -> Event:
    slots = [[0, 16383]] if role == "primary" else []
    value: dict[str, Any] = {"node": node, "state": "up", "role": role, "primary": primary, "epoch": epoch}
    return Event("info", "view", "observer", time=time, value={**value, "slots": slots})


def history(topology: str, *events: Event) -> History:
    run = from_events(list(events))
    run.header["topology"] = topology
    return run


def timeline(topology: str, *events: Event) -> Timeline:
    return Timeline.of(history(topology, *events))


BASE = (view(0, "n1", "primary", 0), view(0, "n2", "replica", None, "n1"), view(0, "n3", "replica", None, "n1"))
TAKEOVER = view(5 * LAG, "n2", "primary", 1)


def test_a_history_without_a_topology_is_of_a_cluster() -> None:
    assert in_cluster(from_events([]))
    assert in_cluster(history("cluster"))
    assert not in_cluster(history("replication"))


def supersedes(topology: str, *events: Event, read: int, told: int = 1) -> bool:
    return Lineage(timeline(topology, *BASE, *events)).supersedes("n2", read, "n1", told, SLOT)


@pytest.mark.parametrize(("topology", "proved"), [("cluster", True), ("replication", False)])
def test_an_answer_just_before_a_promotion_may_have_come_from_the_replica(topology: str, proved: bool) -> None:
    assert supersedes(topology, TAKEOVER, read=5 * LAG - 1) is proved
    assert supersedes(topology, TAKEOVER, read=5 * LAG)


@pytest.mark.parametrize(("topology", "proved"), [("cluster", True), ("replication", False)])
def test_an_answer_just_before_a_demotion_may_have_come_from_the_replica(topology: str, proved: bool) -> None:
    demoted = (view(8 * LAG, "n3", "primary", 2), view(8 * LAG, "n2", "replica", None, "n3"))
    before = view(7 * LAG, "n3", "replica", None, "n2")
    assert supersedes(topology, TAKEOVER, before, *demoted, read=8 * LAG - 1) is proved
    assert supersedes(topology, TAKEOVER, before, *demoted, read=7 * LAG - 1)


def test_a_primary_without_an_epoch_proves_nothing() -> None:
    unnamed = view(5 * LAG, "n2", "primary", None)
    assert not supersedes("replication", unnamed, read=9 * LAG)
    assert supersedes("replication", unnamed, view(6 * LAG, "n2", "primary", 1), read=9 * LAG)
    assert not supersedes("replication", TAKEOVER, view(8 * LAG, "n3", "primary", None), read=9 * LAG)


def test_a_replica_that_never_had_the_data_of_the_new_primary_may_bring_the_old_ones_back() -> None:
    followed, not_yet = view(6 * LAG, "n3", "replica", None, "n2"), view(6 * LAG, "n3", "replica", None)
    promoted = view(20 * LAG, "n3", "primary", 2)
    assert supersedes("replication", TAKEOVER, followed, promoted, read=9 * LAG)
    assert not supersedes("replication", TAKEOVER, not_yet, promoted, read=9 * LAG)


def test_a_reign_counts_only_where_the_next_views_agree() -> None:
    events = (view(0, "n1", "primary", 0), view(4 * LAG, "n1", "replica", None), view(8 * LAG, "n1", "primary", 2))
    times = np.array([LAG, 3 * LAG - 1, 3 * LAG, 5 * LAG, 8 * LAG - 1, 8 * LAG])
    numbers = reigns(timeline("replication", *events), "n1", times).tolist()
    assert [number >= 0 for number in numbers] == [True, True, False, False, False, True]
    assert numbers[0] == numbers[1] != numbers[5]
    assert all(number >= 0 for number in reigns(timeline("cluster", *events), "n1", times).tolist())


@pytest.mark.parametrize(
    ("topology", "f", "found"), [("cluster", "read", 1), ("replication", "read", 0), ("replication", "write", 1)]
)
def test_who_answers_reads_outside_a_cluster_need_not_hold_itself_for_the_owner(
    topology: str, f: str, found: int
) -> None:
    turns = [("n1", 6 * LAG), ("n2", 6 * LAG + 10), ("n1", 6 * LAG + 20)]
    operations = [
        event
        for value, (node, start) in enumerate(turns)
        for event in (
            Event("invoke", f, process=value, time=start, key="k0", value=value),
            Event("ok", f, process=value, time=start + 5, key="k0", value=value, node=node),
        )
    ]
    run = history(topology, *BASE, TAKEOVER, *operations)
    assert check_slots(run).counts.get("split-ownership", 0) == found
