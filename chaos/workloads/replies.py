"""From what a server replied to what a history says. Shared by the workloads.

A reply of the wrong kind means that the stream of replies is out of step with the commands, so it raises Doubtful
rather than being taken for an answer. A bulk string that is no number is an answer, though: somebody wrote it.
"""

from __future__ import annotations

from typing import Any

from chaos.operation import Doubtful


def number(reply: Any) -> int | str | None:
    """A value as written: an integer, None for an absent key, or the text of what is no integer."""
    if reply is None:
        return None
    if not isinstance(reply, bytes):
        raise Doubtful(f"expected a bulk string and got {reply!r}")
    try:
        return int(reply)
    except ValueError:
        return reply.decode(errors="backslashreplace")


def numbers(reply: Any) -> list[int | str | None]:
    """Each value of an array."""
    if not isinstance(reply, list):
        raise Doubtful(f"expected an array and got {reply!r}")
    return [number(item) for item in reply]


def expect_ok(reply: Any) -> None:
    """The reply of a command that says OK. Raises Doubtful for any other."""
    if reply != b"OK":
        raise Doubtful(f"expected OK and got {reply!r}")


def expect_integer(reply: Any) -> int:
    """The reply of a command that counts. Raises Doubtful for any other."""
    if not isinstance(reply, int):
        raise Doubtful(f"expected an integer and got {reply!r}")
    return reply
