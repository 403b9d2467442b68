"""The end of a run in a terminal, the explanation of a failing test, and the live display."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from sample_run import Sample, sample_run

from chaos.progress import Progress
from chaos.report.progress import LiveProgress
from chaos.report.story import story
from chaos.report.terminal import explain, print_summary
from chaos.report.words import counted, sentence, text, worst
from chaos.result import CLAIMS_HOLD, CLAIMS_UNKNOWN, NO_CLAIMS, ClaimResult
from chaos.run_result import RunResult, Undecided
from checkers.finding import Anomaly, Finding, Verdict


@pytest.fixture
def sample() -> Sample:
    return sample_run()


def printed(sample: Sample, **console: object) -> str:
    out = io.StringIO()
    options = {"file": out, "width": 80, **console}
    lines = story(sample.result, sample.history, sample.executed)
    print_summary(Console(**options), sample.result, Path("runs/sample").absolute(), lines)  # type: ignore[arg-type]
    return out.getvalue()


def test_the_summary_tells_verdict_claims_worst_anomalies_report_and_reproduction(sample: Sample) -> None:
    lost = sample.result.count("lost-write")

    shown = printed(sample)

    assert shown.startswith("✘ Broken: a claim is not kept: lost_writes: 0")
    assert f"✘ lost_writes: 0              measured {lost}\n" in shown
    assert "? torn_reads: 0               unknown: no MSET in the history\n" in shown
    assert "✔ unavailable: {longest: 5s}  measured 1.60 s\n" in shown
    assert "n4 took over slots 0-5460 from n1 (epoch 7)\n" in shown
    assert "report     runs/sample/report.html\n" in shown
    assert "reproduce  cachequake replay runs/primary-partition-sample\n" in shown


def test_without_a_terminal_there_is_no_colour_and_no_folding(sample: Sample) -> None:
    shown = printed(sample)

    assert "\x1b" not in shown
    assert sample.result.anomalies("lost-write")[0].explanation in shown


def test_in_a_terminal_lines_are_folded_under_their_text(sample: Sample) -> None:
    shown = printed(sample, force_terminal=True, no_color=True)

    assert max(len(line.replace("\x1b[1m", "").replace("\x1b[0m", "")) for line in shown.splitlines()) <= 80


def test_no_color_is_respected(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[31m" in printed(sample, force_terminal=True, color_system="standard")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in printed(sample, force_terminal=True, color_system="standard")


def test_the_explanation_is_the_summary_as_plain_text(sample: Sample) -> None:
    lines = story(sample.result, sample.history, sample.executed)

    assert explain(sample.result, Path("runs/sample").absolute(), lines) + "\n" == printed(sample)


def test_control_characters_of_a_server_do_not_reach_the_terminal(sample: Sample) -> None:
    sample.result.error = "-ERR \x1b]0;gone\x07"

    assert "-ERR \ufffd]0;gone\ufffd" in printed(sample)


def test_markup_of_rich_in_a_value_is_text(sample: Sample) -> None:
    sample.result.error = "[red]oops[/red]"

    assert "[red]oops[/red]" in printed(sample)


def test_the_sentence_of_each_verdict(sample: Sample) -> None:
    result = sample.result
    result.findings = {}
    result.claims = [ClaimResult("lost_writes: 0", True, 0)]
    result.claims_verdict = CLAIMS_HOLD
    assert sentence(result) == "Kept: the only claim holds; found: no anomaly."
    result.claims = [ClaimResult("lost_writes: 0", None, 0, "durability: not converged")]
    result.claims_verdict = CLAIMS_UNKNOWN
    assert sentence(result).endswith("whether the claims hold: lost_writes: 0 (durability: not converged).")
    result.claims, result.claims_verdict = [], NO_CLAIMS
    assert sentence(result) == "Nothing was claimed; found: no anomaly."
    result.verdict = Verdict.UNKNOWN
    result.findings = {"durability": Finding("durability", Verdict.UNKNOWN, "not converged")}
    assert sentence(result) == "Nothing was claimed, and not everything could be decided: durability: not converged."


def test_the_worst_anomalies_are_of_different_kinds_first(sample: Sample) -> None:
    listed = [Anomaly(kind, f"{kind} {n}", []) for kind in ("stale-read", "lost-write", "odd-thing") for n in (1, 2)]
    tally = {"stale-read": 2, "lost-write": 2, "odd-thing": 2}
    sample.result.findings = {"all": Finding("all", Verdict.INVALID, None, tally, {}, listed)}

    assert [anomaly.explanation for anomaly in worst(sample.result, 4)] == [
        "lost-write 1",
        "stale-read 1",
        "odd-thing 1",
        "lost-write 2",
    ]


def test_what_a_cache_came_to_is_one_line_of_the_summary(sample: Sample) -> None:
    measured = {
        "checked": 900,
        "hit_rate": 0.708,
        "loads": 3336,
        "loads_per_s": 369.1,
        "penetration": 0.17,
        "stampedes": 279,
        "stampede": {"largest": 9},
        "stale": {"reads": 1, "max_ms": 485.9},
    }
    sample.result.findings["cachefill"] = Finding("cachefill", Verdict.VALID, metrics=measured)
    wanted = (
        "71% hits; 369 loads a second, 17% of what does not exist; 279 stampedes of up to 9; 1 read up to 486 ms old"
    )
    assert f"  cache:      {wanted}" in " ".join(printed(sample, width=300).splitlines())
    measured |= {"loads": 0, "stampedes": 0, "stale": {"reads": 0, "max_ms": 0.0}}
    assert "cache:      71% hits\n" in printed(sample, width=300)
    measured["checked"] = 0
    assert "cache:" not in printed(sample, width=300)


def test_counts_are_words_also_for_unknown_kinds() -> None:
    assert counted("lost-write", 1) == "1 lost write"
    assert counted("stale-read", 1204) == "1,204 stale reads"
    assert counted("odd-thing", 2) == "2 odd thing (several)"


def test_long_values_are_cut() -> None:
    assert text({"a": None}) == '{"a":null}'
    assert text("x" * 500, 21) == "xxxxxxxxx...xxxxxxxxx"
    assert text(list(range(100_000))).endswith("(100,000 elements)")


def progress(elapsed_ms: int, ok: int, phase: str = "load", note: str | None = None) -> Progress:
    nodes = {"n1": "down", "n4": "primary"}
    return Progress(phase, elapsed_ms, 12_000, ok, 3, 2, ["partition of n1"], note, nodes)


def test_the_live_display_shows_progress_and_leaves_no_trace() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, color_system=None)
    with LiveProgress(console) as show:
        show(progress(1_000, 5_000))
        show(progress(2_000, 9_000))

    shown = out.getvalue()
    assert "2.0 of 12.0 s" in shown
    assert "4,000 a second; 9,000 ok" in shown
    assert "3 refused, 2 undecided" in shown
    assert "partition of n1" in shown
    assert "n1 down" in shown


def test_the_rate_is_that_of_the_last_second() -> None:
    show = LiveProgress(Console(file=io.StringIO()))

    rates = [show.rate(progress(elapsed, ok)) for elapsed, ok in ((0, 0), (500, 500), (1_000, 5_000), (1_500, 5_000))]

    assert [round(rate) for rate in rates[1:]] == [1_000, 5_000, 4_500]


def test_without_a_terminal_each_phase_is_one_line_and_nothing_moves() -> None:
    out = io.StringIO()
    with LiveProgress(Console(file=out, width=100)) as show:
        show(progress(0, 0, "start", note="run x, seed 7"))
        show(progress(1_000, 5_000))
        show(progress(2_000, 9_000))
        show(progress(12_000, 9_000, "heal"))

    assert out.getvalue().splitlines() == [
        "run x, seed 7",
        "   0.0 s  starting the servers",
        "   1.0 s  clients and faults at work",
        "  12.0 s  healing every fault",
    ]


def test_a_run_gives_its_counts(sample: Sample, tmp_path: Path) -> None:
    run = RunResult(tmp_path, sample.result)

    assert run.lost_writes == sample.result.count("lost-write")
    assert run.stale_reads == sample.result.count("stale-read")
    assert run.torn_reads == 0
    assert run.seed == 7
    assert "reproduce  cachequake replay" in run.explain()
    assert repr(run) == "<run primary-partition-sample: claims broken, findings invalid>"


def test_a_count_that_could_not_be_decided_is_not_zero(sample: Sample, tmp_path: Path) -> None:
    sample.result.findings["durability"] = Finding("durability", Verdict.UNKNOWN, "the nodes did not converge")

    with pytest.raises(Undecided, match="lost_writes cannot be counted: durability: the nodes did not converge"):
        _ = RunResult(tmp_path, sample.result).lost_writes
