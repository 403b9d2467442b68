"""The network of a local run: which address is whose, and how links are cut and slowed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from chaos.deploy import namespace
from chaos.deploy.addresses import BUS_PORT, DATA_PORT, Addresses, Claim
from chaos.deploy.endpoints import Endpoint, LinkLayer, Shaper
from chaos.deploy.proxies import ProxyLinks
from chaos.errors import ServerError

if TYPE_CHECKING:
    from chaos.deploy.loss import PacketLoss

Isolation = Literal["network namespace", "proxy"]


@dataclass(frozen=True)
class Network:
    """What nodes and clients of one run are given."""

    isolation: Isolation
    addresses: Addresses
    dialled: Mapping[str, str]
    """The address at which clients and other nodes reach each node; behind a proxy it is not the node's own."""
    links: LinkLayer
    loss: PacketLoss | None
    """None where packets cannot be lost."""
    shapers: Mapping[str, Shaper]
    """What slows links, by capability (`delay`, `bandwidth`), as far as it was wanted and is possible."""


def open_network(
    numbers: Mapping[str, int],
    clients: int,
    isolation: Isolation | None,
    wanted: Collection[str],
    ends: ExitStack,
    unbound: Sequence[str] = (),
) -> Network:
    """The network for nodes (number by name) and so many clients, as `isolation` says or else the best there is.

    `unbound` names nodes that bind no address before they dial: in a namespace, what is not bound speaks from the
    address of the first of them.

    Whether the kernel can slow links is tried out (0.5 s) when `wanted` has `delay` or `bandwidth`. What must be
    undone is left in `ends`. Raises ServerError when there is no network to be had.
    """
    if isolation != "proxy" and namespace.entered():
        namespace.prepare()
        try:
            network = _in_namespace(numbers, clients, wanted, ends)
            if unbound:
                from chaos.deploy.links import speak_from  # only here, as below

                speak_from(network.addresses.node(numbers[unbound[0]]))
            return network
        except OSError:  # no policy routing in this kernel: the proxy works inside a namespace as well
            pass
    return _behind_proxy(numbers, clients, ends)


def _in_namespace(numbers: Mapping[str, int], clients: int, wanted: Collection[str], ends: ExitStack) -> Network:
    from chaos.deploy import links as kernel  # only here: what they need takes 0.3 s to load
    from chaos.deploy import loss, shaping

    addresses = Addresses("127.0")
    known = _endpoints(addresses, numbers, clients)
    links = kernel.KernelLinks(known)
    ends.callback(links.close)
    lossy = loss.PacketLoss(known) if loss.reason_against() is None else None
    if lossy is not None:
        ends.callback(lossy.heal_all)
    dialled = {name: addresses.node(number) for name, number in numbers.items()}
    shapers = shaping.open_shapers(known, wanted, ends)
    return Network("network namespace", addresses, dialled, links, lossy, shapers)


def _behind_proxy(numbers: Mapping[str, int], clients: int, ends: ExitStack) -> Network:
    try:
        claim = Claim()
    except OSError as error:
        raise ServerError(str(error)) from error
    ends.callback(claim.release)
    dialled = {name: claim.addresses.announced(number) for name, number in numbers.items()}
    links = ProxyLinks(_endpoints(claim.addresses, numbers, clients), dialled)
    ends.callback(links.close)
    return Network("proxy", claim.addresses, dialled, links, None, {"delay": links, "bandwidth": links})


def _endpoints(addresses: Addresses, numbers: Mapping[str, int], clients: int) -> dict[str, Endpoint]:
    nodes = {name: Endpoint(addresses.node(number), DATA_PORT, BUS_PORT) for name, number in numbers.items()}
    return nodes | {f"c{client}": Endpoint(addresses.client(client)) for client in range(clients)}
