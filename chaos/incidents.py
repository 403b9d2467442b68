"""Published failures: what a scenario of the gallery (`chaos/scenarios/incidents/`) says of the one it shows.

    incident:
      reported: [redis/redis#6062]
      servers: [redis, valkey]
      expect: [lost-write]

What is expected is what the checkers find and not what is claimed: a run shows its incident when all of it was found.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from chaos.claims import subjects
from chaos.result import Result
from chaos.yaml_source import Place, Source

_ISSUE = re.compile(r"([\w.-]+/[\w.-]+)#(\d+)")
_SERVER = re.compile(r"(redis|valkey)( \d+(\.\d+)*)?")
_FIGURE = re.compile(r"[a-z]+\.[a-z_]+(\..+)?")
_FORMS = {
    "reported": "issues like redis/redis#6062",
    "servers": "names, or names and versions, like `redis` or `valkey 9.1`",
    "expect": "kinds of anomalies, or figures like durability.lost_though_a_replica_acknowledged",
}


class Incident(msgspec.Struct, frozen=True):
    """A published failure."""

    reported: list[str]
    """Issues and pull requests, `redis/redis#6062`; none for what only documentation describes."""
    servers: list[str]
    """Those that have it: names, or names and the beginnings of versions (`redis`, `valkey 9.1`)."""
    expect: list[str]
    """What a run has to find: kinds of anomalies, or figures of a checker that must not be 0.

    `CHECKER.FIGURE`, or `CHECKER.FIGURE.BEGINNING` of a table: the sum of the rows whose names begin so.
    """

    @property
    def links(self) -> list[str]:
        """Where it was reported: GitHub shows pull requests under the address of issues as well."""
        return [_ISSUE.sub(r"https://github.com/\1/issues/\2", issue) for issue in self.reported]

    def concerns(self, server: str) -> bool:
        """Whether a server (`valkey 9.1.2`) is one that has it."""
        return any(f"{server}.".startswith(f"{known}{end}") for known in self.servers for end in (" ", "."))

    def shown(self, result: Result) -> bool:
        """Whether a run found everything that is expected."""
        return all(_found(result, expected) for expected in self.expect)


def _found(result: Result, expected: str) -> bool:
    checker, _, figure = expected.partition(".")
    if not figure:
        return result.count(expected) > 0
    name, _, beginning = figure.partition(".")
    value = result.findings[checker].metrics.get(name) if checker in result.findings else None
    if isinstance(value, dict):
        value = sum(amount for row, amount in value.items() if row.startswith(beginning))
    return bool(value)


def incident_of(source: Source, given: Any) -> Incident | None:
    """The key `incident` of a scenario; None without one. Raises BadInput."""
    place: Place = ("incident",)
    if given is None:
        return None
    if not isinstance(given, dict):
        source.fail(place, "incident: a mapping with `reported`, `servers` and `expect`")
    for key in given:
        if key not in _FORMS:
            source.unknown((*place, key), "key of incident", _FORMS)
    rules: dict[str, Callable[[str], Any]] = {
        "reported": _ISSUE.fullmatch,
        "servers": _SERVER.fullmatch,
        "expect": _expectable,
    }
    for key, fits in rules.items():
        items = given.get(key, [])
        if not isinstance(items, list) or not all(isinstance(item, str) and fits(item) for item in items):
            source.fail((*place, key), f"{key}: a list of {_FORMS[key]}")
        if not items and key != "reported":
            source.fail(place, f"incident: {key} is missing: a list of {_FORMS[key]}")
    return Incident(given.get("reported", []), given["servers"], given["expect"])


def _expectable(text: str) -> bool:
    known = (kind for subject in subjects().values() for kind in subject.kinds)
    return text in known or _FIGURE.fullmatch(text) is not None
