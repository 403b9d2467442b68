"""`report.md`: short, and whatever a server, a key or a file says is text in it."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from sample_run import sample_run

from chaos.report.markdown import markdown, plain, write_markdown
from chaos.result import CLAIMS_HOLD, ClaimResult, Result, Server
from checkers.finding import Anomaly

HOSTILE = [
    "<script>alert(1)</script>",
    "a | b \\| c `d` ``` e *f* _g_ [h](https://example.com) ![i](x.png) ~~j~~ $k$",
    "line\n\n# heading\n- item\n> quote\n```\nfence",
    "&lt; &amp; &#124; <!-- comment --> --> \\",
    "@someone #12 https://example.com www.example.com a@example.com",
]


class Page(HTMLParser):
    """The elements of a page, its cells, and all its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.text = ""
        self.feed(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text))
        self.close()

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append(name)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def result() -> Result:
    return sample_run().result


def test_it_tells_verdict_claims_worst_anomalies_and_how_to_reproduce(result: Result, tmp_path: Path) -> None:
    path = write_markdown(tmp_path, result)

    page = Page(path.read_text(encoding="utf-8"))
    assert path == tmp_path / "report.md"
    assert "✘ primary-partition" in page.text
    assert f"Broken: a claim is not kept: lost_writes: 0 (measured {result.count('lost-write')})" in page.text
    assert "no MSET in the history" in page.text
    assert (
        f"One of {result.count('stale-read')} stale reads: {result.anomalies('stale-read')[0].explanation}" in page.text
    )
    assert "cachequake replay runs/primary-partition-sample\n" in page.text
    assert "valkey 9.1.2, deployment local, seed 7" in page.text
    assert len(path.read_text().splitlines()) < 30


def saying(words: str, result: Result) -> Result:
    """The result with these words wherever words may come from elsewhere."""
    result.run = result.error = result.scenario = result.reproduce = words
    result.server, result.deployment = Server(words, words), words
    result.claims = [ClaimResult(words, None, words, words) for _ in result.claims]
    for finding in result.findings.values():
        finding.anomalies = [Anomaly(it.kind, words, it.operations) for it in finding.anomalies]
    return result


@pytest.mark.parametrize("words", HOSTILE)
def test_what_came_from_elsewhere_is_text_and_nothing_else(result: Result, words: str) -> None:
    calm = Page(markdown(saying("calm words", result)))

    page = Page(markdown(saying(words, result)))

    assert page.elements == calm.elements
    assert page.text.replace(" ".join(words.split()), "calm words") == calm.text


@pytest.mark.parametrize("text", ["@someone", "#12", "https://example.com", "www.example.com", "a@b.example", ":tada:"])
def test_what_github_would_make_a_link_of_is_parted(text: str) -> None:
    assert text not in plain(text)
    assert Page(plain(text)).text.strip() == text


def test_a_fence_in_the_command_does_not_end_its_block(result: Result) -> None:
    result.reproduce = "cachequake replay 'runs/```\n# x'"

    assert "cachequake replay 'runs/``` # x'\n" in Page(markdown(result)).text


def test_a_run_that_keeps_its_claims_is_shorter_still(result: Result) -> None:
    result.claims, result.claims_verdict, result.findings = [ClaimResult("anomalies: 0", True, 0)], CLAIMS_HOLD, {}

    page = Page(markdown(result))

    assert "Kept: the only claim holds; found: no anomaly." in page.text
    assert "li" not in page.elements


def test_a_long_explanation_is_cut(result: Result) -> None:
    for finding in result.findings.values():
        finding.anomalies = [Anomaly(it.kind, "x" * 5_000, it.operations) for it in finding.anomalies]

    assert len(markdown(result)) < 4_000
