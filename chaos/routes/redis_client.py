"""Routes of redis-py's own clients as applications use them, a client and a thread each, watched from below.

Which of its clients a route uses is decided by what `connect` makes: `cluster_client` is the route `cluster`.

What the client raises at the end says nothing about the attempts before: it repeats a command after a read timeout,
and its own refresh of the map may replace that error by another (`RedisClusterException`) or by a defect of its own
(`AttributeError` for an ASK to a node it does not know). So a subclass of its `Connection` watches what is sent and
what comes back, and an operation is

* `ok` when the client returned: its value is taken from the replies below, not from what the client made of them;
* `info` when the client raised and any attempt had been sent and was not answered in full, or was answered with a
  success that the client did not see, or with an error that leaves the outcome open;
* `fail` when the client raised and every attempt, if there was any, was refused.

A write that the client repeated and that then succeeded is `ok`, with its `attempts` in the history: if it was
applied twice, that is a finding about the client. Connections that could not be made are attempts as well
(`"sent": false`), also those that the client made to refresh its map.

WAIT is left out here: redis-py sends it to a node of its choosing on any connection, where it says nothing about
the write.
"""

from __future__ import annotations

import errno
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from redis.backoff import ExponentialWithJitterBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.connection import Connection
from redis.exceptions import RedisClusterException, RedisError, ResponseError
from redis.retry import Retry

from chaos.access import Access
from chaos.crew import LOOK_NS, REPORT_NS, Clock
from chaos.errors import RunFailed
from chaos.job import Job
from chaos.operation import Doubtful, Operation, Refused
from chaos.outcomes import Outcome, classify, judge
from chaos.recorder import Recorder
from chaos.routes.filling import Flight, fillers
from chaos.routes.near import NAME
from chaos.routes.slotmap import Directory, UnknownAddress
from chaos.transport import CUT, RETRY_NS, local_address
from chaos.workloads.cachefill import NAME as FILL
from checkers.events import Event

INTERNAL = frozenset(
    {"HELLO", "AUTH", "CLIENT", "SELECT", "READONLY", "CLUSTER", "ASKING", "PING", "COMMAND", "INFO", "SENTINEL"}
)
"""Commands that redis-py sends for itself."""
GRACE_S = 10
"""How long threads may go on after the end: redis-py's retries outlast the timeout of one attempt."""
BACKOFF_BASE_S, BACKOFF_CAP_S = 0.01, 1
"""redis-py's own defaults."""


class Attempt:
    """What was seen of one attempt, below the client."""

    def __init__(self, node: str, began_ns: int, commands: int, asking: bool) -> None:
        self.node = node
        self.began_ns = began_ns
        self.sent = False
        self.asking = asking
        self.replies: list[Any] = []
        """What came back; error replies as exceptions that carry the server's whole text."""
        self.failure: str | None = None
        self._commands = commands

    @property
    def answered(self) -> bool:
        """Whether every command of the attempt has its reply."""
        return len(self.replies) == self._commands

    def as_event(self) -> dict[str, Any]:
        """As the history shows it."""
        error = next((str(reply) for reply in self.replies if isinstance(reply, Exception)), self.failure)
        seen = {"node": self.node, "time": self.began_ns, "sent": self.sent}
        return seen if error is None else {**seen, "error": error}


class Log:
    """The attempts of the operation that one client is doing; empty and inactive between operations."""

    def __init__(
        self, directory: Directory, clock: Clock, source: str | None, timeout_s: float, tls: ssl.SSLContext | None
    ) -> None:
        """`source` is the local address to speak from; `timeout_s` that of connecting and of each reply.

        `tls` says how connections are encrypted, if they are.
        """
        self.source = source
        self.timeout_s = timeout_s
        self.attempts: list[Attempt] = []
        self.active = False
        self.asking = False
        """ASKING was sent: it belongs to the next attempt."""
        self._directory = directory
        self._clock = clock
        self._tls = tls

    def start(self) -> None:
        """An operation begins."""
        self.attempts = []
        self.active = True
        self.asking = False

    def secured(self, connection: socket.socket, host: str, port: int) -> socket.socket:
        """A new connection as commands go over it. Raises ssl.SSLError, which is an OSError.

        The certificate must be that of the name that the node goes by: redis-py asks for `localhost` by its address.
        """
        if self._tls is None:
            return connection
        return self._tls.wrap_socket(connection, server_hostname=self._directory.reachable((host, port))[0])

    def attempt(self, host: str, port: int, commands: int) -> Attempt:
        """An attempt at a node begins."""
        try:
            node = self._directory.name(host, port)
        except UnknownAddress:
            node = f"{host}:{port}"
        attempt = Attempt(node, self._clock(), commands, self.asking)
        self.asking = False
        self.attempts.append(attempt)
        return attempt


class WatchedConnection(Connection):
    """A connection that writes into the log of its client; each client has a subclass with its own."""

    log: Log

    def __init__(self, **options: Any) -> None:
        untyped(super()).__init__(**options)
        self._attempt: Attempt | None = None
        self._commands = 1
        self._internal = False

    def _connect(self) -> socket.socket:
        try:
            plain = _dial(self.host, self.port, self.log.source, self.log.timeout_s)
            return self.log.secured(plain, self.host, self.port)
        except OSError as error:
            if self.log.active:
                self.log.attempt(self.host, self.port, 1).failure = str(error)
            raise

    def send_command(self, *args: Any, **options: Any) -> None:
        """Send one command; note it unless it is the client's own."""
        self._internal = str(args[0]).partition(" ")[0] in INTERNAL  # `CLUSTER SLOTS` comes as one word
        if args[0] == "ASKING":
            self.log.asking = True
        try:
            untyped(super()).send_command(*args, **options)
        finally:
            self._internal = False

    def pack_commands(self, commands: Any) -> Any:
        """Pack a transaction, and remember how many replies it will have."""
        commands = list(commands)
        self._commands = len(commands)
        return untyped(super()).pack_commands(commands)

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send bytes. The attempt counts as sent once the first may have left."""
        self._attempt = None
        if self.log.active and not self._internal:
            if not self.is_connected:
                untyped(self).connect()
            self._attempt = self.log.attempt(self.host, self.port, self._commands)
            self._attempt.sent = True
        self._commands = 1
        try:
            untyped(super()).send_packed_command(command, check_health)
        except BaseException as error:
            self._failed(error)
            raise

    def read_response(self, *args: Any, **options: Any) -> Any:
        """Read one reply and note it."""
        try:
            reply = super().read_response(*args, **options)
        except ResponseError as error:
            self._note(Exception(_text(error)))
            raise
        except BaseException as error:
            self._failed(error)
            raise
        self._note(reply)
        return reply

    def _note(self, reply: Any) -> None:
        if self._attempt is not None:
            self._attempt.replies.append(reply)
            if self._attempt.answered:
                self._attempt = None

    def _failed(self, error: BaseException) -> None:
        if self._attempt is not None:
            self._attempt.failure = str(error)
            self._attempt = None


def untyped(connection: Any) -> Any:
    """redis-py's methods have no types; this says so once."""
    return connection


def _text(error: ResponseError) -> str:
    """The server's text: redis-py keeps the first word apart for the errors it knows."""
    code = error.status_code
    return str(error) if code is None or str(error).startswith(code) else f"{code} {error}"


def _dial(host: str, port: int, source: str | None, timeout_s: float) -> socket.socket:
    """Connect as TCP promises: a link that the kernel knows to be cut stays pending until the timeout."""
    deadline = time.monotonic() + timeout_s
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(errno.ETIMEDOUT, f"no connection to {host}:{port} for {timeout_s} s")
        try:
            connection = socket.create_connection((host, port), left, None if source is None else local_address(source))
        except OSError as error:
            if error.errno not in CUT:
                raise
            time.sleep(min(RETRY_NS / 1e9, left))
        else:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(timeout_s)
            return connection


def outcome_of(operation: Operation, attempts: list[Attempt], raised: BaseException) -> Outcome:
    """What became of an operation that ended with an exception, from what was seen of its attempts."""
    for attempt in attempts:
        if attempt.sent and not attempt.answered:
            outcome = classify(TimeoutError(attempt.failure), writes=operation.writes, sent=True)
        elif attempt.sent:
            outcome = judge(operation, attempt.replies)
            if outcome == "ok":  # applied, or the client would not take the reply for an answer
                outcome = classify(Doubtful(str(raised)), writes=operation.writes, sent=True)
        else:
            outcome = "fail"
        if outcome == "info":
            return "info"
    return "fail"


Connect = Callable[[Job, Directory, type[WatchedConnection], dict[str, Any]], Any]
"""Makes a client of redis-py for a job.

Its connections are of (a subclass of) the given class, and all of them get the options of the given table.
"""


def cluster_client(
    job: Job, directory: Directory, watched: type[WatchedConnection], options: dict[str, Any]
) -> RedisCluster:
    """A `RedisCluster`; see `Connect`."""
    (host, port), *others = job.nodes.values()
    return RedisCluster.from_url(
        f"redis://{host}:{port}",
        startup_nodes=[ClusterNode(*address) for address in others],
        connection_class=watched,
        address_remap=directory.reachable,
        require_full_coverage=False,
        **options,
    )


def _as_allowed(access: Access) -> dict[str, Any]:
    """Options of redis-py for who we are, and without the commands that the nodes do not offer."""
    options: dict[str, Any] = {}
    if (credentials := access.credentials()) is not None:
        options |= {"username": credentials.user, "password": credentials.password}
    if not access.offers("CLIENT", "SETNAME"):
        options["client_name"] = None
    if not access.offers("CLIENT", "SETINFO"):
        options["driver_info"] = None
    return options


class LibraryClient:
    """One client of redis-py and what it does."""

    def __init__(self, client: int, job: Job, directory: Directory, clock: Clock, connect: Connect) -> None:
        """Raises RunFailed when the servers cannot be reached."""
        self.client = client
        self.log = Log(directory, clock, job.sources.get(client), job.timeout_ms / 1000, job.access.context())
        retries = job.route_options.get("retries")
        options: dict[str, Any] = {
            "socket_timeout": self.log.timeout_s,
            "socket_connect_timeout": self.log.timeout_s,
            "client_name": f"cq-c{client}",
            "protocol": 2,  # RESP2: maintenance notifications, which change timeouts, are off with it
        }
        options |= _as_allowed(job.access)
        if retries is not None:
            backoff = ExponentialWithJitterBackoff(base=BACKOFF_BASE_S, cap=BACKOFF_CAP_S)
            options["retry"] = Retry(backoff, retries)
        watched = type(f"WatchedConnection{client}", (WatchedConnection,), {"log": self.log})
        try:
            self.redis = connect(job, directory, watched, options)
        except (RedisError, RedisClusterException, OSError) as error:
            raise RunFailed(f"client {client} cannot reach the servers by redis-py: {error}") from error

    def perform(self, operation: Operation) -> list[Any]:
        """Do it as an application would, and return the replies. Raises whatever redis-py does.

        What happened stands in the log: nothing at all when the client answered from a cache of its own.
        """
        commands = [command for command in operation.commands if command[0] != "WAIT"]
        self.log.start()
        kept: list[Any] = []
        try:
            if commands[0][0] == "MULTI":
                with self.redis.pipeline(transaction=True) as pipeline:
                    for command in commands[1:-1]:
                        pipeline.execute_command(*command)
                    pipeline.execute()
            else:
                # The library's own `get` names the key as well: by it the client's cache knows an entry.
                named = {"keys": [operation.routing]} if commands[0][0] == "GET" else {}
                kept = [self.redis.execute_command(*commands[0], **named)]
        finally:
            self.log.active = False
        return self.log.attempts[-1].replies if self.log.attempts else kept


class ThreadCrew:
    """One thread for each client. Implements `chaos.crew.Crew`."""

    def __init__(self, job: Job, recorder: Recorder, clock: Clock, connect: Connect) -> None:
        """`connect` makes the clients. Raises RunFailed when the servers cannot be reached."""
        self._job = job
        self._recorder = recorder
        self._clock = clock
        self._mixture = job.mixture()
        directory = Directory(job.nodes, job.aliases)
        self._clients = [LibraryClient(client, job, directory, clock, connect) for client in job.streams]
        self._fillers = fillers(job, clock)
        self._counts = {client: {"ok": 0, "fail": 0, "info": 0} for client in job.streams}
        self._executed = dict.fromkeys(job.streams, 0)
        self._stop = threading.Event()
        self._over = False
        self._lock = threading.Lock()

    @property
    def counts(self) -> Mapping[str, int]:
        """Operations completed, by outcome."""
        return {kind: sum(own[kind] for own in self._counts.values()) for kind in ("ok", "fail", "info")}

    @property
    def executed(self) -> dict[int, int]:
        """Operations begun, by client."""
        return dict(self._executed)

    def run(self, until_ns: int, stopped: Callable[[], bool], report: Callable[[], None]) -> None:
        """See `Crew`. An operation that outlasts the grace after the end stays open: its outcome is not known."""
        own = self._stop.is_set, self._stop.wait
        threads = [threading.Thread(target=self._work, args=(client, *own), daemon=True) for client in self._clients]
        while (now := self._clock()) < 0 and not stopped():
            self._stop.wait(min(-now, REPORT_NS) / 1e9)
        for thread in threads:
            thread.start()
        next_report = self._clock() + REPORT_NS
        while (now := self._clock()) < until_ns and not stopped():
            self._stop.wait(min(until_ns - now, LOOK_NS) / 1e9)
            if now >= next_report:
                report()
                next_report = now + REPORT_NS
        self._stop.set()
        deadline = time.monotonic() + GRACE_S
        for thread in threads:
            thread.join(max(0, deadline - time.monotonic()))
        with self._lock:
            self._over = True
        for client in self._clients:
            client.redis.close()

    def run_alone(self, until_ns: int, stopped: Callable[[], bool]) -> None:
        """As `run`, for a job of one client: it works in the caller's thread, and no other thread is started."""
        (client,) = self._clients
        while (now := self._clock()) < 0 and not stopped():
            time.sleep(min(-now, REPORT_NS) / 1e9)
        self._work(client, lambda: stopped() or self._clock() >= until_ns, time.sleep)
        client.redis.close()

    def adopt(self, nodes: Sequence[str]) -> None:
        """See `Crew`: these clients ask the nodes themselves."""

    def _work(self, client: LibraryClient, over: Callable[[], bool], rest: Callable[[float], object]) -> None:
        process = client.client
        seed = self._job.streams[client.client]
        interval_ns = 0 if self._job.rate is None else round(1e9 / self._job.rate)
        while not over():
            began = self._clock()
            operation = self._mixture.operation(client.client, self._executed[client.client], seed)
            self._executed[client.client] += 1
            outcome = self._do(client, operation, process)
            self._counts[client.client][outcome] += 1
            if outcome == "info":
                process += self._job.total
            rest(max(0, began + interval_ns - self._clock()) / 1e9)

        if client.client in self._fillers:
            self._fillers[client.client].close()

    def _do(self, client: LibraryClient, operation: Operation, process: int) -> Outcome:
        event = Event(type="invoke", f=operation.f, process=process, key=operation.key, value=operation.value)
        event.via = operation.via
        event.time = self._clock()
        self._write(event)
        done = self._ended(client, operation) if operation.workload != FILL else self._step_by_step(client, operation)
        done.process, done.time = process, self._clock()
        self._write(done)
        return cast(Outcome, done.type)

    def _step_by_step(self, client: LibraryClient, operation: Operation) -> Event:
        """An operation that asks the cache and its database, as often as it must."""
        course = self._fillers[client.client].course(operation, self._executed[client.client])
        answer: Event | None = None
        try:
            while True:
                step = course.send(answer)
                answer = self._ended(client, step) if isinstance(step, Operation) else None
                if isinstance(step, Flight):
                    step.over.wait()
                elif isinstance(step, int):
                    time.sleep(max(0, step - self._clock()) / 1e9)
        except StopIteration as over:
            return cast(Event, over.value)

    def _ended(self, client: LibraryClient, operation: Operation) -> Event:
        """Do an operation; the event of its end, without process and time."""
        done = Event(type="ok", f=operation.f, key=operation.key, value=operation.value)
        outcome: Outcome = "ok"
        try:
            done.value = operation.result(client.perform(operation))
        except (Refused, Doubtful) as error:
            outcome, done.error = classify(error, writes=operation.writes, sent=True), str(error)
        except Exception as error:  # noqa: BLE001 - redis-py raises more than RedisError, defects included
            outcome = outcome_of(operation, client.log.attempts, error)
            done.error = f"{type(error).__name__}: {error}"
        _describe(done, outcome, client.log.attempts)
        return done

    def _write(self, event: Event) -> None:
        with self._lock:
            if not self._over:
                self._recorder.write(event)


def _describe(done: Event, outcome: Outcome, attempts: list[Attempt]) -> None:
    """Put the way of an operation into the event of its end."""
    done.type = outcome
    if outcome == "ok" and not attempts:
        done.node, done.via = NAME, "cache"
    if attempts and attempts[-1].answered:
        done.node, done.asking = attempts[-1].node, attempts[-1].asking
    if len(attempts) > 1:
        done.hops = [attempt.node for attempt in attempts]
    if len(attempts) > 1 or outcome != "ok":
        done.attempts = [attempt.as_event() for attempt in attempts]
