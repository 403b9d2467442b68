"""Small histories kept on disk, each with what the checkers must say of it, word for word.

`NAME.jsonl` is the history and `NAME.expected.json` the findings by checker: verdict, counts, the metrics that
matter, and every anomaly.
"""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from checkers import check, load

GOLDEN = Path(__file__).parents[1] / "golden"
FIELDS = ("kind", "explanation", "operations", "key", "fault")
EXPECTED = sorted(GOLDEN.glob("*.expected.json"))


@pytest.mark.parametrize("path", EXPECTED, ids=lambda path: path.name.removesuffix(".expected.json"))
def test_golden_history(path: Path) -> None:
    expected: dict[str, dict[str, Any]] = msgspec.json.decode(path.read_bytes())
    findings = check(load(path.with_name(path.name.replace(".expected.json", ".jsonl"))), expected)
    for name, wanted in expected.items():
        found = msgspec.to_builtins(findings[name])
        found["metrics"] = {metric: found["metrics"].get(metric) for metric in wanted["metrics"]}
        found["anomalies"] = [{field: anomaly[field] for field in FIELDS} for anomaly in found["anomalies"]]
        assert {field: found[field] for field in wanted} == wanted


def test_every_kind_has_a_golden_history() -> None:
    kinds = {
        kind
        for path in EXPECTED
        for finding in msgspec.json.decode(path.read_bytes()).values()
        for kind in finding["counts"]
    }
    assert kinds >= {
        "lost-write",
        "duplicate-write",
        "phantom-value",
        "failed-write-visible",
        "replica-divergence",
        "torn-read",
        "cross-slot-accepted",
        "split-ownership",
        "stranded-key",
        "uncovered-slot",
        "redirect-loop",
        "map-disagreement",
    }
