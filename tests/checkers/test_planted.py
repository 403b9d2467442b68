"""One anomaly of each kind, planted into a healthy history, is found."""

import pytest
from planting import PLANTERS, Recording
from simulated_cluster import SimulatedCluster

from checkers import Verdict, check, merge


@pytest.fixture(scope="module", params=["none", "failover"])
def healthy(request):
    cluster = SimulatedCluster(11, request.param)
    header = cluster.run().header
    recording = Recording(header, cluster.events)
    assert merge(finding.verdict for finding in check(recording.copy().history()).values()) is Verdict.VALID
    return recording


@pytest.mark.parametrize("kind", PLANTERS)
def test_a_planted_anomaly_is_found(kind, healthy):
    changed = healthy.copy()
    assert PLANTERS[kind](changed), "the history must have what it takes"
    counts = [finding.counts for finding in check(changed.history()).values()]
    assert any(kind in found for found in counts), counts
