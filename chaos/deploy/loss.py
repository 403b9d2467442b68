"""Packets lost in per cent: nftables rules by netlink (no program needed), in the run's own network namespace.

Each loss is a table of its own, with a chain at the input hook and a rule for each link. The kernel draws a number
below `_SCALE` for every packet that the rule concerns, and drops it when the number is below the share.
"""

from __future__ import annotations

import itertools
import socket
import struct
import threading
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.nftables.main import NFTables

from chaos.deploy.endpoints import Endpoint, links
from nemeses.system import InjectionFailed

_SCALE = 1_000_000
_IPV4 = 2
_ACCEPT, _DROP = 1, 0
_REGISTER, _VERDICT = 1, 0
_EQUAL, _LESS = 0, 2
_NETWORK_HEADER, _ADDRESSES_AT, _ADDRESSES_LENGTH = 1, 12, 8
_RANDOM = 1
_HOST_TO_NETWORK = 1
_PROBE = ("127.0.66.1", "127.0.66.2")


class PacketLoss:
    """Loses packets between endpoints by name. What a server sends from 127.0.0.1 (its MIGRATE) is not lost."""

    def __init__(self, known: Mapping[str, Endpoint]) -> None:
        self._known = known
        self._numbers = itertools.count(1)
        self._tables: set[str] = set()
        self._lock = threading.Lock()

    def lose(self, sources: Collection[str], destinations: Collection[str], percent: float) -> str:
        """Drop that share of the packets from `sources` to `destinations`; returns a handle.

        Raises InjectionFailed for a share that is none, and when the kernel refuses.
        """
        if not 0 < percent <= 100:
            raise InjectionFailed(f"{percent} % is no share of packets that can be lost")
        pairs = [
            (self._known[source].address, self._known[destination].address)
            for source, destination in links(sources, destinations, self._known)
        ]
        handle = f"loss-{next(self._numbers)}"
        try:
            _add(handle, pairs, percent)
        except NetlinkError as error:
            raise InjectionFailed(f"the kernel refuses a rule: {error}") from error
        with self._lock:
            self._tables.add(handle)
        return handle

    def heal(self, handle: str) -> None:
        """Undo one loss; without effect on any other handle."""
        with self._lock:
            if handle in self._tables:
                self._tables.remove(handle)
                _delete(handle)

    def heal_all(self) -> None:
        """Undo all losses."""
        for handle in list(self._tables):
            self.heal(handle)


def reason_against() -> str | None:
    """Why packets cannot be lost here, found out by losing some; None when they can.

    To be called in the run's own network namespace only.
    """
    try:
        _add("probe", [_PROBE], 100)
    except (NetlinkError, OSError) as error:
        return f"nftables refuses: {error}"
    try:
        if _arrives(*_PROBE):
            return "a packet that should have been lost arrived"
    finally:
        _delete("probe")
    return None if _arrives(*_PROBE) else "a packet that should have arrived was lost"


def _arrives(source: str, destination: str) -> bool:
    """Whether a datagram gets through. On the loopback it is there at once or never."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind((destination, 0))
        sender.bind((source, 0))
        sender.sendto(b"?", receiver.getsockname())
        receiver.settimeout(0.05)
        try:
            return bool(receiver.recv(1))
        except TimeoutError:
            return False


def _add(table: str, pairs: Iterable[tuple[str, str]], percent: float) -> None:
    with closing(NFTables(nfgen_family=_IPV4)) as kernel:
        kernel.table("add", name=table)
        try:
            kernel.chain("add", table=table, name="in", hook="input", type="filter", policy=_ACCEPT)
            for source, destination in pairs:
                kernel.rule("add", table=table, chain="in", expressions=[_rule(source, destination, percent)])
        except NetlinkError:
            kernel.table("del", name=table)
            raise


def _delete(table: str) -> None:
    with closing(NFTables(nfgen_family=_IPV4)) as kernel:
        kernel.table("del", name=table)


def _rule(source: str, destination: str, percent: float) -> list[dict[str, Any]]:
    """In the words of nft: `ip saddr SOURCE ip daddr DESTINATION numgen random mod SCALE < SHARE drop`."""
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    share = struct.pack(">I", round(_SCALE * percent / 100))
    verdict = {"attrs": [("NFTA_DATA_VERDICT", {"attrs": [("NFTA_VERDICT_CODE", _DROP)]})]}
    return [
        _expression("payload", dreg=_REGISTER, base=_NETWORK_HEADER, offset=_ADDRESSES_AT, len=_ADDRESSES_LENGTH),
        _expression("cmp", sreg=_REGISTER, op=_EQUAL, data=_value(addresses)),
        _expression("numgen", prefix="NG", dreg=_REGISTER, modulus=_SCALE, type=_RANDOM, offset=0),
        _expression("byteorder", sreg=_REGISTER, dreg=_REGISTER, op=_HOST_TO_NETWORK, len=4, size=4),
        _expression("cmp", sreg=_REGISTER, op=_LESS, data=_value(share)),
        _expression("immediate", dreg=_VERDICT, data=verdict),
    ]


def _expression(name: str, prefix: str | None = None, **attributes: Any) -> dict[str, Any]:
    start = f"NFTA_{prefix or name.upper()}_"
    data = [(start + key.upper(), value) for key, value in attributes.items()]
    return {"attrs": [("NFTA_EXPR_NAME", name), ("NFTA_EXPR_DATA", {"attrs": data})]}


def _value(data: bytes) -> dict[str, Any]:
    return {"attrs": [("NFTA_DATA_VALUE", data)]}
