"""Debian's Chromium, driven by Playwright: pages that are watched for whatever they ask for and say."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

WIDTH, HEIGHT = 1200, 800
expect.set_options(timeout=30_000)  # milliseconds; it does not wait longer than it must
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_CONTROLS = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]:not([tabindex='-1'])"
# What can be operated, and can be seen: not what stands in an element that is folded.
_REACHABLE = f"""
() => [...document.querySelectorAll({_CONTROLS!r})].filter(it => it.checkVisibility()).map(it => it.outerHTML)
"""
_WATCH_FOCUS = """
() => {
  window.focused = [];
  document.addEventListener("focusin", ({target}) => {
    const {outlineStyle, boxShadow} = getComputedStyle(target);
    window.focused.push({html: target.outerHTML, seen: outlineStyle !== "none" || boxShadow !== "none"});
  });
}
"""
# Contrast of each text with what is behind it, as WCAG 2.2 defines it.
_FAINT = """
() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const known = new Map();
  const rgba = (colour) => {
    if (!known.has(colour)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      known.set(colour, [...canvas.getImageData(0, 0, 1, 1).data].map((part) => part / 255));
    }
    return known.get(colour);
  };
  const over = (top, under) => [0, 1, 2].map((n) => top[n] * top[3] + under[n] * (1 - top[3])).concat(1);
  const light = (colour) => {
    const [r, g, b] = colour.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    if (element === null) return rgba("Canvas");
    const own = rgba(getComputedStyle(element).backgroundColor);
    return own[3] === 1 ? own : over(own, behind(element.parentElement));
  };
  const under = (text) => { // what a text of a drawing is written on: the page, and the shapes drawn before it
    const svg = text.ownerSVGElement;
    const box = text.getBoundingClientRect();
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    return [...svg.querySelectorAll("path, rect")].reduce((ground, shape) => {
      const {left, right, top, bottom} = shape.getBoundingClientRect();
      const before = shape.compareDocumentPosition(text) & Node.DOCUMENT_POSITION_FOLLOWING;
      if (!before || x < left || x > right || y < top || y > bottom) return ground;
      const {fill, fillOpacity, opacity} = getComputedStyle(shape);
      const [r, g, b, a] = fill === "none" ? [0, 0, 0, 0] : rgba(fill);
      return over([r, g, b, a * fillOpacity * opacity], ground);
    }, behind(svg));
  };
  const faint = [];
  for (const element of document.querySelectorAll("body *")) {
    const text = [...element.childNodes].filter((it) => it.nodeType === 3).map((it) => it.data.trim()).join("");
    if (!text || !element.checkVisibility({opacityProperty: true}) || element.closest("title, script, style")) continue;
    const style = getComputedStyle(element);
    const drawn = element instanceof SVGElement ? style.fill : style.color;
    const ground = element instanceof SVGElement ? under(element) : behind(element);
    const [high, low] = [light(over(rgba(drawn), ground)), light(ground)].sort((a, b) => b - a);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < (large ? 3 : 4.5)) faint.push(`${ratio.toFixed(2)}: ${element.tagName} ${text.slice(0, 60)}`);
  }
  return faint;
}
"""
# Elements that end right of the window, but for those within an element that scrolls by itself.
_TOO_WIDE = """
() => {
  const scrolls = (it) =>
    it !== document.body && (getComputedStyle(it).overflowX !== "visible" || scrolls(it.parentElement));
  if (document.documentElement.scrollWidth <= innerWidth) return [];
  return [...document.querySelectorAll("body *")]
    .filter((it) => it.getBoundingClientRect().right > innerWidth + 1 && !scrolls(it))
    .map((it) => it.outerHTML.slice(0, 120));
}
"""


def pictures() -> Path | None:
    """Where `make screenshots` wants the pictures of pages; None in a test."""
    wanted = os.environ.get("CACHEQUAKE_SCREENSHOTS")
    return Path(wanted) if wanted else None


def program() -> str:
    """Where Chromium is. Skips the test where there is none; where CI=true, fails it."""
    found = shutil.which("chromium")
    if found is None:
        why = "the tests of pages need Debian's chromium: apt install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(), args=_ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page that is open, with the addresses it asked for and everything it said: console, errors, dialogs."""

    page: Page
    asked: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("dialog", self._dismiss)

    def _dismiss(self, dialog: Any) -> None:
        self.said.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def by_keyboard(self) -> tuple[set[str], set[str], set[str]]:
        """What could be operated, what the tabulator reached, and what of it does not show that it has the focus."""
        wanted = self.page.evaluate(_REACHABLE)
        self.page.evaluate(_WATCH_FOCUS)
        focused: list[dict[str, Any]] = []
        for _ in range(2 * len(wanted)):
            for _ in range(20):
                self.page.keyboard.press("Tab")
            focused = self.page.evaluate("() => window.focused")
            if {it["html"] for it in focused} >= set(wanted):  # it also stops at what scrolls sideways
                break
        return set(wanted), {it["html"] for it in focused}, {it["html"] for it in focused if not it["seen"]}

    def picture(self, path: Path, height: int, first: str = "body") -> tuple[int, int, int]:
        """Take a picture of a window of this height with `first` at its top; its width, its height and its bytes."""
        self.page.set_viewport_size({"width": WIDTH, "height": height})
        self.page.emulate_media(color_scheme="light")
        self.page.locator(first).evaluate("(it) => scrollBy(0, it.getBoundingClientRect().top - 24)")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path)
        return *struct.unpack(">II", path.read_bytes()[16:24]), path.stat().st_size

    def faint(self, scheme: Literal["light", "dark"]) -> list[str]:
        """Texts whose contrast is less than 4.5 (large ones: 3) to what is behind them, in this colour scheme."""
        self.page.emulate_media(color_scheme=scheme)
        found: list[str] = self.page.evaluate(_FAINT)
        return found

    def too_wide(self, width: int) -> list[str]:
        """What does not fit into a window of this width, in CSS pixels, so that the page scrolls sideways."""
        self.page.set_viewport_size({"width": width, "height": HEIGHT})
        found: list[str] = self.page.evaluate(_TOO_WIDE)
        return found


@contextmanager
def visit(browser: Browser, url: str) -> Iterator[Visit]:
    """Open a page in a browser that knows nothing of other visits."""
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
    try:
        opened = Visit(context.new_page())
        opened.page.goto(url)
        yield opened
    finally:
        context.close()
