"""One anomaly of each kind planted into a healthy run is found, by the checker whose business it is."""

from copy import deepcopy
from typing import Any

import pytest
from plants import PLANTS
from tiny_store import TinyStore

from checkers import Verdict, check
from checkers.history import Event, from_events


@pytest.fixture(scope="module", params=["none", "failover"])
def healthy(request: pytest.FixtureRequest) -> tuple[dict[str, Any], list[Event]]:
    store = TinyStore(11, request.param)
    header = store.run().header
    return header, store.events


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_anomaly_is_found(name: str, healthy: tuple[dict[str, Any], list[Event]]) -> None:
    checker, kind, plant = PLANTS[name]
    header, events = healthy
    assert check(from_events(deepcopy(events), header), [checker])[checker].verdict is Verdict.VALID
    changed = deepcopy(events)
    plant(changed)
    finding = check(from_events(changed, header), [checker])[checker]
    assert finding.verdict is Verdict.INVALID
    assert kind in finding.counts
    assert set(finding.counts) <= {kind, "lost-write"}, "a plant may hide a write besides, but makes no other anomaly"
