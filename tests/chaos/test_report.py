"""The report: its figures are those of the history, and nothing that it shows can do anything."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from sample_run import CUT, DEMOTED, HEALED, MS, TAKEOVER, Sample, sample_run

from chaos.report.charts import embed
from chaos.report.html import page, write_report
from chaos.report.markup import Html, escaped, tag
from chaos.report.series import roles, timeline
from chaos.report.words import KINDS
from checkers.events import Event
from checkers.finding import Anomaly, Finding, Verdict
from checkers.history import from_events

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def sample() -> Sample:
    return sample_run()


class Elements(HTMLParser):
    """Every element of a page with its attributes, and whether each is closed where it was opened."""

    VOID = frozenset({"meta", "link", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((name, dict(attributes)))
        if name not in self.VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name


def chart_data(text: str) -> dict:
    """The block of data from which the charts of a page are drawn."""
    return json.loads(re.search(r'<script type="application/json" id="chart-data">(.*?)</script>', text)[1])


def test_write_report_makes_one_well_formed_file_that_needs_nothing_else(sample: Sample, tmp_path: Path) -> None:
    path = write_report(tmp_path, sample.result, sample.history, sample.executed)

    text = path.read_text(encoding="utf-8")
    elements = Elements(text)
    assert elements.open == []
    assert path == tmp_path / "report.html"
    assert not {"link", "img", "iframe", "object", "form"} & {name for name, _ in elements.found}
    attributes = {name for _, given in elements.found for name in given}
    assert not {"src", "style"} & attributes
    assert not [name for name in attributes if name.startswith("on")]
    ids = {given["id"] for _, given in elements.found if "id" in given}
    targets = {given["href"] for _, given in elements.found if "href" in given}
    assert targets <= {f"#{id_}" for id_ in ids}


def test_only_the_scripts_and_the_style_sheet_that_the_page_carries_may_run(sample: Sample) -> None:
    text = page(sample.result, sample.history, sample.executed)

    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1])
    code = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(code) == 2
    assert f"script-src {' '.join(embed.digest(part) for part in code)};" in policy
    assert f"style-src {embed.digest(re.search('<style>(.*?)</style>', text, re.DOTALL)[1])};" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy


def test_every_chart_has_a_place_its_data_and_a_name(sample: Sample) -> None:
    text = page(sample.result, sample.history, sample.executed)

    told = chart_data(text)
    places = {given["id"]: given for _, given in Elements(text).found if given.get("class") == "plot"}
    assert set(places) == set(told["charts"])
    assert {"chart-throughput", "chart-latency", "chart-roles", "intervals-1"} <= set(places)
    for id_, chart in told["charts"].items():
        assert places[id_]["aria-label"]
        assert set(chart["specs"]) <= set(told["specs"])
        data = told["shared"][chart["data"]] if isinstance(chart["data"], str) else chart["data"]
        for name in chart["specs"]:
            assert set(re.findall(r'"data": {"name": "(\w+)"}', json.dumps(told["specs"][name]))) <= set(data)


def test_a_page_of_a_source_tree_has_tables_and_says_how_to_get_charts(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed, "script", lambda name: None)

    text = page(sample.result, sample.history, sample.executed)

    assert "pip install -e ." in text
    assert "<script" not in text
    assert 'class="plot"' not in text
    assert "Operations a second and latency as a table" in text


def test_the_page_tells_verdict_claims_anomalies_and_how_to_reproduce(sample: Sample) -> None:
    lost, stale = sample.result.count("lost-write"), sample.result.count("stale-read")
    assert lost
    assert stale

    text = html.unescape(page(sample.result, sample.history, sample.executed))

    assert f"lost_writes: 0 (measured {lost}); found: {lost} lost writes and {stale} stale reads." in text
    assert "no MSET in the history" in text
    assert sample.result.anomalies("lost-write")[0].explanation in text
    assert "cachequake replay runs/primary-partition-sample" in text
    assert "valkey 9.1.2" in text
    assert "n4 took over slots 0-5460 from n1 (epoch 7)" in text


def test_what_came_from_a_server_a_key_or_a_file_is_text(tmp_path: Path) -> None:
    sample = sample_run(key=EVIL)
    sample.result.error = EVIL
    sample.result.reproduce = EVIL
    sample.history.header["server"] = EVIL
    sample.history.header["nodes"][EVIL] = {}
    sample.history.warnings.append(EVIL)
    sample.history.context[0].value["node"] = EVIL
    sample.executed[0].kind = EVIL
    (tmp_path / "scenario.yaml").write_text(f"name: {EVIL}\n")

    text = write_report(tmp_path, sample.result, sample.history, sample.executed).read_text()

    assert html.escape(EVIL) in text
    assert EVIL not in text
    assert EVIL in json.dumps(chart_data(text))
    scripts = [given.get("type") for name, given in Elements(text).found if name == "script"]
    assert scripts == ["application/json", None, None]


def test_a_closed_tag_in_a_value_cannot_end_the_style_sheet_or_an_attribute() -> None:
    assert tag("p", "</style>", title='" onclick="x') == '<p title="&quot; onclick=&quot;x">&lt;/style&gt;</p>'
    assert tag("b", Html("<i></i>"), escaped("\x1b[31m<")) == "<b><i></i>\ufffd[31m&lt;</b>"


def test_an_empty_history_still_has_a_report(sample: Sample) -> None:
    Elements(page(sample.result, from_events([]), []))


def test_a_report_of_a_hundred_thousand_operations_stays_below_two_megabytes(tmp_path: Path) -> None:
    sample = sample_run(rate=1_150)
    assert len(sample.history.operations) > 100_000
    indexes = sample.history.operations.index.tolist()
    anomalies = [
        Anomaly(name, "words " * 60, indexes[50 * place : 50 * place + 20], fault=0)
        for name in KINDS
        for place in range(60)
    ]
    counts = dict.fromkeys(KINDS, 60)
    sample.result.findings["all"] = Finding("all", Verdict.INVALID, None, counts, {"checked": 1}, anomalies)

    path = write_report(tmp_path, sample.result, sample.history, sample.executed)

    assert path.stat().st_size < 2_000_000


def test_throughput_counts_every_operation_of_the_load_once(sample: Sample) -> None:
    operations = sample.history.operations

    series = timeline(sample.history)

    seconds = series.bucket_ns / 1e9
    for name, code in (("fail", 0), ("ok", 1), ("info", 2)):
        expected = int(((operations.type == code) & ~operations.final).sum())
        assert round(series.rates[name].sum() * seconds) == expected


def test_latency_quantiles_are_those_of_a_sort() -> None:
    took = [5, 1, 4, 2, 3, 100]
    events = []
    for process, milliseconds in enumerate(took):
        events.append(Event("invoke", "read", process, time=0, key="k0"))
        events.append(Event("ok", "read", process, time=milliseconds * MS, key="k0", value=1))
    events.append(Event("info", "phase", "controller", time=900 * MS, value={"phase": "stop"}))

    series = timeline(from_events(events))

    assert series.bucket_ns == 100 * MS
    assert series.latency_ms["p50"][0] == 3
    assert series.latency_ms["max"][:2].tolist() == [5, 100]
    assert np.isnan(series.latency_ms["p99"][2:]).all()


def test_a_failover_can_be_seen_in_the_roles(sample: Sample) -> None:
    segments = roles(sample.history)

    assert list(segments) == ["n1", "n2", "n3", "n4", "n5", "n6"]
    assert [(part.start, part.state) for part in segments["n4"]] == [(0, "replica"), (TAKEOVER, "primary")]
    assert [part.state for part in segments["n1"]] == ["primary", "refusing", "replica"]
    assert segments["n1"][-1].start == DEMOTED


def test_the_fault_is_a_band_over_the_time_it_held(sample: Sample) -> None:
    (band,) = chart_data(page(sample.result, sample.history, sample.executed))["shared"]["run"]["faults"]

    assert (band["what"], band["a"], band["b"]) == ("0 partition of n1", CUT / 1e9, HEALED / 1e9)


def test_operations_of_an_anomaly_are_listed_with_process_node_and_outcome(sample: Sample) -> None:
    anomaly = sample.result.anomalies("stale-read")[0]
    operations = sample.history.operations
    row = operations.index.tolist().index(anomaly.operations[0])

    text = page(sample.result, sample.history, sample.executed)

    cells = re.findall(rf"<tr><td>{anomaly.operations[0]}</td>(.*?)</tr>", text)
    assert f"<td>p{operations.process[row]}</td>" in cells[0]
    assert "<td>ok</td><td>n1</td>" in cells[0]
