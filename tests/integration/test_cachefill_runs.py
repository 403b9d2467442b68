"""A cache that clients fill from a database, on real servers: what is loaded, what is kept, and what is measured."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chaos.databases import FILE
from chaos.deploy import namespace, preload
from chaos.errors import BadInput, RunFailed
from chaos.run import run_scenario
from chaos.scenario import load_scenario
from chaos.store import HISTORY, read_executed
from checkers import load
from checkers.events import OK

pytestmark = pytest.mark.server
PASSWORD = "not-to-be-found"


def run(out, seed=7, **overrides):
    brief = {
        "duration": "2s",
        "clients": {"count": 8, "processes": 2, "route": "ring"},
        "nemesis": [],
        "claims": {"lost_writes": 0},
        **overrides,
    }
    return run_scenario(load_scenario("cachefill-stampede", brief), seed=seed, out=out)


def cachefill(done):
    return done.result.findings["cachefill"].metrics


def test_what_a_node_forgets_is_loaded_again_and_nothing_is_lost(tmp_path):
    items = {"keys": 100, "ttl": "10s", "writes": "5%", "load": "5ms", "size": 200}
    fault = {"fault": "restart", "target": "n2", "at": "1s", "for": "600ms"}
    done = run(tmp_path, workload={"cachefill": items}, nemesis=[fault])
    assert read_executed(done.run_dir).error is None
    measured = cachefill(done)
    assert measured["reads"]["hit"] > measured["reads"]["load"] > 50
    assert measured["stampedes"] > 0
    struck, _ = measured["storms"]
    assert struck["hit_rate_lowest"] < struck["hit_rate_before"]
    assert 0 < measured["left"]["entries"] <= 100
    durability = done.result.findings["durability"]
    assert not durability.counts
    assert durability.metrics["checked_by_object"]["register"] > 20
    operations = load(done.run_dir / HISTORY).operations
    finals = operations.final & (operations.type == OK)
    assert finals.sum() == 100, "the database is read in the end, item by item"
    assert (done.run_dir / FILE).is_file()


def test_a_node_that_may_not_hold_everything_evicts(tmp_path):
    cluster = {"topology": "shards", "primaries": 1, "config": {"maxmemory": "3mb", "maxmemory-policy": "allkeys-lru"}}
    items = {"keys": 2_000, "skew": 0.0, "ttl": "1m", "writes": "0%", "load": "0ms", "size": 4_000}
    measured = cachefill(run(tmp_path, cluster=cluster, workload={"cachefill": items}))
    assert measured["evicted"]["n1"] > 100
    assert measured["left"]["entries"] < 1_000


def test_redis_py_fills_a_cluster_and_threads_share_their_flights(tmp_path):
    cluster = {"primaries": 3, "replicas": 0, "config": {"cluster-node-timeout": "1s"}}
    items = {"keys": 5, "ttl": "100ms", "load": "20ms", "single_flight": True}
    done = run(
        tmp_path,
        duration="1500ms",
        cluster=cluster,
        clients={"count": 6, "route": "cluster", "rate": 50},
        workload={"cachefill": items},
    )
    measured = cachefill(done)
    assert min(measured["reads"][via] for via in ("hit", "load", "flight")) > 0
    assert measured["stampedes"] == 0
    assert measured["writes"]["ok"] > 0
    assert not done.result.findings["durability"].counts


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="virtual time preloads a library: Linux only")
@pytest.mark.skipif(preload.compiler() is None, reason="no C compiler to make the preloaded library with")
def test_in_virtual_time_a_seed_gives_the_same_bytes(tmp_path):
    brief = {"deploy": "virtual", "duration": "1s", "clients": {"count": 4, "route": "ring"}}
    options = {"keys": 20, "ttl": "200ms", "load": "5ms", "missing": "5%", "jitter": "50%", "single_flight": True}
    brief["workload"] = {"cachefill": {**options, "negative_ttl": "100ms"}}
    first, second = (run(tmp_path / side, **brief).run_dir for side in ("first", "second"))
    assert (first / HISTORY).read_bytes() == (second / HISTORY).read_bytes()
    assert load(first / HISTORY).operations.rows("write").size > 0


# PostgreSQL


def programs():
    """The directory of PostgreSQL's programs; None without them."""
    found = shutil.which("initdb") or next(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), None)
    return None if found is None else Path(found).resolve().parent


def owner():
    """Whom the server is to run as, for it refuses root; None for the user that we are."""
    if os.geteuid() != 0:
        return None
    return next(user for user in ("postgres", "nobody") if user in {entry.pw_name for entry in pwd.getpwall()})


@contextmanager
def postgres() -> Iterator[Path]:
    """A server of its own, which listens on a socket in the directory that is yielded, and asks for a password."""
    user, where = owner(), programs()
    with tempfile.TemporaryDirectory(prefix="cq-pg-") as directory:
        home, secret = Path(directory), Path(directory, "secret")
        secret.write_text(PASSWORD)
        if user is not None:
            for path in (home, secret):
                shutil.chown(path, user)
        quiet = {"cwd": home, "user": user, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        data, log = str(home / "data"), str(home / "log")
        initdb = [where / "initdb", "-D", data, "-U", "quake", "-A", "scram-sha-256", f"--pwfile={secret}", "-N"]
        subprocess.run([*initdb, "--locale=C"], check=True, **quiet)
        start = ["-o", f"-c listen_addresses='' -c unix_socket_directories={home} -c fsync=off"]
        subprocess.run([where / "pg_ctl", "-D", data, "-l", log, "-w", *start, "start"], check=True, **quiet)
        try:
            yield home
        finally:
            subprocess.run([where / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop"], check=True, **quiet)


@pytest.mark.skipif(programs() is None, reason="PostgreSQL (Debian: package postgresql) is not installed")
def test_postgresql_is_the_database_and_its_password_stays_where_it_was(tmp_path, monkeypatch):
    psycopg = pytest.importorskip("psycopg")
    monkeypatch.setenv("PGUSER", "quake")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    with postgres() as home:
        url = f"postgresql:///postgres?host={home}"
        done = run(tmp_path, duration="1s", workload={"cachefill": {"keys": 50, "database": url, "writes": "20%"}})
        measured = cachefill(done)
        assert measured["loads"] > 20
        assert measured["writes"]["ok"] > 20
        assert done.result.findings["durability"].metrics["kept"] > 0
        assert not done.result.findings["durability"].counts
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall() == []
        monkeypatch.setenv("PGPASSWORD", "wrong")
        with pytest.raises(RunFailed, match=r"the database .* cannot be used: .*password authentication failed"):
            run(tmp_path, duration="1s", workload={"cachefill": {"database": url}})
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path


def test_a_database_that_cannot_be_reached_is_refused_before_anything_starts(tmp_path):
    items = {"cachefill": {"database": "postgresql://db.example/items"}}
    with pytest.raises(BadInput, match="virtual use sqlite"):
        run(tmp_path, deploy="virtual", clients={"count": 2, "route": "ring"}, workload=items)
    if namespace.available() is None:
        with pytest.raises(BadInput, match=r"network of its own, .* postgresql:///NAME\?host=/DIRECTORY"):
            run(tmp_path, workload=items)
