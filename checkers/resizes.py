"""Changes of the nodes among which clients share the keys, and what they have to do with an anomaly.

Where clients decide themselves which node a key is on, another list of nodes means other places for some keys, and
what was stored stays behind. So a write that one node acknowledged is missing at another, though no server did
anything wrong. The kinds of anomalies are the same as everywhere; this module adds the sentence that says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from checkers.context import listed, seconds
from checkers.finding import Anomaly, Finding
from checkers.history import History


@dataclass(frozen=True)
class Resize:
    """One change of the list. Times in nanoseconds since the run began."""

    fault: int
    back: bool
    """Whether it undid an earlier one."""
    sent_ns: int
    """When the clients were told."""
    heard_ns: int
    """When the last process of clients had taken it up: between the two, clients may have disagreed."""
    before: tuple[str, ...]
    after: tuple[str, ...]

    def __str__(self) -> str:
        """In words: `the resize from 4 to 5 nodes at 3.00 s (fault 0)`."""
        what = f"the resize {'back ' if self.back else ''}from {len(self.before)} to {len(self.after)} nodes"
        return f"{what} at {seconds(self.sent_ns)} (fault {self.fault})"


def resizes(history: History) -> list[Resize]:
    """The changes that the nemesis made, by time; without those of which no client heard."""
    found = []
    for event in history.context:
        told = event.process == "nemesis" and event.f == "resize" and isinstance(event.value, dict)
        if not told or event.value.get("phase") not in ("inject", "heal"):
            continue
        evidence: Mapping[str, Any] = event.value.get("evidence") or {}
        heard = evidence.get("heard_ns")
        if heard:
            sent = int(evidence.get("since_ns", event.time or 0))
            back = event.value["phase"] == "heal"
            before, after = tuple(evidence["from"]), tuple(evidence["to"])
            found.append(Resize(event.value["fault"], back, sent, max(heard.values()), before, after))
    return sorted(found, key=lambda resize: resize.sent_ns)


@dataclass(frozen=True)
class Moves:
    """Says of anomalies which resize moved their key."""

    history: History
    resizes: list[Resize]
    holders: Mapping[str, list[str]]
    """By key: the nodes that held it when the run was over."""

    @classmethod
    def of(cls, history: History) -> Moves:
        """What a history says of resizes; without any, nothing is looked for."""
        changes = resizes(history)
        holders: dict[str, list[str]] = {}
        for event in history.context if changes else ():
            if event.process == "controller" and event.f == "holds":
                for key in event.value["keys"]:
                    holders.setdefault(key, []).append(event.value["node"])
        return cls(history, changes, holders)

    def told(self, finding: Finding) -> Finding:
        """The finding with a sentence more in each anomaly whose key a resize moved between its operations."""
        if not self.resizes or not finding.anomalies:
            return finding
        wanted = {index for anomaly in finding.anomalies for index in anomaly.operations}
        rows = {index: row for row, index in enumerate(self.history.operations.index.tolist()) if index in wanted}
        told = [self._told(anomaly, [rows[index] for index in anomaly.operations]) for anomaly in finding.anomalies]
        return msgspec.structs.replace(finding, anomalies=told)

    def _told(self, anomaly: Anomaly, rows: list[int]) -> Anomaly:
        """The last of its operations was answered by another node than an earlier one: say by which change."""
        operations = self.history.operations
        starts, nodes = operations.start, operations.node
        answered = sorted((row for row in rows if nodes[row] >= 0), key=lambda row: int(starts[row]))
        elsewhere = [row for row in answered if nodes[row] != nodes[answered[-1]]]
        if anomaly.key is None or not elsewhere:
            return anomaly
        first, last = elsewhere[-1], answered[-1]
        changes = [
            resize
            for resize in self.resizes
            if resize.sent_ns <= starts[last] and starts[first] <= resize.heard_ns  # it may have ended later
        ]
        if not changes:
            return anomaly
        moved = self._moved(anomaly.key, operations.nodes[nodes[first]], operations.nodes[nodes[last]], changes[-1])
        return msgspec.structs.replace(anomaly, explanation=f"{anomaly.explanation}; {moved}", fault=changes[-1].fault)

    def _moved(self, key: str, source: str, target: str, resize: Resize) -> str:
        words = f"{key} moved from {source} to {target} by {resize}"
        held = self.holders.get(key, ())
        if source in held and target in held:
            return f"{words}, and in the end {listed(held)} each held a copy"
        return f"{words} and is still on {source}" if source in held else words
