"""Every kind of fault on real servers: injected, seen to hold, healed, and the cluster well again afterwards."""

from __future__ import annotations

import contextlib
import os
from typing import Any
from unittest import mock

import pytest
from clusters import CLIENTS, cluster
from isolated import run_isolated
from schedules import run_schedule

from chaos.deploy import namespace, servers
from chaos.errors import ServerError
from chaos.topologies.cluster import ClusterTopology
from nemeses import FAULTS, validate_options
from nemeses.bandwidth import SHARE
from nemeses.fault import ExecutedFault, PlannedFault
from nemeses.partition import SHAPES
from nemeses.skew import TOLERANCE_MS
from nemeses.system import ReplyError, System
from nemeses.targets import Survey

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(namespace.available() is not None, reason=f"no namespaces: {namespace.available()}"),
]
LONG_MS = 1_300
"""Long enough for nodes with a timeout of 500 ms to see a cut; `SHORT_MS` is not."""
SHORT_MS = 300
KEYS = 300

Spec = tuple[str, str, int, dict[str, Any]]
"""Kind, target, length in milliseconds, options."""

PROCESSES: list[Spec] = [
    ("kill", "a primary", LONG_MS, {}),
    ("terminate", "a replica", SHORT_MS, {}),
    ("restart", "a primary", SHORT_MS, {"keep_data": False}),
    ("restart", "a replica", SHORT_MS, {"down_ms": 200}),
    ("pause", "minority with replicas", SHORT_MS, {}),
]
CUTS: list[Spec] = [
    *(("partition", "a primary", LONG_MS, {"shape": shape}) for shape in SHAPES),
    ("partition", "minority", LONG_MS, {"shape": "halves", "with_clients": 1}),
    ("partition", "a replica", SHORT_MS, {"shape": "isolate"}),
    ("partition", "a primary", SHORT_MS, {"shape": "one-way-in"}),
]
FAILOVERS: list[Spec] = [("failover", "a primary", 10, {"mode": mode}) for mode in ("graceful", "force", "takeover")]
MIGRATIONS: list[Spec] = [
    ("migrate", "a primary", 10, {"method": "auto", "slots": 4}),
    ("migrate", "a primary", 10, {"method": "classic", "slots": 4, "batch": 1}),
    ("migrate", "primary of slot 7", 10, {"method": "classic", "slots": [7, 8]}),
]
CRASHES: list[Spec] = [
    ("migrate-crash", "a primary", LONG_MS, {"victim": victim, "slots": 4, "fix": True})
    for victim in ("source", "target")
]
CANCELLED: list[Spec] = [("migrate-cancel", "a primary", SHORT_MS, {"slots": 4})]
SLOW: list[Spec] = [
    ("delay", "a primary", SHORT_MS, {"delay_ms": 20}),
    ("delay", "a replica", SHORT_MS, {"delay_ms": 30, "jitter_ms": 10, "between": "clients"}),
    ("bandwidth", "a primary", SHORT_MS, {"kbit": 2_000}),
    ("skew", "minority with replicas", SHORT_MS, {"offset_ms": 5_000, "direction": "ahead"}),
    ("skew", "a replica", SHORT_MS, {"offset_ms": 5_000, "direction": "behind"}),
]


def installed() -> list[str]:
    """Servers to test with: what the machine has, and what the wheel brings along (found with nothing on PATH)."""
    found = []
    for path in (os.environ.get("PATH", ""), ""):
        with mock.patch.dict(os.environ, PATH=path), contextlib.suppress(ServerError):
            found.append(str(servers.find().path))
    return list(dict.fromkeys(found))


def fill(system: System) -> None:
    """Keys on every primary."""
    for primary in Survey.take(system).primaries:
        for number in range(KEYS):
            try:
                system.call(primary, "SET", f"k{number}", "v")
            except ReplyError:  # MOVED: another primary has it
                continue


def strike(server: str, *specs: Spec) -> list[tuple[ExecutedFault, list[tuple[str, dict[str, Any]]], str | None]]:
    """Runs inside: each fault on its own, one after the other, with its events and why it did not converge."""
    told = []
    os.environ[servers.VARIABLE] = server
    wanted = {capability for kind, *_ in specs for capability in FAULTS[kind].requires}
    with cluster(wanted=wanted) as (system, topology):
        fill(system)
        for number, (kind, target, for_ms, options) in enumerate(specs):
            events: list[tuple[str, dict[str, Any]]] = []
            at_ms = system.now_ns() // 1_000_000
            planned = PlannedFault(number, kind, target, at_ms, for_ms, number, validate_options(kind, options))
            executed = run_schedule(system, [planned], CLIENTS, lambda k, value, into=events: into.append((k, value)))
            told.append((executed[0], events, rest(system, topology)))
    return told


def rest(system: System, topology: ClusterTopology) -> str | None:
    return topology.converge(system, 15_000)


def carried_out(server: str, specs: list[Spec]) -> list[tuple[ExecutedFault, list[tuple[str, dict[str, Any]]]]]:
    """Run the faults with a server, and see of each that it held for its time, was told, and left nothing behind."""
    told = run_isolated(strike, server, *specs)
    for (kind, _, for_ms, _), (fault, events, why_not) in zip(specs, told, strict=True):
        assert fault.error is None, f"{kind}: {fault.error}"
        assert fault.injected_ns is not None
        assert fault.healed_ns is not None
        assert fault.healed_ns - fault.injected_ns >= for_ms * 1_000_000
        phases = [value["phase"] for _, value in events if value["phase"] != "step"]
        assert phases == ["inject", "heal"]
        assert fault.nodes
        assert fault.roles.keys() == set(fault.nodes)
        assert why_not is None, f"after {kind}: {why_not}"
    return [(fault, events) for fault, events, _ in told]


@pytest.fixture(params=installed(), ids=lambda path: str(servers.identify(path)).replace(" ", "-"))
def server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_processes_die_stand_still_and_come_back(server: str) -> None:
    killed, _, emptied, _, paused = (fault for fault, _ in carried_out(server, PROCESSES))
    assert "refused" in killed.evidence["inject"]["port"][killed.nodes[0]]
    before, after = emptied.evidence["inject"]["process"][emptied.nodes[0]]
    assert before != after
    assert paused.evidence["inject"]["paused"] == dict.fromkeys(paused.nodes, True)
    assert len(paused.nodes) == 2


def test_links_are_cut_in_every_shape_and_the_nodes_see_it(server: str) -> None:
    for (_, _, for_ms, options), (fault, events) in zip(CUTS, carried_out(server, CUTS), strict=True):
        evidence = fault.evidence["inject"]
        assert evidence["cut_ns"] < evidence["seen_ns"]
        if options["shape"] in ("data", "replication"):
            assert evidence["behind"]
        else:
            assert evidence["views" if for_ms == LONG_MS else "silent"]
            assert fault.evidence["heal"]["crossed"] is True
        inject = next(value for _, value in events if value["phase"] == "inject")
        assert inject["clients"] == list(range(options.get("with_clients", 0)))


def test_replicas_are_promoted(server: str) -> None:
    for fault, events in carried_out(server, FAILOVERS):
        (promotion,) = fault.evidence["inject"]["promoted"].values()
        assert promotion["to"] in fault.evidence["heal"]["primaries"]
        assert fault.nodes[0] not in fault.evidence["heal"]["primaries"]
        assert [value["step"] for _, value in events if value["phase"] == "step"] == ["promoted"]


def test_slots_move_to_another_primary(server: str) -> None:
    for (_, _, _, options), (fault, events) in zip(MIGRATIONS, carried_out(server, MIGRATIONS), strict=True):
        (moved,) = fault.evidence["inject"]["moved"]
        handed = [value for _, value in events if value.get("step") == "handover"]
        assert sorted(first for value in handed for first, _ in value["slots"])[0] == moved["slots"][0][0]
        assert {(value["from"], value["to"]) for value in handed} == {(fault.nodes[0], moved["to"])}
        opened = [value for _, value in events if value.get("step") == "open"]
        assert bool(opened) is (fault.evidence["inject"]["method"] == "classic")
        if options["method"] == "classic":
            assert fault.evidence["inject"]["method"] == "classic"


def test_a_crash_in_a_migration_leaves_it_half_done_and_it_can_be_mended(server: str) -> None:
    for fault, _ in carried_out(server, CRASHES):
        crash = fault.evidence["inject"]
        assert 0 < crash["moved"] < crash["of"]
        assert crash["open"]
        mended = fault.evidence["heal"]
        assert sum(last - first + 1 for first, last in mended["fixed"]) == 4
        assert mended["open"] == {}
        assert len(mended["keys"]) == 1


def test_a_migration_that_is_called_off_leaves_nothing_open(server: str) -> None:
    ((fault, _),) = carried_out(server, CANCELLED)
    assert 0 < fault.evidence["inject"]["moved"] < fault.evidence["inject"]["of"]
    assert fault.evidence["heal"]["open"] == {}
    assert list(fault.evidence["heal"]["keys"]) == fault.nodes


def test_links_become_slow_and_clocks_wrong(server: str) -> None:
    delay, jitter, narrow, ahead, behind = (fault.evidence for fault, _ in carried_out(server, SLOW))
    assert min(delay["inject"]["round_trip_ms"].values()) >= 40
    assert min(jitter["inject"]["round_trip_ms"].values()) >= 40
    assert all(link.startswith("c0->") for link in jitter["inject"]["round_trip_ms"])
    bytes_a_ms = narrow["inject"]["payload"] / min(narrow["inject"]["round_trip_ms"].values())
    assert bytes_a_ms < 2_000 / 8 / SHARE
    for evidence in (delay, jitter, narrow):
        assert max(evidence["heal"]["round_trip_ms"].values()) < min(evidence["inject"]["round_trip_ms"].values())
    for evidence, offset_ms in ((ahead, 5_000), (behind, -5_000)):
        assert all(abs(told - offset_ms) <= TOLERANCE_MS for told in evidence["inject"]["ahead_ms"].values())
        assert all(abs(told) <= TOLERANCE_MS for told in evidence["heal"]["ahead_ms"].values())
    assert len(ahead["inject"]["ahead_ms"]) == 2


def test_every_kind_that_this_deployment_can_do_was_tried() -> None:
    tried = {kind for kind, *_ in (*PROCESSES, *CUTS, *FAILOVERS, *MIGRATIONS, *CRASHES, *CANCELLED, *SLOW)}
    simulated = {"power-loss", "crash", "kill-at", "kill-child", "disk", "reorder"}
    elsewhere = {"loss", "resize"}  # resize is tested with what it resizes
    assert tried == FAULTS.keys() - simulated - elsewhere
