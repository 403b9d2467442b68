"""Calls of real servers that go wrong: the Nth kills, or is refused; and what the servers make of it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from schedules import run_schedule
from virtual_nodes import NEEDED, nodes

from chaos.run import run_scenario
from chaos.scenario import load_scenario
from chaos.store import read_executed
from chaos.verify import verify_run
from nemeses import validate_options
from nemeses.fault import ExecutedFault, PlannedFault
from nemeses.system import CallRule, ReplyError, System, Unreachable

pytestmark = NEEDED
ALONE = {"cluster-enabled": False}
LOGGING = {**ALONE, "appendonly": True}


def strike(system: System, kind: str, for_ms: int = 1_000, **options: Any) -> ExecutedFault:
    """A fault on n1, from now to its end."""
    at_ms = system.now_ns() // 1_000_000
    planned = PlannedFault(0, kind, "n1", at_ms, for_ms, 1, validate_options(kind, options))
    (executed,) = run_schedule(system, [planned], 0, lambda kind, value: None)
    return executed


def wait(system: System, ms: int) -> None:
    system.sleep_until(system.now_ns() + ms * 1_000_000)


def test_what_only_virtual_time_can_do_takes_hold_in_a_run_and_is_the_same_every_time(tmp_path):
    nemesis = [
        {"fault": "kill-at", "call": "fsync", "number": 20, "power": True, "at": "500ms", "for": "1s"},
        {"fault": "kill-at", "call": "send", "number": 9, "moment": "after", "at": "2s", "for": "800ms"},
        {"fault": "kill-child", "call": "rename", "target": "a replica", "at": "3s", "for": "300ms"},
        {"fault": "disk", "error": "ENOSPC", "target": "a primary", "at": "3500ms", "for": "400ms"},
        {"fault": "crash", "moment": "reply", "at": "4200ms", "for": "400ms"},
        {"fault": "reorder", "between": "clients", "at": "4700ms", "for": "400ms"},
    ]
    changes = {
        "deploy": "virtual",
        "duration": "5200ms",
        "clients.count": 4,
        "nemesis": nemesis,
        "cluster.config": {"appendonly": "yes", "appendfsync": "always"},
    }
    run_dir = run_scenario(load_scenario("steady", changes), seed=7, out=tmp_path).run_dir
    executed = read_executed(run_dir)
    assert executed.error is None
    synced, sent, child, disk, crash, _ = (fault.evidence["inject"] for fault in executed.faults)
    assert synced["died"]["of"] == "appendonly.aof.1.incr.aof"
    assert sum(sum(files.values()) for files in synced["dropped_bytes"].values()) > 0, "it died before the fsync"
    assert sent["died"]["of"].startswith("127.0.")
    assert (child["died"]["of"], child["rdb_last_bgsave_status"]) == ("dump.rdb", "err")
    (node,) = disk["refused"]
    assert executed.faults[3].evidence["heal"]["started"] == [node], "a server that syncs always ends itself"
    assert crash["under_way_bytes"]
    same = verify_run(run_dir, out=tmp_path)
    assert same.exit_code == 0, same.in_words()


@pytest.mark.parametrize(("moment", "kept"), [("before", None), ("after", b"1")])
def test_what_was_written_and_not_synced_is_gone_with_the_power(moment, kept):
    with nodes(1, {**LOGGING, "appendfsync": "always"}) as system:
        system.rule_calls("n1", CallRule("fsync", "server", first=2, most=1, after=moment == "after"))
        assert system.call("n1", "SET", "first", "1") == b"OK"
        with pytest.raises(Unreachable):  # the reply would have followed the fsync
            system.call("n1", "SET", "second", "1")
        assert system.calls_seen("n1").what == "appendonly.aof.1.incr.aof"
        system.drop_unsynced("n1")
        system.start("n1")
        assert system.call("n1", "GET", "first") == b"1"
        assert system.call("n1", "GET", "second") == kept


@pytest.mark.parametrize(("moment", "answered"), [("before", False), ("after", True)])
def test_a_reply_is_sent_or_not_when_the_process_dies_at_sending_it(moment, answered):
    with nodes(1, ALONE) as system:
        system.call("n1", "PING")
        system.rule_calls("n1", CallRule("send", "server", most=1, after=moment == "after"))
        if answered:
            assert system.call("n1", "PING") == b"PONG"
        else:
            with pytest.raises(Unreachable, match="closed"):
                system.call("n1", "PING")
        assert not system.running("n1")


def test_a_call_that_never_comes_is_an_error_that_says_how_many_came():
    with nodes(1, ALONE) as system:
        executed = strike(system, "kill-at", call="rename", number=3)
        assert "n1 made 0 renames within 1000 ms, and the 3rd never came" in str(executed.error)
        assert system.running("n1")


def test_a_snapshot_that_breaks_off_stops_writes_until_one_succeeds():
    with nodes(1, {**ALONE, "save": "3600 1"}) as system:
        system.call("n1", "SET", "a", random.Random(1).randbytes(20_000))
        died = strike(system, "kill-child", for_ms=500, call="write", number=2, moment="after").evidence["inject"]
        assert died["died"]["of"].startswith("temp-")
        with pytest.raises(ReplyError, match="MISCONF"):
            system.call("n1", "SET", "a", "2")
        system.call("n1", "BGSAVE")
        wait(system, 500)
        assert system.call("n1", "SET", "a", "2") == b"OK"


def test_a_full_disk_stops_writes_and_they_go_on_when_there_is_room():
    with nodes(1, {**LOGGING, "appendfsync": "everysec"}) as system:
        system.rule_calls("n1", CallRule("write", "both", error="ENOSPC"))
        assert system.call("n1", "SET", "a", "acknowledged") == b"OK"
        with pytest.raises(ReplyError, match="MISCONF Errors writing to the AOF file: No space left on device"):
            system.call("n1", "SET", "a", "refused")
        assert system.call("n1", "GET", "a") == b"acknowledged"
        system.pass_calls("n1")
        wait(system, 1_500)
        assert system.call("n1", "SET", "a", "2") == b"OK"


def test_one_failed_fsync_stops_writes_for_good_where_the_log_is_synced_every_second():
    with nodes(1, {**LOGGING, "appendfsync": "everysec"}) as system:
        system.call("n1", "SET", "a", "1")
        system.rule_calls("n1", CallRule("fsync", "both", most=1, error="EIO"))
        wait(system, 60_000)
        assert system.calls_seen("n1").struck == 1
        with pytest.raises(ReplyError, match="MISCONF Errors writing to the AOF file: Input/output error"):
            system.call("n1", "SET", "a", "2")
