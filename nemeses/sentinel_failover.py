"""A replica is made primary by the Sentinels that watch it.

SENTINEL FAILOVER asks no other Sentinel and tells the old primary only when the new one is made: until then both take
writes, and what the old one acknowledges meanwhile is lost (redis/redis#6062). COORDINATED, in Valkey since 9.0, has
the primary stop its writes, wait for the replica and hand over. Which replica it will be is the Sentinel's choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from nemeses.evidence import await_proof, began
from nemeses.fault import Strike
from nemeses.sentinels import SERVICE, Sight, newest, sentinels
from nemeses.system import InjectionFailed, ReplyError, System

MODES: Mapping[str, tuple[str, ...]] = {"graceful": ("COORDINATED",), "force": ()}
"""Arguments of SENTINEL FAILOVER by mode of the fault `failover`."""
UNKNOWN_OPTION = ("wrong number of arguments", "syntax error")
"""In what a server answers that does not know COORDINATED."""
WILLING_MS = 5_000
"""How long a Sentinel may take to find a replica good enough: it judges by what it asked for up to 10 s before."""
PROMOTED_MS = 15_000
"""A Sentinel sees that the promotion worked by the next INFO, a second later; `failover-timeout` bounds the whole."""


def fail_over(strike: Strike) -> dict[str, Any]:
    """Ask a Sentinel, and wait until the Sentinels name another primary and that one is it.

    Raises InjectionFailed, also for a mode that Sentinels or these servers do not have.
    """
    system, mode = strike.system, strike.planned.options["mode"]
    if mode not in MODES:
        raise InjectionFailed(f"Sentinels have no failover of mode {mode}: use one of {', '.join(MODES)}")
    before = await_proof(system, "the Sentinels to name a primary", partial(newest, system), WILLING_MS)
    if strike.nodes != [before.primary]:
        raise InjectionFailed(f"Sentinels fail over {before.primary}, their primary, and not {', '.join(strike.nodes)}")
    sentinel = strike.draw.choice(sentinels(system))
    since_ns = began(strike)
    await_proof(system, f"{sentinel} to begin a failover", partial(_asked, system, sentinel, mode), WILLING_MS)
    after = await_proof(system, "another primary to be named", partial(_replaced, system, before), PROMOTED_MS)
    told = {"to": after.primary, "epoch": after.epoch, "ms": (system.now_ns() - since_ns) // 1_000_000}
    strike.note("promoted", {"from": before.primary, "to": after.primary, "epoch": after.epoch})
    return {"since_ns": since_ns, "seen_ns": system.now_ns(), "asked": sentinel, "promoted": {before.primary: told}}


def _asked(system: System, sentinel: str, mode: str) -> bool:
    try:
        return bool(system.call(sentinel, "SENTINEL", "FAILOVER", SERVICE, *MODES[mode]) == b"OK")
    except ReplyError as error:
        if mode == "graceful" and any(text in str(error) for text in UNKNOWN_OPTION):
            raise InjectionFailed(
                f"{sentinel} knows no SENTINEL FAILOVER ... COORDINATED, which Valkey has since 9.0: use mode: force"
            ) from error
        raise  # NOGOODSLAVE and INPROG pass


def _replaced(system: System, before: Sight) -> Sight | None:
    """The new primary, once it is named by a Sentinel and says itself that it is one."""
    now = newest(system)
    if now is None or now.primary == before.primary or now.epoch <= before.epoch:
        return None
    return now if system.call(now.primary, "ROLE")[0] == b"master" else None
