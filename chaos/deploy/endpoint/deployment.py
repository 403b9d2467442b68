"""The deployment `endpoint`: a system that somebody else runs. Its nodes are found, and nothing is started or stopped.

What the run writes stands under a prefix of its own, which is removed at the end, also after a run that failed. The
prefix is written into the run directory before the first key is, so that `cachequake clean` can remove what a killed
controller left.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from chaos.access import Access
from chaos.deploy.clock import Clock
from chaos.deploy.control import Control
from chaos.deploy.endpoint import discovery
from chaos.deploy.endpoint.commands import carry_out, for_node
from chaos.deploy.endpoint.spec import EndpointSpec
from chaos.errors import ServerError
from chaos.keyspace import KeySpace
from nemeses.system import Node, ReplyError, Unreachable, WaitTimeout
from nemeses.view import NO_CLUSTER

MARKER = "endpoint-prefix"
"""The file in the run directory that holds the prefix as long as keys may be left under it."""
SCAN_COUNT = 5_000
REMOVED_MS = 120_000
"""How long the removal may take, a failover that goes on included."""
ANYWHERE = "0.0.0.0"
"""What clients bind: any address of this machine."""


class EndpointDeployment(Clock):
    """Implements `chaos.deploy.base.Deployment`, `Publishes` and `Borrows`, and `nemeses.system.Commanded`."""

    capabilities: frozenset[str] = frozenset()
    isolation = "none: the links are not ours"

    def __init__(self, spec: EndpointSpec, run_dir: Path, *, began_ns: int) -> None:
        """Nothing is connected yet. Raises BadInput for credentials or certificates that cannot be had."""
        super().__init__(began_ns)
        self.access: Access = spec.access
        self.keys = KeySpace("")
        self.nodes: Mapping[str, Node] = {}
        self.published: Mapping[str, tuple[str, int]] = {}
        self.notes: Sequence[str] = ()
        self.server = ""
        self._spec = spec
        self._marker = run_dir / MARKER
        self._reached: dict[str, tuple[str, int]] = {f"{host}:{port}": (host, port) for host, port in spec.addresses}
        self._control = Control(lambda node: self._reached[node], access=self.access)

    # Life of the whole

    def start_all(self) -> None:
        """Find the nodes, and begin a key space of the run's own. Raises ServerError."""
        try:
            self.discover()
            self._identify()
            self._begin_key_space()
        except (Unreachable, ReplyError) as error:
            raise ServerError(f"the endpoint does not serve this run: {error}") from error

    def discover(self) -> None:
        """Find the nodes. Raises Unreachable and ReplyError."""
        found = self._discover_cluster() if self._clustered else discovery.of_names(self._spec.addresses)
        self.nodes = {each.node.name: each.node for each in found}
        self.published = {each.node.name: each.reached for each in found}
        self._reached |= self.published

    def stop_all(self) -> None:
        """Remove what the run wrote. May be called twice. Raises ServerError when something may be left."""
        try:
            if self._marker.exists():
                self.remove_keys(KeySpace(self._marker.read_text(encoding="utf-8")))
        except (Unreachable, ReplyError, WaitTimeout) as error:
            prefix = self._marker.read_text(encoding="utf-8")
            raise ServerError(
                f"keys that begin with {prefix} may be left at the endpoint: {error}; `cachequake clean` tries again"
            ) from error
        finally:
            self.close()

    def close(self) -> None:
        """Close all connections."""
        self._control.close()

    def remove_keys(self, keys: KeySpace) -> int:
        """Remove every key of a run's key space, and nothing else; returns how many there were.

        Raises WaitTimeout when that did not succeed everywhere.
        """
        removed = 0

        def nothing_left() -> bool:
            nonlocal removed
            found = [(node, key) for node in self.nodes for key in self._scan(node, keys)]
            for node, key in found:
                removed += self.call(node, "UNLINK", key)
            return not found

        if not keys.prefix:
            raise ValueError("without a prefix, this would remove everything")
        self.wait_anyway(f"no key begins with {keys.prefix} any more", nothing_left, REMOVED_MS)
        self._marker.unlink(missing_ok=True)
        return removed

    def collect_logs(self, target: Path) -> None:
        """Logs are not ours to read."""

    # System

    def call(self, node: str, *arguments: str | bytes | int, timeout_ms: int = 1_000) -> Any:
        """See `System.call`. A command that the offering refuses is not sent: ReplyError says so."""
        if not self._clustered and arguments[0] == "CLUSTER":
            raise ReplyError(f"ERR {NO_CLUSTER} at {self._spec.profile}, so CLUSTER is not sent")
        if not self.offers(*arguments):
            said = " ".join(str(word) for word in arguments[:2])
            raise ReplyError(f"{said} is not sent: {self._spec.profile} does not offer it")
        return self._control.call(node, *arguments, timeout_ms=timeout_ms)

    def offers(self, *words: object) -> bool:
        """Whether nodes offer a command, given by its first words."""
        return self.access.offers(*words)

    def client_address(self, client: int) -> str:
        """Any: clients are not told apart."""
        return ANYWHERE

    def translate(self, host: str, port: int) -> str | None:
        """Name of the node that goes by this address, inside or outside; None for a stranger."""
        known = {(node.host, node.port): name for name, node in self.nodes.items()}
        known |= {address: name for name, address in self.published.items()}
        return known.get((host, port))

    # Faults that the owner has a command for

    def commanded(self, fault: str) -> bool:
        """See `Commanded`."""
        return fault in self._spec.faults

    @property
    def command_timeout_ms(self) -> int:
        """See `Commanded`."""
        return self._spec.patience_ms

    def command(self, fault: str, node: str) -> Mapping[str, Any]:
        """See `Commanded`."""
        words = for_node(self._spec.faults[fault], node, *self.published[node])
        wait = partial(self.wait, timeout_ms=self.command_timeout_ms)
        return {"command": words[0], "status": carry_out(words, wait, self.access.redacted)}

    # Parts of starting

    @property
    def _clustered(self) -> bool:
        return self._spec.offering.topology == "endpoint-cluster"

    def _discover_cluster(self) -> list[discovery.Found]:
        """Ask the first URL that answers."""
        refusals = []
        for seed, address in list(self._reached.items()):
            try:
                return discovery.of_cluster(
                    lambda *words, seed=seed: self.call(seed, *words, timeout_ms=5_000), address
                )
            except Unreachable as error:
                refusals.append(str(error))
        raise Unreachable("; ".join(refusals))

    def _identify(self) -> None:
        said = self.call(next(iter(self.nodes)), "INFO", "server", timeout_ms=5_000).decode()
        told = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
        name = "valkey" if "valkey_version" in told else "redis"
        self.server = f"{name} {told.get(f'{name}_version', 'of unknown version')}"
        self.notes = [
            f"the nodes were found at an endpoint ({self._spec.profile}): how the scenario sets up nodes does not apply"
        ]

    def _begin_key_space(self) -> None:
        """Choose a prefix under which nobody has written, and see that its keys can be found and removed."""
        keys = KeySpace(f"cq-{self._marker.parent.name}-{secrets.token_hex(4)}-")
        for node in self.nodes:
            if taken := self._scan(node, keys):
                raise ReplyError(f"{taken[0].decode(errors='replace')} exists already on {node}")
        self._try_to_remove(keys.stored("probe"))
        self._marker.write_text(keys.prefix, encoding="utf-8")
        self.keys = keys

    def _try_to_remove(self, key: str) -> None:
        """See that UNLINK is allowed, by a key that does not exist: a redirection comes only after that was seen to."""
        try:
            self.call(next(iter(self.nodes)), "UNLINK", key)
        except ReplyError as error:
            if not str(error).startswith("MOVED "):
                raise

    def _scan(self, node: str, keys: KeySpace) -> list[bytes]:
        """The keys of the run on a node, if it is a primary."""
        if not self._is_primary(node):
            return []
        found: list[bytes] = []
        cursor: bytes | int = 0
        while cursor != b"0":
            cursor, some = self.call(
                node, "SCAN", cursor, "MATCH", keys.pattern, "COUNT", SCAN_COUNT, timeout_ms=10_000
            )
            found += some
        return found

    def _is_primary(self, node: str) -> bool:
        if not self._clustered:
            return node == next(iter(self.nodes))
        lines = self.call(node, "CLUSTER", "NODES", timeout_ms=5_000).decode().splitlines()
        return any({"myself", "master"} <= set(line.split(" ")[2].split(",")) for line in lines)
