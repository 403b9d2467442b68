"""Suites and comparisons: what is combined, what is refused, and what the table says."""

import csv
import io

import msgspec
import pytest

from chaos.compare import MEASURES, Comparison, Row, Spread
from chaos.errors import BadInput
from chaos.report.comparison import as_html, as_markdown, save
from chaos.result import Result, Server
from chaos.suite import builtin_suites, load_suite, merge
from checkers.finding import Finding, Verdict

SUITE = """\
name: small
seeds: 3
duration: 2s
clients: {count: 4}
systems:
  - {name: one, cluster: {topology: cluster}, clients: {route: bare}}
  - {name: two, cluster: {topology: cluster, replicas: 0}, clients: {route: redirect, count: 5}}
faults:
  - {name: none}
  - {name: kill, nemesis: [{fault: kill, target: primary of k0, at: 500ms, for: 1s}]}
  - {name: replica, nemesis: [{fault: kill, target: a replica, at: 500ms, for: 1s}]}
"""


def suite(tmp_path, text=SUITE, overrides=None):
    file = tmp_path / "small.suite.yaml"
    file.write_text(text)
    return load_suite(file, overrides)


def test_every_system_meets_every_fault_with_its_own_keys_over_the_common_ones(tmp_path):
    cells = suite(tmp_path).cells
    assert [(cell.system, cell.fault) for cell in cells] == [
        (system, fault) for system in ("one", "two") for fault in ("none", "kill", "replica")
    ]
    first, fifth = cells[0].scenario, cells[4].scenario
    assert (first.clients.count, fifth.clients.count, fifth.clients.route) == (4, 5, "redirect")
    assert (first.duration_ms, first.nemesis, len(fifth.nemesis)) == (2_000, [], 1)
    assert fifth.name == "two with kill"


def test_what_cannot_go_together_has_its_reason_and_no_scenario(tmp_path):
    last = suite(tmp_path).cells[-1]
    assert last.scenario is None
    assert "no replicas" in last.reason


def test_overrides_go_into_every_scenario(tmp_path):
    cells = suite(tmp_path, overrides={"duration": "900ms"}).cells
    assert {cell.scenario.duration_ms for cell in cells if cell.scenario} == {900}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("name: small", "nam: small"), "at least `name`"),
        (("seeds: 3", "seeds: none"), "seeds: 'none' is not a whole number from 1"),
        (("{name: two,", "{name: one,"), "'one' is there twice"),
        (("count: 5", "cound: 5"), "unknown key of clients with route redirect 'cound'; did you mean 'count'?"),
        (("systems:", "systemes:"), "systems: a list of mappings"),
    ],
)
def test_a_mistake_in_the_suite_is_bad_input_and_not_an_empty_row(tmp_path, change, message):
    with pytest.raises(BadInput) as refused:
        suite(tmp_path, SUITE.replace(*change))
    assert message in str(refused.value)


def test_a_suite_of_which_nothing_can_run_is_refused(tmp_path):
    text = SUITE.replace("target: primary of k0", "target: n9").replace("  - {name: none}\n", "")
    with pytest.raises(BadInput, match="none of its combinations"):
        suite(tmp_path, text.replace("topology: cluster}", "topology: cluster, replicas: 0}"))


def test_only_some_systems(tmp_path):
    assert {cell.system for cell in suite(tmp_path).only(["two"]).cells} == {"two"}
    with pytest.raises(BadInput, match="no system 'tow'; did you mean 'two'"):
        suite(tmp_path).only(["tow"])


def test_the_built_in_suites_can_be_read():
    for name in builtin_suites():
        assert any(cell.scenario for cell in load_suite(name).cells)
    assert "distributed-caching" in builtin_suites()


def test_mappings_are_merged_and_everything_else_is_replaced():
    assert merge({"a": {"b": 1, "c": [1]}, "d": 2}, {"a": {"c": [2]}, "d": {"e": 3}}) == {
        "a": {"b": 1, "c": [2]},
        "d": {"e": 3},
    }


COMPARISON = Comparison(
    "small",
    3,
    ["valkey 9.1.2"],
    [
        Row("<b>one", "none", ["runs/a"], {"lost writes": Spread(0, 0, 0), "p99": Spread(0.5, 1.25, 20)}),
        Row("two", "kill", reason="a | b <i>"),
    ],
)


def test_every_form_of_the_table_says_the_same():
    (head, first, second) = csv.reader(io.StringIO(COMPARISON.to_csv()))
    assert head == [
        "system",
        "fault",
        *(f"lost writes {end}" for end in ("median", "least", "most")),
        *(f"p99 (ms) {end}" for end in ("median", "least", "most")),
        "reason",
    ]
    assert first == ["<b>one", "none", "0", "0", "0", "1.25", "0.5", "20", ""]
    assert second == ["two", "kill", "", "", "", "", "", "", "a | b <i>"]
    assert "| <b>one | none | 0 | 1.25 (0.50 to 20) |" in as_markdown(COMPARISON)
    assert "| two | kill | - | - |" in as_markdown(COMPARISON)
    page = as_html(COMPARISON)
    assert "&lt;b&gt;one" in page
    assert "<b>" not in page
    assert "1.25 (0.50 to 20)" in page


def test_it_is_kept_in_every_form(tmp_path):
    assert sorted(file.suffix for file in save(COMPARISON, tmp_path)) == [".csv", ".html", ".json", ".md"]


def test_no_measure_is_there_twice():
    assert len({measure.name for measure in MEASURES}) == len(MEASURES)


def test_the_dip_is_the_worst_stretch_that_has_enough_reads():
    stretches = [{"rate": 1.0, "reads": 50}, {"rate": 0.25, "reads": 20}, {"rate": 0.0, "reads": 19}]
    found = {"balance": Finding("balance", Verdict.VALID, metrics={"hit_rate_over_time": stretches})}
    result = Result("r", "s", 1, Server("valkey", "9"), "local", Verdict.VALID, "none", {}, found, [], "again")
    (dip,) = [measure for measure in MEASURES if measure.name == "lowest hit rate"]
    assert dip.of(result) == 25.0
    assert dip.of(msgspec.structs.replace(result, findings={})) is None
