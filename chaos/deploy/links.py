"""Links cut in the kernel: policy routing rules, by netlink alone, in the run's own network namespace.

What A sends to B dies at a rule `from A to B blackhole` that is looked up before the table of local addresses. To
make that possible the rule of the `local` table, which stands at priority 0, moves to `LOCAL`.

A trap: to a server whose connect fails at once (as a blackholed one does) `bind-source-addr` is only a wish; it
tries again without binding, from 127.0.0.1, straight through the partition. The server's MIGRATE never binds at all,
so 127.0.0.1 cannot be shut out altogether. Therefore the bus ports are closed to 127.0.0.1 from the start, and a cut
between two nodes also closes both of them to what is unbound, in the same direction and on the same ports.
"""

from __future__ import annotations

import errno
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Literal, NamedTuple

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from chaos.deploy.endpoints import Endpoint, links
from nemeses.system import InjectionFailed, Port

UNBOUND = "127.0.0.1"
"""The source address of a connection that did not bind one."""
CUTS = 50
"""Priority of the rules of cuts: the smaller, the earlier."""
ALWAYS = 40
"""Priority of the rules that stand from the start; a number of its own, for the kernel refuses a rule twice."""
LOCAL = 100
"""Priority that the rule of the `local` table moves to."""
_LOCAL_TABLE = 255
_HOST_SCOPE = 254
_TCP = 6


class Rule(NamedTuple):
    """What is dropped: packets by address, and by TCP port where one is given."""

    source: str
    destination: str
    source_port: int | None = None
    destination_port: int | None = None


def rules_for(source: Endpoint, destination: Endpoint, port: Port) -> set[Rule]:
    """The rules that drop what `source` sends to `destination`."""
    pairs = [(source.address, destination.address)]
    if source.is_node and destination.is_node:
        pairs += [(UNBOUND, destination.address), (source.address, UNBOUND)]
    return {rule for pair in pairs for rule in _between(*pair, source, destination, port)}


def _between(from_: str, to: str, source: Endpoint, destination: Endpoint, port: Port) -> Iterable[Rule]:
    if port == "all":
        yield Rule(from_, to)
        return
    if (dialled := destination.port(port)) is not None:
        yield Rule(from_, to, destination_port=dialled)
    if (answering := source.port(port)) is not None:
        yield Rule(from_, to, source_port=answering)


class Rules:
    """Which rules stand, when cuts add up and are undone in any order. Knows nothing of the kernel."""

    def __init__(self) -> None:
        self.cuts: dict[str, set[Rule]] = {}
        self._uses: Counter[Rule] = Counter()
        self._made = 0

    def add(self, rules: set[Rule]) -> tuple[str, set[Rule]]:
        """Note a cut; returns its handle and the rules that were not there yet."""
        self._made += 1
        handle = f"cut-{self._made}"
        self.cuts[handle] = rules
        self._uses.update(rules)
        return handle, {rule for rule in rules if self._uses[rule] == 1}

    def remove(self, handle: str) -> set[Rule]:
        """Forget a cut; returns the rules that no other cut needs. Empty for a handle that is not there."""
        rules = self.cuts.pop(handle, set())
        self._uses.subtract(rules)
        return {rule for rule in rules if self._uses[rule] == 0}


class KernelLinks:
    """Cuts links between endpoints by name, in the network namespace of this process (see `namespace.entered`)."""

    def __init__(self, known: Mapping[str, Endpoint]) -> None:
        """Make room for rules and close the bus ports to unbound connections.

        Raises OSError when the kernel has no policy routing or does not let this process change it.
        """
        self._known = known
        self._rules = Rules()
        self._lock = threading.Lock()
        nodes = [endpoint for endpoint in known.values() if endpoint.is_node]
        try:
            _make_room()
            self._always = {Rule(UNBOUND, node.address, destination_port=node.bus) for node in nodes}
            _change("add", self._always, ALWAYS)
        except NetlinkError as error:
            raise OSError(error.code, f"the kernel refuses policy routing: {error}") from error

    def cut(self, sources: Collection[str], destinations: Collection[str], port: Port) -> str:
        """See `LinkLayer`. About 1 ms a rule; raises InjectionFailed when the kernel refuses one."""
        pairs = links(sources, destinations, self._known)
        wanted = {rule for s, d in pairs for rule in rules_for(self._known[s], self._known[d], port)}
        with self._lock:
            handle, new = self._rules.add(wanted)
            try:
                _change("add", new)
            except NetlinkError as error:
                self._rules.remove(handle)
                raise InjectionFailed(f"the kernel refuses a rule: {error}") from error
        return handle

    def heal(self, handle: str) -> None:
        """See `LinkLayer`."""
        with self._lock:
            _change("del", self._rules.remove(handle))

    def heal_all(self) -> None:
        """See `LinkLayer`."""
        for handle in list(self._rules.cuts):
            self.heal(handle)

    def close(self) -> None:
        """See `LinkLayer`."""
        self.heal_all()
        _change("del", self._always, ALWAYS)


def speak_from(address: str) -> None:
    """Let what binds no address before it dials another loopback address speak from this one, in this namespace.

    Nothing but one program may do that then: all would be taken for it. Raises OSError when the kernel refuses.
    """
    with IPRoute() as kernel:
        loopback = kernel.link_lookup(ifname="lo")[0]
        try:
            kernel.route(
                "replace",
                dst="127.0.0.0/8",
                oif=loopback,
                table=_LOCAL_TABLE,
                type="local",
                scope=_HOST_SCOPE,
                prefsrc=address,
            )
        except NetlinkError as error:
            raise OSError(error.code, f"the kernel refuses a route: {error}") from error


def _make_room() -> None:
    """Move the rule of the `local` table, unless an earlier deployment in this namespace did."""
    with IPRoute() as kernel:
        for command, priority, done in (("add", LOCAL, errno.EEXIST), ("del", 0, errno.ENOENT)):
            try:
                kernel.rule(command, table=_LOCAL_TABLE, priority=priority)
            except NetlinkError as error:
                if error.code != done:
                    raise


def _change(command: Literal["add", "del"], rules: Iterable[Rule], priority: int = CUTS) -> None:
    """Add or delete rules: all of them or, when the kernel refuses one (NetlinkError), none."""
    done: list[Rule] = []
    with IPRoute() as kernel:  # a socket of its own each time: pyroute2's are bound to the thread that opened them
        try:
            for rule in rules:
                kernel.rule(command, priority=priority, action="blackhole", **_selector(rule))
                done.append(rule)
        except NetlinkError:
            for rule in done if command == "add" else ():
                kernel.rule("del", priority=priority, action="blackhole", **_selector(rule))
            raise


def _selector(rule: Rule) -> dict[str, str | int]:
    selector: dict[str, str | int] = {"src": f"{rule.source}/32", "dst": f"{rule.destination}/32"}
    for name, port in (("sport_range", rule.source_port), ("dport_range", rule.destination_port)):
        if port is not None:
            selector |= {name: f"{port}:{port}", "ip_proto": _TCP}
    return selector
