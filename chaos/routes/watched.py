"""Where keys are when Sentinels watch one primary: they are asked, as an application's client asks them.

What a client believes it learned from a Sentinel, and it asks again only after an error: one that reaches the old
primary and no Sentinel goes on with the old one ("Sentinel client spec").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chaos.routes.slotmap import Directory, UnknownAddress
from nemeses.sentinels import SERVICE


class Watched:
    """One primary for all keys, which Sentinels name. Implements `Placement` and `Guided`."""

    question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)

    def __init__(self, primary: str, servers: Sequence[str], sentinels: Sequence[str]) -> None:
        """`servers` hold data, the primary among them; `sentinels` are those to ask."""
        self.guides = sentinels
        self._primary = primary
        self._servers = servers

    def place(self, key: str) -> str:
        """The primary."""
        return self._primary

    def replicas(self, primary: str) -> Sequence[str]:
        """All other servers, a deposed primary among them."""
        return [name for name in self._servers if name != primary]

    def moved(self, slot: int, node: str) -> None:
        """Nobody redirects outside a cluster."""

    def learned(self, reply: Any, directory: Directory, said_by: str) -> Watched:
        """The reply is host and port. Raises ValueError for another, and for an address that is no node's."""
        try:
            host, port = reply
            primary = directory.name(host.decode(), int(port))
        except (TypeError, AttributeError, ValueError, UnknownAddress) as error:
            raise ValueError(f"{said_by} named {reply!r} as the primary") from error
        return Watched(primary, self._servers, self.guides)
