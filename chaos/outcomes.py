"""The table of errors: what an error means for the operation that met it. Data, in one place.

An operation is `fail` only when it certainly had no effect and never will, `info` when nobody knows. A read has no
effect, so any error of it is `fail`. What the table does not list is `info` for a write: when in doubt, an
indefinite outcome is always sound.

The rows follow the sources of Redis 7 and 8 and Valkey 8 and 9 (`processCommand` refuses before anything is
executed, `discardTransaction` before a redirected EXEC is) and redis-py 8 (its classes lose the prefix of the
reply, so a row names both). Rows of proxies follow the sources of Twemproxy 0.5 (`server_close`, `server_pool_update`,
`msg_get_error`) and Envoy 1.40 (`command_splitter_impl.cc`, `client_impl.cc`): Twemproxy passes on the text of the
system's error, or `ERR unknown` for a connection that the server closed, which is not listed and so indefinite; Envoy
says `upstream failure` whether or not the command had been sent. A command for keys on several servers is none that
`proxied` topologies let through: Twemproxy would say `ERR Connection refused` of it although a part was done.

Two questions stand beside the error itself:

* `sent`: had any byte of the operation left? Without that nothing can have happened. The text of redis-py's errors
  does not tell, so whoever asks must have watched the socket.
* `script`: is the operation an EVAL or FCALL? Writes made before a script failed stay, so an error from within is
  `info` whatever its prefix. Servers since 7.0 mark those: they append `script: SHA, on @user_script:LINE`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from chaos.operation import Operation

Outcome = Literal["ok", "fail", "info"]


@dataclass(frozen=True)
class Row:
    """One row of the table; the first row that matches decides."""

    name: str
    write: Outcome
    read: Outcome
    why: str
    prefixes: tuple[str, ...] = ()
    """Beginnings of the server's text."""
    classes: tuple[str, ...] = ()
    """Names of exception classes, matched along the class's bases."""
    sent: bool | None = None
    """The row holds only if bytes had (True) or had not (False) left; None: whichever."""
    precheck: bool = True
    """A script that gets this reply, unmarked, was refused before it ran."""


BEFORE = "refused before the command is executed"

TABLE: tuple[Row, ...] = (
    Row("moved", "fail", "fail", f"{BEFORE}: the slot is elsewhere", ("MOVED ",), ("MovedError",)),
    Row("ask", "fail", "fail", f"{BEFORE}: the slot is being moved", ("ASK ",), ("AskError",)),
    Row("tryagain", "fail", "fail", f"{BEFORE}: keys on both sides of a move", ("TRYAGAIN",), ("TryAgainError",)),
    Row(
        "crossslot",
        "fail",
        "fail",
        f"{BEFORE}, or by the client before it is sent",
        ("CROSSSLOT",),
        ("ClusterCrossSlotError", "CrossSlotTransactionError"),
    ),
    Row("masterdown", "fail", "fail", "a stale replica refuses", ("MASTERDOWN",), ("MasterDownError",)),
    Row("clusterdown", "fail", "fail", BEFORE, ("CLUSTERDOWN",), ("ClusterDownError",)),
    Row("readonly", "fail", "fail", BEFORE, ("READONLY",), ("ReadOnlyError",)),
    Row("loading", "fail", "fail", BEFORE, ("LOADING",), ("BusyLoadingError",)),
    Row("noreplicas", "fail", "fail", BEFORE, ("NOREPLICAS",)),
    Row("oom", "fail", "fail", BEFORE, ("OOM ",), ("OutOfMemoryError",)),
    Row("misconf", "fail", "fail", BEFORE, ("MISCONF",)),
    Row("noperm", "fail", "fail", BEFORE, ("NOPERM",), ("NoPermissionError",)),
    Row("noauth", "fail", "fail", BEFORE, ("NOAUTH", "WRONGPASS"), ("AuthenticationError", "AuthorizationError")),
    Row("noscript", "fail", "fail", BEFORE, ("NOSCRIPT",), ("NoScriptError",)),
    Row("unknown command", "fail", "fail", BEFORE, ("ERR unknown command", "ERR unknown subcommand")),
    Row("arity", "fail", "fail", BEFORE, ("ERR wrong number of arguments",)),
    Row("syntax", "fail", "fail", BEFORE, ("ERR syntax error",)),
    Row("wrongtype", "fail", "fail", "checked before data is changed", ("WRONGTYPE",), precheck=False),
    Row(
        "not a number",
        "fail",
        "fail",
        "checked before data is changed",
        ("ERR value is not an integer", "ERR value is not a valid float", "ERR increment or decrement would overflow"),
        precheck=False,
    ),
    Row("out of range", "fail", "fail", "checked before data is changed", ("ERR index out of range",), precheck=False),
    Row("busy", "fail", "fail", "refused while another script runs", ("BUSY ",)),
    Row("execabort", "fail", "fail", "the whole transaction is discarded", ("EXECABORT",), ("ExecAbortError",)),
    Row("exec nil", "fail", "fail", "a watched key had changed: nothing was executed", classes=("WatchError",)),
    Row(
        "proxy not connected",
        "fail",
        "fail",
        "Twemproxy: the connect was refused, or all servers are ejected; it sends only over a connection that stands",
        ("ERR Connection refused",),
    ),
    Row("proxy without host", "fail", "fail", "Envoy: no server to send it to", ("no upstream host",)),
    Row("proxy invalid", "fail", "fail", "Envoy: refused before it is sent on", ("invalid request",)),
    Row(
        "proxy lost the server",
        "info",
        "fail",
        "Twemproxy and Envoy: the connection to the server ended, or no answer came in time; it may have been executed",
        ("ERR Connection timed out", "ERR Connection reset by peer", "ERR Broken pipe", "upstream"),
    ),
    Row("proxy in parts", "info", "fail", "Envoy: a command for several keys was done in part", ("finished with ",)),
    Row("refused", "fail", "fail", "the replies say that nothing was executed", classes=("Refused",)),
    Row("doubtful", "info", "fail", "an array of EXEC with errors: no roll-back", classes=("Doubtful",)),
    Row("unblocked", "fail", "fail", "a blocked command ends without its effect", ("UNBLOCKED",)),
    Row("max clients", "fail", "fail", "the reply to connecting", ("ERR max number of clients",), ("MaxClientsError",)),
    Row("pool empty", "fail", "fail", "the client had no connection", classes=("MaxConnectionsError",)),
    Row("data error", "fail", "fail", "the client refused to encode it", classes=("DataError", "UnicodeEncodeError")),
    Row("ttl exhausted", "fail", "fail", "only redirections, none executed", classes=("TooManyHops", "ClusterError")),
    Row("lost before sending", "fail", "fail", "no byte had left", classes=("Exception",), sent=False),
    Row("cancelled before sending", "fail", "fail", "no byte had left", classes=("BaseException",), sent=False),
    Row(
        "invalid reply",
        "info",
        "fail",
        "the stream is out of step: a reply may belong to another command",
        classes=("ProtocolError", "InvalidResponse"),
        sent=True,
    ),
    Row("slot not covered", "info", "fail", "an earlier attempt had been sent", classes=("SlotNotCoveredError",)),
    Row(
        "no cluster",
        "info",
        "fail",
        "hides the connection error that led to it",
        classes=("RedisClusterException",),
        sent=True,
    ),
    Row(
        "no reply in time",
        "info",
        "fail",
        "the server, or the buffer of its socket, still holds the command",
        classes=("TimeoutError",),
        sent=True,
    ),
    Row(
        "lost after sending",
        "info",
        "fail",
        "before or after it was executed",
        classes=("ConnectionError", "OSError", "EOFError"),
        sent=True,
    ),
    Row(
        "cancelled",
        "info",
        "fail",
        "the reply was never read",
        classes=("CancelledError", "KeyboardInterrupt"),
        sent=True,
    ),
)

UNLISTED = Row("unlisted", "info", "fail", "not in the table: an indefinite outcome is always sound")


def row_of(error: str | BaseException, *, sent: bool) -> Row:
    """The first row of the table that matches a server's text or an exception; `UNLISTED` when none does.

    An exception of redis-py that carries a reply is matched by class first and then by its text.
    """
    text = str(error)
    names = {kind.__name__ for kind in type(error).__mro__} if isinstance(error, BaseException) else frozenset()
    for row in TABLE:
        matches = text.startswith(row.prefixes) or not names.isdisjoint(row.classes)
        if matches and row.sent in (None, sent):
            return row
    return UNLISTED


def classify(error: str | BaseException, *, writes: bool, sent: bool, script: bool = False) -> Outcome:
    """What became of an operation whose one attempt ended with `error`.

    `error` is the server's text with its prefix, or an exception; `writes` whether the operation may have an
    effect; `sent` whether any of its bytes had left; `script` whether it is an EVAL or FCALL. An operation of
    several attempts is `info` if one of them is.
    """
    row = row_of(error, sent=sent)
    if not writes:
        return row.read
    within = script and sent and (not row.precheck or "script: " in str(error) or "user_script" in str(error))
    return "info" if within else row.write


def judge(operation: Operation, replies: Sequence[object]) -> Outcome:
    """What became of an operation from all the replies to one attempt of it, where errors are exceptions.

    `ok` when there is no error among them. A transaction is decided by the reply to its EXEC; but when MULTI itself
    was refused, what followed was no transaction, and every command counts.
    """
    errors = [reply for reply in replies if isinstance(reply, Exception)]
    if not errors:
        return "ok"
    name = str(operation.commands[0][0])
    if name != "MULTI":
        script = name.startswith(("EVAL", "FCALL"))
        return classify(str(errors[0]), writes=operation.writes, sent=True, script=script)
    decisive = replies if isinstance(replies[0], Exception) else replies[-1:]
    if all(
        isinstance(reply, Exception) and classify(str(reply), writes=True, sent=True) == "fail" for reply in decisive
    ):
        return "fail"
    return "info" if operation.writes else "fail"
