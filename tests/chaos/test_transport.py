"""The transport on real sockets of this machine."""

import errno
import socket
import time

import pytest

from chaos import transport
from chaos.errors import RunFailed
from chaos.transport import Kind, SocketTransport

SECOND = 1_000_000_000


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        yield server


@pytest.fixture
def sockets():
    carried = SocketTransport()
    yield carried
    for link in ("a", "b"):
        carried.close(link)


def poll_until(carried, kind, deadline_s=5.0):
    """The first happening of that kind; the others before it are dropped."""
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        for happening in carried.poll(SECOND // 10):
            if happening.kind is kind:
                return happening
    raise AssertionError(f"no {kind!r} in {deadline_s} s")


def test_bytes_go_and_come(listener, sockets):
    sockets.connect("a", listener.getsockname(), None)
    assert poll_until(sockets, Kind.CONNECTED).link == "a"
    peer, _ = listener.accept()
    with peer:
        sockets.send("a", b"there")
        assert peer.recv(5) == b"there"
        peer.sendall(b"back")
        assert poll_until(sockets, Kind.DATA).data == b"back"
    assert isinstance(poll_until(sockets, Kind.LOST).error, EOFError)
    sockets.send("a", b"into the void")  # without effect on a link that is gone
    assert sockets.poll(0) == []


def test_a_client_speaks_from_its_own_address(listener, sockets):
    sockets.connect("a", listener.getsockname(), "127.0.0.9")
    poll_until(sockets, Kind.CONNECTED)
    peer, address = listener.accept()
    peer.close()
    assert address[0] == "127.0.0.9"


def test_an_address_that_is_not_of_this_machine_ends_the_run(listener, sockets):
    with pytest.raises(RunFailed, match=r"192\.0\.2\.1"):
        sockets.connect("a", listener.getsockname(), "192.0.2.1")


def test_refused_is_said_at_once(sockets):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        sockets.connect("a", closed.getsockname(), None)
        lost = poll_until(sockets, Kind.LOST)
    assert isinstance(lost.error, ConnectionRefusedError)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EHOSTUNREACH, errno.ENETUNREACH])
def test_a_cut_link_stays_pending_and_gets_through_when_it_heals(listener, sockets, monkeypatch, code):
    tries = []

    class Cut(socket.socket):
        def connect_ex(self, address):
            tries.append(address)
            return code if len(tries) < 4 else super().connect_ex(address)

    monkeypatch.setattr(transport.socket, "socket", Cut)
    sockets.connect("a", listener.getsockname(), None)
    assert sockets.poll(0) == []
    assert len(tries) == 1
    assert poll_until(sockets, Kind.CONNECTED).link == "a"
    assert len(tries) == 4


def test_a_cut_link_that_was_given_up_is_not_tried_again(listener, sockets, monkeypatch):
    tries = []

    class Cut(socket.socket):
        def connect_ex(self, address):
            tries.append(address)
            return errno.EINVAL

    monkeypatch.setattr(transport.socket, "socket", Cut)
    sockets.connect("a", listener.getsockname(), None)
    sockets.close("a")
    monkeypatch.undo()
    sockets.connect("b", listener.getsockname(), None)
    poll_until(sockets, Kind.CONNECTED)
    assert sockets.poll(2 * transport.RETRY_NS) == []
    assert len(tries) == 1


def test_what_the_other_side_does_not_take_yet_is_sent_later(listener, sockets):
    sockets.connect("a", listener.getsockname(), None)
    poll_until(sockets, Kind.CONNECTED)
    peer, _ = listener.accept()
    with peer:
        peer.settimeout(5)
        data = b"x" * 20_000_000
        sockets.send("a", data)
        sockets.send("a", b"end")
        received = 0
        while received < len(data) + 3:
            sockets.poll(0)
            chunk = peer.recv(1_000_000)
            received += len(chunk)
        assert chunk.endswith(b"end")
