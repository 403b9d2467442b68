"""`report.html` in a real browser: its figures are those of results.json, and it needs nothing but itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from chromium import WIDTH, Visit, pictures, visit
from playwright.sync_api import Browser, Locator, expect
from recorded_runs import EVIL, Recorded
from virtual_nodes import NEEDED

from chaos.report.words import by_kind, counted, sentence
from chaos.result import read_result

pytestmark = [pytest.mark.browser, *NEEDED]

Open = Callable[[Path], Visit]


@pytest.fixture
def show(browser: Browser) -> Iterator[Open]:
    """Opens the report of a run from its file; nothing else may be asked for in the end, and nothing been said."""
    opened: list[tuple[str, Visit]] = []
    with ExitStack() as stack:

        def open_report(run_dir: Path) -> Visit:
            url = (run_dir / "report.html").as_uri()
            opened.append((url, stack.enter_context(visit(browser, url))))
            return opened[-1][1]

        yield open_report
        for url, it in opened:
            assert it.said == []
            assert it.asked == [url]


def drawn(chart: Locator) -> Locator:
    """The chart once it is drawn, which happens when it comes into sight."""
    chart.scroll_into_view_if_needed()
    expect(chart.locator("svg")).to_be_visible()
    return chart


class Stretch:
    """From when to when a chart shows the run, in seconds."""

    def __init__(self, chart: Locator) -> None:
        self.chart, self.shown = chart, chart.get_attribute("data-shown") or ""

    def changed(self) -> tuple[float, float]:
        """The stretch once it is another one than before."""
        expect(self.chart).not_to_have_attribute("data-shown", self.shown)
        self.shown = self.chart.get_attribute("data-shown") or ""
        since, until = map(float, self.shown.split())
        return since, until


@pytest.mark.parametrize("which", ["failed", "kept"])
def test_its_figures_are_those_of_the_results(show: Open, recorded: Recorded, which: str) -> None:
    run_dir: Path = getattr(recorded, which)
    result = read_result(run_dir)
    page = show(run_dir).page

    expect(page.get_by_role("heading", level=1)).to_have_text(result.scenario)
    expect(page.locator("header")).to_contain_text(sentence(result))
    for outcome, count in result.operations.items():
        figure = page.locator(f".numbers [data-outcome='{outcome}']")
        assert figure.get_attribute("data-count") == str(count)
        expect(figure.locator("dd")).to_have_text(f"{count:,}")
    shown = {it.get_attribute("data-kind"): it for it in page.locator(".numbers [data-kind]").all()}
    assert {kind: it.get_attribute("data-count") for kind, it in shown.items()} == {
        kind: str(count) for kind, count in result.counts.items()
    }
    for kind, count in result.counts.items():
        expect(shown[kind].locator("dd")).to_have_text(f"{count:,}")
        expect(page.locator(f"h3#kind-{kind}")).to_have_text(counted(kind, count))
    claims = page.locator("section[aria-labelledby=claims] tbody tr")
    assert [row.get_by_role("cell").all_inner_texts()[1:3] for row in claims.all()] == [
        [claim.claim, str(claim.measured)] for claim in result.claims
    ]
    expect(page.get_by_text(result.reproduce)).to_be_visible()


def test_an_anomaly_shows_its_operations(show: Open, recorded: Recorded) -> None:
    result = read_result(recorded.failed)
    kind, listed = next((kind, listed) for kind, listed in by_kind(result).items() if len(listed) > 2)
    page = show(recorded.failed).page

    page.locator(f".numbers a[href='#kind-{kind}']").click()
    expect(page.locator(f"h3#kind-{kind}")).to_be_in_viewport()
    folded = page.locator(f"details.anomaly[data-kind='{kind}']:not([open])").first
    number = page.locator(f"details.anomaly[data-kind='{kind}']").evaluate_all(
        "(all) => all.findIndex((it) => !it.open)"
    )
    anomaly = listed[number]
    folded = page.locator(f"details.anomaly[data-kind='{kind}']").nth(number)
    expect(folded.locator("summary").first).to_have_text(anomaly.explanation)
    folded.locator("summary").first.click()

    rows = folded.locator("table").first.locator("tbody tr")
    assert [int(row.get_by_role("cell").first.inner_text()) for row in rows.all()] == anomaly.operations[:12]
    chart = drawn(folded.locator(".plot").first)
    for index in anomaly.operations[:1]:
        row = rows.filter(has=page.get_by_role("cell", name=str(index), exact=True))
        what = row.get_by_role("cell").nth(2).inner_text()
        expect(chart).to_contain_text(what)


def test_the_timeline_zooms_by_button_by_key_and_by_dragging(show: Open, recorded: Recorded) -> None:
    page = show(recorded.failed).page
    chart, other = drawn(page.locator("#chart-throughput")), drawn(page.locator("#chart-latency"))
    toolbar, stretch = page.locator(".zoom[data-axis=run]"), Stretch(chart)
    before = chart.locator("svg").inner_html()

    toolbar.get_by_role("button", name="zoom in").click()
    first, last = stretch.changed()
    expect(other).to_have_attribute("data-shown", stretch.shown)
    expect(toolbar.locator("output")).to_contain_text("s to")
    page.keyboard.press("+")
    closer = stretch.changed()
    assert first < closer[0] < closer[1] < last
    page.keyboard.press("ArrowRight")
    later = stretch.changed()
    assert later[0] > closer[0]
    page.keyboard.press("0")
    whole = stretch.changed()
    assert whole[0] < first
    assert last < whole[1]
    expect(toolbar.locator("output")).to_be_empty()

    chart.scroll_into_view_if_needed()
    box = chart.locator("svg").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    since, until = stretch.changed()
    assert whole[0] < since < until < whole[1]
    assert 0.1 < (until - since) / (whole[1] - whole[0]) < 0.4
    page.wait_for_function(
        "(before) => document.querySelector('#chart-throughput svg').innerHTML !== before", arg=before
    )


def test_an_anomaly_is_found_in_the_timeline(show: Open, recorded: Recorded) -> None:
    page = show(recorded.failed).page
    stretch = Stretch(page.locator("#chart-throughput"))
    page.locator("details.anomaly[open]").first.get_by_role("link", name="timeline").click()

    since, until = stretch.changed()
    assert until - since < 5
    expect(page.get_by_role("heading", name="Timeline")).to_be_in_viewport()


def test_a_name_that_wants_to_be_a_script_is_text(show: Open, recorded: Recorded) -> None:
    visited = show(recorded.failed)
    text = visited.page.locator("body").inner_text()

    assert EVIL in text
    anomaly = visited.page.locator("details.anomaly").filter(has_text=EVIL).first
    if anomaly.get_attribute("open") is None:
        anomaly.locator("summary").first.click()
    expect(drawn(anomaly.locator(".plot").first)).to_contain_text(EVIL)


def test_without_scripts_the_tables_are_there(browser: Browser, recorded: Recorded) -> None:
    result = read_result(recorded.failed)
    context = browser.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto((recorded.failed / "report.html").as_uri())
        expect(page.locator("header")).to_contain_text(sentence(result))
        assert page.locator("section[aria-labelledby=timeline] table").count() >= 2
        assert page.locator("section[aria-labelledby=nodes] table tbody tr").count() >= 6
        assert page.get_by_role("button").count() == 0
    finally:
        context.close()


def test_everything_can_be_reached_by_keyboard(show: Open, recorded: Recorded) -> None:
    visited = show(recorded.failed)
    wanted, reached, unseen = visited.by_keyboard()

    assert wanted
    assert wanted <= reached
    assert not unseen

    folded = visited.page.locator("details.anomaly:not([open])").first
    name = folded.get_attribute("id")
    folded.locator("summary").first.focus()
    visited.page.keyboard.press("Enter")
    expect(visited.page.locator(f"#{name}")).to_have_attribute("open", "")


def test_it_is_readable_in_light_in_dark_and_in_a_narrow_window(show: Open, recorded: Recorded) -> None:
    visited = show(recorded.failed)
    charts = [chart for chart in visited.page.locator(".plot").all() if chart.is_visible()]
    assert len(charts) > 5
    for chart in charts:
        assert drawn(chart).get_attribute("aria-label")

    assert visited.faint("light") == []
    assert visited.faint("dark") == []
    assert visited.too_wide(400) == []


def test_a_picture_of_it_can_be_made(show: Open, pictured: Path, tmp_path: Path) -> None:
    visited = show(pictured)
    for chart in visited.page.locator("section[aria-labelledby=timeline] .plot").all():
        drawn(chart)

    width, height, size = visited.picture((pictures() or tmp_path) / "report.png", 1040, first="#timeline")

    assert (width, height) == (WIDTH, 1040)
    assert 10_000 < size < 300_000
