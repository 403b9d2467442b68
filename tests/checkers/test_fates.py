"""Fates of registers against a plain double loop, and the single rules by hand."""

from __future__ import annotations

from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkers.context import OBSERVER_LAG_NS as LAG
from checkers.context import Timeline
from checkers.durability import check_durability
from checkers.events import NEVER, Event
from checkers.fates import FATES, KEPT, LOST, SUPERSEDED, UNKNOWN, register_fates
from checkers.history import History, from_events
from checkers.lineage import Lineage

KEYS, NODES = ("k3", "k6"), ("n1", "n4")


class Op(NamedTuple):
    f: str
    key: str
    value: int | None
    start: int
    end: int
    type: str
    node: str
    final: bool = False


@st.composite
def runs(draw: st.DrawFn) -> list[Op]:
    ops: list[Op] = []
    for number in range(draw(st.integers(1, 9))):
        start = draw(st.integers(0, 12))
        end = start + draw(st.integers(1, 5))
        key, node = draw(st.sampled_from(KEYS)), draw(st.sampled_from(NODES))
        if draw(st.booleans()):
            kind = draw(st.sampled_from(["ok", "ok", "ok", "info", "fail"]))
            ops.append(Op("write", key, number + 1, start, end, kind, node))
        else:
            written = [op.value for op in ops if op.f == "write" and op.key == key]
            ops.append(Op("read", key, draw(st.sampled_from([None, *written, 99])), start, end, "ok", node))
    for key in draw(st.sets(st.sampled_from(KEYS))):
        written = [op.value for op in ops if op.f == "write" and op.key == key]
        ops.append(Op("read", key, draw(st.sampled_from([None, *written])), 30, 31, "ok", "n4", True))
    return ops


def history(ops: list[Op], *context: Event, converged: bool = True) -> History:
    events = [*context]
    for number, op in enumerate(ops):
        process = 1_000_000 + number if op.final else number
        sent = op.value if op.f == "write" else None
        events.append(Event("invoke", op.f, process, None, op.start, op.key, sent, final=op.final))
        events.append(Event(op.type, op.f, process, None, op.end, op.key, op.value, op.node, final=op.final))
    phase = "converged" if converged else "not-converged"
    events.append(Event("info", "phase", "controller", time=29, value={"phase": phase}))
    return from_events(events)


def view(time: int, node: str, role: str, epoch: int, primary: str | None = None) -> Event:
    slots = [[0, 16383]] if role == "primary" else []
    value = {"node": node, "state": "up", "role": role, "primary": primary, "epoch": epoch, "slots": slots}
    return Event("info", "view", "observer", time=time, value=value)


def known_end(ops: list[Op], write: Op | None) -> int:
    if write is None:
        return -1
    readers = [op.end for op in ops if op.f == "read" and op.key == write.key and op.value == write.value]
    return min([write.end if write.type == "ok" else NEVER, *readers])


def is_older(ops: list[Op], read: Op, write: Op) -> bool:
    """Whether a read returned a version of the key that was in effect before a write began."""
    writers = [op for op in ops if op.f == "write" and op.key == read.key and op.value == read.value]
    if read.value is not None and not writers:
        return False
    return known_end(ops, writers[0] if writers else None) < write.start


def contradicts_itself(ops: list[Op], node: str) -> bool:
    """Whether a node that was primary all the time answered with less than it had acknowledged or shown before."""
    mine = [op for op in ops if op.node == node and op.type == "ok"]
    return any(
        is_older(ops, read, write)
        for read in mine
        for told in mine
        for write in ops
        if read.f == "read" and told.key == read.key == write.key and told.end < read.start
        if write.f == "write" and told.value == write.value
    )


def naive_fate(ops: list[Op], write: Op, any_later_read: bool) -> int:
    """What the definitions say, read by read; `any_later_read` takes every later read for a proof, but for those of
    a node that contradicts itself: of n1, the only one of which it is known when it was primary."""
    lying = contradicts_itself(ops, "n1")

    def older(read: Op) -> bool:
        return is_older(ops, read, write)

    mine = [op for op in ops if op.f == "read" and op.key == write.key]
    final = next((op for op in mine if op.final), None)
    if final is not None and final.value == write.value:
        return KEPT
    if final is not None and older(final):
        return LOST
    if any_later_read and any(
        older(read) for read in mine if read.start > write.end and not (lying and read.node == "n1")
    ):
        return LOST
    return UNKNOWN if final is None else SUPERSEDED


@settings(max_examples=300, deadline=None)
@given(runs(), st.booleans())
def test_fates_are_those_of_the_double_loop(ops: list[Op], any_later_read: bool) -> None:
    run = history(ops, view(0, "n1", "primary", 1))
    with patch.object(Lineage, "supersedes", lambda *_: any_later_read):
        fates = register_fates(run, Timeline.of(run))
    found = {
        run.operations.value[row]: FATES[fate]
        for row, fate in zip(fates.write.tolist(), fates.fate.tolist(), strict=True)
        if run.operations.type[row] == 1
    }
    wanted = {op.value: FATES[naive_fate(ops, op, any_later_read)] for op in ops if op.f == "write" and op.type == "ok"}
    assert found == wanted


@settings(max_examples=150, deadline=None)
@given(runs())
def test_every_acknowledged_write_is_counted_once(ops: list[Op]) -> None:
    metrics = check_durability(history(ops)).metrics
    writes = [op.type for op in ops if op.f == "write"]
    assert metrics["checked"] == writes.count("ok") == sum(metrics[fate] for fate in FATES)
    assert metrics["indeterminate_applied"] + metrics["indeterminate_not_seen"] == writes.count("info")


def fate_of(value: int, run: History) -> str:
    fates = register_fates(run, Timeline.of(run))
    values = [run.operations.value[row] for row in fates.write.tolist()]
    return FATES[int(fates.fate[values.index(value)])]


OLD = Op("write", "k3", 1, 0, 1, "ok", "n1")
WRITE = Op("write", "k3", 2, 10, 11, "ok", "n1")
STALE = Op("read", "k3", 1, 20, 21, "ok", "n4")
LATER = Op("write", "k3", 3, 23, 24, "ok", "n4")
FINAL = Op("read", "k3", 3, 30, 31, "ok", "n4", True)
PLAY = [OLD, WRITE, STALE, LATER, FINAL]
N1, N4 = view(-5, "n1", "primary", 1), view(-5, "n4", "replica", 1, "n1")
TAKEOVER = view(15, "n4", "primary", 7)


def test_the_data_of_the_greater_epoch_survives_so_what_it_lacks_is_lost() -> None:
    assert fate_of(2, history(PLAY, N1, N4, TAKEOVER, view(26, "n1", "replica", 7, "n4"))) == "lost"


def test_that_needs_no_convergence() -> None:
    assert fate_of(2, history(PLAY, N1, N4, TAKEOVER, converged=False)) == "lost"


def test_the_observer_may_see_a_takeover_a_little_later_than_the_clients() -> None:
    assert fate_of(2, history(PLAY, N1, N4, view(22, "n4", "primary", 7))) == "lost"


@pytest.mark.parametrize(
    "views",
    [
        pytest.param([], id="nobody recorded who was primary"),
        pytest.param([N1, view(-5, "n4", "primary", 1)], id="the epochs are equal"),
        pytest.param([view(-5, "n1", "primary", 9), TAKEOVER], id="the answering node had the smaller epoch"),
        pytest.param([N1, N4, TAKEOVER, view(26, "n1", "primary", 9)], id="the old primary won after all"),
        pytest.param(
            [N1, N4, TAKEOVER, view(-5, "n5", "replica", 1, "n1"), view(26, "n5", "primary", 9)],
            id="another replica of the old primary won",
        ),
    ],
)
def test_a_stale_answer_alone_proves_no_loss(views: list[Event]) -> None:
    assert fate_of(2, history(PLAY, *views)) == "superseded"


def test_an_old_primary_that_came_back_as_a_replica_first_has_nothing_left_to_win_with() -> None:
    back = [view(25, "n1", "replica", 7, "n4"), view(26, "n1", "primary", 9)]
    assert fate_of(2, history(PLAY, N1, N4, TAKEOVER, *back)) == "lost"


def test_a_primary_that_contradicts_itself_has_lost_nothing_unless_it_ended_in_between() -> None:
    play = [op._replace(node="n1") for op in PLAY]
    kill = Event("info", "kill", "nemesis", time=15, value={"fault": 0, "phase": "inject", "nodes": ["n1"]})
    assert fate_of(2, history(play, N1)) == "superseded"
    assert fate_of(2, history(play, N1, kill)) == "lost"


def test_an_answer_to_asking_or_of_a_replica_is_no_proof() -> None:
    for changed in ({"asking": True}, {"via": "replica"}):
        run = history(PLAY, N1, N4, TAKEOVER)
        row = next(row for row in range(5) if run.operations.start[row] == 20)
        run.operations.details[row] = changed
        assert fate_of(2, run) == "superseded"


def test_a_value_written_twice_names_no_writer() -> None:
    twice = [OLD, OLD._replace(start=5, end=6), Op("read", "k3", None, 30, 31, "ok", "n1", True)]
    finding = check_durability(history(twice))
    assert finding.counts == {}
    assert "k3" in str(finding.reason)


def test_an_absent_key_is_the_value_before_every_write() -> None:
    assert fate_of(1, history([OLD, Op("read", "k3", None, 30, 31, "ok", "n1", True)])) == "lost"


def test_a_write_sent_twice_may_be_applied_again_after_it_was_read() -> None:
    sent: dict[str, Any] = {"attempts": [{"node": "n1"}, {"node": "n1"}]}
    plays = [OLD._replace(type="info"), Op("read", "k3", 1, 3, 4, "ok", "n1"), WRITE]
    run = history([*plays, Op("read", "k3", 1, 30, 31, "ok", "n1", True)])
    assert fate_of(2, run) == "lost"
    run.operations.details[0] = {"attempts": sent["attempts"][:1]}
    assert fate_of(2, run) == "lost"
    run.operations.details[0] = sent
    assert fate_of(2, run) == "superseded"


SLOT = 42
BASE = (view(0, "n1", "primary", 1), view(0, "n4", "replica", 1, "n1"))


def supersedes(*events: Event, read: tuple[str, int] = ("n4", 10 * LAG), told: tuple[str, int] = ("n1", 5)) -> bool:
    """Whether what a node lacked when it was read is lost though another (`told`) had acknowledged it."""
    return Lineage(Timeline.of(from_events(list(events)))).supersedes(*read, *told, SLOT)


def handover(time: int, source: str, target: str, first: int = SLOT, last: int = SLOT) -> Event:
    value = {"fault": 0, "phase": "step", "step": "handover", "slots": [[first, last]], "from": source, "to": target}
    return Event("info", "migrate", "nemesis", time=time, value=value)


def test_a_claim_counts_up_to_the_observers_lag_before_it_was_recorded() -> None:
    late = view(10 * LAG, "n4", "primary", 7)
    assert supersedes(*BASE, late, read=("n4", 10 * LAG))
    assert supersedes(*BASE, late, read=("n4", 9 * LAG))
    assert not supersedes(*BASE, late, read=("n4", 9 * LAG - 1))
    assert supersedes(*BASE, late, told=("n1", -LAG))
    assert not supersedes(*BASE, late, told=("n1", -LAG - 1))
    assert not supersedes(*BASE, late, told=("n9", 5))


def test_nobody_who_claimed_as_great_an_epoch_may_be_known_at_the_time_of_the_read() -> None:
    takeover = view(5 * LAG, "n4", "primary", 7)
    for epoch, lost in ((6, True), (7, False), (8, False), (None, False)):
        assert supersedes(*BASE, takeover, view(6 * LAG, "n5", "primary", epoch)) is lost
    elsewhere = view(6 * LAG, "n5", "primary", 8)
    elsewhere.value["slots"] = [[SLOT + 1, 100]]
    assert supersedes(*BASE, takeover, elsewhere)


def test_later_claims_must_descend_from_the_node_that_answered() -> None:
    takeover = view(5 * LAG, "n4", "primary", 7)
    replica, heir = view(4 * LAG, "n5", "replica", 7, "n4"), view(20 * LAG, "n5", "primary", 8)
    assert supersedes(*BASE, takeover, replica, heir)
    assert not supersedes(*BASE, takeover, heir)
    assert not supersedes(*BASE, takeover, view(4 * LAG, "n5", "replica", 7, "n1"), heir)
    # A replica of the heir is an heir as well; one whose epoch is no greater takes nothing over.
    grandchild = [view(21 * LAG, "n6", "replica", 8, "n5"), view(30 * LAG, "n6", "primary", 9)]
    assert supersedes(*BASE, takeover, replica, heir, *grandchild)
    assert supersedes(*BASE, takeover, view(20 * LAG, "n5", "primary", 7))
    again = view(30 * LAG, "n4", "primary", 9)
    assert supersedes(*BASE, takeover, again)


def test_slots_can_be_handed_to_an_heir() -> None:
    takeover, heir = view(5 * LAG, "n4", "primary", 7), view(20 * LAG, "n5", "primary", 8)
    assert supersedes(*BASE, takeover, heir, handover(19 * LAG, "n4", "n5"))
    assert supersedes(*BASE, takeover, heir, handover(19 * LAG, "n4", "n5", SLOT - 1, SLOT + 1))
    several = handover(19 * LAG, "n4", "n5")
    several.value["slots"].insert(0, [SLOT + 1, SLOT + 2])
    assert supersedes(*BASE, takeover, heir, several)
    for wrong in (
        handover(19 * LAG, "n1", "n5"),
        handover(19 * LAG, "n4", "n6"),
        handover(10 * LAG, "n4", "n5"),  # not after the read
        handover(19 * LAG, "n4", "n5", SLOT + 1, SLOT + 2),
        handover(19 * LAG, "n4", "n5", SLOT - 2, SLOT - 1),
    ):
        assert not supersedes(*BASE, takeover, heir, wrong)


def test_the_same_node_lost_it_only_if_it_ended_or_gave_the_slot_away_in_between() -> None:
    def fault(time: int, kind: str = "kill", node: str = "n1") -> Event:
        return Event("info", kind, "nemesis", time=time, value={"fault": 0, "phase": "inject", "nodes": [node]})

    same: dict[str, Any] = {"read": ("n1", 10 * LAG), "told": ("n1", 5 * LAG)}
    assert not supersedes(*BASE, **same)
    for time, lost in ((5 * LAG, False), (5 * LAG + 1, True), (10 * LAG, True), (10 * LAG + 1, False)):
        assert supersedes(*BASE, fault(time), **same) is lost
    assert not supersedes(*BASE, fault(6 * LAG, "pause"), **same)
    assert not supersedes(*BASE, fault(6 * LAG, "kill", "n4"), **same)
    back = view(8 * LAG, "n1", "primary", 1)
    for time, lost in ((5 * LAG, False), (5 * LAG + 1, True)):
        assert supersedes(*BASE, view(time, "n1", "replica", 1, "n4"), back, **same) is lost
    assert not supersedes(*BASE, back, **same)
    down = Event("info", "view", "observer", time=6 * LAG, value={"node": "n1", "state": "down"})
    assert supersedes(*BASE, down, back, **same)


def test_one_lineage_answers_different_questions_differently() -> None:
    run = Timeline.of(from_events([*BASE, view(5 * LAG, "n4", "primary", 7)]))
    lineage = Lineage(run)
    answers = [lineage.supersedes("n4", read, "n1", 5, slot) for read in (2 * LAG, 6 * LAG, 2 * LAG) for slot in (1, 2)]
    assert answers == [False, False, True, True, False, False]
    assert [lineage.supersedes("n1", 6 * LAG, "n4", told, 1) for told in (5, 6 * LAG)] == [False, False]


def test_a_read_at_the_very_beginning_shows_a_write_too() -> None:
    reading = Op("read", "k3", 1, 0, 9, "ok", "n1")
    metrics = check_durability(history([reading, Op("write", "k3", 1, 1, 2, "info", "n1")])).metrics
    assert (metrics["indeterminate_applied"], metrics["indeterminate_not_seen"]) == (1, 0)
    assert check_durability(history([reading, Op("write", "k3", 1, 1, 2, "fail", "n1")])).counts == {
        "failed-write-visible": 1
    }


def test_a_loss_that_a_later_lost_write_had_replaced_is_told_apart() -> None:
    gone = [WRITE._replace(value=2 + place, start=10 + 3 * place, end=12 + 3 * place) for place in range(3)]
    final = Op("read", "k3", 1, 30, 31, "ok", "n1", True)
    finding = check_durability(history([OLD, *gone, final]))
    assert finding.counts == {"lost-write": 3}
    assert finding.metrics["lost_already_replaced"] == 2
    assert [anomaly.operations[0] for anomaly in finding.anomalies] == [2, 4, 6]
    touching = [gone[0]._replace(end=13), gone[1]]
    assert check_durability(history([OLD, *touching, final])).metrics["lost_already_replaced"] == 0
    elsewhere = [gone[0]._replace(key="k6"), gone[2], Op("read", "k6", None, 30, 31, "ok", "n1", True)]
    assert check_durability(history([OLD, *elsewhere, final])).metrics["lost_already_replaced"] == 0


def test_what_could_not_be_followed_is_named() -> None:
    finding = check_durability(history([OLD, WRITE._replace(key="k6")]))
    assert finding.metrics["unknown"] == 2
    assert str(finding.reason).startswith("2 acknowledged writes could not be followed")
    assert "(k3, k6)" in str(finding.reason)


@pytest.mark.parametrize("kind", ["ok", "fail", "info"])
def test_each_outcome_of_a_write_has_its_own_count(kind: str) -> None:
    write = OLD._replace(type=kind)
    shown = [write, Op("read", "k3", 1, 30, 31, "ok", "n1", True)]
    hidden = [write, Op("read", "k3", None, 30, 31, "ok", "n1", True)]
    seen, unseen = (check_durability(history(ops)) for ops in (shown, hidden))
    assert seen.metrics["kept"] == unseen.metrics["lost"] == (kind == "ok")
    assert seen.metrics["indeterminate_applied"] == unseen.metrics["indeterminate_not_seen"] == (kind == "info")
    assert seen.counts == ({"failed-write-visible": 1} if kind == "fail" else {})
    assert unseen.counts == ({"lost-write": 1} if kind == "ok" else {})


def test_without_convergence_a_last_read_still_shows_what_was_kept() -> None:
    shown = Op("read", "k3", 1, 30, 31, "ok", "n1", True)
    for ops, fate in (
        ([OLD, shown], "kept"),
        ([OLD, WRITE, shown], "kept"),
        ([OLD, shown._replace(value=None)], "unknown"),
    ):
        assert fate_of(1, history(ops, converged=False)) == fate
    assert fate_of(2, history([OLD, WRITE, shown], converged=False)) == "unknown"


def test_the_first_operation_of_all_can_be_the_read_that_shows_when_a_write_had_taken_effect() -> None:
    first = [Op("read", "k3", 1, 0, 2, "ok", "n1"), OLD._replace(type="info", start=1)]
    assert fate_of(2, history([*first, WRITE, STALE._replace(start=30, end=31, final=True)])) == "lost"


def test_a_write_that_was_asked_for_elsewhere_is_not_judged_by_lineage() -> None:
    run = history(PLAY, N1, N4, TAKEOVER)
    row = next(row for row in range(5) if run.operations.start[row] == WRITE.start)
    run.operations.details[row] = {"asking": True}
    assert fate_of(2, run) == "superseded"


@pytest.mark.parametrize(("detail", "fate"), [({}, "superseded"), ({"asking": True}, "lost")])
def test_what_a_node_took_for_another_contradicts_nothing_that_it_answers_later(
    detail: dict[str, Any], fate: str
) -> None:
    taken = Op("write", "k3", 4, 16, 17, "ok", "n4")
    run = history([*PLAY, taken], N1, N4, TAKEOVER)
    row = next(row for row in range(6) if run.operations.start[row] == taken.start)
    run.operations.details[row] = detail
    assert fate_of(2, run) == fate


def test_a_write_that_the_last_read_returned_is_kept_whatever_was_read_before() -> None:
    assert fate_of(2, history([OLD, WRITE, STALE, FINAL._replace(value=2)], N1, N4, TAKEOVER)) == "kept"


def test_keys_are_judged_each_by_itself() -> None:
    other = [op._replace(key="k6", value=(op.value or 0) + 100) for op in PLAY]
    run = history([*PLAY, *other], N1, N4, TAKEOVER)
    assert [fate_of(value, run) for value in (1, 2, 3, 102, 103)] == ["superseded", "lost", "kept", "lost", "kept"]
    only = [*other, *(op for op in PLAY if op is not STALE)]
    run = history(only, N1, N4, TAKEOVER)
    assert [fate_of(value, run) for value in (2, 102)] == ["superseded", "lost"]
    reads_without = [op for op in PLAY if op.f == "write"]
    assert fate_of(3, history([*reads_without, *other], N1, N4, TAKEOVER)) == "unknown"


def test_a_comparison_that_set_is_a_write() -> None:
    swap = OLD._replace(f="cas")
    events = history([swap, Op("read", "k3", None, 30, 31, "ok", "n1", True)])
    events.operations.value[0] = [None, 1]
    fates = register_fates(events, Timeline.of(events))
    assert [FATES[fate] for fate in fates.fate.tolist()] == ["lost"]


@pytest.mark.parametrize("key", ["k3", None])
@pytest.mark.parametrize("seen", [(1, None), (None, 1), (1, 1), (None, None)])
def test_a_register_and_a_group_of_the_same_name_are_two_objects(
    key: str | None, seen: tuple[int | None, int | None]
) -> None:
    register, group = seen
    events = [
        Event("invoke", "write", 0, time=0, key=key, value=1),
        Event("ok", "write", 0, time=1, key=key, value=1, node="n1"),
        Event("invoke", "mset", 1, time=0, key=key, value={"a": 1, "b": 1}),
        Event("ok", "mset", 1, time=1, key=key, value={"a": 1, "b": 1}, node="n1"),
        Event("invoke", "read", 1_000_000, time=30, key=key, final=True),
        Event("ok", "read", 1_000_000, time=31, key=key, value=register, node="n1", final=True),
        Event("invoke", "mget", 1_000_001, time=32, key=key, value={"a": None, "b": None}, final=True),
        Event("ok", "mget", 1_000_001, time=33, key=key, value={"a": group, "b": group}, node="n1", final=True),
        Event("info", "phase", "controller", time=29, value={"phase": "converged"}),
    ]
    run = from_events(events)
    fates = register_fates(run, Timeline.of(run))
    assert fates.repeated == []
    found = {run.operations.f[row]: FATES[fate] for row, fate in zip(fates.write, fates.fate, strict=True)}
    assert [found[run.operations.code(f)] for f in ("write", "mset")] == ["kept" if value else "lost" for value in seen]
