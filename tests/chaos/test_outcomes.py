"""The table of errors against what each error means, row by row; expectations are written out, not read from it."""

import hiredis
import pytest
import redis.exceptions as library
from redis.exceptions import CrossSlotTransactionError

from chaos.operation import Doubtful, Operation, Refused
from chaos.outcomes import TABLE, classify, judge, row_of
from chaos.routes.bare import TooManyHops

REPLIES = {  # text: (row, write, read)
    "MOVED 7629 127.0.77.2:6379": ("moved", "fail", "fail"),
    "ASK 7629 127.0.77.2:6379": ("ask", "fail", "fail"),
    "TRYAGAIN Multiple keys request during rehashing of slot": ("tryagain", "fail", "fail"),
    "CROSSSLOT Keys in request don't hash to the same slot": ("crossslot", "fail", "fail"),
    "CLUSTERDOWN The cluster is down": ("clusterdown", "fail", "fail"),
    "CLUSTERDOWN The cluster is down and only accepts read commands": ("clusterdown", "fail", "fail"),
    "CLUSTERDOWN Hash slot not served": ("clusterdown", "fail", "fail"),
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.": ("masterdown", "fail", "fail"),
    "READONLY You can't write against a read only replica.": ("readonly", "fail", "fail"),
    "LOADING Redis is loading the dataset in memory": ("loading", "fail", "fail"),
    "NOREPLICAS Not enough good replicas to write.": ("noreplicas", "fail", "fail"),
    "OOM command not allowed when used memory > 'maxmemory'.": ("oom", "fail", "fail"),
    "MISCONF Errors writing to the AOF file: No space left on device": ("misconf", "fail", "fail"),
    "NOPERM User default has no permissions to run the 'set' command": ("noperm", "fail", "fail"),
    "NOAUTH Authentication required.": ("noauth", "fail", "fail"),
    "WRONGPASS invalid username-password pair or user is disabled.": ("noauth", "fail", "fail"),
    "NOSCRIPT No matching script. Please use EVAL.": ("noscript", "fail", "fail"),
    "ERR unknown command 'FROB', with args beginning with: ": ("unknown command", "fail", "fail"),
    "ERR wrong number of arguments for 'set' command": ("arity", "fail", "fail"),
    "ERR syntax error": ("syntax", "fail", "fail"),
    "WRONGTYPE Operation against a key holding the wrong kind of value": ("wrongtype", "fail", "fail"),
    "ERR value is not an integer or out of range": ("not a number", "fail", "fail"),
    "ERR increment or decrement would overflow": ("not a number", "fail", "fail"),
    "ERR index out of range": ("out of range", "fail", "fail"),
    "BUSY Redis is busy running a script.": ("busy", "fail", "fail"),
    "EXECABORT Transaction discarded because of previous errors.": ("execabort", "fail", "fail"),
    "UNBLOCKED force unblock from blocking operation": ("unblocked", "fail", "fail"),
    "ERR max number of clients reached": ("max clients", "fail", "fail"),
    "ERR Connection refused": ("proxy not connected", "fail", "fail"),
    "ERR Connection timed out": ("proxy lost the server", "info", "fail"),
    "ERR Connection reset by peer": ("proxy lost the server", "info", "fail"),
    "upstream failure": ("proxy lost the server", "info", "fail"),
    "upstream protocol error": ("proxy lost the server", "info", "fail"),
    "no upstream host": ("proxy without host", "fail", "fail"),
    "invalid request": ("proxy invalid", "fail", "fail"),
    "finished with 1 error(s)": ("proxy in parts", "info", "fail"),
    "ERR unknown": ("unlisted", "info", "fail"),
    "ERR Invalid argument": ("unlisted", "info", "fail"),
    "ERR something that no table knows": ("unlisted", "info", "fail"),
}

EXCEPTIONS = [  # error, sent, row, write, read
    (library.MovedError("7629 127.0.77.2:6379"), True, "moved", "fail", "fail"),
    (library.AskError("7629 127.0.77.2:6379"), True, "ask", "fail", "fail"),
    (library.TryAgainError("Multiple keys"), True, "tryagain", "fail", "fail"),
    (library.ClusterCrossSlotError("Keys in request"), True, "crossslot", "fail", "fail"),
    (CrossSlotTransactionError("All keys"), False, "crossslot", "fail", "fail"),
    (library.ClusterDownError("Hash slot not served"), True, "clusterdown", "fail", "fail"),
    (library.MasterDownError("Link with MASTER"), True, "masterdown", "fail", "fail"),
    (library.ReadOnlyError("You can't write"), True, "readonly", "fail", "fail"),
    (library.BusyLoadingError("loading"), True, "loading", "fail", "fail"),
    (library.OutOfMemoryError("command not allowed"), True, "oom", "fail", "fail"),
    (library.NoPermissionError("no"), True, "noperm", "fail", "fail"),
    (library.AuthenticationError("no"), True, "noauth", "fail", "fail"),
    (library.NoScriptError("no"), True, "noscript", "fail", "fail"),
    (library.ExecAbortError("Transaction discarded"), True, "execabort", "fail", "fail"),
    (library.WatchError("Watched variable changed."), True, "exec nil", "fail", "fail"),
    (Refused("EXEC replied nil"), True, "refused", "fail", "fail"),
    (Doubtful("a command inside EXEC failed"), True, "doubtful", "info", "fail"),
    (library.MaxConnectionsError("Too many connections"), False, "pool empty", "fail", "fail"),
    (library.DataError("Invalid input of type"), False, "data error", "fail", "fail"),
    (TooManyHops("TTL exhausted"), True, "ttl exhausted", "fail", "fail"),
    (library.ClusterError("TTL exhausted."), True, "ttl exhausted", "fail", "fail"),
    (ConnectionRefusedError("Connection refused"), False, "lost before sending", "fail", "fail"),
    (TimeoutError("connecting"), False, "lost before sending", "fail", "fail"),
    (library.ConnectionError("Error 111 connecting"), False, "lost before sending", "fail", "fail"),
    (library.TimeoutError("Timeout connecting to server"), False, "lost before sending", "fail", "fail"),
    (library.RedisClusterException("Redis Cluster cannot be connected"), False, "lost before sending", "fail", "fail"),
    (KeyboardInterrupt(), False, "cancelled before sending", "fail", "fail"),
    (KeyboardInterrupt(), True, "cancelled", "info", "fail"),
    (hiredis.ProtocolError("Protocol error, got \"H\""), True, "invalid reply", "info", "fail"),
    (library.InvalidResponse("Protocol Error"), True, "invalid reply", "info", "fail"),
    (library.SlotNotCoveredError("Slot not covered"), True, "slot not covered", "info", "fail"),
    (library.SlotNotCoveredError("Slot not covered"), False, "lost before sending", "fail", "fail"),
    (library.RedisClusterException("All slots are not covered"), True, "no cluster", "info", "fail"),
    (TimeoutError("no reply"), True, "no reply in time", "info", "fail"),
    (library.TimeoutError("Timeout reading from n1"), True, "no reply in time", "info", "fail"),
    (ConnectionResetError("reset"), True, "lost after sending", "info", "fail"),
    (BrokenPipeError("while sending"), True, "lost after sending", "info", "fail"),
    (EOFError("closed by the server"), True, "lost after sending", "info", "fail"),
    (library.ConnectionError("Connection closed by server."), True, "lost after sending", "info", "fail"),
    (AttributeError("'NoneType' object has no attribute 'redis_connection'"), True, "unlisted", "info", "fail"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), REPLIES.items(), ids=[text[:40] for text in REPLIES])
def test_what_a_reply_means(text, expected):
    row, write, read = expected
    assert row_of(text, sent=True).name == row
    assert classify(text, writes=True, sent=True) == write
    assert classify(text, writes=False, sent=True) == read


@pytest.mark.parametrize(
    ("error", "sent", "row", "write", "read"),
    EXCEPTIONS,
    ids=[f"{type(case[0]).__name__}-{'sent' if case[1] else 'unsent'}" for case in EXCEPTIONS],
)
def test_what_an_exception_means(error, sent, row, write, read):
    assert row_of(error, sent=sent).name == row
    assert classify(error, writes=True, sent=sent) == write
    assert classify(error, writes=False, sent=sent) == read


def test_every_row_is_tested():
    tested = {row for row, _, _ in REPLIES.values()} | {case[2] for case in EXCEPTIONS}
    assert {row.name for row in TABLE} - tested == set()


WITHIN = " script: 4ca23a, on @user_script:1."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CLUSTERDOWN The cluster is down", "fail"),
        ("CLUSTERDOWN The cluster is down" + WITHIN, "info"),
        ("READONLY You can't write against a read only replica." + WITHIN, "info"),
        ("OOM command not allowed when used memory > 'maxmemory'.", "fail"),
        ("OOM command not allowed when used memory > 'maxmemory'." + WITHIN, "info"),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", "info"),
        ("ERR Error running script (call to f_4ca23a): @user_script:1: ERR no", "info"),
        ("MOVED 7629 127.0.77.2:6379", "fail"),
        ("ERR Script attempted to access a non local key in a cluster node" + WITHIN, "info"),
    ],
)
def test_an_error_from_within_a_script_leaves_the_writes_before_it(text, expected):
    assert classify(text, writes=True, sent=True, script=True) == expected
    assert classify(text, writes=False, sent=True, script=True) == "fail"


def transaction(writes=True):
    commands = (("MULTI",), ("SET", "k", 1), ("EXEC",))
    return Operation("multikey", "mset", "k", {"k": 1}, commands, "k", writes, lambda replies: None)


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        ([b"OK", b"QUEUED", [b"OK"]], "ok"),
        ([b"OK", Exception("ASK 1 a:1"), Exception("EXECABORT Transaction discarded")], "fail"),
        ([b"OK", Exception("ERR unheard of"), Exception("EXECABORT Transaction discarded")], "fail"),
        ([b"OK", b"QUEUED", Exception("MOVED 1 a:1")], "fail"),
        ([b"OK", b"QUEUED", Exception("CLUSTERDOWN The cluster is down")], "fail"),
        ([b"OK", b"QUEUED", Exception("ERR unheard of")], "info"),
        ([Exception("BUSY script"), b"OK", Exception("ERR EXEC without MULTI")], "info"),
        ([Exception("LOADING"), Exception("LOADING"), Exception("LOADING")], "fail"),
    ],
)
def test_a_transaction_is_decided_by_its_exec(replies, expected):
    assert judge(transaction(), replies) == expected
    assert judge(transaction(writes=False), replies) == ("ok" if expected == "ok" else "fail")
