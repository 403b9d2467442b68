"""What became of acknowledged writes: kept, superseded, lost or unknown; and values that should not be there.

* *kept*: the owner's final read shows it.
* *superseded*: cannot be decided, because a write that is not wholly before it may have replaced it (registers and
  groups), or because an indeterminate increment may stand in for it (counters).
* *lost*: the converged final read of a set or list is without it, or a register shows an older value
  (`checkers.fates` says when that is a proof), or a counter is below the sum of what was acknowledged.
* *unknown*: nothing decides it, because the run did not converge or the final read failed.

Redis and Valkey replicate asynchronously and document that acknowledged writes can be lost in a failover; whether a
loss is acceptable is for the claims to say.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from checkers.context import Timeline, keys_have_slots, seconds
from checkers.counters import Tally, fewest, most, tallies_of
from checkers.elements import Elements, elements_of
from checkers.events import FAIL, INFO, OK
from checkers.fates import FATES, INITIAL, KEPT, LOST, NOBODY, SUPERSEDED, UNKNOWN, Fates, owners_answer, register_fates
from checkers.finding import Anomaly, Collector, Finding
from checkers.history import History, Operations
from checkers.keyslot import key_slot

Read = tuple[int, Any]
"""Row of a read and what it returned."""


def check_durability(history: History) -> Finding:
    """Follow every write to the end of the run.

    Kinds: `lost-write`, `duplicate-write`, `phantom-value` (nobody wrote it), `failed-write-visible`,
    `replica-divergence`. Unknown when nothing was proved and some acknowledged write could not be followed.
    """
    audit = _Audit(history)
    audit.registers(register_fates(history, audit.timeline))
    for elements in elements_of(history.operations):
        audit.elements(elements)
    for tally in tallies_of(history.operations):
        audit.counter(tally)
    audit.replicas()
    return audit.finding()


class _Audit:
    """Goes through the objects of a history and keeps the books."""

    def __init__(self, history: History) -> None:
        self.operations = history.operations
        self.timeline = Timeline.of(history)
        self.slotted = keys_have_slots(history)
        self.found = Collector("durability")
        self.fates = dict.fromkeys(FATES, 0)
        self.checked = {"register": 0, "set": 0, "list": 0, "counter": 0}
        self.indeterminate = {True: 0, False: 0}
        """Indeterminate writes that some read showed, and that none did."""
        self.lost: list[int] = []
        """Rows of lost writes, where single writes are known (not for counters)."""
        self.undecided: set[str] = set()
        """Objects with acknowledged writes whose final read is missing."""
        self.figures: dict[str, int] = {}

    def registers(self, fates: Fates) -> None:
        operations = self.operations
        types = operations.type[fates.write]
        acknowledged = types == OK
        self.checked["register"] += int(acknowledged.sum())
        for code, number in enumerate(np.bincount(fates.fate[acknowledged], minlength=len(FATES)).tolist()):
            self.fates[FATES[code]] += number
        seen = fates.reader >= 0
        for shown in (True, False):
            self.indeterminate[shown] += int(((types == INFO) & (seen == shown)).sum())
        doubtful = np.unique(operations.key[fates.write[acknowledged & (fates.fate == UNKNOWN)]])
        self.undecided.update(operations.keys[code] if code >= 0 else "" for code in doubtful.tolist())
        self.undecided.update(fates.repeated)
        self._lost_registers(fates, np.flatnonzero(acknowledged & (fates.fate == LOST)))
        visible = np.flatnonzero(seen & (types == FAIL))
        visible = visible[np.argsort(fates.write[visible])]
        for row, reader in zip(fates.write[visible].tolist(), fates.reader[visible].tolist(), strict=True):
            self._visible_failure(row, reader)
        strange = fates.read[fates.writer == NOBODY]
        for row in strange[operations.f[strange] == operations.code("read")].tolist():  # groups: checkers.multikey
            self._phantom(row, operations.value[row])

    def _lost_registers(self, fates: Fates, lost: Any) -> None:
        operations = self.operations
        rows = fates.write[lost]
        order = np.argsort(operations.end[rows], kind="stable")
        writer_of = dict(zip(fates.read.tolist(), fates.writer.tolist(), strict=True)) if len(lost) else {}
        for row, proof in zip(rows[order].tolist(), fates.proof[lost][order].tolist(), strict=True):
            writer = writer_of[proof]
            older = None if writer == INITIAL else int(fates.write[writer])
            self._lost(row, proof, f"returned {_shown(operations.value[proof])}, which is older", older)
        latest: dict[int, int] = {}
        for row in rows.tolist():
            code = int(operations.key[row])
            latest[code] = max(latest.get(code, -1), int(operations.start[row]))
        replaced = sum(int(operations.end[row]) < latest[int(operations.key[row])] for row in rows.tolist())
        self.figures["lost_already_replaced"] = replaced

    def elements(self, elements: Elements) -> None:
        operations = self.operations
        final = elements.final(operations)
        present = set(final[1]) if final else set()
        seen = elements.first_seen()
        for element, row in sorted(elements.added, key=lambda added: int(operations.end[added[1]])):
            kind = int(operations.type[row])
            if kind == INFO:
                self.indeterminate[element in seen] += 1
            elif kind == FAIL and element in seen:
                self._visible_failure(row, seen[element])
            elif kind == OK:
                self._follow_element(elements, row, final, element in present)
        known = {element for element, _ in elements.added}
        for element in sorted(set(seen) - known, key=str):
            self._phantom(seen[element], element)
        for element, row, times in elements.doubled(operations):
            self._doubled(elements, element, row, times)

    def _follow_element(self, elements: Elements, row: int, final: Read | None, present: bool) -> None:
        self.checked["list" if elements.listed else "set"] += 1
        if present:
            self.fates[FATES[KEPT]] += 1
        elif final is None or not self.timeline.converged:
            self.fates[FATES[UNKNOWN]] += 1
            self.undecided.add(elements.key)
        else:
            self.fates[FATES[LOST]] += 1
            self._lost(row, final[0], "is without it", None, elements.key)

    def _doubled(self, elements: Elements, element: Any, read: int, times: int) -> None:
        writers = [row for value, row in elements.added if value == element]
        sent = max((len(self.operations.details.get(row, {}).get("attempts") or ()) for row in writers), default=0)
        by = (
            f"{self._name(writers[0], elements.key)} was asked for {_times(len(writers))}"
            if writers
            else f"nobody appended {element}"
        )
        words = (
            f"{by}{f' and sent {_times(sent)} by its client' if sent > 1 else ''}, and {self._reading(read)} has it "
            f"{_times(times)}, {self._when(writers[0] if writers else read)}"
        )
        self._report("duplicate-write", words, [*writers, read], elements.key, {"times": times})

    def counter(self, tally: Tally) -> None:
        acknowledged, indeterminate = tally.acknowledged(), tally.indeterminate()
        self.checked["counter"] += len(acknowledged)
        self._figure("counter_indeterminate", len(indeterminate))
        final = tally.final()
        if final is None or not self.timeline.converged:
            self.fates[FATES[UNKNOWN]] += len(acknowledged)
            if len(acknowledged):
                self.undecided.add(tally.key)
        else:
            self._follow_increments(tally, *final)
        excess = tally.excess()
        if excess:
            words = (
                f"{self._reading(excess[0])} returned {self.operations.value[excess[0]]}, {excess[1]} more than all "
                f"increments of {tally.key} begun before it ended: one was applied more than once, "
                f"{self._when(excess[0])}"
            )
            self._report("duplicate-write", words, [excess[0]], tally.key, {"excess": excess[1]})

    def _follow_increments(self, tally: Tally, read: int, total: int) -> None:
        acknowledged, indeterminate = tally.acknowledged(), tally.indeterminate()
        shortfall = tally.shortfall(total)
        lost = fewest(acknowledged, shortfall)
        # An indeterminate increment that was applied hides acknowledged ones of up to its amount that were not.
        hidden = min(most(acknowledged, int(np.maximum(indeterminate, 0).sum())), len(acknowledged) - lost)
        self.fates[FATES[LOST]] += lost
        self.fates[FATES[SUPERSEDED]] += hidden
        self.fates[FATES[KEPT]] += len(acknowledged) - lost - hidden
        if shortfall <= 0:
            return
        asked = int(acknowledged.sum())
        words = (
            f"{self._reading(read)} returned {total}, {shortfall} less than the increments of {tally.key} that were "
            f"acknowledged ({asked} in {len(acknowledged)} operations): at least {lost} of them "
            f"{'was' if lost == 1 else 'were'} lost, {self._when(read)}"
        )
        self._report("lost-write", words, [read], tally.key, {"shortfall": shortfall, "lost": lost})
        self.found.count("lost-write", lost - 1)
        self._figure("counter_shortfall", shortfall)

    def replicas(self) -> None:
        """Compare what replicas hold in the end with what the owner holds; only a converged run promises equality."""
        operations = self.operations
        owners: dict[tuple[int, int], int] = {}
        others: list[int] = []
        for row in np.flatnonzero(operations.final & (operations.type == OK)).tolist():
            if owners_answer(operations, row):
                owners[int(operations.f[row]), int(operations.key[row])] = row
            elif operations.details[row]["via"] == "replica":
                others.append(row)
        compared = 0
        for row in others if self.timeline.converged else []:
            owner = owners.get((int(operations.f[row]), int(operations.key[row])))
            if owner is None:
                continue
            compared += 1
            difference = _difference(operations, row, owner)
            if difference is None:
                continue
            words = (
                f"after convergence {self._reading(row)}, a replica, {difference} {self._reading(owner)}, the owner, "
                f"{self._when(row)}"
            )
            self._report("replica-divergence", words, [row, owner], operations.key_name(row))
        self.figures["replica_reads_compared"] = compared

    def _lost(self, row: int, proof: int, how: str, older: int | None, key: str | None = None) -> None:
        """Book one write as lost; `how` says what the proving read showed instead of it.

        `key` is the one of its keys that is without it, unless it has only one.
        """
        self.lost.append(row)
        if not self.found.wants("lost-write"):
            self.found.count("lost-write")
            return
        operations, timeline = self.operations, self.timeline
        key = key or operations.key_name(row)
        node, answerer = operations.node_name(row), operations.node_name(proof)
        ended, read = int(operations.end[row]), int(operations.start[proof])
        words = f"{self._name(row, key)} was acknowledged{f' by {node}' if node else ''} at {seconds(ended)}"
        fault = timeline.fault_at(int(operations.start[row]), read)
        if node:
            successor = timeline.successor(node, ended, key_slot(key or ""))
            ailing = timeline.befell(node, ended, successor[1] if successor else read)
            words += f", {timeline.plight(ailing, ended)}" if ailing else ""
            words += f"; {_took_over(successor, ended, answerer, read)}" if self.slotted else ""
            fault = ailing.number if ailing else fault
        words += f"; {self._reading(proof)} {how}"
        proofs = [row, proof] if older is None else [row, proof, older]
        acked = operations.details.get(row, {}).get("acked")
        measured: dict[str, Any] = {"acknowledged_ms": round(ended / 1e6, 3)}
        measured |= {} if acked is None else {"replicas_acknowledged": acked}
        self._report("lost-write", words, proofs, key, measured, fault)

    def _figure(self, name: str, amount: int) -> None:
        self.figures[name] = self.figures.get(name, 0) + amount

    def _visible_failure(self, row: int, read: int) -> None:
        error = self.operations.details.get(row, {}).get("error")
        words = (
            f"{self._name(row)} failed ({error or 'no error was recorded'}), and yet {self._reading(read)} shows it, "
            f"{self._when(row)}: either that error does not mean what our table says, or the server applied what it "
            "had refused"
        )
        self._report("failed-write-visible", words, [row, read], self.operations.key_name(row))

    def _phantom(self, row: int, value: Any) -> None:
        key = self.operations.key_name(row)
        words = f"{self._reading(row)} returned {_shown(value)}, which nobody wrote there, {self._when(row)}"
        self._report("phantom-value", words, [row], key)

    def _report(
        self,
        kind: str,
        words: str,
        rows: list[int],
        key: str | None,
        measured: dict[str, Any] | None = None,
        fault: int | None = None,
    ) -> None:
        operations = self.operations
        if fault is None:
            fault = self.timeline.fault_at(int(operations.start[rows[0]]), int(operations.end[rows[0]]))
        proof = [int(operations.index[row]) for row in rows]
        self.found.add(Anomaly(kind, words, proof, key, fault, measured or {}))

    def _name(self, row: int, key: str | None = None) -> str:
        """A write in words; of a transaction what it appended, to `key` alone if that is given."""
        operations = self.operations
        f, value = operations.functions[operations.f[row]], operations.value[row]
        chosen, key = key, key or operations.key_name(row)
        of = f" of {key}" if key else ""
        if f == "txn":
            appended = [element for verb, name, element in value if verb == "append" and chosen in (None, name)]
            return f"append {', '.join(map(str, appended))} to {key}"
        return f"add {value} to {key}" if f == "add" else f"{f} {_shown(value)}{of}"

    def _reading(self, row: int) -> str:
        """A read in words."""
        operations = self.operations
        node, key = operations.node_name(row), operations.key_name(row)
        kind = "the final read" if operations.final[row] else "a read"
        place = f" from {node}" if node else ""
        return f"{kind}{f' of {key}' if key else ''}{place} at {seconds(int(operations.start[row]))}"

    def _when(self, row: int) -> str:
        return self.timeline.describe(int(self.operations.start[row]), int(self.operations.end[row]))

    def finding(self) -> Finding:
        operations = self.operations
        acked = [row for row in self.lost if operations.details.get(row, {}).get("acked")]
        metrics: dict[str, Any] = {
            "checked": sum(self.checked.values()),
            "checked_by_object": self.checked,
            **self.fates,
            "indeterminate_applied": self.indeterminate[True],
            "indeterminate_not_seen": self.indeterminate[False],
            "lost_though_a_replica_acknowledged": len(acked),
            "loss_windows": _windows(operations, self.lost),
            **self.figures,
            "undecided": self._doubt(),
        }
        return self.found.finding(metrics, metrics["undecided"])

    def _doubt(self) -> str | None:
        unknown = self.fates[FATES[UNKNOWN]]
        if not unknown and not self.undecided:
            return None
        if not self.timeline.converged:
            return f"{unknown} acknowledged writes could not be followed: {self.timeline.why_not}"
        some = ", ".join(sorted(self.undecided)[:5])
        return (
            f"{unknown} acknowledged writes could not be followed: an owner's final read is missing, returned a value "
            f"that nobody wrote, or does not tell writes of the same value apart ({some})"
        )


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    return " ".join(f"{key}={_shown(part)}" for key, part in value.items()) if isinstance(value, dict) else str(value)


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def _took_over(successor: tuple[str, int, int | None] | None, ended_ns: int, answerer: str | None, read_ns: int) -> str:
    if successor is None:
        return "no other node took its slot over"
    node, seen_ns, epoch = successor
    # Who answers as the owner has taken over, even if the observer saw it a moment later.
    time_ns = min(seen_ns, read_ns) if node == answerer else seen_ns
    verb = "had taken" if time_ns < ended_ns else "took"
    words = f"{node} {verb} its slots over at {seconds(time_ns)}{'' if epoch is None else f' (epoch {epoch})'}"
    return f"{words} and never had it" if node == answerer else words


def _windows(operations: Operations, lost: list[int]) -> dict[str, dict[str, Any]]:
    """By node that acknowledged them: how many writes were lost, and when the first and last had been acknowledged."""
    windows: dict[str, dict[str, Any]] = {}
    rows = np.array(lost, np.int64)
    for code in np.unique(operations.node[rows]).tolist():
        ends = operations.end[rows[operations.node[rows] == code]]
        name = operations.nodes[code] if code >= 0 else "unknown"
        windows[name] = {"writes": len(ends), "first_ms": int(ends.min()) / 1e6, "last_ms": int(ends.max()) / 1e6}
    return windows


def _difference(operations: Operations, replica: int, owner: int) -> str | None:
    """How the content that a replica holds differs from the owner's; None if it does not. Sets have no order."""
    mine, theirs = _content(operations.value[replica]), _content(operations.value[owner])
    if isinstance(mine, list) and isinstance(theirs, list):
        ordered = operations.functions[operations.f[replica]] == "txn"
        if mine == theirs or (not ordered and set(mine) == set(theirs)):
            return None
        missing, more = len(set(theirs) - set(mine)), len(set(mine) - set(theirs))
        if not missing and not more:
            return "has the elements in another order than"
        return f"lacks {missing} and has {more} more than the {len(theirs)} elements of"
    return None if mine == theirs else f"returned {_shown(mine)} where {_shown(theirs)} was returned by"


def _content(value: Any) -> Any:
    """What a read returned, the wrapping of a `txn` taken off; an absent list is empty."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list) and value[0][:1] == ["r"]:
        return value[0][2] or []
    return value
