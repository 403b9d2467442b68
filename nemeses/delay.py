"""Links on which everything comes late, in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nemeses.fault import Check, Strike
from nemeses.slow_links import CHECKS, OPTIONS, slow_down, speed_up
from nemeses.system import Delay, InjectionFailed


def _positive(value: Any) -> Any:
    if value <= 0:
        raise ValueError("a delay is longer than 0ms")
    return value


class DelayFault:
    """Each packet between the targets and the others takes `delay` longer, give or take up to `jitter`.

    So a round trip takes twice the delay longer. A delay beyond half of the node timeout looks like a dead node.
    """

    kind = "delay"
    requires = frozenset({"delay", "links"})
    default_target = "a primary"
    options: Mapping[str, Any] = {"delay_ms": 50, "jitter_ms": 0, **OPTIONS}
    checks: Mapping[str, Check] = {"delay_ms": _positive, **CHECKS}

    def inject(self, strike: Strike) -> dict[str, Any]:
        """Delay, and see that round trips take no less than twice the shortest delay."""
        system, options = strike.system, strike.planned.options
        if not isinstance(system, Delay):
            raise InjectionFailed("this deployment cannot delay packets: choose one with the capability `delay`")
        ms, jitter_ms = options["delay_ms"], options["jitter_ms"]
        if jitter_ms >= ms:
            raise InjectionFailed(f"a jitter of {jitter_ms} ms leaves nothing certain of a delay of {ms} ms")
        return slow_down(strike, lambda s, d: system.delay(s, d, ms=ms, jitter_ms=jitter_ms), 2 * (ms - jitter_ms))

    def heal(self, strike: Strike) -> dict[str, Any]:
        """Delay no more, and see round trips become shorter."""
        return speed_up(strike)
