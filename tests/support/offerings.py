"""Managed offerings, emulated on this machine: TLS with announced host names, and a user who may not do everything.

The servers are reached as `localhost`, and their certificate is that of `localhost` only: whoever takes an address for
the name is turned away. The user of a run has all rights but the commands that the profile refuses, so the server's
ACL LOG tells what was tried all the same. A failover is asked of something that stands for the offering's own
interface: it listens on a port, and does what the offering does inside.
"""

from __future__ import annotations

import shlex
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import trustme

from chaos.access import Access
from chaos.deploy.clock import Clock
from chaos.deploy.control import Control
from chaos.deploy.endpoint.profiles import profiles
from chaos.deploy.processes import with_parent
from chaos.topologies import ClusterSpec
from chaos.topologies.cluster import ClusterTopology
from nemeses.system import Node, ReplyError
from nemeses.view import View

USER, PASSWORD = "app", "n0body-may-read-this"
ADMIN = "the-owner-alone"
NAME, ADDRESS = "localhost", "127.0.0.1"
FOREIGN = 60
"""Keys of somebody else on every shard, more or less."""
ASK = "import socket,sys; s=socket.create_connection(('127.0.0.1',int(sys.argv[1]))); s.sendall(sys.argv[2].encode()); \
sys.exit(s.recv(9)!=b'ok')"


class Offering(Clock):
    """Servers that the test owns. Implements `nemeses.system.System` as their administrator sees them."""

    capabilities: frozenset[str] = frozenset()

    def __init__(self, profile: str, server: list[str], directory: Path) -> None:
        super().__init__(time.monotonic_ns())
        self.profile = profile
        self.clustered = profiles()[profile].topology == "endpoint-cluster"
        primaries, replicas = (1, 1) if profile == "elasticache-serverless" or not self.clustered else (3, 1)
        self.topology = ClusterTopology(ClusterSpec(primaries=primaries, replicas=replicas))
        self.nodes = {name: Node(name, ADDRESS, _free_port(), _free_port()) for name in self.topology.names}
        self.urls: list[str] = [f"rediss://{NAME}:{self.nodes['n1'].port}"]
        self.failover = ""
        self._server = server
        self._directory = directory
        self._ends = ExitStack()

    def __enter__(self) -> Offering:
        with ExitStack() as ends:
            self._ends = ends
            self._make()
            self._ends = ends.pop_all()
        return self

    def _make(self) -> None:
        self._certify()
        password = self._directory / "admin"
        password.write_text(ADMIN)
        access = Access(open=False, tls=True, ca_file=str(self.ca_file), password_file=str(password))
        self._control = Control(lambda node: (NAME, self.nodes[node].port), access=access)
        self._ends.callback(self._control.close)
        for node in self.nodes.values():
            self._start(node)
        for name in self.nodes:
            self.wait(f"{name} answers", lambda name=name: self.call(name, "PING"))
        if self.clustered:
            self.topology.form(self)
        else:
            self._replicate("n1", "n2")
            self.urls = [f"rediss://{NAME}:{port}" for port in self._names()]
        self._let_in()
        self.failover = self._ends.enter_context(_interface(self._fail_over))
        self.before = self._write_foreign()

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def call(self, node: str, *arguments: str | bytes | int, timeout_ms: int = 5_000) -> Any:
        """As the administrator."""
        return self._control.call(node, *arguments, timeout_ms=timeout_ms)

    def scenario(self, **more: Any) -> dict[str, Any]:
        """What a scenario says of this endpoint."""
        return {"profile": self.profile, "urls": self.urls, "ca_file": str(self.ca_file), **more}

    # What tests ask afterwards

    def refused(self) -> list[str]:
        """What the user of the run tried and may not."""
        logged = [entry for name in self.nodes for entry in self.call(name, "ACL", "LOG")]
        return [dict(zip(entry[::2], entry[1::2], strict=True))[b"object"].decode() for entry in logged]

    def contents(self) -> dict[str, bytes]:
        """Every key with its value, on all primaries."""
        found = {}
        for name in self.primaries():
            for key in self.call(name, "KEYS", "*"):
                found[key.decode()] = self.call(name, "DUMP", key)
        return found

    def primaries(self) -> list[str]:
        """Who is one now."""
        return [name for name in self.nodes if self.call(name, "ROLE")[0] == b"master"]

    # Making it

    def _certify(self) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert(NAME)
        self.ca_file = self._directory / "ca.pem"
        authority.cert_pem.write_to_path(self.ca_file)
        certificate.private_key_pem.write_to_path(self._directory / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(self._directory / "cert.pem")

    def _start(self, node: Node) -> None:
        home = self._directory / node.name
        home.mkdir()
        options: dict[str, object] = {
            "port": 0,
            "tls-port": node.port,
            "tls-cert-file": self._directory / "cert.pem",
            "tls-key-file": self._directory / "key.pem",
            "tls-ca-cert-file": self.ca_file,
            "tls-auth-clients": "no",
            "tls-replication": "yes",
            "bind": ADDRESS,
            "dir": home,
            "save": '""',
            "requirepass": ADMIN,
            "masterauth": ADMIN,
            "repl-diskless-sync-delay": 0,
            "repl-ping-replica-period": 1,
        }
        if self.clustered:
            options |= {
                "cluster-enabled": "yes",
                "tls-cluster": "yes",
                "cluster-port": node.bus_port,
                "cluster-node-timeout": 1_000,
                "cluster-announce-hostname": NAME,
                "cluster-preferred-endpoint-type": "hostname",
                "cluster-allow-replica-migration": "no",
            }
        (home / "server.conf").write_text("".join(f"{key} {value}\n" for key, value in options.items()))
        with (home / "server.log").open("wb") as log:
            process = subprocess.Popen(with_parent([*self._server, str(home / "server.conf")]), stdout=log, stderr=log)
        self._ends.callback(process.wait)
        self._ends.callback(process.kill)

    def _let_in(self) -> None:
        """The user of the run, who may do all but what the profile refuses (and this server knows)."""
        rights = [f"-{command.lower().replace(' ', '|')}" for command in profiles()[self.profile].refuses]
        for name in self.nodes:
            self.call(name, "ACL", "SETUSER", USER, "on", f">{PASSWORD}", "~*", "&*", "+@all")
            for right in rights:
                with suppress(ReplyError):  # an older server does not know every subcommand
                    self.call(name, "ACL", "SETUSER", USER, right)

    def _write_foreign(self) -> dict[str, bytes]:
        for number in range(FOREIGN):
            key = f"cq-of-somebody-else-{number}"
            for name in self.primaries():
                with suppress(ReplyError):  # MOVED: it belongs to another one
                    self.call(name, "SET", key, number)
        return self.contents()

    # What the offering does inside

    def _replicate(self, primary: str, replica: str) -> None:
        self.call(primary, "REPLICAOF", "NO", "ONE")
        self.call(replica, "REPLICAOF", ADDRESS, self.nodes[primary].port)
        self.wait(
            "the replica is linked", lambda: b"master_link_status:up" in self.call(replica, "INFO", "replication")
        )
        self._behind = [primary, replica]

    def _names(self) -> list[int]:
        """Ports that stand for the names of the primary's endpoint and of the readers'."""
        return [self._ends.enter_context(_name(lambda i=i: self.nodes[self._behind[i]].port)) for i in range(2)]

    def _fail_over(self, port: int) -> None:
        """The server behind a port gives its role to its replica."""
        if not self.clustered:
            self._replicate(*reversed(self._behind))
            for name in self.nodes:
                self.call(name, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")  # as names lead elsewhere now
            return
        deposed = next(name for name, node in self.nodes.items() if node.port == port)
        replica = next(name for name in self.nodes if View.fetch(self, name).myself.primary == deposed)
        self.call(replica, "CLUSTER", "FAILOVER")


class _Listening(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128
    """All clients connect at once; whom the queue has no room for would wait for a second."""


@contextmanager
def _interface(fail_over: Callable[[int], None]) -> Iterator[str]:
    """The offering's own interface; yields the command that asks it for a failover."""

    class Request(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            fail_over(int(self.request.recv(64)))
            self.request.sendall(b"ok")

    with _Listening((ADDRESS, 0), Request) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"{shlex.join([sys.executable, '-c', ASK, str(listening.server_address[1])])} {{port}}"
        listening.shutdown()
        thread.join()


@contextmanager
def _name(leads_to: Callable[[], int]) -> Iterator[int]:
    """A name that leads to another server from time to time: a port, whose connections are passed on."""

    class Passing(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError), socket.create_connection((ADDRESS, leads_to())) as server:
                back = threading.Thread(target=_pass, args=(server, self.request), daemon=True)
                back.start()
                _pass(self.request, server)
                back.join()

    with _Listening((ADDRESS, 0), Passing) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield listening.server_address[1]
        listening.shutdown()
        thread.join()


def _pass(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])
