"""A made-up run for tests of what people look at: a partition with a failover, lost writes and stale reads.

Ten clients on three primaries. From 3.0 s to 8.0 s n1 is cut off together with clients 0 and 1; n4 takes its slots over
at 4.6 s, n1 notices at 5.0 s. So what clients 0 and 1 write to n1 in between is acknowledged and lost, and what they
read there after the first write to n4 is stale. The figures of the result are counted from the history that is made.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field

from chaos.result import CLAIMS_BROKEN, ClaimResult, Result, Server
from checkers.events import Event
from checkers.finding import Anomaly, Finding, Verdict
from checkers.history import History, from_events
from nemeses.fault import ExecutedFault

MS = 1_000_000
CUT, TAKEOVER, ALONE, HEALED, DEMOTED, STOP, CONVERGED = (
    time * MS for time in (3_000, 4_600, 5_000, 8_000, 8_090, 12_000, 12_400)
)
SLOTS = {"n1": [[0, 5460]], "n2": [[5461, 10922]], "n3": [[10923, 16383]]}
CLIENTS, PINNED = 10, (0, 1)
ROLE = "primary of slots 0-5460"


@dataclass
class Sample:
    """Everything that a report is made from."""

    history: History
    result: Result
    executed: list[ExecutedFault]


@dataclass
class _Maker:
    """Plays the clients in the order of time; a value lives at the side of the cluster that accepted it."""

    keys: list[str]
    draw: random.Random
    events: list[Event] = field(default_factory=list)
    inside: dict[str, int] = field(default_factory=dict)
    """What n1 holds while it is cut off."""
    outside: dict[str, int] = field(default_factory=dict)
    lost: list[tuple[int, Event]] = field(default_factory=list)
    stale: list[tuple[int, Event, Event]] = field(default_factory=list)
    replaced: dict[str, tuple[int, Event]] = field(default_factory=dict)
    """The first write to n4 of each key, by key."""

    def operation(self, client: int, process: int, n: int, time: int) -> tuple[int, str]:
        """Add one operation that begins at `time`; its end and its outcome."""
        position = self.draw.randrange(len(self.keys))
        if client in PINNED and CUT <= time < HEALED:
            position -= position % 3  # they keep to what they can reach
        key, owner = self.keys[position], f"n{position % 3 + 1}"
        f = self.draw.choice(["read", "write"])
        value = client * 10_000_000 + n + 1 if f == "write" else None
        invoke = Event("invoke", f, process, time=time, key=key, value=value)
        end = time + int(self.draw.lognormvariate(13.5, 0.5))
        outcome, node, error, end = self._answer(client, owner, time, end)
        if outcome == "ok":
            value = self._apply(invoke, node, end, value)
        elif f == "read" and outcome == "info":
            outcome = "fail"
        done = Event(outcome, f, process, time=end, key=key, value=value, node=node or None, error=error)
        self.events += [invoke, done]
        return end, outcome

    def _answer(self, client: int, owner: str, time: int, end: int) -> tuple[str, str, str | None, int]:
        timeout = time + 500 * MS
        if CUT <= time < HEALED:
            if (client in PINNED) != (owner == "n1"):
                if owner != "n1" or time < TAKEOVER:
                    return "info", "", f"timeout reading from {owner}", timeout
                return "ok", "n4", None, end
            if owner == "n1" and time >= ALONE:
                return "fail", "n1", "CLUSTERDOWN The cluster is down", end
        return "ok", "n4" if owner == "n1" and time >= HEALED else owner, None, end

    def _apply(self, invoke: Event, node: str, end: int, value: int | None) -> int | None:
        key = invoke.key or ""
        apart = node == "n1" and end > CUT
        held = self.inside if apart else self.outside
        if value is None:
            if apart and key in self.replaced and self.replaced[key][0] < (invoke.time or 0):
                self.stale.append((end, invoke, self.replaced[key][1]))
            return held.get(key, self.outside.get(key))
        held[key] = value
        if apart:
            self.lost.append((end, invoke))
        elif node == "n4" and end < HEALED:
            self.replaced.setdefault(key, (end, invoke))
        return value


def sample_run(rate: int = 60, key: str = "k0", seed: int = 7) -> Sample:
    """A sample with about `rate` operations a second and client; `key` is the name of the key written most often."""
    maker = _Maker([key, *(f"k{n}" for n in range(1, 30))], random.Random(seed))
    waiting = [(20 * MS + client, client, client, 0) for client in range(CLIENTS)]
    while waiting:
        time, client, process, n = heapq.heappop(waiting)
        if time < STOP:
            end, outcome = maker.operation(client, process, n, time)
            again = process + CLIENTS if outcome == "info" else process
            heapq.heappush(waiting, (max(end + 1, time + 1000 * MS // rate), client, again, n + 1))
    events = maker.events + _context() + _finals(maker)
    header = {
        "run": "primary-partition-sample",
        "seed": seed,
        "server": "valkey 9.1.2",
        "clients": CLIENTS,
        "nodes": {f"n{number}": {"host": f"127.0.77.{number}", "port": 7000} for number in range(1, 7)},
        "slots": [[*ranges[0], node] for node, ranges in SLOTS.items()],
    }
    for index, event in enumerate(events):
        event.index = index
    history = from_events(events, header)
    return Sample(history, _result(maker, history, seed), _executed())


def _finals(maker: _Maker) -> list[Event]:
    events = []
    for number, name in enumerate(maker.keys):
        time = CONVERGED + (number + 1) * MS
        events.append(Event("invoke", "read", 1_000_000, time=time, key=name, final=True))
        value = maker.outside.get(name)
        events.append(Event("ok", "read", 1_000_000, time=time + 1, key=name, value=value, node="n2", final=True))
    return events


def _context() -> list[Event]:
    def view(time: int, node: str, role: str, epoch: int, cluster: str = "ok") -> Event:
        owned = SLOTS["n1"] if node == "n4" else SLOTS.get(node, [])
        value = {
            "node": node,
            "state": "up",
            "role": role,
            "primary": None if role == "primary" else ("n4" if node == "n1" else f"n{int(node[1]) - 3}"),
            "epoch": epoch,
            "slots": owned if role == "primary" else [],
            "cluster": cluster,
        }
        return Event("info", "view", "observer", time=time, value=value)

    def phase(time: int, name: str) -> Event:
        return Event("info", "phase", "controller", time=time, value={"phase": name})

    def nemesis(time: int, name: str) -> Event:
        value = {"fault": 0, "phase": name, "shape": "isolate", "nodes": ["n1"], "roles": {"n1": ROLE}}
        return Event("info", "partition", "nemesis", time=time, value={**value, "clients": list(PINNED)})

    first = [view(0, f"n{n}", "primary" if n < 4 else "replica", n) for n in range(1, 7)]
    return [
        *first,
        phase(10 * MS, "start"),
        nemesis(CUT, "inject"),
        view(TAKEOVER, "n4", "primary", 7),
        view(ALONE, "n1", "primary", 1, "fail"),
        nemesis(HEALED, "heal"),
        view(DEMOTED, "n1", "replica", 7),
        phase(STOP, "stop"),
        phase(STOP + MS, "healed"),
        phase(CONVERGED, "converged"),
        phase(CONVERGED + 60 * MS, "closed"),
    ]


def _executed() -> list[ExecutedFault]:
    held = {"struck_ns": CUT, "injected_ns": CUT, "healed_ns": HEALED}
    about = (0, "partition", "primary of slot 4748", ["n1"], {"n1": ROLE})
    return [ExecutedFault(*about, **held, evidence={"links": 20})]


def _result(maker: _Maker, history: History, seed: int) -> Result:
    lost = [
        Anomaly(
            "lost-write",
            f"write {invoke.value} of {invoke.key} was acknowledged by n1 at {end / 1e9:.2f} s, cut off since 3.00 s; "
            "n4 took its slots over at 4.60 s (epoch 7) and never had it",
            [invoke.index or 0],
            key=invoke.key,
            fault=0,
        )
        for end, invoke in maker.lost
    ]
    stale = [
        Anomaly(
            "stale-read",
            f"read of {invoke.key} by n1 at {end / 1e9:.2f} s missed write {newer.value}, acknowledged by n4 before",
            [invoke.index or 0, newer.index or 0],
            key=invoke.key,
            fault=0,
            measured={"stale_ms": round((end - (newer.time or 0)) / 1e6, 1)},
        )
        for end, invoke, newer in maker.stale
    ]
    durability = Finding("durability", Verdict.INVALID, None, {"lost-write": len(lost)}, {"checked": 900}, lost[:200])
    staleness = Finding("staleness", Verdict.INVALID, None, {"stale-read": len(stale)}, {"checked": 1800}, stale[:200])
    slots = Finding("slots", Verdict.VALID, None, {}, {"checked": 3600})
    nothing = Finding("multikey", Verdict.VALID, "nothing to check: no MSET in the history", {}, {"checked": 0})
    operations = history.operations
    return Result(
        run="primary-partition-sample",
        scenario="primary-partition",
        seed=seed,
        server=Server("valkey", "9.1.2"),
        deployment="local",
        verdict=Verdict.INVALID,
        claims_verdict=CLAIMS_BROKEN,
        operations={name: int((operations.type == code).sum()) for code, name in enumerate(("fail", "ok", "info"))},
        findings={finding.checker: finding for finding in (durability, staleness, slots, nothing)},
        claims=[
            ClaimResult("lost_writes: 0", False, len(lost)),
            ClaimResult("torn_reads: 0", None, None, "no MSET in the history"),
            ClaimResult("unavailable: {longest: 5s}", True, "1.60 s"),
        ],
        reproduce="cachequake replay runs/primary-partition-sample",
    )
