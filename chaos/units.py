"""Durations and shares as people write them: `500ms`, `3s`, `2m`; `20%`. A number without its unit is refused."""

from __future__ import annotations

import re

DURATION = r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)"
SHARE = r"(\d+(?:\.\d+)?)\s*%"
"""How durations and shares are written, as regular expressions for the whole of a text."""
_DURATION = re.compile(DURATION + r"\Z")
_IN_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
_SHARE = re.compile(SHARE + r"\Z")


def is_duration(text: object) -> bool:
    """Whether a value is written as a duration."""
    return isinstance(text, str) and _DURATION.match(text) is not None


def duration(text: object) -> int:
    """Milliseconds of `500ms`, `3s`, `2m` or `1h`. Raises ValueError, which says how to write it."""
    match = _DURATION.match(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is not a duration like 500ms, 3s or 2m{_hint(text)}")
    return round(float(match[1]) * _IN_MS[match[2]])


def _hint(text: object) -> str:
    if str(text).startswith("-"):
        return " (a length of time is never negative)"
    is_number = str(text).replace(".", "", 1).isdigit()
    return f"; write {text}ms or {text}s" if is_number else ""


def share(text: object) -> float:
    """The share from 0 to 1 of `20%`. Raises ValueError, which says how to write it."""
    match = _SHARE.match(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is not a share like 20%")
    if float(match[1]) > 100:
        raise ValueError(f"{text!r} is more than 100%")
    return float(match[1]) / 100


def show_duration(milliseconds: float) -> str:
    """The duration in the largest unit that keeps it whole: `500ms`, `3s`, `2m`."""
    for unit in ("h", "m", "s"):
        if milliseconds and milliseconds % _IN_MS[unit] == 0:
            return f"{int(milliseconds // _IN_MS[unit])}{unit}"
    return f"{int(milliseconds) if milliseconds == int(milliseconds) else milliseconds}ms"


def show_share(value: float) -> str:
    """The share in per cent."""
    return f"{value * 100:g}%"
