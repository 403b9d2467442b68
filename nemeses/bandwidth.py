"""Links that are narrow: only so much gets through in a second, and what is more waits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nemeses.fault import Check, Strike
from nemeses.slow_links import CHECKS, OPTIONS, slow_down, speed_up
from nemeses.system import Bandwidth, InjectionFailed

MOST_KBIT = 100_000
MEASURED_S = 0.2
"""A transfer that is measured should take so long each way, and may take less: the last piece of it, and what passes
at once although the bandwidth is used up, take no time."""
LEAST_BYTES = 8_192
SHARE = 0.7
"""The share of that time which it takes at least."""


def _in_range(value: Any) -> Any:
    if not 8 <= value <= MOST_KBIT:
        raise ValueError(f"{value} is not a bandwidth from 8 to {MOST_KBIT} (kilobits a second)")
    return value


class BandwidthFault:
    """Lets through `kbit` kilobits a second on each link between the targets and the others, each way."""

    kind = "bandwidth"
    requires = frozenset({"bandwidth", "links"})
    default_target = "a primary"
    options: Mapping[str, Any] = {"kbit": 1_000, **OPTIONS}
    checks: Mapping[str, Check] = {"kbit": _in_range, **CHECKS}

    def inject(self, strike: Strike) -> dict[str, Any]:
        """Limit, and see that a transfer there and back takes about as long as it should take one way, or longer."""
        system, kbit = strike.system, strike.planned.options["kbit"]
        if not isinstance(system, Bandwidth):
            raise InjectionFailed("this deployment cannot limit bandwidth: choose one with the capability `bandwidth`")
        payload = max(LEAST_BYTES, round(kbit * 125 * MEASURED_S))
        least_ms = SHARE * payload / (kbit * 125) * 1000
        evidence = slow_down(strike, lambda s, d: system.limit(s, d, kbit=kbit), least_ms, payload)
        return evidence | {"payload": payload}

    def heal(self, strike: Strike) -> dict[str, Any]:
        """Limit no more, and see that a transfer is faster."""
        return speed_up(strike)
