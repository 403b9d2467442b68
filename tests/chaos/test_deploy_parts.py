"""Parts of a local deployment that need no server."""

import socket
import threading

import pytest

from chaos.deploy import doctor, namespace
from chaos.deploy.addresses import Addresses, Claim
from chaos.deploy.clock import Clock
from chaos.deploy.control import Control
from chaos.deploy.directives import configuration, last_words
from nemeses.system import Interrupted, ReplyError, Unreachable, WaitTimeout


def test_every_node_and_client_has_an_address_of_its_own():
    addresses = Addresses("127.0")
    assert addresses.node(1) == "127.0.77.1"
    assert addresses.client(0) == "127.0.88.1"
    assert len({addresses.client(c) for c in range(2500)}) == 2500
    assert all(addresses.is_client(addresses.client(c)) for c in range(2500))
    others = [addresses.node(1), addresses.announced(1), addresses.controller, "127.0.0.1", "127.1.88.1", "::1", ""]
    assert not any(addresses.is_client(other) for other in others)
    with pytest.raises(ValueError, match="client 2500 has no address; there is room for 2500 clients"):
        addresses.client(2500)


def test_runs_that_share_a_host_get_different_addresses():
    first, second = Claim(), Claim()
    try:
        assert first.addresses.base != second.addresses.base
    finally:
        first.release()
        second.release()


def test_directives_are_written_as_the_server_reads_them():
    text = configuration(
        {"save": "", "appendonly": True, "cluster-node-timeout": 500, "maxmemory-policy": "noeviction"}
    )
    assert text == 'save ""\nappendonly yes\ncluster-node-timeout 500\nmaxmemory-policy noeviction\n'


def test_a_server_that_ended_is_quoted(tmp_path):
    log = tmp_path / "server.log"
    assert last_words(log) == "it said nothing"
    log.write_text("1\n2\n3\nbye\n")
    assert last_words(log) == "2 | 3 | bye"
    log.write_text("*** FATAL\nReading the configuration file, at line 3\n>>> 'apendonly no'\nBad directive\n")
    assert last_words(log) == "it refuses the directive 'apendonly no': Bad directive"


def test_waiting_quotes_what_was_last_in_the_way():
    clock = Clock(0)

    def refuse():
        raise ReplyError("LOADING")

    with pytest.raises(WaitTimeout, match="n1 answers: not within 10 ms; last: LOADING"):
        clock.wait("n1 answers", refuse, 10)
    assert clock.wait("now", lambda: 7) == 7


def test_an_interrupt_ends_what_waits_but_not_what_must_be_finished():
    clock = Clock(0)
    threading.Timer(0.02, clock.interrupt).start()
    with pytest.raises(Interrupted):
        clock.wait("never", lambda: None, 60_000)
    with pytest.raises(Interrupted):
        clock.sleep_until(clock.now_ns() + 10**12)
    answers = iter([None, None, True])
    assert clock.wait_anyway("soon", lambda: next(answers))
    clock.clear_interrupt()
    clock.sleep_until(clock.now_ns() + 1_000_000)


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_call_without_an_answer_is_never_sent_twice(listener):
    control = Control(lambda _: listener.getsockname())
    with pytest.raises(Unreachable, match="n1: PING: no answer within 50 ms"):
        control.call("n1", "PING", timeout_ms=50)
    connection, _ = listener.accept()
    with connection:
        assert connection.recv(100) == b"*1\r\n$4\r\nPING\r\n"
        assert connection.recv(100) == b""
    control.close()


def test_a_connection_that_was_closed_while_idle_is_opened_again(listener):
    control = Control(lambda _: listener.getsockname())
    told = []
    closed = threading.Event()

    def serve():
        for reply in (b"+ONE\r\n", b"-ERR two\r\n"):
            connection, _ = listener.accept()
            with connection:
                told.append(connection.recv(100))
                connection.sendall(reply)
            closed.set()

    thread = threading.Thread(target=serve)
    thread.start()
    assert control.call("n1", "PING") == b"ONE"
    assert closed.wait(10), "idle means: the node closed it before it is used again"
    with pytest.raises(ReplyError, match="ERR two"):
        control.call("n1", "PING")
    thread.join()
    control.close()
    assert len(told) == 2


def test_this_process_is_in_no_namespace_of_its_own(monkeypatch):
    monkeypatch.delenv(namespace.OUTER, raising=False)
    assert not namespace.entered()
    monkeypatch.setenv(namespace.OUTER, namespace.environment()[namespace.OUTER])
    assert not namespace.entered()


def test_namespaces_can_be_declined(monkeypatch):
    monkeypatch.setenv(namespace.CHOICE, "proxy")
    assert namespace.available() == "CACHEQUAKE_ISOLATION says proxy"
    assert namespace.prefix() == []


def test_the_doctor_looks_at_everything_and_never_fails(monkeypatch):
    def refuse():
        raise OSError("no such socket")  # the library would leave one open

    monkeypatch.setattr(doctor, "_docker_version", refuse)
    rows = {name: (works, detail) for name, works, detail in doctor.report("/nowhere/server")}
    assert rows["server"] == (False, "--server names /nowhere/server, which does not exist")
    assert rows["Docker engine"] == (None, "no such socket")
    assert {"packet loss", "links cut in the kernel", "Docker engine", "steady clock"} <= rows.keys()
    assert all(detail for _, detail in rows.values())
