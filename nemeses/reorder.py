"""Links on which connections overtake each other: each of them keeps its order, as TCP promises, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nemeses.evidence import await_proof, began, on_each
from nemeses.fault import Check, Strike
from nemeses.slow_links import CHECKS, OPTIONS, directions
from nemeses.system import InjectionFailed, Links, Reorder


def _positive(value: Any) -> Any:
    if value <= 0:
        raise ValueError("a window is longer than 0ms")
    return value


class ReorderFault:
    """Each message between the targets and the others is held back by up to `window`, drawn for each by itself.

    So a write that one client sent later is carried out sooner, and the news of a promotion comes before the write that
    it followed. `between` says whose links are concerned, as for `delay`.
    """

    kind = "reorder"
    requires = frozenset({"reorder", "links"})
    default_target = "a primary"
    options: Mapping[str, Any] = {"window_ms": 20, **OPTIONS}
    checks: Mapping[str, Check] = {"window_ms": _positive, **CHECKS}

    def inject(self, strike: Strike) -> dict[str, Any]:
        """Hold back, and see that a message has overtaken another one. Raises InjectionFailed when none does."""
        system = strike.system
        if not isinstance(system, Reorder):
            raise InjectionFailed("this deployment cannot reorder messages: choose one with the capability `reorder`")
        handles = strike.state["handles"] = []
        since_ns = began(strike)
        for cut in directions(strike):
            handles.append(  # noqa: PERF401 - one by one: when the second one fails, the first is known to `heal`
                system.reorder(cut.sources, cut.destinations, window_ms=strike.planned.options["window_ms"])
            )

        def overtaken() -> dict[str, int] | None:
            counted = _counted(strike)
            return counted if counted["overtaking"] else None

        counted = await_proof(system, "a message to overtake another one", overtaken, strike.planned.for_ms)
        return {"since_ns": since_ns, "seen_ns": system.now_ns(), **counted}

    def heal(self, strike: Strike) -> dict[str, Any]:
        """Hold back no more, and tell how many messages overtook others."""
        system = strike.system
        assert isinstance(system, Links)
        on_each(strike.state.get("handles", []), system.heal)
        return {"since_ns": system.now_ns(), **_counted(strike)}


def _counted(strike: Strike) -> dict[str, int]:
    """Messages in both directions, and how many arrived before one that would have been there first."""
    system = strike.system
    assert isinstance(system, Reorder)
    counts = [system.reordered(handle) for handle in strike.state.get("handles", [])]
    return {"messages": sum(count[0] for count in counts), "overtaking": sum(count[1] for count in counts)}
