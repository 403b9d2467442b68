"""What is measured of a cache in front of a database, on histories of which the answer is known or can be counted."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.claims import judge, parse_claim
from checkers import check
from checkers.events import Event
from checkers.finding import Verdict
from checkers.history import from_events

MS = 1_000_000


class Log:
    """Writes a history; times in milliseconds."""

    def __init__(self):
        self.events = []
        self._process = count()

    def read(self, start, end, key="i0", via="hit", value=None, **fill):
        about = {"f": "read", "process": next(self._process), "key": key}
        self.events.append(Event(type="invoke", time=round(start * MS), **about))
        fill = {name: [round(t * MS) for t in v] if name == "load" else v for name, v in fill.items()}
        node = "n1" if via in ("hit", "negative") else None
        self.events.append(
            Event(
                type="ok",
                time=round(end * MS),
                value=value,
                via=via,
                node=node,
                fill={"asked": ["n1", *(["n1"] if "entry" in fill else [])], **fill},
                **about,
            )
        )

    def load(self, start, end, key="i0", version=0, ttl_ms=None, **more):
        """A miss: the load takes the whole time but the last millisecond, in which the entry is put into the cache."""
        entry = {} if ttl_ms is None else {"entry": "ok", "ttl_ms": ttl_ms}
        known = {} if version is None else {"version": version}
        self.read(start, end, key, "load", load=[start, max(start, end - 1)], **known, **entry, **more)

    def write(self, start, end, version, key="i0", commit=None, entry="ok", **more):
        about = {"f": "write", "process": next(self._process), "key": key, "value": 1000 * (1 + version) + int(key[1:])}
        self.events.append(Event(type="invoke", time=round(start * MS), **about))
        span = [round(time * MS) for time in commit or (start, end)]
        fill = {"asked": ["n1"], "version": version, "commit": span, **more}
        if entry is not None:
            fill["entry"] = entry
        self.events.append(Event(type="ok", time=round(end * MS), fill=fill, **about))

    def told(self, process, f, at, value):
        self.events.append(Event(type="info", process=process, f=f, time=round(at * MS), value=value))

    def fault(self, at, until, number=0):
        for phase, time in (("inject", at), ("heal", until)):
            self.told("nemesis", "kill", time, {"fault": number, "phase": phase, "nodes": ["n1"]})

    def lasted(self, ms):
        for phase, time in (("start", 0), ("stop", ms)):
            self.told("controller", "phase", time, {"phase": phase})

    def history(self):
        return from_events(self.events)

    def measured(self):
        finding = check(self.history(), ["cachefill"])["cachefill"]
        assert finding.verdict is Verdict.VALID, finding.reason
        return finding.metrics


def test_a_history_without_a_cache_has_nothing_to_check():
    assert Log().measured()["checked"] == 0


def test_the_hit_rate_counts_what_the_cache_answered_also_that_there_is_nothing():
    log = Log()
    log.load(0, 5)
    log.read(10, 11, via="hit", version=0)
    log.read(12, 13, key="m0", via="negative")
    log.read(150, 151, via="flight", version=0, load=[0, 4])
    measured = log.measured()
    assert measured["hit_rate"] == 0.5
    assert measured["miss_rate"] == 0.5
    assert measured["hit_rate_over_time"] == [
        {"at_ms": 0, "reads": 3, "rate": pytest.approx(2 / 3, abs=1e-4)},
        {"at_ms": 100, "reads": 1, "rate": 0.0},
    ]
    assert measured["loads"] == 1, "one who waits for another's load does not ask the database"
    balance = check(log.history(), ["balance"])["balance"].metrics
    assert balance["hit_rate"] == 0.5
    assert balance["requests"] == {"n1": 4}


def test_loads_of_one_item_that_overlap_are_a_stampede_and_those_that_touch_are_not():
    log = Log()
    log.load(0, 11)  # to 10
    log.load(9, 20)  # to 19
    log.load(9.5, 12)  # to 11
    log.load(19, 30)  # touches
    log.load(0, 11, key="i1")  # of another item
    measured = log.measured()
    assert measured["stampedes"] == 1
    assert measured["stampede"]["largest"] == 3
    assert measured["stampede"]["wasted"] == 2
    (greatest,) = measured["stampede"]["greatest"]
    assert (greatest["key"], greatest["at_once"], greatest["operations"]) == ("i0", 3, [0, 2, 4])


def test_the_greatest_stampede_is_told_first():
    log = Log()
    for key, loads in (("i0", 2), ("i1", 4), ("i2", 3)):
        for _ in range(loads):
            log.load(0, 10, key=key)
    greatest = log.measured()["stampede"]["greatest"]
    assert [(entry["key"], entry["at_once"]) for entry in greatest] == [("i1", 4), ("i2", 3), ("i0", 2)]


def test_reads_that_loaded_nothing_make_no_stampede():
    log = Log()
    log.read(0, 1, version=0)
    measured = log.measured()
    assert measured["stampedes"] == 0
    assert measured["stampede"] == {"largest": 0, "wasted": 0, "greatest": []}


spans = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(1, 10)), min_size=1, max_size=25)


@given(spans)
def test_stampedes_are_those_that_counting_finds(loads):
    log = Log()
    for key, begin, length in loads:
        log.load(begin, begin + length + 1, key=f"i{key}")
    groups, most = [], 0
    for key in range(3):
        mine = sorted((begin, begin + length) for k, begin, length in loads if k == key)
        until = -1
        for begin, end in mine:
            if begin >= until:
                groups.append(0)
            groups[-1] += 1
            until = max(until, end)
            most = max(most, sum(b <= begin < e for b, e in mine))
    measured = log.measured()
    assert measured["stampedes"] == sum(size > 1 for size in groups)
    assert measured["stampede"]["wasted"] == sum(size - 1 for size in groups)
    assert measured["stampede"]["largest"] == most


def test_penetration_is_the_share_of_loads_that_found_no_item():
    log = Log()
    log.load(0, 5)
    log.load(5, 9, key="m1", version=None)
    log.read(10, 11, key="m1", via="negative")
    measured = log.measured()
    assert measured["penetration"] == 0.5
    assert measured["absent"] == {"loads": 1, "kept_off": 1}


def test_a_read_is_as_stale_as_the_first_later_commit_that_was_over_when_it_began():
    log = Log()
    log.write(10, 30, 1, commit=(11, 20))
    log.write(40, 60, 2, commit=(41, 50))
    log.read(19, 22, version=0)  # the commit was not over yet
    log.read(45, 47, version=0)  # 25 ms after version 1, one behind
    log.read(70, 71, version=0)  # 50 ms after it, two behind
    log.read(70, 71, version=1)  # 20 ms after version 2
    log.read(70, 71, version=2)
    log.read(70, 71, key="i1", version=0)
    stale = log.measured()["stale"]
    assert (stale["reads"], stale["max_ms"], stale["p50_ms"], stale["max_versions"]) == (3, 50.0, 25.0, 2)
    assert stale["by"] == {"hit": 3}
    assert stale["worst"] == [8]


@given(
    st.lists(st.integers(1, 15), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 150), st.integers(0, 8)), min_size=1, max_size=12),
)
def test_staleness_is_what_counting_finds(lengths, reads):
    """Commits end in any order; versions are as the database gave them."""
    log, ends = Log(), []
    for version, length in enumerate(lengths, 1):
        begin = version * 5
        ends.append(begin + length)
        log.write(begin, begin + length, version)
    expected = []
    for start, version in reads:
        version = min(version, len(lengths))
        log.read(start, start + 1, version=version)
        newer = [(end, v) for v, end in enumerate(ends, 1) if v > version and end < start]
        if newer:
            expected.append((start - min(newer)[0], max(v for _, v in newer) - version))
    stale = log.measured()["stale"]
    assert stale["reads"] == len(expected)
    assert stale["max_ms"] == max((ms for ms, _ in expected), default=0)
    assert stale["max_versions"] == max((behind for _, behind in expected), default=0)


def filled_together(log, entries=40, ttl_ms=200, spread_ms=0.0, at=0):
    """One entry after another, `spread_ms` apart; each is loaded in a millisecond and put there within another."""
    for number in range(entries):
        start = at + number * spread_ms
        log.load(start, start + 2, key=f"i{number}", ttl_ms=ttl_ms)


def test_entries_that_were_put_there_together_come_due_together():
    log = Log()
    filled_together(log)
    log.lasted(1_000)
    measured = log.measured()
    assert measured["avalanches"] == 1
    assert measured["avalanche"]["stretch_ms"] == 10.0
    (greatest,) = measured["avalanche"]["greatest"]
    assert greatest == {"at_ms": 200.0, "due": 40, "there": 40}, "the deadline is 201 ms to 202 ms"


def test_entries_whose_times_are_spread_are_no_avalanche():
    log = Log()
    filled_together(log, spread_ms=5.0)  # over as long as they live
    log.lasted(1_000)
    assert log.measured()["avalanches"] == 0


def test_few_entries_are_no_avalanche():
    log = Log()
    filled_together(log, entries=19)
    log.lasted(1_000)
    assert log.measured()["avalanches"] == 0


def test_who_is_there_when_a_stretch_begins_was_put_there_by_then_and_is_not_replaced_yet():
    log = Log()
    filled_together(log)
    for number in range(40, 50):
        log.load(100, 102, key=f"i{number}", ttl_ms=200)
        log.write(200, 202, 1, key=f"i{number}")
    for number in range(50, 55):
        log.load(198, 200, key=f"i{number}", ttl_ms=200)
    log.lasted(1_000)
    (greatest,) = log.measured()["avalanche"]["greatest"]
    assert greatest == {"at_ms": 200.0, "due": 40, "there": 45}


def test_entries_that_writes_set_come_due_too():
    log = Log()
    for number in range(40):
        log.write(0, 2, 1, key=f"i{number}", ttl_ms=200)
    log.lasted(1_000)
    (greatest,) = log.measured()["avalanche"]["greatest"]
    assert greatest == {"at_ms": 200.0, "due": 40, "there": 40}


@pytest.mark.parametrize("when", [0.5, 1.5, 100])
def test_an_entry_that_a_write_removes_does_not_come_due(when):
    log = Log()
    filled_together(log)
    for number in range(21):
        log.write(when, when + 1, 1, key=f"i{number}")
    log.lasted(1_000)
    assert log.measured()["avalanches"] == 0, "19 of 40 are left, if that"


def test_an_entry_that_is_set_again_comes_due_by_its_new_time():
    log = Log()
    filled_together(log)
    filled_together(log, at=100)
    log.lasted(1_000)
    (greatest,) = log.measured()["avalanche"]["greatest"]
    assert greatest["at_ms"] == 300.0


def test_what_the_load_never_saw_come_due_is_no_avalanche():
    log = Log()
    filled_together(log)
    log.lasted(150)
    assert log.measured()["avalanches"] == 0


def test_a_fault_and_its_end_are_each_told_with_the_loads_that_came_after():
    log = Log()
    log.lasted(5_000)
    log.fault(2_000, 3_500)
    for at in range(0, 5_000, 100):
        log.load(at, at + 1)
    for at in range(2_250, 2_500, 10):  # the storm
        log.load(at + 0.5, at + 2)
    for at in range(0, 5_000, 10):
        log.read(at + 3, at + 4, version=0)
    struck, over = log.measured()["storms"]
    assert (struck["phase"], struck["fault"], struck["kind"], struck["at_ms"]) == ("struck", 0, "kill", 2_000)
    assert struck["before_per_s"] == 10.0
    assert struck["peak_per_s"] == pytest.approx((25 + 3) * 4, abs=4)
    assert struck["peak_at_ms"] == 2_250
    assert struck["hit_rate_before"] > 0.9 > struck["hit_rate_lowest"] > 0.3
    assert (over["phase"], over["before_per_s"], over["peak_per_s"]) == ("over", 10.0, 12.0)


def test_a_fault_at_the_very_end_has_no_peak():
    log = Log()
    log.lasted(1_000)
    log.fault(900, 2_000)
    log.load(10, 12)
    (struck,) = log.measured()["storms"]
    assert struck["peak_per_s"] is None


def test_what_is_over_when_the_load_ends_starts_no_storm():
    log = Log()
    log.lasted(1_000)
    log.fault(750, 1_000)
    log.load(10, 12)
    (struck,) = log.measured()["storms"]
    assert (struck["phase"], struck["peak_per_s"]) == ("struck", 0.0)


def test_a_commit_that_is_over_as_a_read_begins_is_no_version_behind():
    log = Log()
    log.write(0, 10, 1)
    log.write(10, 20, 2)
    log.read(20, 21, version=0)
    stale = log.measured()["stale"]
    assert (stale["max_ms"], stale["max_versions"]) == (10.0, 1)


def test_what_is_left_in_the_cache_is_compared_with_the_database():
    log = Log()
    log.write(0, 5, 1)
    for key, version in (("i0", 1), ("i1", 0)):
        about = {"f": "read", "process": 1_000_000, "key": key, "final": True}
        log.events.append(Event(type="invoke", time=100 * MS, via="database", **about))
        log.events.append(Event(type="ok", time=100 * MS, fill={"version": version}, **about))
    log.told(
        "controller", "cached", 90, {"node": "n1", "held": 2, "entries": [["i0", None, 0, 50], ["i1", None, 0, 70]]}
    )
    log.told("controller", "cached", 90, {"node": "n2", "held": 9, "entries": [["i0", None, 0, -1]]})
    log.told("controller", "stats", 90, {"node": "n2", "evicted_keys": 7, "expired_keys": 1})
    measured = log.measured()
    assert measured["left"] == {"entries": 11, "looked_at": 3, "stale": 2, "stale_for_good": 1}
    assert measured["evicted"] == {"n2": 7}


def test_writes_are_told_apart_by_what_became_of_their_entry():
    log = Log()
    for number, entry in enumerate(("ok", "ok", "fail", "info")):
        log.write(10 * number, 10 * number + 10, number + 1, entry=entry)
    log.read(60, 70, via="database", load=[61, 69], version=4)
    measured = log.measured()
    log.write(80, 90, 5, entry=None)
    assert measured["writes"] == {"fail": 1, "info": 1, "ok": 2}
    assert log.measured()["writes"] == {"fail": 1, "info": 1, "none": 1, "ok": 2}
    assert measured["fallbacks"] == measured["loads"] == 1


@pytest.mark.parametrize(
    ("name", "value", "holds", "measured"),
    [
        ("misses", {"max": "70%"}, True, "66.7%"),
        ("misses", {"max": "60%"}, False, "66.7%"),
        ("stampedes", 1, True, 1),
        ("stampedes", 0, False, 1),
        ("penetration", {"max": "10%"}, True, "0.0%"),
        ("avalanches", 0, True, 0),
    ],
)
def test_what_is_measured_can_be_claimed(name, value, holds, measured):
    log = Log()
    log.load(0, 10)
    log.load(1, 11)
    log.read(20, 21, version=0)
    claim = parse_claim(name, value)
    assert parse_claim(name, claim.spelled()) == claim
    _, (result,) = judge([claim], check(log.history()))
    assert (result.holds, result.measured) == (holds, measured)


def test_a_claim_about_a_cache_that_is_not_there_says_so():
    _, (result,) = judge([parse_claim("stampedes", 0)], check(Log().history()))
    assert (result.holds, result.reason) == (True, "nothing to check")


def test_every_figure_of_one_history():
    log = Log()
    log.lasted(2_000)
    log.load(0, 11, version=0, ttl_ms=400)
    log.load(5, 20, version=0)
    log.load(8, 10, key="m1", version=None)
    log.read(30, 31, version=0)
    log.read(31, 32, key="m1", via="negative")
    log.read(32, 36, via="flight", version=0, load=[5, 19])
    log.write(40, 50, 1, commit=(41, 45))
    log.read(60, 61, version=0)
    log.read(160, 162, version=0)
    log.fault(500, 1_100)
    for at in range(600, 700, 20):
        log.load(at, at + 31, key="i2", version=2, ttl_ms=0)
    log.read(1_300, 1_310, via="database", load=[1_301, 1_309], version=1)
    log.write(1_400, 1_410, 2, commit=(1_401, 1_405), entry="fail")
    log.write(1_420, 1_430, 3, commit=(1_421, 1_425), entry="none")
    log.read(1_500, 1_501, version=2)
    over_time = [(0, 7, 0.4286), (100, 1, 1.0), (600, 5, 0.0), (1_300, 1, 0.0), (1_500, 1, 1.0)]
    a_second = [30.0, 0.0, 0.0, 0.0, 0.0, 0.0, 50.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 10.0]
    struck = {"fault": 0, "kind": "kill", "phase": "struck", "at_ms": 500.0, "before_per_s": 6.0, "peak_per_s": 20.0}
    struck |= {"peak_at_ms": 500.0, "hit_rate_before": 0.5, "hit_rate_lowest": 0.0}
    over = {"fault": 0, "kind": "kill", "phase": "over", "at_ms": 1_100.0, "before_per_s": 5.0, "peak_per_s": 4.0}
    over |= {"peak_at_ms": 1_100.0, "hit_rate_before": 1 / 6, "hit_rate_lowest": 0.0}
    greatest = [
        {"key": "i0", "at_ms": 0.0, "at_once": 2, "operations": [2, 4]},
        {"key": "i2", "at_ms": 600.0, "at_once": 2, "operations": [22, 24, 26, 28, 30]},
    ]
    assert log.measured() == {
        "checked": 18,
        "reads": {"database": 1, "flight": 1, "hit": 4, "load": 8, "negative": 1},
        "hit_rate": pytest.approx(1 / 3),
        "miss_rate": pytest.approx(2 / 3),
        "hit_rate_over_time": [{"at_ms": at, "reads": reads, "rate": rate} for at, reads, rate in over_time],
        "loads": 9,
        "loads_per_s": 4.5,
        "loads_over_time": [{"at_ms": 100 * place, "per_s": rate} for place, rate in enumerate(a_second)],
        "storms": [struck, pytest.approx(over)],
        "stampedes": 2,
        "stampede": {"largest": 2, "wasted": 5, "greatest": greatest},
        "penetration": pytest.approx(1 / 9),
        "absent": {"loads": 1, "kept_off": 1},
        "avalanches": 0,
        "avalanche": {"stretch_ms": None, "greatest": []},
        "stale": {
            "reads": 3,
            "share": 0.2,
            "max_ms": 115.0,
            "p50_ms": 75.0,
            "max_versions": 1,
            "by": {"hit": 3},
            "worst": [18],
        },
        "writes": {"fail": 1, "none": 1, "ok": 1},
        "fallbacks": 1,
        "evicted": {},
        "left": {"entries": 0, "looked_at": 0, "stale": 0, "stale_for_good": 0},
    }
