"""Words for anomalies: every kind that a checker can find has its own."""

from __future__ import annotations

import golden
import pytest

from chaos.report.words import KINDS, counted

FOUND = {name for case in golden.NAMES for found in golden.expected(case).values() for name in found["counts"]}


@pytest.mark.parametrize("name", sorted(FOUND))
def test_a_kind_has_words_and_a_meaning(name: str) -> None:
    assert KINDS[name].meaning
    assert "(several)" not in counted(name, 2)


def test_cycles_are_told_by_their_name_and_by_the_orders_they_take_into_account() -> None:
    assert counted("G-single", 1) == "1 read skew (G-single)"
    assert counted("G0-realtime", 2) == "2 write cycles (G0-realtime)"
    assert KINDS["G0-process"].meaning.startswith(KINDS["G0"].meaning)
    assert KINDS["G0-process"].meaning != KINDS["G0-realtime"].meaning
