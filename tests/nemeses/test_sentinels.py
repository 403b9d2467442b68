"""Sentinels: what they say of the primary, and faults where they watch, on a system in memory."""

from __future__ import annotations

from typing import Any

import pytest
from fake_system import VirtualClock

from nemeses.failover import FailoverFault
from nemeses.fault import PlannedFault, Strike
from nemeses.link_evidence import Cut, before_cut, proof_of_cut
from nemeses.partition import LossFault
from nemeses.round_trips import RoundTrips
from nemeses.sentinels import Sight, newest, sentinels, sight
from nemeses.stream import Stream
from nemeses.system import InjectionFailed, Node, ReplyError, Unreachable
from nemeses.targets import Survey, parse, pick

NAMES = ("n1", "n2", "n3", "s1", "s2", "s3")
PORT = 6379


class Watched(VirtualClock):
    """Three servers and three Sentinels; a failover promotes the server after the primary."""

    nodes = {name: Node(name, f"10.0.0.{number}", PORT, 0) for number, name in enumerate(NAMES, 1)}

    def __init__(self) -> None:
        super().__init__()
        self.primaries = {"n1": None, "n2": "n1", "n3": "n1"}
        self.believed: dict[str, Sight | str] = dict.fromkeys(("s1", "s2", "s3"), Sight("n1", 0))
        self.dead: set[str] = set()
        self.severed: set[frozenset[str]] = set()
        self.coordinates = True
        self.asked: list[tuple[str, ...]] = []

    def call(self, node: str, *arguments: Any, timeout_ms: int = 1_000) -> Any:
        if node in self.dead:
            raise Unreachable(f"{node}: refused")
        match arguments:
            case ("PING",):
                return b"PONG"
            case ("SENTINEL", "MASTER", _):
                return self._master(node)
            case ("SENTINEL", "FAILOVER", _, *mode):
                return self._fail_over(node, mode)
            case ("CLUSTER", "NODES"):
                raise ReplyError("ERR This instance has cluster support disabled")
            case ("INFO", "replication"):
                return self._replication(node)
            case ("ROLE",):
                return [b"slave" if self.primaries[node] else b"master"]
        raise ReplyError(f"ERR unknown command {arguments}")

    def _master(self, node: str) -> list[bytes]:
        seen = self.believed[node]
        if isinstance(seen, str):
            raise ReplyError(seen)
        host = self.nodes[seen.primary].host if seen.primary in self.nodes else "10.9.9.9"
        said = {"ip": host, "port": PORT, "flags": self.flags(node), "config-epoch": seen.epoch}
        return [part for name, value in said.items() for part in (name.encode(), str(value).encode())]

    def flags(self, node: str) -> str:
        return "master"

    def _fail_over(self, node: str, mode: list[str]) -> bytes:
        if mode and not self.coordinates:
            raise ReplyError("ERR wrong number of arguments for 'sentinel|failover' command")
        self.asked.append((node, *mode))
        self.primaries |= {"n2": None, "n3": "n2"}
        self.believed[node] = Sight("n2", 1)
        return b"OK"

    def _replication(self, node: str) -> bytes:
        primary = self.primaries[node]
        if primary is None:
            return b"role:master\r\nconnected_slaves:0\r\n"
        return f"role:slave\r\nmaster_host:{self.nodes[primary].host}\r\nmaster_port:{PORT}\r\n".encode()

    def round_trip_ms(self, source: str, destination: str, *, payload: int = 0, timeout_ms: int = 5_000) -> float:
        if frozenset((source, destination)) in self.severed or {source, destination} & self.dead:
            raise Unreachable("no answer")
        return 0.1


def test_a_sentinel_names_the_primary_and_the_epoch_of_the_failover_that_made_it_so() -> None:
    system = Watched()
    assert sentinels(system) == ["s1", "s2", "s3"]
    assert sight(system, "s1") == Sight("n1", 0)
    system.believed["s1"] = Sight("elsewhere", 3)
    assert sight(system, "s1") == Sight(f"10.9.9.9:{PORT}", 3)


def test_who_leads_a_failover_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    system = Watched()
    monkeypatch.setattr(system, "flags", lambda node: "master,failover_in_progress" if node == "s2" else "master")
    system.believed["s2"] = Sight("n1", 1)  # the epoch is the new one already, the address is not
    assert sight(system, "s2") is None
    assert newest(system) == Sight("n1", 0)


def test_of_several_the_one_that_knows_the_latest_failover_is_believed() -> None:
    system = Watched()
    system.believed |= {"s2": Sight("n2", 1), "s3": "ERR No such master with that name"}
    assert newest(system) == Sight("n2", 1)
    system.dead = {"s1", "s2"}
    assert newest(system) is None


def test_the_primary_is_the_one_that_sentinels_name() -> None:
    system = Watched()
    system.primaries["n2"] = None
    system.believed["s2"] = Sight("n2", 1)
    survey = Survey.take(system)
    assert survey.primaries == ["n2"]
    assert pick(survey, system.nodes, parse("a primary"), Stream(7)) == ["n2"]
    assert [survey.role(name) for name in ("n1", "n2", "n3", "s1")] == [
        "deposed primary",
        "primary",
        "replica of n1",
        "Sentinel",
    ]


def strike(system: Watched, mode: str = "force", nodes: tuple[str, ...] = ("n1",)) -> Strike:
    planned = PlannedFault(0, "failover", "a primary", 0, 0, 7, {"mode": mode})
    return Strike(system, planned, list(nodes), 0, Stream(7), lambda step, value: None)


@pytest.mark.parametrize(("mode", "option"), [("force", ()), ("graceful", ("COORDINATED",))])
def test_a_failover_is_asked_of_one_sentinel(mode: str, option: tuple[str, ...]) -> None:
    system = Watched()
    evidence = FailoverFault().inject(strike(system, mode))
    assert evidence["promoted"]["n1"]["to"] == "n2"
    assert evidence["promoted"]["n1"]["epoch"] == 1
    assert system.asked == [(evidence["asked"], *option)]


@pytest.mark.parametrize(
    ("mode", "nodes", "words"),
    [
        ("takeover", ("n1",), "no failover of mode takeover: use one of graceful, force"),
        ("graceful", ("n1",), "knows no SENTINEL FAILOVER ... COORDINATED"),
        ("force", ("n2",), "fail over n1, their primary, and not n2"),
    ],
)
def test_what_sentinels_cannot_do_is_said(mode: str, nodes: tuple[str, ...], words: str) -> None:
    system = Watched()
    system.coordinates = False
    with pytest.raises(InjectionFailed, match=words):
        FailoverFault().inject(strike(system, mode, nodes))
    assert not system.asked


def isolated(node: str) -> list[Cut]:
    others = tuple(name for name in NAMES if name != node)
    return [Cut((node,), others), Cut(others, (node,))]


def test_a_cut_is_believed_when_no_request_crosses_any_more() -> None:
    system = Watched()
    survey, cuts = Survey.take(system), isolated("n1")
    before = before_cut(system, cuts, survey)
    assert isinstance(before, RoundTrips)
    system.severed = {frozenset(("n1", name)) for name in NAMES}
    proof = proof_of_cut(system, cuts, survey, before, 5_000)
    assert {frozenset(link) for link in proof["no_round_trip"]} == {frozenset(("n1", name)) for name in NAMES[1:]}
    assert not before.crossed(100)
    system.severed.clear()
    assert before.crossed(100)


def test_a_cut_that_leaves_one_link_open_is_no_cut() -> None:
    system = Watched()
    survey, cuts = Survey.take(system), isolated("n1")
    before = before_cut(system, cuts, survey)
    system.severed = {frozenset(("n1", name)) for name in NAMES[1:-1]}
    with pytest.raises(InjectionFailed, match="stay unanswered"):
        proof_of_cut(system, cuts, survey, before, 5_000)


def test_silence_of_a_dead_server_is_no_proof() -> None:
    system = Watched()
    before = before_cut(system, isolated("n1"), Survey.take(system))
    system.dead = {"n1"}
    with pytest.raises(InjectionFailed, match="refused"):
        proof_of_cut(system, isolated("n1"), Survey.take(system), before, 5_000)


def test_a_link_that_was_dead_before_proves_nothing() -> None:
    system = Watched()
    system.severed = {frozenset(("n1", name)) for name in NAMES}
    with pytest.raises(InjectionFailed, match="even before the cut"):
        before_cut(system, isolated("n1"), Survey.take(system))


def test_servers_outside_a_cluster_have_no_bus() -> None:
    system = Watched()
    with pytest.raises(InjectionFailed, match="no bus"):
        before_cut(system, [Cut(("n1",), ("n2",), "bus")], Survey.take(system))


class Lossy(Watched):
    """Every request between servers takes so long, once packets are lost."""

    took_ms = 200
    losing = False

    def lose(self, sources: Any, destinations: Any, *, percent: float) -> str:
        self.losing = True
        return "loss"

    def cut(self, sources: Any, destinations: Any, *, port: str = "all") -> str:
        raise AssertionError("nothing is cut here")

    def heal(self, handle: str) -> None:
        self.losing = False

    def heal_all(self) -> None:
        self.heal("loss")

    def round_trip_ms(self, source: str, destination: str, *, payload: int = 0, timeout_ms: int = 5_000) -> float:
        if self.losing:
            self.sleep_until(self.now_ns() + self.took_ms * 1_000_000)
        return 0.1


def losing(system: Lossy) -> Strike:
    planned = PlannedFault(0, "loss", "n1", 0, 0, 7, {"percent": 0.2})
    return Strike(system, planned, ["n1"], 0, Stream(7), lambda step, value: None)


def test_lost_packets_are_believed_when_a_request_takes_long() -> None:
    evidence = LossFault().inject(losing(Lossy()))
    assert evidence["round_trips"] == 1
    assert evidence["late"].keys() == {"n1"}


def test_requests_that_are_all_in_time_show_that_nothing_is_lost() -> None:
    system = Lossy()
    system.took_ms = 1
    with pytest.raises(InjectionFailed, match="21 requests were all answered in time"):
        LossFault().inject(losing(system))
