"""Servers that somebody else runs: each managed offering, emulated with TLS, announced names and refused commands.

What every test of a run asks of the servers afterwards: that nothing was tried that the offering refuses, that only
the keys of somebody else are left and have not changed, and that the password stands nowhere.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from leftovers import controllers
from offerings import ADMIN, PASSWORD, USER, Offering
from tls_server import tls_server

from chaos.access import PASSWORD as PASSWORD_VARIABLE
from chaos.access import USER as USER_VARIABLE
from chaos.clean import clean_up
from chaos.deploy.endpoint.deployment import MARKER, EndpointDeployment
from chaos.deploy.endpoint.profiles import profiles
from chaos.deploy.kinds import DEPLOYMENTS
from chaos.errors import BadInput, ServerError
from chaos.run import run_scenario
from chaos.scenario import load_scenario
from chaos.store import read_executed
from checkers import load

pytestmark = [pytest.mark.server]
ROOT = Path(__file__).resolve().parents[2]
WORKLOAD = {"register": {"keys": 20}, "set": {"keys": 5}, "counter": {"keys": 5}, "multikey": {"groups": 5}}
SUITE = [
    ("memorystore-cluster", "cluster"),
    ("memorystore-standard", "bare"),
    ("elasticache-cluster-enabled", "bare"),
    ("elasticache-cluster-disabled", "replica"),
    ("elasticache-serverless", "bare"),
    ("cluster", "redirect"),
]
"""Every managed profile, and a cluster of one's own, by one of the routes that lead to it."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    return tls_server(tmp_path_factory.mktemp("server"))


@contextmanager
def emulated(profile, server, directory, monkeypatch):
    """An offering with a user of ours, whose right to do things is watched."""
    home = directory / "offering"
    home.mkdir()
    monkeypatch.delenv(USER_VARIABLE, raising=False)  # its owner has a password only
    with Offering(profile, server, home) as offering:
        monkeypatch.setenv(USER_VARIABLE, USER)
        monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
        yield offering


def written(directory, **scenario):
    """A scenario file for an endpoint."""
    path = directory / "endpoint.quake.yaml"
    given = {
        "name": "endpoint",
        "duration": "2s",
        "deploy": "endpoint",
        "workload": WORKLOAD,
        "clients": {"count": 4, "timeout": "8s"},
    }
    path.write_text(yaml.safe_dump(given | scenario), encoding="utf-8")
    return path


def assert_as_before(offering, *directories):
    assert offering.refused() == []
    assert offering.contents() == offering.before
    for directory in directories:
        files = [path for path in directory.rglob("*") if path.is_file()]
        assert files
        for secret in (PASSWORD, ADMIN):
            assert not [path for path in files if secret.encode() in path.read_bytes()]


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
    return found


@pytest.mark.parametrize(("profile", "route"), SUITE)
def test_an_offering_passes_its_suite(profile, route, server, tmp_path, monkeypatch, capfd):
    out = tmp_path / "runs"
    with emulated(profile, server, tmp_path, monkeypatch) as offering:
        able = profiles()[profile].faults
        asks = able and profile != "cluster"  # which has a command of its own
        access = {}
        if profile == "memorystore-standard":  # the password may as well be in a file
            monkeypatch.delenv(PASSWORD_VARIABLE)
            (tmp_path / "password").write_text(f"{PASSWORD}\n")
            access = {"password_file": str(tmp_path / "password")}
        path = written(
            tmp_path,
            endpoint=offering.scenario(faults={"failover": offering.failover} if asks else {}, **access),
            clients={"count": 4, "timeout": "8s", "route": route},
            nemesis=[{"fault": kind, "target": "primary of k0", "at": "200ms", "for": "200ms"} for kind in able],
            claims={"torn_reads": 0, "phantom_values": 0, "split_ownership": 0},
        )
        done = run_scenario(load_scenario(path), seed=7, out=out, allow_faults_on=["localhost"])

        assert done.result.error is None
        assert done.result.exit_code == 0
        assert done.result.operations["ok"] > 200
        history = load(done.run_dir / "history.jsonl")
        assert history.header["server"].startswith("redis ")
        phases = [event.value["phase"] for event in history.context if event.f == "phase"]
        assert phases == ["start", "stop", "healed", "converged", "closed"]
        for fault in read_executed(done.run_dir).faults:
            assert fault.injected_ns is not None
            assert fault.evidence["inject"]["promoted"].keys() == set(fault.nodes)
        held = {key for event in history.context if event.f == "holds" for key in event.value["keys"]}
        assert {"k0", "s0", "{g0}:a"} <= held
        assert not any("cq-" in key for key in held)
        assert PASSWORD not in "".join(capfd.readouterr())
        assert_as_before(offering, out)


def test_what_an_offering_lacks_is_refused_before_anything_is_sent(server, tmp_path, monkeypatch):
    nemesis = [{"fault": "kill", "at": "1s", "for": "1s"}]
    out = tmp_path / "runs"
    with emulated("elasticache-serverless", server, tmp_path, monkeypatch) as offering:
        here = offering.scenario()

        def refusal(allowed=("localhost",), **scenario):
            loaded = load_scenario(written(tmp_path, **{"endpoint": here, **scenario}))
            with pytest.raises(BadInput) as refused:
                run_scenario(loaded, seed=1, out=out, allow_faults_on=allowed)
            return str(refused.value)

        assert refusal(nemesis=nemesis) == "fault kill needs kill, which elasticache-serverless does not offer"
        assert "needs promotion, which elasticache-serverless" in refusal(nemesis=[{"fault": "failover", "at": "1s"}])
        assert "needs slots, which elasticache-serverless" in refusal(nemesis=[{"fault": "migrate", "at": "1s"}])
        waits = {"register": {"wait": {"replicas": 1, "timeout": "100ms"}}}
        assert refusal(workload=waits) == "workload register needs WAIT, which elasticache-serverless does not offer"
        enabled = {**here, "profile": "elasticache-cluster-enabled"}
        failover = [{"fault": "failover", "at": "1s", "for": "1s"}]
        assert "needs a command of yours" in refusal(endpoint=enabled, nemesis=failover)
        commanded = {**enabled, "faults": {"failover": offering.failover}}
        needs = "faults on localhost need your leave: add --allow-faults-on localhost"
        assert refusal(endpoint=commanded, nemesis=failover, allowed=["other"]) == needs
        assert not out.exists()
        assert_as_before(offering)


def test_the_keys_of_a_killed_run_are_removed_by_clean(server, tmp_path, monkeypatch):
    out = tmp_path / "runs"
    for kind in DEPLOYMENTS.values():  # what other tests share is not ours to remove
        monkeypatch.setattr(type(kind), "clean_shared", lambda self: [])
    with emulated("elasticache-cluster-disabled", server, tmp_path, monkeypatch) as offering:
        path = written(tmp_path, endpoint=offering.scenario(), duration="60s")
        child = subprocess.Popen(
            [sys.executable, "-c", "from chaos.cli import main; main()", "run", str(path), "--out", str(out)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )
        run_dir = wait_for(lambda: (out / "latest").exists() and (out / "latest").resolve())
        clients = run_dir / "parts" / "clients-0.jsonl"
        wait_for(lambda: clients.exists() and clients.stat().st_size > 20_000)
        assert clean_up(out) == [], "a run that goes on is left alone"
        (controller,) = controllers(run_dir)
        os.kill(controller, signal.SIGSTOP)  # it would end the run in order once its parent is gone
        os.kill(child.pid, signal.SIGKILL)  # which would clean up
        os.kill(controller, signal.SIGKILL)
        child.communicate(timeout=30)
        wait_for(lambda: not controllers(run_dir))
        prefix = (run_dir / MARKER).read_text()
        assert any(key.startswith(prefix) for key in offering.contents())

        (said,) = wait_for(lambda: clean_up(out))  # the lock outlives the process by a moment

        assert "keys from its endpoint" in said
        assert clean_up(out) == []
        assert_as_before(offering, out)


def test_a_wrong_password_and_a_wrong_name_are_told_and_nothing_is_written(server, tmp_path, monkeypatch):
    with emulated("elasticache-serverless", server, tmp_path, monkeypatch) as offering:

        def started(**more):
            spec = load_scenario(written(tmp_path, endpoint=offering.scenario() | more)).endpoint
            deployment = EndpointDeployment(spec, tmp_path, began_ns=time.monotonic_ns())
            try:
                deployment.start_all()
            finally:
                deployment.stop_all()
            return deployment

        by_address = [offering.urls[0].replace("localhost", "127.0.0.1")]
        with pytest.raises(ServerError, match="certificate"):
            started(urls=by_address)
        assert started(urls=by_address, verify=False).published["n1"][0] == "localhost"
        assert_as_before(offering)
        secret = tmp_path / "secret"
        secret.write_text("wr0ng-password\n")
        with pytest.raises(ServerError, match="WRONGPASS") as told:
            started(password_file=str(secret))
        assert "wr0ng-password" not in str(told.value)
        assert offering.contents() == offering.before
