"""The last reads of a run, taken when everything is healed and has caught up.

Three kinds of reader, told apart by their process number: one reads every object from its owner and decides what was
lost; one a replica reads what that replica holds and decides only whether it diverged; one a node starts at that
node and follows redirections as a client would, and decides whether every key can be reached from everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from chaos.operation import Doubtful, Operation, Refused
from checkers.events import Event
from nemeses.system import ReplyError, System, SystemFault

OWNER, REPLICA, STARTER = 1_000_000, 1_000_001, 1_000_100
"""Process numbers: the reader of owners; plus i, the reader of replica i; plus i, the reader starting at node i."""
MOST_HOPS = 16

Translate = Callable[[str, int], str]
"""From the address in a redirection to the name of the node."""


SAMPLE = 100
"""Objects without suspicion that are read starting at every node; suspicious ones all are."""


class Rest:
    """A system at rest: who serves a key, and which keys its primaries hold."""

    def __init__(
        self, owner: Callable[[str], str], holds: Mapping[str, Sequence[str]], *, redirects: bool = True
    ) -> None:
        self.owner = owner
        """Names the node at which a key is to be read."""
        self.redirects = redirects
        """Whether nodes know who serves a key and send clients there: in a cluster they do, elsewhere they do not."""
        self._holders: dict[str, list[str]] = {}
        for node, keys in holds.items():
            for key in keys:
                self._holders.setdefault(key, []).append(node)

    def worth_starting_everywhere(self, reads: Sequence[Operation]) -> list[Operation]:
        """Reads of keys that somebody holds who does not own them, and a sample of the others.

        Where the owner alone holds a key, whether it can be reached is a question of the map, not of the key; and
        what nobody holds is nowhere to be reached.
        """
        suspicious = [
            read
            for read in reads
            if (holders := self._holders.get(read.routing)) is not None and holders != [self.owner(read.routing)]
        ]
        doubted = set(map(id, suspicious))
        others = [read for read in reads if id(read) not in doubted]
        return suspicious + others[:: max(1, len(others) // SAMPLE)]


class Unreached(Exception):
    """A read ended without an answer; the message is what the history says of it."""


@dataclass
class Answer:
    """Replies to an operation's commands, and the way to them."""

    replies: list[Any]
    hops: list[str]
    asking: bool = False


class FinalReader:
    """Takes final reads through the controller's own connections and records them."""

    def __init__(self, system: System, translate: Translate, write: Callable[[Event], None]) -> None:
        """`write` puts an event into the history."""
        self._system = system
        self._translate = translate
        self._write = write

    def from_owners(self, operations: Iterable[Operation], owner: Callable[[str], str]) -> None:
        """Read each object from its owner (`owner` names the node that serves a key)."""
        for operation in operations:
            self._record(operation, OWNER, None, lambda op: self._follow(owner(op.routing), op))

    def from_replicas(self, held: Mapping[str, Sequence[Operation]], *, on_request: bool = True) -> None:
        """Read from each replica what it holds (reads by replica), without being redirected.

        `on_request`: replicas answer only who asks for it (READONLY), as in a cluster; elsewhere they answer anybody.
        """
        for number, (node, operations) in enumerate(sorted(held.items())):
            if on_request:
                self._system.call(node, "READONLY")
            for operation in operations:
                self._record(operation, REPLICA + number, "replica", partial(self._directly, node))
            if on_request:
                self._system.call(node, "READWRITE")

    def from_everywhere(self, operations: Sequence[Operation]) -> None:
        """Read each object starting at every node, following redirections as a client would."""
        for number, node in enumerate(self._system.nodes):
            for operation in operations:
                via = f"from:{node}"
                self._record(operation, STARTER + number, via, partial(self._follow, node))

    def _record(self, operation: Operation, process: int, via: str | None, read: Callable[[Operation], Answer]) -> None:
        event = Event(type="invoke", f=operation.f, process=process, key=operation.key, value=operation.value)
        event.time, event.final, event.via = self._system.now_ns(), True, via
        self._write(event)
        done = Event(type="fail", f=operation.f, process=process, key=operation.key, value=operation.value, final=True)
        try:
            answer = read(operation)
            done.value = operation.result(answer.replies)
            done.type, done.node, done.asking = "ok", answer.hops[-1], answer.asking
            done.hops = answer.hops if len(answer.hops) > 1 else None
        except (Unreached, SystemFault, Refused, Doubtful) as error:
            done.error = str(error)
        done.time = self._system.now_ns()
        self._write(done)

    def _follow(self, node: str, operation: Operation) -> Answer:
        hops = [node]
        asking = False
        while len(hops) <= MOST_HOPS:
            try:
                return Answer(self._ask(hops[-1], operation, asking), hops, asking)
            except ReplyError as error:
                word, *rest = str(error).split()
                if word not in ("MOVED", "ASK"):
                    raise Unreached(str(error)) from error
                asking = word == "ASK"
                host, _, port = rest[1].rpartition(":")
                hops.append(self._translate(host, int(port)))
        raise Unreached(f"redirect-loop: {' -> '.join(hops)}")

    def _directly(self, node: str, operation: Operation) -> Answer:
        return Answer(self._ask(node, operation), [node])

    def _ask(self, node: str, operation: Operation, asking: bool = False) -> list[Any]:
        replies = []
        for command in operation.commands:
            if asking:
                self._system.call(node, "ASKING")
            arguments = [str(part) if isinstance(part, float) else part for part in command]
            replies.append(self._system.call(node, *arguments))
        return replies
