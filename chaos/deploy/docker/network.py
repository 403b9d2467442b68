"""The network of a run: a bridge of its own that leads nowhere, with fixed addresses, and who has which of them.

Where we are root on the engine's machine every client gets an address of its own on the bridge, and a route to
nowhere lies below the bridge's: what is sent to a node after the network is gone fails at once, instead of leaving by
the default route. Elsewhere all clients share the bridge's own address, and are told apart by ranges of ports.

Where the bridge is not on this machine (Docker Desktop keeps it in a virtual machine) nobody here reaches an address on
it. A second bridge, on which containers do not reach each other, then carries ports published on the engine's loopback:
on an internal network publishing is silently ignored. Nodes still find each other on the first one only.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from docker.errors import APIError
from docker.types import IPAMConfig, IPAMPool

from chaos.deploy.addresses import BUS_PORT, DATA_PORT
from chaos.deploy.docker.containers import LOOPBACK, Place
from chaos.deploy.docker.engine import Engine, in_words, labels, told
from chaos.deploy.endpoints import Endpoint
from chaos.errors import ServerError

SUBNETS = [net for block in ("10.177.0.0/16", "10.178.0.0/16") for net in IPv4Network(block).subnets(new_prefix=21)]
"""Where runs find room: 64 of them at a time."""
MOST_NODES = 240
_FIRST_NODE = 11
_FIRST_CLIENT = 256
NOWHERE_METRIC = 4096
NOWHERE_PROTOCOL = 177
"""Marks the routes that are ours, so that those of a killed run are found."""
CLIENT_PORTS = range(10_000, 32_000)
"""Shared out among clients that have no address of their own; below what the kernel gives to others by default."""
_PORTS_EACH = 100


@dataclass(frozen=True)
class Addresses:
    """Which address on a run's subnet is whose."""

    subnet: IPv4Network
    clients: int
    own: bool
    """Whether every client has an address of its own."""
    published: bool = False
    """Whether nobody on this machine reaches an address of the subnet: clients then speak from the loopback, and nodes
    cannot tell them apart."""

    @property
    def gateway(self) -> str:
        """The engine's machine, on the bridge: where the controller speaks from."""
        return str(self.subnet[1])

    def node(self, number: int) -> str:
        """Address of node `number` (from 1)."""
        return str(self.subnet[_FIRST_NODE - 1 + number])

    def client(self, number: int) -> str:
        """What client `number` (from 0) binds: its address, or the shared one with the ports that are its own."""
        if self.published:
            return LOOPBACK
        if self.own:
            return str(self.subnet[_FIRST_CLIENT + number])
        first, last = self.ports(number)
        return f"{self.gateway}:{first}-{last}"

    def ports(self, number: int) -> tuple[int, int]:
        """The ports of a client that shares its address, first and last."""
        share = len(CLIENT_PORTS) // self.clients
        return CLIENT_PORTS[number * share], CLIENT_PORTS[(number + 1) * share - 1]

    def is_client(self, address: str, port: int) -> bool:
        """Whether a client speaks from there, and nobody else."""
        if self.published:
            return False
        if not self.own:
            return address == self.gateway and self.ports(0)[0] <= port <= self.ports(self.clients - 1)[1]
        try:
            place = int(IPv4Address(address)) - int(self.subnet[0])
        except ValueError:
            return False
        return _FIRST_CLIENT <= place < _FIRST_CLIENT + self.clients

    def endpoints(self, numbers: Mapping[str, int]) -> dict[str, Endpoint]:
        """Every end of a link, by name; clients are none where nodes cannot tell them apart."""
        nodes = {name: Endpoint(self.node(number), DATA_PORT, BUS_PORT) for name, number in numbers.items()}
        if self.published:
            return nodes
        return nodes | {f"c{client}": self._end(client) for client in range(self.clients)}

    def _end(self, client: int) -> Endpoint:
        if self.own:
            return Endpoint(self.client(client))
        return Endpoint(self.gateway, own_ports=self.ports(client))


@dataclass
class Network:
    """A network on the engine, and what it took on this machine."""

    name: str
    id: str
    addresses: Addresses
    ports: str | None = None
    """Name of the second one, which carries published ports."""
    _ends: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, repr=False)

    def place(self, address: str) -> Place:
        """On it, at this address."""
        return Place(self.name, address, self.ports)

    def close(self) -> None:
        """Remove it. Everything on it must be gone."""
        self._ends.close()


def open_network(
    engine: Engine,
    run: Path,
    nodes: int,
    clients: int,
    own_addresses: bool | None = None,
    published: bool | None = None,
) -> Network:
    """Make the network of a run on a subnet that nobody uses. Raises ServerError, which says why there is none.

    Clients get addresses of their own where they can, or as `own_addresses` says. Ports are published where addresses
    cannot be reached, or as `published` says.
    """
    root = os.geteuid() == 0 and engine.is_here if own_addresses is None else own_addresses
    root = root and not published
    room = SUBNETS[0].num_addresses - _FIRST_CLIENT - 1 if root else len(CLIENT_PORTS) // _PORTS_EACH
    if nodes > MOST_NODES or clients > room:
        raise ServerError(f"a network on Docker has room for {MOST_NODES} nodes and {room} clients")
    refused = "every one is in use on this machine"
    for subnet in _candidates(run):
        addresses = Addresses(subnet, clients, own=root)
        name = name_of(run)
        with contextlib.ExitStack() as ends:
            if root:
                ends.enter_context(_nowhere(subnet))
            try:
                id_ = _create(engine, run, name, addresses)
            except APIError as error:  # somebody else's network is there, which nothing but trying tells for sure
                refused = in_words(error)
                continue
            ends.callback(engine.remove_network, id_)
            if published or (published is None and not _is_here(addresses.gateway)):
                ports = _create_publishing(engine, run, f"{name}-ports")
                ends.callback(engine.remove_network, ports)
                return Network(name, id_, replace(addresses, own=False, published=True), ports, ends.pop_all())
            if root:
                _give_addresses(bridge(run), addresses)
            return Network(name, id_, addresses, None, ends.pop_all())
    raise ServerError(f"no subnet is free for the network of this run: {refused}; remove some with `docker network rm`")


def remove_routes(engine: Engine) -> None:
    """Remove the routes to nowhere below which there is no network any more: killed runs left them."""
    if os.geteuid() != 0 or not engine.is_here:
        return
    used = {
        pool["Subnet"] for network in engine.api.networks() for pool in (network.get("IPAM") or {}).get("Config") or ()
    }
    with _kernel() as kernel:
        routes = kernel.get_routes(proto=NOWHERE_PROTOCOL)
        left = {f"{route.get_attr('RTA_DST')}/{route['dst_len']}" for route in routes} - used
    for subnet in left:
        _remove_nowhere(subnet)


def name_of(run: Path) -> str:
    """Name of the network of a run, with which the names of all that is made for the run begin."""
    return f"cachequake-{_digest(run)}"


def bridge(run: Path) -> str:
    """Name of the interface, at most 15 characters."""
    return f"cq-{_digest(run)}"


def _digest(run: Path) -> str:
    return hashlib.sha256(str(run.absolute()).encode()).hexdigest()[:10]


def _candidates(run: Path) -> Iterator[IPv4Network]:
    """Subnets that no route of this machine leads to; runs that start at once begin at different ones."""
    first = int(_digest(run), 16) % len(SUBNETS)
    taken = list(_routed())
    for subnet in SUBNETS[first:] + SUBNETS[:first]:
        if not any(subnet.overlaps(other) for other in taken):
            yield subnet


def _routed() -> Iterator[IPv4Network]:
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        _, destination, _, _, _, _, _, mask, *_ = line.split()
        address, bits = (socket.inet_ntoa(int(field, 16).to_bytes(4, "little")) for field in (destination, mask))
        if int(mask, 16):  # else it is the default route
            yield IPv4Network(f"{address}/{bits}")


def _create(engine: Engine, run: Path, name: str, addresses: Addresses) -> str:
    pool = IPAMPool(subnet=str(addresses.subnet), gateway=addresses.gateway)
    created = engine.api.create_network(
        name,
        driver="bridge",
        internal=True,
        check_duplicate=True,
        ipam=IPAMConfig(pool_configs=[pool]),
        labels=labels(run),
        options={"com.docker.network.bridge.name": bridge(run)},
    )
    return str(created["Id"])


def _is_here(gateway: str) -> bool:
    """Whether the bridge is an interface of this machine: then its address is ours to speak from."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
        try:
            trial.bind((gateway, 0))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                return False
            raise ServerError(f"the address {gateway} of the run's network cannot be tried out: {error}") from error
    return True


def _create_publishing(engine: Engine, run: Path, name: str) -> str:
    """A bridge that ports can be published from, on a subnet of the engine's choice. Raises ServerError.

    No container reaches another one over it, and what one sends elsewhere keeps its address, so that no answer returns.
    """
    with told(f"making the network {name}"):
        created = engine.api.create_network(
            name,
            driver="bridge",
            check_duplicate=True,
            labels=labels(run),
            options={
                "com.docker.network.bridge.enable_icc": "false",
                "com.docker.network.bridge.enable_ip_masquerade": "false",
            },
        )
    return str(created["Id"])


@contextlib.contextmanager
def _nowhere(subnet: IPv4Network) -> Iterator[None]:
    with _kernel() as kernel:
        kernel.route("replace", **_route(str(subnet)))
    try:
        yield
    finally:
        _remove_nowhere(str(subnet))


def _remove_nowhere(subnet: str) -> None:
    with _kernel(errno.ESRCH) as kernel:  # another run that cleans up may have been faster
        kernel.route("del", **_route(subnet))


def _route(subnet: str) -> dict[str, Any]:
    return {"dst": subnet, "type": "unreachable", "priority": NOWHERE_METRIC, "proto": NOWHERE_PROTOCOL}


def _give_addresses(interface: str, addresses: Addresses) -> None:
    """They go with the bridge."""
    with _kernel() as kernel:
        index = kernel.link_lookup(ifname=interface)[0]
        for client in range(addresses.clients):
            kernel.addr("add", index=index, address=addresses.client(client), prefixlen=32)


@contextlib.contextmanager
def _kernel(harmless: int | None = None) -> Iterator[Any]:
    from pyroute2 import IPRoute  # only here: it takes 0.3 s to load
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with IPRoute() as kernel:
            yield kernel
    except NetlinkError as error:
        if error.code == harmless:
            return
        raise ServerError(f"the kernel refuses an address or a route of the run's network: {error}") from error
