"""Published failures on real servers: each shows what its scenario expects, and what would have prevented it does."""

import os
from pathlib import Path
from unittest import mock

import pytest

from chaos.deploy import preload, servers
from chaos.errors import ServerError
from chaos.routes import ROUTES
from chaos.run import run_scenario
from chaos.scenario import incident_names, load_scenario

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(preload.compiler() is None, reason="no C compiler to make the preloaded library with"),
]


@pytest.fixture(autouse=True)
def _package_found(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # where it is not installed


def installed():
    """Paths of the servers on this machine, by name and version; with nothing on PATH that of the wheel is found."""
    found = {}
    for path in (os.environ.get("PATH", ""), ""):
        with mock.patch.dict(os.environ, PATH=path):
            try:
                server = servers.find()
            except ServerError:
                continue
        found[str(server)] = str(server.path)
    return found


def run(name, tmp_path, server=None, seed=1, **overrides):
    scenario = load_scenario(name)
    deploy = "virtual" if ROUTES[scenario.clients.route].has_machines else "local"
    changed = load_scenario(name, {"deploy": deploy, **overrides})
    return changed.incident, run_scenario(changed, seed=seed, server=server, out=tmp_path).result


def test_a_wait_on_another_connection_promises_what_its_own_does_not(tmp_path):
    incident, elsewhere = run("incidents/wait-elsewhere", tmp_path)
    assert elsewhere.error is None
    assert incident.shown(elsewhere)
    own = {f"workload.{name}.wait.connection": "own" for name in ("register", "set")}
    _, honest = run("incidents/wait-elsewhere", tmp_path, **own)
    assert honest.count("lost-write")
    assert honest.findings["durability"].metrics["lost_though_a_replica_acknowledged"] == 0


def test_a_primary_that_restarts_empty_empties_its_replica(tmp_path):
    incident, emptied = run("incidents/empty-restart", tmp_path)
    assert emptied.error is None
    assert incident.shown(emptied)


@pytest.mark.soak
@pytest.mark.parametrize("name", incident_names())
def test_every_incident_shows_on_a_server_that_has_it(name, tmp_path):
    incident = load_scenario(name).incident
    concerned = [path for server, path in installed().items() if incident.concerns(server)]
    if not concerned:
        pytest.skip(f"needs one of {', '.join(incident.servers)}")
    tried = []
    while len(tried) < 3 and not any(incident.shown(result) for result in tried):
        tried.append(run(name, tmp_path, concerned[0], seed=1 + len(tried))[1])
    assert incident.shown(tried[-1]), [result.counts for result in tried]
