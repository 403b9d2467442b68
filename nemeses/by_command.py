"""A failover that somebody else brings about, on a command: what offerings have instead of CLUSTER FAILOVER.

That the command succeeded says only that it was accepted. The failover is seen at the servers: another process is
primary of the same slots, or stands behind the primary's name, where only a name is known. Processes are told apart by
their `run_id`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from nemeses.evidence import await_proof, began, info
from nemeses.fault import Strike
from nemeses.system import Commanded, InjectionFailed, Interrupted, System
from nemeses.targets import Survey


class Holder(NamedTuple):
    """Who is primary of a shard."""

    node: str
    run_id: str


def fail_over(strike: Strike, system: Commanded) -> dict[str, Any]:
    """Have each target's shard fail over, and return once another server is its primary.

    Raises InjectionFailed, also when the load ends first: it went on without the fault that it was to meet.
    """
    try:
        return _fail_over(strike, system)
    except Interrupted as error:
        raise InjectionFailed("the run ended before another server was primary: give it a longer duration") from error


def _fail_over(strike: Strike, system: Commanded) -> dict[str, Any]:
    shards = {node: _slot(strike.system, node) for node in strike.nodes}
    before = {node: _holder(strike.system, slot) for node, slot in shards.items()}
    since_ns = began(strike)
    promoted, ran = {}, {}
    for node, slot in shards.items():
        ran[node] = dict(system.command(strike.planned.kind, node))
        changed = partial(_another, strike.system, slot, before[node])
        now = await_proof(strike.system, f"another primary than {node}", changed, system.command_timeout_ms)
        promoted[node] = {"to": now.node, "ms": (strike.system.now_ns() - since_ns) // 1_000_000}
        strike.note("promoted", {"from": node, "to": now.node})
    return {"since_ns": since_ns, "seen_ns": strike.system.now_ns(), "promoted": promoted, "commands": ran}


def _slot(system: System, node: str) -> int | None:
    """A slot of the node's shard; None outside a cluster, where there is one shard."""
    survey = Survey.take(system)
    row = survey.rows.get(node)
    primary = node if row is None or row.primary is None else row.primary
    return next(iter(survey.slots(primary)), None)


def _holder(system: System, slot: int | None) -> Holder | None:
    """Who is primary of the shard now; None when nobody is."""
    survey = Survey.take(system)
    node = survey.owner(slot) if slot is not None else next(iter(survey.primaries), None)
    return None if node is None else Holder(node, info(system, node, "server")["run_id"])


def _another(system: System, slot: int | None, before: Holder | None) -> Holder | None:
    now = _holder(system, slot)
    return now if now is not None and (before is None or now.run_id != before.run_id) else None
