"""The results browser in a real browser: what it shows is what the runs hold, and it needs nothing but itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from chromium import WIDTH, Visit, pictures, visit
from playwright.sync_api import Browser, expect
from recorded_runs import EVIL, Recorded
from virtual_nodes import NEEDED

from chaos.report.words import counted
from chaos.result import read_result
from checkers import load

pytestmark = [pytest.mark.browser, *NEEDED]

Open = Callable[[str], Visit]
PAGES = ("list", "run", "operations", "compare")


@pytest.fixture(scope="module")
def address(recorded: Recorded) -> Iterator[str]:
    """Where `cachequake serve` shows the runs."""
    command = [sys.executable, "-c", "from chaos.cli import main; main()", "serve", str(recorded.out), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().split()[0].rstrip("/")
        finally:
            server.terminate()


@pytest.fixture
def show(browser: Browser, address: str) -> Iterator[Open]:
    """Opens a page by its path; in the end nothing may have been asked of anybody else, and nothing been said."""
    opened: list[Visit] = []
    with ExitStack() as stack:

        def open_page(path: str) -> Visit:
            opened.append(stack.enter_context(visit(browser, address + path)))
            return opened[-1]

        yield open_page
        for it in opened:
            assert it.said == []
            assert [url for url in it.asked if not url.startswith(address)] == []


def path_of(page: str, recorded: Recorded) -> str:
    name = recorded.failed.name
    return {
        "list": "/",
        "run": f"/runs/{name}",
        "operations": f"/runs/{name}/operations",
        "compare": f"/compare?run={name}&run={recorded.kept.name}",
    }[page]


def numbers(visited: Visit) -> list[int]:
    """The numbers of the operations that a page lists."""
    return [int(text) for text in visited.page.locator("tbody tr td:first-child").all_inner_texts()]


def test_the_list_says_what_each_run_came_to(show: Open, recorded: Recorded) -> None:
    page = show("/").page

    for run_dir in (recorded.failed, recorded.kept):
        result = read_result(run_dir)
        row = page.get_by_role("row").filter(has=page.locator(f"a[href='/runs/{run_dir.name}']"))
        for text in (
            result.scenario,
            str(result.seed),
            f"{result.server.name} {result.server.version}",
            result.claims_verdict,
            f"{sum(result.counts.values()):,}",
            f"{sum(result.operations.values()):,}",
        ):
            expect(row).to_contain_text(text)


def test_the_list_can_be_searched_and_sorted(show: Open, recorded: Recorded) -> None:
    page = show("/").page

    page.get_by_role("searchbox").fill("BROKEN lost-write")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("status")).to_have_text("1 of 2 runs")
    expect(page.locator(f"tbody a[href='/runs/{recorded.failed.name}']")).to_be_visible()

    page.get_by_role("searchbox").fill("")
    page.get_by_role("searchbox").press("Enter")
    expect(page.get_by_role("status")).to_have_text("2 of 2 runs")
    page.get_by_role("link", name="anomalies", exact=True).click()
    anomalies = page.locator("tbody tr td:nth-child(8)")
    expect(anomalies.first).to_have_text("0")
    page.get_by_role("link", name="anomalies", exact=True).click()
    expect(anomalies.last).to_have_text("0")
    expect(page.locator("th[aria-sort=descending]")).to_have_text("anomalies")


def test_a_click_through_an_anomaly_ends_at_its_operations(show: Open, recorded: Recorded) -> None:
    result = read_result(recorded.failed)
    visited = show("/")
    page = visited.page

    page.locator(f"tbody a[href='/runs/{recorded.failed.name}']").click()
    shown = {it.get_attribute("data-kind"): it for it in page.locator("details[data-kind]").all()}
    assert {kind: int(it.get_attribute("data-count") or -1) for kind, it in shown.items()} == result.counts
    for kind, it in shown.items():
        assert kind is not None
        expect(it.locator("summary")).to_have_text(counted(kind, result.counts[kind]))
    for claim in result.claims:
        row = page.get_by_role("row").filter(has_text=claim.claim)
        expect(row).to_contain_text({True: "holds", False: "broken", None: "unknown"}[claim.holds])
        expect(row).to_contain_text(str(claim.measured))
    anomaly = result.anomalies("rolled-back-read")[0]
    about = shown["rolled-back-read"]
    about.locator("summary").click()
    about.get_by_role("listitem").filter(has_text=anomaly.explanation).first.locator("a.proof").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Operations")
    assert numbers(visited) == sorted(anomaly.operations)


def test_operations_are_filtered(show: Open, recorded: Recorded) -> None:
    operations = load(recorded.failed / "history.jsonl").operations
    wanted = [
        int(operations.index[row])
        for row in range(len(operations))
        if operations.key_name(row) == recorded.key and operations.functions[operations.f[row]] == "write"
    ]
    visited = show(path_of("operations", recorded))
    page = visited.page

    page.get_by_label("key").fill(recorded.key)
    page.get_by_label("what").select_option("write")
    page.get_by_role("button", name="Show", exact=True).click()

    expect(page.locator("p[role=status]")).to_have_text(f"{len(wanted):,} of {len(operations):,} operations")
    assert numbers(visited) == wanted[:100]
    expect(page.get_by_label("key")).to_have_value(recorded.key)
    assert EVIL in page.locator("tbody").inner_text()


def test_pages_of_operations_follow_one_another(show: Open, recorded: Recorded) -> None:
    operations = load(recorded.failed / "history.jsonl").operations
    visited = show(path_of("operations", recorded))
    first = numbers(visited)

    visited.page.get_by_role("link", name="next").first.click()
    expect(visited.page.get_by_role("navigation", name="pages").first).to_contain_text("page 2 of")

    assert first + numbers(visited) == operations.index[:200].tolist()


def test_two_runs_stand_side_by_side(show: Open, recorded: Recorded) -> None:
    page = show("/").page
    for run_dir in (recorded.failed, recorded.kept):
        page.get_by_label(f"compare {run_dir.name}").check()
    page.get_by_role("button", name="Compare").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Side by side")
    left, right = (text.rstrip("/") for text in page.locator("thead a").all_inner_texts())
    ok = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="operations ok"))
    figures = [f"{read_result(recorded.out / name).operations['ok']:,}" for name in (left, right)]
    assert ok.get_by_role("cell").all_inner_texts() == figures


def test_the_whole_run_is_one_archive(show: Open, recorded: Recorded, tmp_path: Path) -> None:
    page = show(path_of("run", recorded)).page
    with page.expect_download() as waiting:
        page.get_by_role("link", name="everything as one archive").click()

    waiting.value.save_as(tmp_path / "run.tar.gz")
    with tarfile.open(tmp_path / "run.tar.gz") as archive:
        kept = archive.extractfile(f"{recorded.failed.name}/results.json")
        assert kept is not None
        assert kept.read() == (recorded.failed / "results.json").read_bytes()


def test_the_report_opens_from_its_run(show: Open, recorded: Recorded) -> None:
    page = show(path_of("run", recorded)).page
    page.get_by_role("link", name="report", exact=True).click()

    expect(page.get_by_role("heading", level=1)).to_have_text("primary-partition")


def grow(part: Path, events: list[str]) -> None:
    """Add to a part of a history, which then looks as if it were still growing however slow this machine is."""
    with part.open("a") as file:
        file.writelines(f"{event}\n" for event in events)
    soon = time.time() + 3600
    os.utime(part, (soon, soon))


def test_a_run_that_is_under_way_is_shown_as_it_grows(show: Open, recorded: Recorded) -> None:
    growing = recorded.out / "under-way"
    parts = growing / "parts"
    parts.mkdir(parents=True)
    try:
        shutil.copy(recorded.failed / "plan.json", growing)
        events = (recorded.failed / "history.jsonl").read_text().splitlines()[1:]
        clients = [event for event in events if isinstance(json.loads(event)["process"], int)]
        known = set(clients)
        grow(parts / "controller.jsonl", [event for event in events if event not in known])
        grow(parts / "clients-0.jsonl", clients[:100])
        page = show("/runs/under-way").page

        now = page.locator("#live")
        done = sum('"type":"ok"' in event for event in clients[:100])
        expect(now).to_contain_text(re.compile(rf"operations\s*{done} ok"))
        grow(parts / "clients-0.jsonl", clients[100:300])
        done = sum('"type":"ok"' in event for event in clients[:300])
        expect(now).to_contain_text(re.compile(rf"operations\s*{done} ok"))
        expect(now).to_contain_text("n1")
        shutil.copy(recorded.failed / "results.json", growing)
        expect(page.get_by_role("heading", name="Claims")).to_be_visible()  # it has reloaded itself
    finally:
        shutil.rmtree(growing)


def test_enter_opens_what_has_the_focus(show: Open, recorded: Recorded) -> None:
    page = show("/").page
    page.locator(f"tbody a[href='/runs/{recorded.failed.name}']").focus()
    page.keyboard.press("Enter")

    folded = page.locator("details[data-kind]:not([open])").first
    expect(folded).to_be_visible()
    kind = folded.get_attribute("data-kind")
    folded.locator("summary").focus()
    page.keyboard.press("Enter")
    proof = page.locator(f"details[data-kind='{kind}'] a.proof").first
    expect(proof).to_be_visible()
    proof.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Operations")


@pytest.mark.parametrize("page", PAGES)
def test_everybody_can_use_it(show: Open, recorded: Recorded, page: str) -> None:
    """By keyboard alone, in light, in dark, and in a narrow window."""
    shown = show(path_of(page, recorded))

    wanted, reached, unseen = shown.by_keyboard()
    assert wanted
    assert wanted <= reached
    assert not unseen
    assert shown.faint("light") == []
    assert shown.faint("dark") == []
    assert shown.too_wide(400) == []


@pytest.mark.usefixtures("pictured")
def test_a_picture_of_it_can_be_made(show: Open, tmp_path: Path) -> None:
    visited = show("/")
    expect(visited.page.locator(".plot svg")).to_be_visible()

    width, height, size = visited.picture((pictures() or tmp_path) / "browser.png", 700)

    assert (width, height) == (WIDTH, 700)
    assert 10_000 < size < 300_000
