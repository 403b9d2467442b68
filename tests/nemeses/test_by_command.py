"""A failover that somebody else brings about: it counts once another server is primary, whatever the command says."""

from __future__ import annotations

import time

import pytest

from chaos.deploy.clock import Clock
from nemeses import FAULTS, PlannedFault
from nemeses.fault import Strike
from nemeses.stream import Stream
from nemeses.system import InjectionFailed, Node, ReplyError
from nemeses.view import NO_CLUSTER


class Names(Clock):
    """A primary known by its name only; the command may or may not put another server behind it."""

    capabilities: frozenset[str] = frozenset()
    nodes = {"n1": Node("n1", "primary", 1, 0)}
    command_timeout_ms = 50

    def __init__(self, works: bool) -> None:
        super().__init__(time.monotonic_ns())
        self.works = works
        self.run_id = "first"
        self.asked: list[tuple[str, str]] = []

    def call(self, node, *arguments, timeout_ms=1_000):
        if arguments[0] == "CLUSTER":
            raise ReplyError(f"ERR {NO_CLUSTER}")
        return f"role:master\r\nrun_id:{self.run_id}\r\n".encode()

    def commanded(self, fault):
        return fault == "failover"

    def command(self, fault, node):
        self.asked.append((fault, node))
        if self.works:
            self.run_id = "second"
        return {"status": 0}


def strike(system):
    planned = PlannedFault(0, "failover", "a primary", 0, 0, 1, {"mode": "graceful"})
    return Strike(system, planned, ["n1"], 0, Stream(1), lambda step, value: None)


def test_another_process_behind_the_name_is_the_proof():
    system = Names(works=True)
    evidence = FAULTS["failover"].inject(strike(system))
    assert system.asked == [("failover", "n1")]
    assert evidence["promoted"]["n1"]["to"] == "n1"
    assert evidence["commands"] == {"n1": {"status": 0}}


def test_a_load_that_ends_before_the_effect_was_seen_met_no_fault():
    system = Names(works=False)
    system.interrupt()
    with pytest.raises(InjectionFailed, match="give it a longer duration"):
        FAULTS["failover"].inject(strike(system))


def test_a_command_that_changes_nothing_is_an_error():
    with pytest.raises(InjectionFailed, match="another primary than n1"):
        FAULTS["failover"].inject(strike(Names(works=False)))
