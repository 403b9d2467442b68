"""TLS over the transport of sockets, against Python's own TLS on the loopback."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress

import pytest
import trustme

from chaos.tls import TlsTransport
from chaos.transport import Kind, SocketTransport


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@contextmanager
def echo(authority, name="localhost"):
    """A server that sends back what it gets; yields its port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)

    def serve(listening):
        with suppress(OSError):
            while True:
                plain, _ = listening.accept()
                with suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
                    while data := connection.recv(65_536):
                        connection.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.fixture
def transport(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return TlsTransport(SocketTransport(), context)


def until(transport, condition, seconds=20):
    """All that happens until `condition` holds of it."""
    happened = []
    deadline = time.monotonic() + seconds
    while not condition(happened):
        assert time.monotonic() < deadline, happened
        happened += transport.poll(50_000_000)
    return happened


def test_bytes_come_back_as_they_were_sent_however_many(authority, transport):
    sent = bytes(range(256)) * 8_192  # 2 MB: more than any buffer on the way
    with echo(authority) as port:
        transport.connect("link", ("localhost", port), None)
        (made,) = until(transport, bool)
        assert made.kind is Kind.CONNECTED
        transport.send("link", sent)
        received = until(transport, lambda happened: sum(len(each.data) for each in happened) >= len(sent))
        assert b"".join(each.data for each in received) == sent
        transport.close("link")


def test_a_certificate_of_another_name_ends_the_connection(authority, transport):
    with echo(authority, "elsewhere.example") as port:
        transport.connect("link", ("localhost", port), None)
        (lost,) = until(transport, bool)
        assert lost.kind is Kind.LOST
        assert "localhost" in str(lost.error)


def test_a_certificate_that_nobody_trusts_ends_the_connection(authority):
    transport = TlsTransport(SocketTransport(), ssl.create_default_context())
    with echo(authority) as port:
        transport.connect("link", ("localhost", port), None)
        (lost,) = until(transport, bool)
        assert lost.kind is Kind.LOST
        assert "self" in str(lost.error) or "unable to get" in str(lost.error)


def test_an_end_of_the_other_side_is_told_and_what_came_before_it_is_not_lost(authority, transport):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        transport.connect("link", ("localhost", listening.getsockname()[1]), None)

        def serve():
            plain, _ = listening.accept()
            with suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
                connection.sendall(b"last words")
                connection.unwrap()  # says that it ends, and hears no answer

        thread = threading.Thread(target=serve)
        thread.start()
        happened = until(transport, lambda happened: len(happened) >= 2)
        transport.close("link")
        thread.join()
    assert [each.kind for each in happened][:2] == [Kind.CONNECTED, Kind.DATA]
    assert happened[1].data == b"last words"


def test_a_host_that_nobody_knows_is_lost(transport):
    transport.connect("link", ("nowhere.invalid", 1), None)
    (lost,) = until(transport, bool)
    assert lost.kind is Kind.LOST
    transport.send("link", b"nobody hears this")
