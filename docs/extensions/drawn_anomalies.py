"""The page of anomalies: each kind with a tiny history that shows it, checked while the page is made.

The histories are those of `tests/golden`. A kind without one, or one in which its checker does not find it, ends the
build with an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from markdown_parts import block, code, codes

from chaos.claims import SUBJECTS
from chaos.report.words import KINDS, kind
from checkers import CHECKERS, Anomaly, History, load
from checkers.choose import check_linearizability
from checkers.drawing import draw, rows_of
from checkers.sets import check_sets

GOLDEN = Path(__file__).parents[2] / "tests" / "golden"
EVERY = {**CHECKERS, "linearizability": check_linearizability, "sets": check_sets}


class Shown(NamedTuple):
    """Where a kind is to be seen."""

    golden: str
    checker: str


class Chapter(NamedTuple):
    """Kinds that belong together."""

    title: str
    words: str
    kinds: dict[str, Shown]


def _of(checker: str, **goldens: str) -> dict[str, Shown]:
    return {name.replace("_", "-"): Shown(golden, checker) for name, golden in goldens.items()}


def _cycles(suffix: str) -> dict[str, Shown]:
    names = ("G0", "G1c", "G-single", "G-nonadjacent", "G2-item")
    return {name + suffix: Shown(f"transactions-{(name + suffix).lower()}", "transactions") for name in names}


CHAPTERS = (
    Chapter(
        "Writes that are lost, doubled or invented",
        "A client was told OK. The value should be there at the end, once, and nothing else should.",
        {
            **_of(
                "durability",
                lost_write="lost-write",
                duplicate_write="duplicate-write",
                phantom_value="phantom-value",
                failed_write_visible="failed-write-visible",
                replica_divergence="replica-divergence",
            )
        },
    ),
    Chapter(
        "Reads that are old",
        "The value was right once. Something newer had been acknowledged before the read began.",
        _of("staleness", stale_read="stale-but-kept", rolled_back_read="lost-write"),
    ),
    Chapter(
        "What one client may expect of its own session",
        "Weaker than linearizability, and easier to feel: a user who changed something, and does not see it.",
        _of(
            "sessions",
            read_your_writes="a-session-that-goes-back",
            non_monotonic_read="a-session-that-goes-back",
            non_monotonic_write="a-session-that-goes-back",
            writes_follow_reads="a-reply-before-its-question",
            non_monotonic_write_across_keys="a-second-message-without-the-first",
            writes_follow_reads_across_keys="an-answer-without-its-question",
        ),
    ),
    Chapter(
        "One order for everybody",
        "A key is linearizable when its operations can be put into one order in which every read returns the last "
        "write, and none is placed before it began or after it ended.",
        _of("linearizability", non_linearizable="two-writes-in-both-orders"),
    ),
    Chapter(
        "Several keys at once",
        "MSET, MULTI and scripts on keys of one slot happen as a whole.",
        _of("multikey", torn_read="torn-read", cross_slot_accepted="cross-slot-accepted"),
    ),
    Chapter(
        "Who serves a slot",
        "While slots move and nodes fail, clients are redirected. Two nodes must not both serve a slot, and in the end "
        "everybody must agree and get everywhere.",
        _of(
            "slots",
            split_ownership="split-ownership",
            stranded_key="stranded-key",
            redirect_loop="redirect-loop",
            uncovered_slot="uncovered-slot",
            map_disagreement="map-disagreement",
        ),
    ),
    Chapter(
        "Entries that expire",
        "An entry should be there until its time is over, and gone afterwards.",
        _of(
            "expiry",
            expired_read="an-entry-read-after-its-time",
            early_expiry="an-entry-that-expired-early",
            missing_value="an-entry-missing-after-a-failover",
        ),
    ),
    Chapter(
        "Locks, sets and queues",
        "What is built on a cache in many applications.",
        {
            **_of("locks", two_holders="a-lock-with-two-holders"),
            **_of("sets", stale_element="an-element-missed-for-a-while"),
            **_of(
                "queue",
                lost_element="an-element-that-left-its-queue-unseen",
                phantom_element="an-element-that-nobody-enqueued",
                duplicate_element="an-element-delivered-twice",
                reordered_element="an-element-overtaken-in-its-queue",
            ),
        },
    ),
    Chapter(
        "Transactions at odds with one another",
        "A transaction is a list of small operations: `append x 1`, `r x [1]`. The names are those of the literature "
        "(Adya, Elle). Lists keep every element, so a read of one shows the order of all writes before it.",
        {
            **_of(
                "transactions",
                garbage_read="transactions-garbage-read",
                duplicate_elements="transactions-duplicate-elements",
                incompatible_order="transactions-incompatible-order",
                lost_update="transactions-lost-update",
                internal="transactions-internal",
                G1a="transactions-g1a",
                G1b="transactions-g1b",
                dirty_update="transactions-dirty-update",
            ),
            **_cycles(""),
        },
    ),
    Chapter(
        "Circles that need the order of a client",
        "The same circles, where one step is that a client did one thing after another.",
        _cycles("-process"),
    ),
    Chapter(
        "Circles that need the order of time",
        "The same circles, where one step is that one transaction had ended before another began.",
        _cycles("-realtime"),
    ),
)


def anomalies_page() -> str:
    """Every kind with its meaning, a history, and the sentence by which the checker accuses."""
    drawn = [name for chapter in CHAPTERS for name in chapter.kinds]
    if forgotten := set(KINDS) - set(drawn):
        raise LookupError(f"kinds of anomaly that no history shows: {', '.join(sorted(forgotten))}")
    parts = [
        "# What each anomaly means\n",
        (
            "Every kind of anomaly, with a small history that shows it. A line is a client's process, and from `|` "
            "to `|` one of its operations: it began, then the reply came. Where `>` stands nobody saw the end. Only "
            "the order of the times is to scale; below are milliseconds. The sentence after the drawing is what the "
            "checker says of this history: it was checked when this page was made.\n"
        ),
    ]
    for chapter in CHAPTERS:
        parts += [f"## {chapter.title}\n", chapter.words + "\n"]
        parts += [_kind(name, shown) for name, shown in chapter.kinds.items()]
    return "\n".join(parts)


def _kind(name: str, shown: Shown) -> str:
    history = load(GOLDEN / f"{shown.golden}.jsonl")
    anomaly = _found(history, name, shown)
    drawing = draw(history, rows_of(history.operations, sorted(anomaly.operations)))
    claims = [claim for claim, subject in SUBJECTS.items() if name in subject.kinds]
    words = [f"### {name}\n", f"{kind(name).one.capitalize()}: {kind(name).meaning}.\n"]
    if drawing:
        words.append(block("text", drawing))
    words.append(f"> {_sentence(anomaly)}\n")
    found_by = f"Found by the checker {code(shown.checker)}"
    words.append(
        f"{found_by}; claim {codes(claims)}.\n" if claims else f"{found_by}; counted by the claim `anomalies`.\n"
    )
    return "\n".join(words)


def _found(history: History, name: str, shown: Shown) -> Anomaly:
    for anomaly in EVERY[shown.checker](history).anomalies:
        if anomaly.kind == name:
            return anomaly
    raise LookupError(f"the checker {shown.checker} finds no {name} in tests/golden/{shown.golden}.jsonl")


def _sentence(anomaly: Anomaly) -> str:
    return " ".join(anomaly.explanation.split()).replace("*", "\\*").replace("<", "\\<")
