"""A comparison of real systems, in virtual time."""

import json

import pytest

from chaos.cli import run_command
from chaos.deploy import preload

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(preload.compiler() is None, reason="no C compiler to make the preloaded library with"),
]
SUITE = """\
name: two-routes
seeds: 2
duration: 1s
deploy: virtual
clients: {count: 3, rate: 100}
workload: {register: {keys: 20}}
systems:
  - {name: with a map, clients: {route: bare}}
  - {name: without, clients: {route: redirect}}
  - {name: with threads, cluster: {config: {io-threads: 4}}, clients: {route: bare}}
"""


def test_a_client_without_a_map_pays_with_hops_and_loses_nothing(tmp_path, capsys):
    file = tmp_path / "two-routes.suite.yaml"
    file.write_text(SUITE)
    assert run_command(["compare", str(file), "--out", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    rows = {row["system"]: row for row in told["rows"]}
    assert "io-threads" in rows["with threads"]["reason"]
    assert not rows["with threads"]["measured"]
    for row in (rows["with a map"], rows["without"]):
        assert len(row["runs"]) == 2
        assert row["measured"]["lost writes"] == {"least": 0, "median": 0, "most": 0}
        assert row["measured"]["operations"]["least"] > 50
    assert rows["without"]["measured"]["p50"]["median"] > rows["with a map"]["measured"]["p50"]["median"]
