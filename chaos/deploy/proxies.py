"""Links cut, or made slow, by a proxy between the nodes, for machines that allow no namespaces.

Nodes announce an address at which the proxy (`relay.py`, a process of its own) listens for them; it tells by the
source address who dials, and holds back what is cut. Runs share the host's loopback, so each takes addresses of its
own (`addresses.Claim`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Collection, Mapping
from itertools import chain
from typing import Any, TypeVar

from chaos.deploy import relay
from chaos.deploy.endpoints import Endpoint, Shape, links
from chaos.errors import ServerError
from nemeses.system import InjectionFailed, Port

T = TypeVar("T")


class ProxyLinks:
    """Starts the proxy and tells it what is cut and what is slow."""

    def __init__(self, known: Mapping[str, Endpoint], announced: Mapping[str, str]) -> None:
        """`announced` tells where the proxy listens for each node. Raises ServerError when it cannot."""
        self._known = known
        self._cuts: dict[str, list[relay.Cut]] = {}
        self._slow: dict[str, list[relay.Slow]] = {}
        self._made = 0
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", relay.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the controller
        )
        nodes = {
            name: {"listen": announced[name], "real": end.address, "data": end.data, "bus": end.bus}
            for name, end in known.items()
            if end.is_node
        }
        answer = self._tell({"nodes": nodes, "names": {end.address: name for name, end in known.items()}})
        if answer != "ok":
            self.close()
            raise ServerError(answer or "the proxy between the nodes did not start")

    def cut(self, sources: Collection[str], destinations: Collection[str], port: Port) -> str:
        """See `LinkLayer`."""
        pairs = links(sources, destinations, self._known)
        cuts: list[relay.Cut] = [(source, destination, port) for source, destination in pairs]
        return self._hold("cut", self._cuts, cuts)

    def shape(self, sources: Collection[str], destinations: Collection[str], shape: Shape) -> str:
        """See `Shaper`. Connections that bound no address (a server's MIGRATE) are not slowed."""
        pairs = links(sources, destinations, self._known)
        return self._hold("slow", self._slow, [(source, destination, *shape) for source, destination in pairs])

    def _hold(self, name: str, held: dict[str, list[T]], what: list[T]) -> str:
        with self._lock:
            self._made += 1
            handle = f"{name}-{self._made}"
            held[handle] = what
            self._apply()
        return handle

    def heal(self, handle: str) -> None:
        """See `LinkLayer` and `Shaper`."""
        with self._lock:
            if self._cuts.pop(handle, None) or self._slow.pop(handle, None):
                self._apply()

    def heal_all(self) -> None:
        """See `LinkLayer` and `Shaper`."""
        with self._lock:
            self._cuts.clear()
            self._slow.clear()
            self._apply()

    def close(self) -> None:
        """End the proxy, and every connection through it."""
        self._process.kill()
        self._process.communicate()

    def _apply(self) -> None:
        held = {name: list(chain(*by.values())) for name, by in (("cuts", self._cuts), ("slow", self._slow))}
        if self._tell(held) != "ok":
            raise InjectionFailed("the proxy between the nodes has ended")

    def _tell(self, what: Any) -> str:
        """Send a line and return the answer, "" when the proxy is gone."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return ""
        return self._process.stdout.readline().strip()
