"""When packets and bytes of slow links may go on, without a kernel and without servers."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.deploy import nftables, skew
from chaos.deploy.delayer import Queue
from chaos.deploy.nftables import Drop
from chaos.deploy.relay import PIECE, Link
from chaos.errors import ServerError


def packet(size: int = 100, source_port: int = 5000) -> bytes:
    """The beginning of a TCP packet of so many bytes."""
    header = struct.pack(">BBHHHBBH", 0x45, 0, size, 0, 0, 64, 6, 0)
    return (
        header + socket.inet_aton("127.0.77.1") + socket.inet_aton("127.0.77.2") + struct.pack(">HH", source_port, 6379)
    )


@given(st.lists(st.tuples(st.floats(0, 0.05), st.integers(5000, 5002)), max_size=30), st.floats(0, 20))
def test_packets_are_as_late_as_asked_and_those_of_a_flow_keep_their_order(coming, jitter_ms):
    queue, now = Queue(20, jitter_ms, None), 100.0
    last: dict[int, float] = {}
    for gap, port in coming:
        now += gap
        due = queue.due(now, packet(source_port=port))
        assert due >= last.get(port, 0.0)
        assert (
            now + 0.02 - jitter_ms / 1000 - 1e-9 <= due <= max(now + 0.02 + jitter_ms / 1000 + 1e-9, last.get(port, 0))
        )
        last[port] = due


def test_a_narrow_queue_sends_one_packet_after_the_other():
    queue = Queue(0, 0, 80)  # 10,000 bytes a second
    assert [queue.due(5.0, packet(1_000)) for _ in range(3)] == pytest.approx([5.1, 5.2, 5.3])
    assert queue.due(6.0, packet(500)) == pytest.approx(6.05), "a pause does not add up to a burst"


def test_flows_that_are_over_are_forgotten():
    queue = Queue(10, 0, None)
    for number in range(10_000):
        queue.due(number * 0.02, packet(source_port=number))
    assert len(queue._last) <= 4_096


def test_a_link_of_the_proxy_adds_delays_up_and_takes_the_least_bandwidth():
    link = Link()
    link.slow(10, 0, None)
    link.slow(15, 0, 800)
    link.slow(0, 0, 400)  # 50,000 bytes a second
    assert list(link.sent(b"x" * 1_000, 7.0)) == [(pytest.approx(7.045), b"x" * 1_000)]


@given(st.binary(max_size=5 * PIECE), st.sampled_from([None, 64.0, 10_000.0]))
def test_a_link_of_the_proxy_loses_nothing_and_keeps_the_order(data, kbit):
    link = Link()
    link.slow(5, 0, kbit)
    pieces = list(link.sent(data, 1.0))
    assert b"".join(piece for _, piece in pieces) == data
    assert [arrival for arrival, _ in pieces] == sorted(arrival for arrival, _ in pieces)
    if kbit is not None and data:
        assert pieces[-1][0] == pytest.approx(1.005 + len(data) / (kbit * 125))


def test_requests_to_queue_go_through_the_line_that_helpers_read():
    drop = Drop("input", "10.0.0.1", "10.0.0.2", (1, 2), None, 100.0, 7)
    assert nftables._read_drop([*drop]) == drop


def test_without_a_compiler_a_sentence_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", "no-such-compiler")
    assert "needs a C compiler once" in str(skew.reason_against())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "with space"))
    with pytest.raises(ServerError, match="space or a colon: set XDG_CACHE_HOME"):
        skew.LIBRARY.path()


def test_a_clock_is_told_by_the_best_of_some_looks(monkeypatch):
    """Looks of 0.4 s, 2 s and 0.1 s at a clock that is 3 s ahead, answered at the begin, in the middle, at the end."""
    moments = iter([10.0, 10.4, 20.0, 22.0, 30.0, 30.1])
    monkeypatch.setattr(skew.time, "time", lambda: next(moments))
    answers = iter([[b"13", b"000000"], [b"24", b"000000"], [b"33", b"100000"]])
    assert skew.ahead_ms(lambda node, command: next(answers), "n1") == pytest.approx(3_050)
