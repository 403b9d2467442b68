"""The results browser: what each page shows is what the run directory holds, and nothing else can be had."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tarfile

import msgspec
import pytest
from fake_cluster import FakeCluster
from memory_system import run
from starlette.testclient import TestClient

from chaos.judge import check_run
from chaos.result import read_result
from chaos.serve import catalogue
from chaos.serve.app import application
from chaos.serve.explorer import PAGE, Query, explore
from chaos.serve.live import Watcher
from checkers import load
from checkers.events import NEVER, TYPES, Event
from checkers.finding import Anomaly, Finding, Verdict

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A directory with one run that was checked, whose first key has a name that wants to be a script."""
    out = tmp_path_factory.mktemp("runs")
    run_dir, _ = run(out, FakeCluster())
    history = run_dir / "history.jsonl"
    history.write_text(history.read_text().replace('"key":"k1"', f'"key":{json.dumps(EVIL)}'))
    check_run(run_dir)
    (out / "no-run").mkdir()
    return out, run_dir


@pytest.fixture(scope="module")
def browser(runs):
    return TestClient(application(runs[0]))


def test_the_list_has_every_run_with_what_it_came_to(runs, browser):
    answer = browser.get("/")
    assert answer.status_code == 200
    result = json.loads((runs[1] / "results.json").read_text())
    assert f"/runs/{runs[1].name}" in answer.text
    assert result["claims_verdict"] in answer.text
    assert f"{sum(result['operations'].values()):,}" in answer.text
    assert "1 of 1 runs" in answer.text
    assert "0 of 1 runs" in browser.get("/", params={"q": "no such words"}).text
    assert "1 of 1 runs" in browser.get("/", params={"q": result["scenario"].upper(), "sort": "-seed"}).text


def test_pages_allow_no_script_but_our_own(browser, runs):
    for path in ("/", f"/runs/{runs[1].name}", f"/runs/{runs[1].name}/operations?key={EVIL}"):
        answer = browser.get(path)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert EVIL not in answer.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in answer.text


def test_a_run_offers_its_report_its_files_and_all_of_it_as_an_archive(browser, runs):
    run_dir = runs[1]
    assert "cachequake replay" in browser.get(f"/runs/{run_dir.name}").text
    assert browser.get(f"/runs/{run_dir.name}/report.html").text == (run_dir / "report.html").read_text()
    plan = browser.get(f"/runs/{run_dir.name}/files/plan.json")
    assert plan.content == (run_dir / "plan.json").read_bytes()
    assert plan.headers["content-type"].startswith("text/plain")
    archive = browser.get(f"/runs/{run_dir.name}/archive.tar.gz").content
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        history = tar.extractfile(f"{run_dir.name}/history.jsonl")
        assert history is not None
        assert history.read() == (run_dir / "history.jsonl").read_bytes()


@pytest.mark.parametrize(
    "path",
    [
        "/runs/nothing",
        "/runs/no-run",
        "/runs/%2e%2e",
        "/runs/%2e%2e/report.html",
        "/runs/..%2f..%2fetc/operations",
        "/runs/RUN/files/../../secret.txt",
        "/runs/RUN/files/%2e%2e/%2e%2e/secret.txt",
        "/runs/RUN/files/lock",
        "/runs/RUN/files/link.txt",
        "/static/../app.py",
        "/static/app.py",
    ],
)
def test_what_is_outside_of_the_runs_cannot_be_had(browser, runs, path):
    out, run_dir = runs
    (out.parent / "secret.txt").write_text("secret")
    if not (run_dir / "link.txt").is_symlink():
        os.symlink(out.parent / "secret.txt", run_dir / "link.txt")
    answer = browser.get(path.replace("RUN", run_dir.name))
    assert answer.status_code == 404
    assert "secret" not in answer.text


def test_another_host_name_is_turned_away(runs):
    browser = TestClient(application(runs[0]), base_url="http://rebound.example")
    assert browser.get("/").status_code == 400


def test_only_reading_is_possible(browser):
    for method in ("post", "put", "delete"):
        assert getattr(browser, method)("/").status_code == 405


def test_operations_are_those_that_were_asked_for(runs):
    history = load(runs[1] / "history.jsonl")
    operations = history.operations
    clients = history.header["clients"]
    query = Query(key="k2", client=1, outcome="ok", f="write", since_ms=1.0, until_ms=10_000.0)
    page = explore(history, query)
    wanted = [
        row
        for row in range(len(operations))
        if operations.key_name(row) == "k2"
        and operations.process[row] % clients == 1
        and not operations.final[row]
        and TYPES[operations.type[row]] == "ok"
        and operations.functions[operations.f[row]] == "write"
        and (operations.end[row] == NEVER or operations.end[row] >= 1e6)
        and operations.start[row] <= 1e10
    ]
    assert wanted
    assert page.found == len(wanted)
    assert page.rows.tolist() == wanted[:PAGE]
    assert sum(int(counts.sum()) for counts in page.density.values()) == len(wanted)
    assert explore(history, Query(key="nobody")).found == 0


def test_an_anomaly_leads_to_its_operations(runs, tmp_path):
    run_dir = shutil.copytree(runs[1], tmp_path / "made-up")
    operations = load(run_dir / "history.jsonl").operations
    proof = operations.index[[3, 5, 8]].tolist()
    lost = [Anomaly("lost-write", f"{EVIL} is lost", proof) for _ in range(30)]
    result = read_result(run_dir)
    result.findings["durability"] = Finding("durability", Verdict.INVALID, None, {"lost-write": 1_200}, {}, lost)
    result.save(run_dir)
    browser = TestClient(application(tmp_path))

    page = browser.get("/runs/made-up").text

    assert 'data-kind="lost-write" data-count="1200"' in page
    assert "1,200 lost writes" in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt; is lost") == 10
    assert "1,190 more are counted here and not shown." in page
    where = re.findall(r'href="([^"]*)" class="proof">3 operations<', page)
    assert set(where) == {f"/runs/made-up/operations?index={','.join(map(str, proof))}"}
    shown = browser.get(where[0]).text
    assert [int(number) for number in re.findall(r"<tr><td>(\d+)</td>", shown)] == proof
    assert f"3 of {len(operations):,} operations" in shown
    assert browser.get("/runs/made-up/operations?index=1,x").status_code == 400


def test_a_query_is_the_parameters_that_ask_for_it():
    query = Query((4, 2), "k1", 3, "n1", "write", "ok", 1.5, 20.0, 7)
    assert Query.of(query.asked()) == query
    assert Query.of(Query().asked()) == Query()
    assert Query(since_ms=0.0).asked() == {"since_ms": "0.0"}


def test_pages_of_operations_follow_one_another(browser, runs):
    history = load(runs[1] / "history.jsonl")
    last = explore(history, Query(page=10**6))
    assert len(history.operations) > PAGE
    assert last.rows[-1] == len(history.operations) - 1
    assert "next" in browser.get(f"/runs/{runs[1].name}/operations").text
    assert "next" not in browser.get(f"/runs/{runs[1].name}/operations?page=1000000").text
    wrong = browser.get(f"/runs/{runs[1].name}/operations?client=eve")
    assert wrong.status_code == 400
    assert "client: &#x27;eve&#x27; is no number" in wrong.text
    assert browser.get(f"/runs/{runs[1].name}/operations?client=inf").status_code == 400


def test_two_runs_stand_side_by_side(browser, runs):
    name = runs[1].name
    assert browser.get("/compare", params={"run": [name]}).status_code == 400
    both = browser.get("/compare", params={"run": [name, name]})
    assert both.status_code == 200
    assert both.text.count(f'href="/runs/{name}"') == 2
    assert 'class="differs"' not in both.text


def test_a_run_that_is_under_way_is_seen_as_it_grows(tmp_path):
    parts = tmp_path / "parts"
    parts.mkdir()
    encode = msgspec.json.Encoder().encode

    def add(name, *events):
        with (parts / name).open("ab") as file:
            file.write(b"".join(encode(event) + b"\n" for event in events))

    fault = {"fault": 0, "phase": "inject", "nodes": ["n1"]}
    add(
        "clients-0.jsonl",
        Event("invoke", "write", 0, time=1, key="k", value=1),
        Event("ok", "write", 0, time=2, key="k"),
    )
    add("controller.jsonl", Event("info", "kill", "nemesis", time=3_000_000, value=fault))
    add("controller.jsonl", Event("info", "view", "observer", value={"node": "n1", "state": "down", "role": None}))
    watcher = Watcher(tmp_path)
    seen = watcher.look()
    assert seen["running"]
    assert (seen["fresh"], seen["time_ms"]) == ({"ok": 1}, 3)
    assert seen["faults"] == [{"kind": "kill", "nodes": ["n1"], "number": 0}]
    assert seen["nodes"] == {"n1": {"state": "down", "role": None}}
    add("controller.jsonl", Event("info", "kill", "nemesis", time=4_000_000, value={**fault, "phase": "heal"}))
    with (parts / "clients-0.jsonl").open("ab") as file:
        file.write(b'{"type":"info","f":"write"')  # a line that is not whole yet
    again = watcher.look()
    assert (again["fresh"], again["total"], again["faults"]) == ({}, {"ok": 1}, [])
    with (parts / "clients-0.jsonl").open("ab") as file:
        file.write(b',"process":0}\n')
    assert watcher.look()["fresh"] == {"info": 1}


def test_a_run_that_was_never_checked_says_what_became_of_it(browser, runs, monkeypatch):
    out, run_dir = runs
    fresh = out / "fresh"
    (fresh / "parts").mkdir(parents=True)
    (fresh / "plan.json").write_bytes((run_dir / "plan.json").read_bytes())
    unfinished = browser.get("/runs/fresh").text
    assert "unfinished" in unfinished
    assert "cachequake check fresh" in unfinished
    assert "/static/live.js" not in unfinished  # it would find nothing, reload the page, and so on for ever
    (fresh / "parts" / "controller.jsonl").write_text("")
    page = browser.get("/runs/fresh").text
    assert "running" in page
    assert "/static/live.js" in page
    monkeypatch.setattr(catalogue, "RECENT_S", 0.2)
    events = browser.get("/runs/fresh/live").text.split("\n\n")
    assert json.loads(events[0].removeprefix("data: "))["phase"] == "starting"
    assert events[-2].startswith("event: over")
