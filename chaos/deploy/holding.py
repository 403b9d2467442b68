"""Slow links by packets that are held in a process of ours, for kernels that have no netem.

nftables hands the packets of a slow link to a queue where they arrive, and `delayer.py`, a process in the same network
namespace, gives them back when their time has come. Each slowing is a table and a queue of its own, so they add up.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress

from chaos.deploy import delayer, nftables
from chaos.deploy.endpoints import Endpoint, Shape, links
from chaos.deploy.nftables import Drop
from nemeses.system import InjectionFailed


class DelayerProcess:
    """`delayer.py`, in the network namespace of the thread that starts it. Safe to use from several threads."""

    def __init__(self) -> None:
        """Start it. Raises OSError."""
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", delayer.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the controller
        )

    def ask(self, *request: str | float | None) -> None:
        """Have it do something; see `delayer`. Raises OSError, also when it has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        if not answer:
            raise BrokenPipeError("the process that holds packets has ended")
        status, *rest = json.loads(answer)
        if status == "error":
            raise OSError(*rest)

    def close(self) -> None:
        """End it. The kernel lets pass what should still have been held."""
        self._process.kill()
        self._process.communicate()


class PacketHolder:
    """Slows links between endpoints by name, in the network namespace of the thread that made it.

    What a server sends from 127.0.0.1 (its MIGRATE) is not slowed.
    """

    def __init__(self, known: Mapping[str, Endpoint]) -> None:
        """Start the process. Raises OSError when that is not possible."""
        self._known = known
        self._numbers = itertools.count(1)
        self._queues: dict[str, int] = {}
        """Number of the queue by handle."""
        self._lock = threading.Lock()
        self._delayer = DelayerProcess()

    def shape(self, sources: Collection[str], destinations: Collection[str], shape: Shape) -> str:
        """See `Shaper`."""
        pairs = [(self._known[s], self._known[d]) for s, d in sorted(links(sources, destinations, self._known))]
        with self._lock:
            number = next(self._numbers)
            handle = f"held-{number}"
            drops = [Drop("input", source.address, to.address, queue=number) for source, to in pairs]
            try:
                self._delayer.ask("hold", number, *shape)
                nftables.add(handle, drops)
            except OSError as error:
                raise InjectionFailed(f"the kernel does not hand packets over to be held: {error}") from error
            self._queues[handle] = number
        return handle

    def heal(self, handle: str) -> None:
        """See `Shaper`. What is held is given back at once."""
        with self._lock:
            number = self._queues.pop(handle, None)
            if number is not None:
                nftables.delete(handle)
                self._delayer.ask("release", number)

    def heal_all(self) -> None:
        """See `Shaper`."""
        for handle in list(self._queues):
            self.heal(handle)

    def close(self) -> None:
        """See `Shaper`."""
        with suppress(OSError):
            self.heal_all()
        self._delayer.close()
