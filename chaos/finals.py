"""The last reads of a run, taken when everything is healed and has caught up.

Three kinds of reader, told apart by their process number: one reads every object from its owner and decides what was
lost; one a replica reads what that replica holds and decides only whether it diverged; one a node starts at that
node and follows redirections as a client would, and decides whether every key can be reached from everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chaos.operation import Doubtful, Operation, Refused
from checkers.history import Event
from nemeses.system import ReplyError, System, SystemFault

OWNER, REPLICA, STARTER = 1_000_000, 1_000_001, 1_000_100
"""Process numbers: the reader of owners; plus i, the reader of replica i; plus i, the reader starting at node i."""
MOST_HOPS = 16

Translate = Callable[[str, int], str]
"""From the address in a redirection to the name of the node."""


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
            self._record(operation, OWNER, None, lambda op: self._follow(op, owner(op.routing)))

    def from_replicas(self, held: Mapping[str, Sequence[Operation]]) -> None:
        """Read from each replica what it holds (reads by replica), without being redirected."""
        for number, (node, operations) in enumerate(sorted(held.items())):
            self._system.call(node, "READONLY")
            for operation in operations:
                self._record(operation, REPLICA + number, "replica", lambda op, node=node: self._ask(op, node, [node]))
            self._system.call(node, "READWRITE")

    def from_everywhere(self, operations: Sequence[Operation]) -> None:
        """Read each object starting at every node, following redirections as a client would."""
        for number, node in enumerate(self._system.nodes):
            for operation in operations:
                via = f"from:{node}"
                self._record(operation, STARTER + number, via, lambda op, node=node: self._follow(op, node))

    def _record(
        self, operation: Operation, process: int, via: str | None, read: Callable[[Operation], Answer]
    ) -> None:
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

    def _follow(self, operation: Operation, node: str) -> Answer:
        hops = [node]
        asking = False
        while len(hops) <= MOST_HOPS:
            try:
                answer = self._ask(operation, hops[-1], hops, asking)
                answer.asking = asking
                return answer
            except ReplyError as error:
                word, *rest = str(error).split()
                if word not in ("MOVED", "ASK"):
                    raise Unreached(str(error)) from error
                asking = word == "ASK"
                host, _, port = rest[1].rpartition(":")
                hops.append(self._translate(host, int(port)))
        raise Unreached(f"redirect-loop: {' -> '.join(hops)}")

    def _ask(self, operation: Operation, node: str, hops: list[str], asking: bool = False) -> Answer:
        replies = []
        for command in operation.commands:
            if asking:
                self._system.call(node, "ASKING")
            arguments = [str(part) if isinstance(part, float) else part for part in command]
            replies.append(self._system.call(node, *arguments))
        return Answer(replies, hops)
