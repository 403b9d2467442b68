"""Anomalies, verdicts and values in plain words; every view of a result takes its wording from here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import zip_longest
from typing import Any, NamedTuple

import msgspec

from chaos.result import CLAIMS_BROKEN, CLAIMS_HOLD, CLAIMS_UNKNOWN, Result
from checkers import CHECKERS
from checkers.finding import Anomaly, Verdict, kinds_of


class Kind(NamedTuple):
    """A kind of anomaly in words."""

    one: str
    many: str
    meaning: str


_CYCLES = {
    "G0": ("write cycle (G0)", "write cycles (G0)", "transactions overwrote each other in a circle"),
    "G1c": (
        "cycle of writes and reads (G1c)",
        "cycles of writes and reads (G1c)",
        "in a circle, each transaction saw or overwrote what the one before it had written",
    ),
    "G-single": (
        "read skew (G-single)",
        "read skews (G-single)",
        "a transaction missed what another one wrote, and yet saw what came after that",
    ),
    "G-nonadjacent": (
        "read skew among several (G-nonadjacent)",
        "read skews among several (G-nonadjacent)",
        "transactions missed each other's writes in a circle, never two in a row",
    ),
    "G2-item": (
        "write skew (G2-item)",
        "write skews (G2-item)",
        "transactions missed each other's writes in a circle",
    ),
}
_EXTENTS = {
    "": "",
    "-process": ", given the order in which each client did what it did",
    "-realtime": ", given the order in real time",
}
"""What the circle takes into account besides the values: the suffix of the kind, and words for it."""


def _cycles() -> dict[str, Kind]:
    return {
        base + suffix: Kind(_suffixed(one, suffix), _suffixed(many, suffix), meaning + extent)
        for suffix, extent in _EXTENTS.items()
        for base, (one, many, meaning) in _CYCLES.items()
    }


def _suffixed(words: str, suffix: str) -> str:
    """`write cycle (G0-realtime)`."""
    return f"{words[:-1]}{suffix})"


KINDS = {
    "lost-write": Kind(
        "lost write", "lost writes", "acknowledged to the client, and gone once everything had healed and converged"
    ),
    "lost-element": Kind(
        "lost element", "lost elements", "known to be in a set or a queue, then missed, and never seen again"
    ),
    "torn-read": Kind("torn read", "torn reads", "saw one part of an atomic write of several keys and not the other"),
    "duplicate-write": Kind("duplicated write", "duplicated writes", "sent once by the application, applied twice"),
    "phantom-value": Kind("phantom value", "phantom values", "a value was read that nobody wrote"),
    "phantom-element": Kind("phantom element", "phantom elements", "an element was read that nobody put there"),
    "garbage-read": Kind("read of garbage", "reads of garbage", "a transaction read a value that nobody wrote"),
    "duplicate-element": Kind(
        "element delivered twice", "elements delivered twice", "enqueued once, and taken out of the queue twice"
    ),
    "duplicate-elements": Kind(
        "list with a repeated element", "lists with a repeated element", "appended once, and read twice in one list"
    ),
    "two-holders": Kind(
        "lock with two holders", "locks with two holders", "granted to a second client while the first still held it"
    ),
    "failed-write-visible": Kind(
        "visible failed write", "visible failed writes", "refused by the server, and read nevertheless"
    ),
    "stranded-key": Kind(
        "stranded key", "stranded keys", "held by a node, but no client that follows redirections gets there"
    ),
    "split-ownership": Kind(
        "split ownership", "split ownerships", "two nodes served the same slot in turns without handing it over"
    ),
    "non-linearizable": Kind(
        "non-linearizable key", "non-linearizable keys", "no order of the operations explains what the clients saw"
    ),
    "incompatible-order": Kind(
        "list in two orders",
        "lists in two orders",
        "two reads of a list, neither of which is the beginning of the other",
    ),
    "lost-update": Kind(
        "lost update",
        "lost updates",
        "two transactions changed the same version, and one of them unknowingly undid the other",
    ),
    "internal": Kind(
        "transaction at odds with itself",
        "transactions at odds with themselves",
        "did not see what it had read or written itself before",
    ),
    "G1a": Kind(
        "aborted read (G1a)", "aborted reads (G1a)", "a transaction read what a failed transaction had written"
    ),
    "G1b": Kind(
        "intermediate read (G1b)",
        "intermediate reads (G1b)",
        "a transaction read what another one replaced before it was over",
    ),
    "dirty-update": Kind(
        "dirty update", "dirty updates", "a transaction that succeeded built on what a failed one had written"
    ),
    **_cycles(),
    "stale-read": Kind("stale read", "stale reads", "returned a value that an acknowledged write had replaced before"),
    "stale-element": Kind(
        "stale element", "stale elements", "a read of a set missed an element that had been acknowledged before"
    ),
    "reordered-element": Kind(
        "overtaken element", "overtaken elements", "left its queue after one that had been enqueued later"
    ),
    "rolled-back-read": Kind(
        "rolled-back read", "rolled-back reads", "contradicted only by a write that was lost afterwards"
    ),
    "expired-read": Kind("expired read", "expired reads", "returned a value whose time to live was over"),
    "early-expiry": Kind("early expiry", "early expiries", "expired before its time, though nobody overwrote it"),
    "missing-value": Kind(
        "missing value", "missing values", "not there before its time was over: lost, expired, or not arrived"
    ),
    "read-your-writes": Kind(
        "read that missed the client's own write",
        "reads that missed the client's own write",
        "older than what the same client had written before",
    ),
    "non-monotonic-read": Kind(
        "read back in time", "reads back in time", "older than what the same client had read before"
    ),
    "non-monotonic-write": Kind(
        "reordered write", "reordered writes", "two writes of one client took effect in the other order"
    ),
    "writes-follow-reads": Kind(
        "write before what it followed",
        "writes before what they followed",
        "ordered before a value that the same client had read first",
    ),
    "non-monotonic-write-across-keys": Kind(
        "later write seen without the earlier one",
        "later writes seen without the earlier one",
        "of two writes of one client to two keys another client saw the second and then not the first",
    ),
    "writes-follow-reads-across-keys": Kind(
        "write seen without what it followed",
        "writes seen without what they followed",
        "a client saw what another wrote, and then not what that one had read before on another key",
    ),
    "cross-slot-accepted": Kind(
        "accepted cross-slot operation", "accepted cross-slot operations", "keys of several slots, not refused"
    ),
    "redirect-loop": Kind("redirect loop", "redirect loops", "nodes sent the client round in circles"),
    "uncovered-slot": Kind("uncovered slot", "uncovered slots", "served by no node after convergence"),
    "map-disagreement": Kind(
        "disagreement about the slot map", "disagreements about the slot map", "nodes differ after convergence"
    ),
    "replica-divergence": Kind(
        "diverged replica value", "diverged replica values", "a replica differs from its primary after convergence"
    ),
}
"""Known kinds, the worst first. The list is open: see `kind`."""

GLYPHS: dict[bool | None, str] = {True: "✔", False: "✘", None: "?"}
VERDICTS = {Verdict.VALID: True, Verdict.INVALID: False, Verdict.UNKNOWN: None}
"""Verdicts as good, bad or open, the way claims are judged."""

_CONTROLS = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
_RANK = {name: position for position, name in enumerate(KINDS)}


def kind(name: str) -> Kind:
    """The words for a kind: ours, those of the checker that another package adds, or else made from its name."""
    if name in KINDS:
        return KINDS[name]
    for checker in CHECKERS.values():
        if (meaning := kinds_of(checker).get(name)) is not None:
            return Kind(meaning.one, meaning.many, meaning.meaning)
    plain = name.replace("-", " ")
    return Kind(plain, f"{plain} (several)", "")


def counted(name: str, count: int) -> str:
    """A number of anomalies: `1 lost write`, `1,204 stale reads`."""
    words = kind(name)
    return f"{count:,} {words.one if count == 1 else words.many}"


def counts(result: Result) -> dict[str, int]:
    """All anomalies of a result by kind, the worst kind first."""
    total: Counter[str] = Counter()
    for finding in result.findings.values():
        total.update({name: count for name, count in finding.counts.items() if count})
    return dict(sorted(total.items(), key=lambda item: (_RANK.get(item[0], len(_RANK)), item[0])))


def by_kind(result: Result) -> dict[str, list[Anomaly]]:
    """The listed anomalies by kind, in the order of `counts`."""
    return {name: result.anomalies(name) for name in counts(result)}


def worst(result: Result, most: int = 3) -> list[Anomaly]:
    """The anomalies to show first: the first of each kind, the worst kind first, then the second of each."""
    rounds = zip_longest(*by_kind(result).values())
    return [anomaly for round_ in rounds for anomaly in round_ if anomaly is not None][:most]


def enumeration(parts: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`; empty for nothing."""
    *first, last = list(parts) or [""]
    return f"{', '.join(first)} and {last}" if first else last


def found(result: Result) -> str:
    """What was found, as a phrase: `3 lost writes and 1 stale read`, or `no anomaly`."""
    return enumeration(counted(name, count) for name, count in counts(result).items()) or "no anomaly"


HOLDS: dict[bool | None, str] = {True: "holds", False: "broken", None: "unknown"}
"""What became of one claim, in a word."""


def judged(result: Result) -> bool | None:
    """Good, bad or open (None): by the claims, and without claims by what was found."""
    if result.claims:
        return {CLAIMS_HOLD: True, CLAIMS_BROKEN: False}.get(result.claims_verdict)
    return VERDICTS[result.verdict]


def sentence(result: Result) -> str:
    """The verdict in one sentence: what became of the claims and what was found."""
    claims = result.claims
    if result.claims_verdict == CLAIMS_BROKEN:
        broken = [f"{claim.claim} (measured {measured(claim.measured)})" for claim in claims if claim.holds is False]
        noun = "a claim is" if len(broken) == 1 else f"{len(broken)} of {len(claims)} claims are"
        return f"Broken: {noun} not kept: {enumeration(broken)}; found: {found(result)}."
    if result.claims_verdict == CLAIMS_UNKNOWN:
        open_ = [f"{claim.claim} ({claim.reason or 'no reason given'})" for claim in claims if claim.holds is None]
        return f"Unknown: it cannot be decided whether the claims hold: {enumeration(open_) or unknown(result)}."
    if result.claims_verdict == CLAIMS_HOLD:
        held = "the only claim holds" if len(claims) == 1 else f"all {len(claims)} claims hold"
        return f"Kept: {held}; found: {found(result)}."
    if result.verdict is Verdict.UNKNOWN:
        return f"Nothing was claimed, and not everything could be decided: {unknown(result)}."
    return f"Nothing was claimed; found: {found(result)}."


def unknown(result: Result) -> str:
    """Why something could not be decided: the checkers that say so, with their reasons."""
    reasons = [
        f"{name}: {finding.reason or 'no reason given'}"
        for name, finding in result.findings.items()
        if finding.verdict is Verdict.UNKNOWN
    ]
    return enumeration(reasons) or result.error or "no checker ran"


def text(value: Any, most: int = 120) -> str:
    """A value as short text: strings as they are, everything else as JSON, cut in the middle beyond `most`."""
    if isinstance(value, list) and len(value) > most:  # a set of 10^5 elements is not worth encoding whole
        return f"{text(value[:most], most)} ({len(value):,} elements)"
    plain = value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()
    if len(plain) <= most:
        return plain
    half = (most - 3) // 2
    return f"{plain[:half]}...{plain[-half:]}"


def cut(line: str, most: int) -> str:
    """A line of at most `most` letters: of a longer one its beginning."""
    return line if len(line) <= most else f"{line[: most - 4].rstrip()} ..."


def printable(value: object) -> str:
    """`value` as text without control characters, which could move a terminal's cursor or upset a browser."""
    return str(value).translate(_CONTROLS)


def measured(value: Any) -> str:
    """What a claim measured, in words."""
    return "not measured" if value is None else text(value)


def seconds(time_ns: int | float) -> str:
    """A time since the run began: `4.213 s`."""
    return f"{time_ns / 1e9:.3f} s"


def lag(result: Result) -> str | None:
    """How far replicas lagged behind the writes that they were asked for, in one line; None when none was asked.

    `6,320 reads of replicas after a write, 46 missed it (0.73%), up to 0.46 ms after it was acknowledged`.
    """
    finding = result.findings.get("visibility")
    if finding is None or not finding.metrics.get("checked"):
        return None
    metrics = finding.metrics
    words = f"{metrics['checked']:,} reads of replicas after a write, {metrics['missed']:,} missed it"
    if not metrics["missed"]:
        return words
    return (
        f"{words} ({metrics['missed_share']:.2%}), up to {metrics['window_ms']['max']:.2f} ms after it was acknowledged"
    )


def filled(result: Result) -> str | None:
    """What a cache that clients fill from a database came to, in one line; None when there was none.

    `71% hits; 369 loads a second, 17% of what does not exist; 279 stampedes of up to 9; 35 reads up to 486 ms old`.
    """
    finding = result.findings.get("cachefill")
    if finding is None or not finding.metrics.get("checked") or finding.metrics["hit_rate"] is None:
        return None
    metrics = finding.metrics
    words = [f"{metrics['hit_rate']:.0%} hits"]
    if metrics["loads"] and metrics["loads_per_s"]:
        absent = f", {metrics['penetration']:.0%} of what does not exist" if metrics["penetration"] else ""
        words.append(f"{metrics['loads_per_s']:,.0f} loads a second{absent}")
    for count, one, most in (
        (metrics["stampedes"], "stampede", f"of up to {metrics['stampede']['largest']}"),
        (metrics["stale"]["reads"], "read", f"up to {metrics['stale']['max_ms']:,.0f} ms old"),
    ):
        if count:
            words.append(f"{count:,} {one}{'' if count == 1 else 's'} {most}")
    return "; ".join(words)


def in_passing(result: Result) -> dict[str, str]:
    """What was measured that no claim and no anomaly tells, by what it is about."""
    found = {"replicas": lag(result), "cache": filled(result)}
    return {about: words for about, words in found.items() if words is not None}
