"""Links cut or slowed, and packets lost, by rules in the nodes' own network namespaces.

What a node should get is dropped, or held (see `chaos.deploy.delayer`), where it arrives, in the receiver's namespace:
the sender notices nothing, as with a real cut. What a node sends to a client is dropped where it leaves, since the
client lives on a machine whose rules are not ours to change.

A node that is started anew may have a new namespace without rules; those that hold are made there at once, a few
milliseconds after its process began. A two-way cut has no gap in that moment: its other half stands elsewhere.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Mapping

from chaos.deploy.docker.containers import Container
from chaos.deploy.docker.engine import Engine
from chaos.deploy.docker.inside import Gone, Inside
from chaos.deploy.endpoints import Endpoint, Shape, links
from chaos.deploy.nftables import Drop
from nemeses.system import InjectionFailed, Port

Drops = dict[str, list[Drop]]
"""What is to be dropped, by the node in whose namespace."""


class ContainerLinks:
    """Implements `nemeses.system.Links` and `nemeses.system.Loss`, and slows links.

    Each cut, loss or slowing is a table in every namespace.
    """

    def __init__(
        self, engine: Engine, known: Mapping[str, Endpoint], containers: Mapping[str, Container], inside: Inside
    ) -> None:
        """`known` are all ends of links by name, `containers` those of the nodes."""
        self._engine = engine
        self._known = known
        self._containers = containers
        self._inside = inside
        self._cuts: dict[str, Drops] = {}
        self._slow: dict[str, tuple[int, Shape]] = {}
        """By handle of those that hold packets and drop none: the queue, and how they leave it."""
        self._made = 0
        self._lock = threading.RLock()

    def cut(self, sources: Collection[str], destinations: Collection[str], *, port: Port = "all") -> str:
        """See `Links.cut`. Raises InjectionFailed unless the kernel lists every rule afterwards."""
        return self._hold(sources, destinations, port, 100)

    def lose(self, sources: Collection[str], destinations: Collection[str], *, percent: float) -> str:
        """See `Loss.lose`. Raises InjectionFailed, also for a share that is none."""
        if not 0 < percent <= 100:
            raise InjectionFailed(f"{percent} % is no share of packets that can be lost")
        return self._hold(sources, destinations, "all", percent)

    def shape(self, sources: Collection[str], destinations: Collection[str], shape: Shape) -> str:
        """See `chaos.deploy.endpoints.Shaper`: packets are held where they would be dropped."""
        return self._hold(sources, destinations, "all", 100, shape)

    def heal(self, handle: str) -> None:
        """See `Links.heal`."""
        with self._lock:
            drops = self._cuts.pop(handle, {})
            self._engine.each(drops, lambda node: self._open(node, handle))
            self._slow.pop(handle, None)

    def heal_all(self) -> None:
        """See `Links.heal_all`."""
        for handle in list(self._cuts):
            self.heal(handle)

    def restore(self, node: str) -> None:
        """Make every rule that holds in the new namespace of a node that was just started."""
        with self._lock:
            for handle, drops in self._cuts.items():
                if node in drops:
                    self._drop(node, handle, drops[node])

    def _hold(
        self,
        sources: Collection[str],
        destinations: Collection[str],
        port: Port,
        percent: float,
        shape: Shape | None = None,
    ) -> str:
        drops = drops_for(links(sources, destinations, self._known), self._known, port, percent)
        with self._lock:
            self._made += 1
            handle = f"cachequake-{self._made}"
            if shape is not None:
                self._slow[handle] = self._made, shape
                drops = {node: [drop._replace(queue=self._made) for drop in rules] for node, rules in drops.items()}
            self._cuts[handle] = drops
            try:
                self._engine.each(drops, lambda node: self._drop(node, handle, drops[node]))
            except InjectionFailed:
                self.heal(handle)
                raise
        return handle

    def _drop(self, node: str, handle: str, drops: list[Drop]) -> None:
        container = self._containers[node]
        try:
            if handle in self._slow:
                self._inside.hold(container, *self._slow[handle])
            with contextlib.suppress(FileExistsError):  # the namespace outlived the node
                self._inside.add(container, handle, drops)
            listed = self._inside.count(container, handle)
        except Gone:
            return  # a dead node gets nothing; `restore` is called when it starts
        except OSError as error:
            raise InjectionFailed(f"{node}: the kernel refuses a rule: {error.strerror}") from error
        if listed != len(drops):
            raise InjectionFailed(f"{node}: the kernel lists {listed} of {len(drops)} rules")

    def _open(self, node: str, handle: str) -> None:
        try:
            self._inside.delete(self._containers[node], handle)
            if handle in self._slow:
                self._inside.release(self._containers[node], self._slow[handle][0])
        except (Gone, FileNotFoundError):
            return  # it went with the namespace, or was never made
        except OSError as error:
            raise InjectionFailed(f"{node}: the kernel keeps a rule: {error.strerror}") from error


def drops_for(
    pairs: Collection[tuple[str, str]], known: Mapping[str, Endpoint], port: Port, percent: float = 100
) -> Drops:
    """The rules for what the first of each pair sends to the second, by the node in whose namespace they belong.

    Between two clients there is no link. Raises InjectionFailed when nothing else is left.
    """
    drops: Drops = {}
    for source, destination in sorted(pairs):
        sender, receiver = known[source], known[destination]
        if receiver.is_node:
            drops.setdefault(destination, []).extend(_between(sender, receiver, port, "input", percent))
        elif sender.is_node:
            drops.setdefault(source, []).extend(_between(sender, receiver, port, "output", percent))
    drops = {node: rules for node, rules in drops.items() if rules}
    if not drops:
        raise InjectionFailed("between clients there is no link to cut")
    return drops


def _between(sender: Endpoint, receiver: Endpoint, port: Port, hook: str, percent: float) -> list[Drop]:
    """On the port that the receiver was dialled at, and on the one that the sender answers from."""
    drop = Drop(
        "input" if hook == "input" else "output",
        source=sender.address,
        destination=receiver.address,
        source_ports=sender.own_ports,
        destination_ports=receiver.own_ports,
        percent=percent,
    )
    if port == "all":
        return [drop]
    rules = []
    if (dialled := receiver.port(port)) is not None:
        rules.append(drop._replace(destination_ports=(dialled, dialled)))
    if (answering := sender.port(port)) is not None:
        rules.append(drop._replace(source_ports=(answering, answering)))
    return rules
