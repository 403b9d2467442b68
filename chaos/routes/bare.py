"""Route `bare`: a router of our own that sends every command once per hop and hides nothing.

A state machine per client (see `chaos.routes.machine`): zero retries, so each outcome in the history is the outcome
of one attempt. It follows what was certainly not executed, MOVED and ASK up to `MOST_HOPS` nodes and TRYAGAIN
`MOST_TRIES` times; everything else ends the operation, by the table in `chaos.outcomes`.

What an application's client does after an error, this one does before the *next* operation: it asks another node
for the map of the slots. And a node that was silent once must show a sign of life first (see `chaos.routes.links`):
until then, operations for it fail at once, which is certain, since nothing was sent. Otherwise a client beside a cut
link would spend the whole run waiting for the far side.

After more than `UNPACED` operations in a row that failed for want of service a client pauses for `PACE_NS` before
each further one, so that dead nodes, which refuse in microseconds, do not fill the history with refusals.

ASK for a transaction: ASKING holds for the next command, and a MULTI that follows keeps it until EXEC (`resetClient`
leaves the flag alone inside MULTI), so `ASKING MULTI ... EXEC` is right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import IntEnum
from typing import Any, cast

import hiredis
from hiredis import ProtocolError, ReplyError

from chaos.operation import Command, Doubtful, Operation, Refused
from chaos.outcomes import Outcome, classify, judge
from chaos.routes.links import Link, Links, Phase
from chaos.routes.machine import Effects, Terms
from chaos.routes.near import NAME, Near
from chaos.routes.placement import Guided, Placement, Told
from chaos.routes.slotmap import UnknownAddress
from checkers.events import NEVER, Event

MOST_HOPS = 16
MOST_TRIES = 5
TRYAGAIN_NS = 20_000_000
"""Pause before an operation that met TRYAGAIN is sent again."""
PACE_NS = 10_000_000
UNPACED = 10
HIT_NS = 20_000
"""From an answer of the client's own cache to its next operation: in virtual time it would take none at all."""
MAP_NS = 100_000_000
"""Patience for the map, at most the timeout: nothing is lost by giving up early, and the next error asks another."""

pack_command = cast(Callable[[Command], bytes], hiredis.pack_command)
"""redis-py's packer; its stub says that it takes one argument only."""
ASKING = pack_command(("ASKING",))
READONLY = pack_command(("READONLY",))
REDIRECTIONS = ("MOVED", "ASK", "TRYAGAIN")
NO_SERVICE = ("CLUSTERDOWN", "MASTERDOWN", "LOADING", "READONLY")
"""Replies after which the map is asked for again."""


class TooManyHops(Exception):
    """An operation was redirected `MOST_HOPS` times."""


class Doing(IntEnum):
    """What a machine is busy with."""

    NOTHING = 0
    OPERATION = 1
    ASKING_MAP = 2
    WAITING = 3
    """For the WAIT of a write that is acknowledged, on another connection."""


class Bare:
    """One client; implements `chaos.routes.machine.Machine` and `Linked`."""

    def __init__(
        self,
        client: int,
        seed: int,
        terms: Terms,
        placement: Placement,
        effects: Effects,
        near: Near | None = None,
    ) -> None:
        """`seed` is that of the client's own stream; `placement` is what it believes, and it changes that.

        With `near` it is route `l1`: what that cache can answer goes to no node.
        """
        self.client = client
        self.executed = 0
        self.wake = terms.interval_ns * client // terms.total  # at a fixed rate, clients begin one after the other
        self._seed = seed
        self._terms = terms
        self._placement = placement
        self._effects = effects
        self._near = near
        self._process = client
        self._links = Links(self, effects)
        greeting: list[Command] = [] if terms.credentials is None else [terms.credentials.command]
        greeting.append(terms.greeting or ("CLIENT", "SETNAME", f"cq-c{client}"))
        self._greeting = b"".join(map(pack_command, greeting))
        self._greetings = len(greeting)
        self._stopped = False
        self._suspicious = False
        """Whether the map is to be asked for before the next operation."""
        self._turn = client
        self._unserved = 0
        """Operations in a row that failed for want of service."""
        self._doing = Doing.NOTHING
        self._op: Operation
        self._payload = b""
        self._expected = 0
        self._waits = False
        self._written: Any = None
        """What the write came to whose WAIT is under way on another connection."""
        self._link: Link | None = None
        """The link that the operation under way uses; None while it pauses."""
        self._sent = False
        self._asking = False
        self._replies: list[Any] = []
        self._hops: list[str] = []
        self._tries = 0
        self._deadline = 0
        self._begun = 0
        self._hop_begun = 0

    @property
    def finished(self) -> bool:
        """Stopped, and nothing is under way."""
        return self._stopped and self._doing is Doing.NOTHING

    def stop(self) -> None:
        """Begin no further operation."""
        self._stopped = True

    def close(self) -> None:
        """Close all links."""
        self._links.close()

    def adopt(self, nodes: Sequence[str]) -> None:
        """See `chaos.routes.machine.Machine`: what is under way stays where it is."""
        if isinstance(self._placement, Told):
            self._placement = self._placement.among(nodes)

    # What happens

    def step(self, now: int) -> None:
        """`wake` has come."""
        if self._doing is Doing.NOTHING:
            if self._stopped:
                self.wake = NEVER
            elif self._suspicious and self._placement.question is not None:
                self._ask_map(self._placement.question, now)
            else:
                self._begin(now)
        elif self._link is None and now < self._deadline:
            self._go(self._owner(self._op.routing), False, now)
        else:
            self._give_up(now)

    def connected(self, link: Link, now: int) -> None:
        """A link is connected: greet the node before anything else. A paused one does not answer that."""
        if link.phase is Phase.CLOSED:
            return
        link.phase = Phase.GREETING
        link.awaited = self._greetings + link.readonly
        self._effects.sends.append((link, self._greeting + READONLY if link.readonly else self._greeting))

    def received(self, link: Link, data: bytes, now: int) -> None:
        """Bytes came in: replies to a greeting, or to what is under way."""
        if link.phase is Phase.CLOSED:
            return None
        reader = link.reader
        replies = self._replies
        mine = link is self._link and self._sent
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                if mine:
                    replies.append(reply)
                elif link.phase is not Phase.GREETING or isinstance(reply, ReplyError):
                    return self._break(link, ConnectionError(f"{link.node} said {str(reply)!r} unasked"), now)
                else:
                    link.awaited -= 1
        except ProtocolError as error:
            return self._break(link, error, now)
        if mine:
            if len(replies) == self._expected:
                self._answered(now)
            elif len(replies) > self._expected:
                self._break(link, ProtocolError(f"{link.node} sent more replies than it got commands"), now)
        elif link.awaited == 0:
            link.greeted()
            if link is self._link:
                self._send(link)
        return None

    def lost(self, link: Link, error: Exception, now: int) -> None:
        """A link is gone: whatever it carried ends here."""
        if link.phase is Phase.CLOSED:
            return
        self._links.forget(link)
        if link is self._link:
            self._unanswered(error, now)

    # One operation

    def _begin(self, now: int) -> None:
        op = self._op = self._terms.mixture.operation(self.client, self.executed, self._seed)
        self.executed += 1
        if self._near is not None and (kept := self._near.answer(op, now)) is not None:
            return self._hit(op, kept, now)
        commands = op.commands
        self._payload = pack_command(commands[0]) if len(commands) == 1 else b"".join(map(pack_command, commands))
        self._expected = len(commands)
        self._waits = len(commands) > 1 and commands[-1][0] == "WAIT"
        self._doing = Doing.OPERATION
        self._begun = now
        self._deadline = now + self._terms.timeout_ns
        self._hops = []
        self._tries = 0
        self._asking = False
        owner = node = self._owner(op.routing)
        if self._terms.from_replicas and not op.writes and op.via != "cross-slot":
            node = self._reader(owner)
        replica = node != owner
        self._effects.events.append(
            Event(
                type="invoke",
                f=op.f,
                process=self._process,
                time=now,
                key=op.key,
                value=op.value,
                via="replica" if replica else op.via,
            )
        )
        readonly = replica and not isinstance(self._placement, Guided)
        return self._go(node, readonly, now)

    def _hit(self, op: Operation, value: Any, now: int) -> None:
        """A read is answered by the client's own cache: it ends as it begins."""
        about: dict[str, Any] = {"f": op.f, "process": self._process, "time": now, "key": op.key}
        self._effects.events += [
            Event(type="invoke", value=op.value, via="cache", **about),
            Event(type="ok", value=value, node=NAME, **about),
        ]
        self._effects.counts["ok"] += 1
        self._begun = now
        self.wake = now + max(HIT_NS, self._terms.interval_ns)

    def _owner(self, key: str) -> str:
        return self._placement.place(key) or self._in_turn(list(self._terms.directory.addresses))

    def _reader(self, primary: str) -> str:
        """A node to read from: a replica, in turn, where one is known, and the primary when its turn is to come too."""
        replicas = list(self._placement.replicas(primary))
        return self._in_turn([*replicas, primary] if self._terms.from_primaries or not replicas else replicas)

    def _in_turn(self, nodes: Sequence[str]) -> str:
        self._turn += 1
        return nodes[self._turn % len(nodes)]

    def _go(self, node: str, readonly: bool, now: int) -> None:
        """Take what is to be sent to a node, over a link that may have to be opened first."""
        self._hops.append(node)
        self._hop_begun = now
        self._over(self._links.get(node, readonly, now), now)

    def _over(self, link: Link, now: int) -> None:
        """Send over a link, at once or when it is ready."""
        self._sent = False
        self.wake = self._deadline
        self._link = link
        if link.phase is Phase.READY:
            self._send(link)
        elif link.overdue:
            self._links.redial(link, now)
            self._unanswered(TimeoutError(f"{link.node} was silent, and there is no new connection to it yet"), now)

    def _send(self, link: Link) -> None:
        self.wake = self._deadline
        self._sent = True
        self._replies = []
        if self._asking and self._doing is Doing.OPERATION:
            self._effects.sends.append((link, ASKING + self._payload))
            self._expected += 1
        else:
            self._effects.sends.append((link, self._payload))

    def _answered(self, now: int) -> None:
        if self._doing is Doing.ASKING_MAP:
            return self._learn_map(now)
        if self._doing is Doing.WAITING:
            waited = self._replies[0]
            return self._complete("ok", self._written, now, acked=waited if isinstance(waited, int) else None)
        if self._asking:
            self._expected -= 1
            del self._replies[0]  # the reply to ASKING; whether it helped, the command's own reply says
        if not self._waits:
            return self._settle(self._replies, None, now)
        waited = self._replies.pop()
        return self._settle(self._replies, waited if isinstance(waited, int) else None, now)

    def _settle(self, replies: list[Any], acked: int | None, now: int) -> None:
        """All replies that decide are there."""
        for reply in replies:
            if isinstance(reply, ReplyError):
                return self._refused(replies, str(reply), now)
        op = self._op
        try:
            value = op.result(replies)
        except (Refused, Doubtful) as error:
            if isinstance(error, Doubtful) and self._link is not None:
                self._links.drop(self._link)  # perhaps out of step: the next reply may belong to another command
            outcome = classify(error, writes=op.writes, sent=True)
            return self._complete(outcome, op.value, now, str(error))
        if op.apart is not None and self._link is not None:
            return self._wait_apart(op.apart, value, now)
        return self._complete("ok", value, now, acked=acked)

    def _wait_apart(self, command: Command, value: Any, now: int) -> None:
        """A write was acknowledged, with `value`; its WAIT goes to the same node on a connection that wrote nothing."""
        self._doing, self._written = Doing.WAITING, value
        self._payload, self._expected = pack_command(command), 1
        self._over(self._links.get(self._hops[-1], False, now, apart=True), now)

    def _refused(self, replies: list[Any], text: str, now: int) -> None:
        """A reply was an error; `text` is the first."""
        outcome = judge(self._op, replies)
        word = text.partition(" ")[0]
        if outcome == "fail" and word in REDIRECTIONS and not self._crossed(replies):
            return self._redirected(word, text, now)
        if self._op.via != "cross-slot":
            self._went_unserved(word in NO_SERVICE)
        return self._complete(outcome, self._op.value, now, text)

    def _crossed(self, replies: list[Any]) -> bool:
        """Whether a transaction across slots was refused as such: its first key was accepted and a later one not."""
        return self._op.via == "cross-slot" and len(replies) > 2 and not isinstance(replies[1], ReplyError)

    def _redirected(self, word: str, text: str, now: int) -> None:
        node = self._hops[-1]
        if len(self._hops) >= MOST_HOPS:
            error = TooManyHops(f"TTL exhausted: {MOST_HOPS} nodes were asked, the last said {text}")
            self._went_unserved(True)
            return self._complete(classify(error, writes=True, sent=True), self._op.value, now, str(error))
        if now >= self._deadline:
            return self._complete("fail", self._op.value, now, text)
        if word == "TRYAGAIN":
            return self._try_again(text, now)
        try:
            asking, slot, target = self._terms.directory.redirection(text, node)
        except UnknownAddress as error:
            self._went_unserved(True)
            return self._complete("fail", self._op.value, now, f"{text}: {error}")
        self._asking = asking
        if not asking:
            self._placement.moved(slot, target)
        return self._go(target, False, now)

    def _try_again(self, text: str, now: int) -> None:
        self._tries += 1
        if self._tries > MOST_TRIES:
            return self._complete("fail", self._op.value, now, text)
        self._link = None
        self._asking = False
        self.wake = min(self._deadline, now + TRYAGAIN_NS)
        return None

    # When no answer comes

    def _give_up(self, now: int) -> None:
        link = self._link
        waited_ms = (now - self._begun) // 1_000_000
        if link is None:
            return self._complete("fail", self._op.value, now, f"TRYAGAIN for {waited_ms} ms")
        what = ("no connection to", "no answer to the greeting from", "no reply from")[link.phase]
        self._links.silent(link, now)
        return self._unanswered(TimeoutError(f"{what} {link.node} for {waited_ms} ms"), now)

    def _break(self, link: Link, error: Exception, now: int) -> None:
        """A link carried what it should not: nothing that still comes from it can be believed."""
        self._links.drop(link)
        if link is self._link:
            self._unanswered(error, now)

    def _unanswered(self, error: Exception, now: int) -> None:
        """The link under way is gone, and the operation with it."""
        node = self._hops[-1]
        self._link = None
        if self._doing is Doing.ASKING_MAP:
            return self._rest(now)
        if self._doing is Doing.WAITING:
            self._suspicious = True
            return self._complete("ok", self._written, now)
        op = self._op
        replies = self._replies if self._sent else []
        if self._waits and len(replies) == self._expected - 1:  # the write was answered, only its WAIT was not
            self._suspicious = True
            return self._settle(replies[1:] if self._asking else replies, None, now)
        attempt = {"node": node, "time": self._hop_begun, "sent": self._sent, "error": str(error)}
        outcome = classify(error, writes=op.writes, sent=self._sent)
        self._went_unserved(True)
        return self._complete(outcome, op.value, now, str(error), answered=False, attempts=[attempt])

    # Between operations

    def _went_unserved(self, suspicious: bool) -> None:
        self._unserved += 1
        self._suspicious = self._suspicious or suspicious

    def _complete(
        self,
        outcome: Outcome,
        value: Any,
        now: int,
        error: str | None = None,
        *,
        acked: int | None = None,
        answered: bool = True,
        attempts: list[dict[str, Any]] | None = None,
    ) -> None:
        op = self._op
        hops = self._hops
        if self._near is not None:
            self._near.learn(op, outcome, value, now)
        self._effects.events.append(
            Event(
                type=outcome,
                f=op.f,
                process=self._process,
                time=now,
                key=op.key,
                value=value,
                node=hops[-1] if answered else None,
                hops=hops if len(hops) > 1 else None,
                asking=self._asking,
                error=error,
                acked=acked,
                attempts=attempts,
            )
        )
        self._effects.counts[outcome] += 1
        if outcome == "ok":
            self._unserved = 0
        elif outcome == "info":
            self._process += self._terms.total
            if self._link is not None:
                self._links.drop(self._link)
        self._link = None
        self._rest(now)

    def _rest(self, now: int) -> None:
        """Nothing is under way any more: set when the next operation begins."""
        self._doing = Doing.NOTHING
        self.wake = max(now + (PACE_NS if self._unserved > UNPACED else 0), self._begun + self._terms.interval_ns)

    def _ask_map(self, question: Command, now: int) -> None:
        """Ask a node for the map, rather one that is connected. One try: the next error asks again."""
        self._suspicious = False
        self._doing = Doing.ASKING_MAP
        able = self._placement.guides if isinstance(self._placement, Guided) else self._terms.directory.addresses
        nodes = [node for node in able if node != self._hops[-1]] or self._hops
        self._payload, self._expected, self._asking, self._hops = pack_command(question), 1, False, []
        self._deadline = now + min(MAP_NS, self._terms.timeout_ns)
        self._go(self._in_turn(self._links.best(nodes) or nodes), False, now)

    def _learn_map(self, now: int) -> None:
        node, reply = self._hops[-1], self._replies[0]
        self._link = None
        with suppress(ValueError):  # an error, or no map: keep the old one until the next error
            self._placement = self._placement.learned(reply, self._terms.directory, node)
        self._rest(now)
