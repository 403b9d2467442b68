"""The timeline of a run, and its words."""

from typing import Any

import pytest

from checkers.context import Timeline
from checkers.events import NEVER, Event
from checkers.history import from_events

MS = 1_000_000
HEADER = {"slots": [[0, 8191, "n1"], [8192, 16383, "n2"]], "replicas": {"n1": ["n4"]}}


def event(at_ms: int, process: str, f: str, **value: Any) -> Event:
    return Event("info", f, process, time=at_ms * MS, value=value)


def view(at_ms: int, node: str, role: str, epoch: int, *slots: list[int], primary: str | None = None) -> Event:
    known = {"role": role, "primary": primary, "epoch": epoch, "slots": list(slots)}
    return event(at_ms, "observer", "view", node=node, state="up", **known)


CUT = [
    event(3900, "nemesis", "partition", fault=0, phase="inject", nodes=["n1"], clients=[0]),
    event(8910, "nemesis", "partition", fault=0, phase="heal", nodes=["n1"]),
]
TAKEOVER = [
    view(-40, "n1", "primary", 1, [0, 8191]),
    view(-40, "n4", "replica", 1, primary="n1"),
    view(6120, "n4", "primary", 7, [0, 8191]),
    view(9000, "n1", "replica", 7, primary="n4"),
]


def timeline(*events: Event) -> Timeline:
    return Timeline.of(from_events(list(events), HEADER))


def test_a_fault_is_told_with_who_and_since_when() -> None:
    run = timeline(*CUT)
    assert run.describe(4000 * MS, 4100 * MS) == "while n1 was cut off (fault 0, partition, since 3.90 s)"
    assert run.describe(9500 * MS, 9600 * MS) == "after n1 had been cut off (fault 0, partition, 3.90 s to 8.91 s)"
    assert run.describe(0, MS) == "with no fault before it"
    assert [run.fault_at(t * MS, t * MS) for t in (1000, 4000, 9500)] == [None, 0, 0]


def test_of_two_active_faults_the_one_that_began_last_is_named() -> None:
    run = timeline(*CUT, event(5000, "nemesis", "kill", fault=1, phase="inject", nodes=["n2", "n3"]))
    assert run.describe(6000 * MS, 6000 * MS) == "while n2 and n3 were dead (fault 1, kill, since 5.00 s)"
    assert run.faults[1].end_ns == NEVER


def test_a_fault_that_was_never_injected_is_none() -> None:
    assert timeline(event(3900, "nemesis", "kill", fault=0, phase="failed", nodes=["n1"])).faults == []


def test_what_befell_a_node_is_told_from_the_moment_of_the_write() -> None:
    run = timeline(*CUT)
    during, before = run.befell("n1", 4210 * MS, 6000 * MS), run.befell("n1", 3000 * MS, 6000 * MS)
    assert during is not None
    assert during == before
    assert run.plight(during, 4210 * MS) == "cut off since 3.90 s"
    assert run.plight(during, 3000 * MS) == "cut off at 3.90 s"
    assert run.befell("n2", 0, NEVER) is None


def test_roles_and_the_successor_of_a_deposed_primary() -> None:
    run = timeline(*TAKEOVER)
    roles = [run.role("n1", at * MS) for at in (1000, 7000, 9500)]
    assert roles == ["primary", "deposed primary", "replica"]
    assert run.role("n4", 1000 * MS) == "replica"
    assert run.role("n9", 1000 * MS) is None
    assert run.successor("n1", 4210 * MS) == ("n4", 6120 * MS, 7)
    assert run.successor("n1", 4210 * MS, slot=9000) is None
    assert run.successor("n4", 7000 * MS) is None


def test_one_migrated_slot_does_not_make_a_successor_of_all() -> None:
    run = timeline(view(0, "n1", "primary", 1, [0, 8191]), view(500, "n2", "primary", 9, [42, 42], [8192, 16383]))
    assert run.successor("n1", 100 * MS) is None
    assert run.successor("n1", 100 * MS, slot=42) == ("n2", 500 * MS, 9)
    assert run.role("n1", 1000 * MS) == "primary"


def test_a_node_that_is_down_keeps_the_role_it_was_last_seen_in() -> None:
    run = timeline(*TAKEOVER[:2], event(2000, "observer", "view", node="n1", state="down"))
    seen = run.view("n1", 3000 * MS)
    assert seen is not None
    assert not seen.up
    assert seen.claims(5)


def test_only_a_new_epoch_or_a_hand_over_acquires_a_slot() -> None:
    restarted = view(3000, "n1", "primary", 1, [0, 8191])
    run = timeline(*TAKEOVER[:2], event(2000, "observer", "view", node="n1", state="down"), restarted)
    assert [time // MS for time in run.acquired("n1", 5) if time > 0] == []
    again = view(9500, "n1", "primary", 8, [0, 8191])
    assert timeline(*TAKEOVER, again).acquired("n1", 5)[-1] == 9500 * MS
    moved = event(4000, "nemesis", "migrate", fault=2, phase="step", step="handover", slots=[[5, 5]])
    moved.value |= {"from": "n1", "to": "n2"}
    assert timeline(moved).acquired("n2", 5) == [4000 * MS]
    assert timeline(moved).acquired("n2", 6) == []


@pytest.mark.parametrize(
    ("phases", "converged", "why_not"),
    [
        ([], False, "the history does not say that the system converged before the final reads"),
        ([("converged", None)], True, None),
        (
            [("not-converged", "n4 lags")],
            False,
            "the system did not converge before the final reads: n4 lags",
        ),
    ],
)
def test_convergence(phases: list[tuple[str, str | None]], converged: bool, why_not: str | None) -> None:
    run = timeline(*(event(10, "controller", "phase", phase=phase, reason=reason) for phase, reason in phases))
    assert (run.converged, run.why_not) == (converged, why_not)


def test_edges_of_a_fault_belong_to_it() -> None:
    run = timeline(*CUT)
    assert run.fault_at(0, 3900 * MS - 1) is None
    assert run.fault_at(0, 3900 * MS) == 0
    assert run.describe(8910 * MS, 9000 * MS).startswith("while")
    assert run.describe(8910 * MS + 1, 9000 * MS).startswith("after")


def test_of_faults_that_are_over_the_last_to_end_is_named() -> None:
    short = [
        event(4000, "nemesis", "pause", fault=1, phase="inject", nodes=["n2"]),
        event(5000, "nemesis", "pause", fault=1, phase="heal", nodes=["n2"]),
    ]
    run = timeline(*CUT, *short)
    assert run.fault_at(9500 * MS, 9600 * MS) == 0
    assert run.fault_at(4500 * MS, 4600 * MS) == 1


def test_what_befell_a_node_has_bounds() -> None:
    run = timeline(*CUT)
    assert run.befell("n1", 8910 * MS, 9000 * MS) is not None
    assert run.befell("n1", 8910 * MS + 1, 9000 * MS) is None
    assert run.befell("n1", 3000 * MS, 3900 * MS) is not None
    assert run.befell("n1", 3000 * MS, 3900 * MS - 1) is None
    assert run.plight(run.faults[0], 3900 * MS) == "cut off since 3.90 s"


def test_a_view_holds_from_its_own_moment_and_a_range_includes_its_ends() -> None:
    run = timeline(*TAKEOVER)
    assert run.role("n1", 6120 * MS - 1) == "primary"
    assert run.role("n1", 6120 * MS) == "deposed primary"
    assert run.role("n4", 6120 * MS) == "primary"
    view = run.view("n4", 6120 * MS)
    assert view is not None
    assert [view.claims(slot) for slot in (0, 8191, 8192)] == [True, True, False]
    replica = run.view("n1", 9000 * MS)
    assert replica is not None
    assert not replica.claims(0)


def test_a_successor_has_more_than_half_a_greater_epoch_and_is_somebody_else() -> None:
    mine = view(0, "n1", "primary", 3, [0, 99])
    assert timeline(mine, view(500, "n4", "primary", 7, [0, 49])).successor("n1", 100 * MS) is None
    assert timeline(mine, view(500, "n4", "primary", 7, [0, 50])).successor("n1", 100 * MS) is not None
    assert timeline(mine, view(500, "n4", "primary", 3, [0, 99])).successor("n1", 100 * MS) is None
    assert timeline(mine, view(500, "n1", "primary", 7, [0, 99])).successor("n1", 100 * MS) is None
    late = timeline(mine, view(500, "n4", "primary", 7, [0, 99]), view(500, "n5", "primary", 8, [0, 99]))
    assert late.successor("n1", 100 * MS) == ("n4", 500 * MS, 7)
    unknown = Event(
        "info", "view", "observer", time=500 * MS, value={"node": "n4", "role": "primary", "slots": [[0, 99]]}
    )
    assert timeline(mine, unknown).successor("n1", 100 * MS) == ("n4", 500 * MS, None)
    before = timeline(view(500, "n4", "primary", 7, [0, 99]), view(500, "n1", "primary", 3, [0, 99]))
    assert before.successor("n1", 600 * MS) is None  # n1 claimed the slots although it knew of that


def test_the_header_says_how_it_was_in_the_beginning() -> None:
    run = timeline()
    assert not run.observed
    assert timeline(*TAKEOVER).observed
    first = {node: (known[0].role, known[0].primary, known[0].slots) for node, known in run.views.items()}
    assert first == {
        "n1": ("primary", None, ((0, 8191),)),
        "n2": ("primary", None, ((8192, 16383),)),
        "n4": ("replica", "n1", ()),
    }
    assert all(known[0].up and known[0].epoch is None for known in run.views.values())


def test_what_a_node_that_is_down_said_last_is_kept_whole() -> None:
    run = timeline(*TAKEOVER, event(9500, "observer", "view", node="n1", state="down"))
    seen = run.view("n1", 9600 * MS)
    assert seen is not None
    assert (seen.up, seen.role, seen.primary, seen.epoch, seen.slots) == (False, "replica", "n4", 7, ())
    stranger = timeline(event(9500, "observer", "view", node="n8", state="down")).view("n8", 9600 * MS)
    assert stranger is not None
    assert (stranger.up, stranger.role, stranger.primary) == (False, None, None)


def test_the_load_lasts_from_start_to_stop_or_as_long_as_the_operations() -> None:
    operations = [
        Event("invoke", "write", 0, time=5, key="k0", value=1),
        Event("ok", "write", 0, time=9, key="k0", value=1),
        Event("invoke", "write", 1, time=12, key="k0", value=2),
        Event("invoke", "read", 1_000_000, time=50, key="k0", final=True),
        Event("ok", "read", 1_000_000, time=60, key="k0", value=1, final=True),
    ]
    assert timeline(*operations).load == (5, 12)
    assert timeline(*operations[:2]).load == (5, 9)
    assert timeline(*operations[3:]).load == (0, 0)
    phases = [event(2, "controller", "phase", phase="start"), event(3, "controller", "phase", phase="stop")]
    again = event(8, "controller", "phase", phase="start")
    assert timeline(*operations, *phases, again).load == (2 * MS, 3 * MS)


def test_nothing_changes_any_more_once_converged_or_split_for_good() -> None:
    def phases(*names: str) -> Timeline:
        return timeline(*(event(10, "controller", "phase", phase=name) for name in names))

    assert phases("converged").settled
    assert phases("split-for-good").settled
    assert not phases("split-for-good").converged
    assert not phases("not-converged").settled
    assert phases("not-converged", "converged").converged


@pytest.mark.parametrize(
    ("epochs", "acquired"),
    [((5, 5), [0]), ((5, 6), [0, 1]), ((5, 3, 4), [0]), ((5, None), [0, 1]), ((5, None, 5), [0, 1, 2])],
)
def test_a_slot_is_acquired_with_an_epoch_greater_than_any_before(epochs: tuple[int, ...], acquired: list[int]) -> None:
    run = timeline(*(view(100 + place, "n7", "primary", epoch, [0, 9]) for place, epoch in enumerate(epochs)))
    assert [time // MS - 100 for time in run.acquired("n7", 5)] == acquired
