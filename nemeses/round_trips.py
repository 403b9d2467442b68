"""Proof of a cut between servers that are in no cluster: before it a request over the link was answered, now none is.

Such servers have no bus over which messages could be counted and no view of each other that would show a link as
down. But a connection that one of them could open itself tells: it is opened from the address of the one end to the
port of the other. It needs both directions, so it shows that a link is broken and not in which direction.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from nemeses.evidence import await_proof
from nemeses.system import InjectionFailed, Probe, ReplyError, System, Unreachable, WaitTimeout, threads_of
from nemeses.targets import Survey

Link = tuple[str, str]

ANSWERED_MS = 500
"""An open link answers within a millisecond, unless the machine stands still."""


def outside_clusters(survey: Survey) -> bool:
    """Whether the servers are in no cluster, as far as they answer."""
    return bool(survey.rows) and all(row.alone for row in survey.rows.values())


def prober(system: System) -> Probe:
    """The system as one that can try links. Raises InjectionFailed."""
    if not isinstance(system, Probe):
        raise InjectionFailed("this deployment cannot try links from their ends, so nothing would show the fault")
    return system


class RoundTrips:
    """Links that were open before a cut, by trying them."""

    def __init__(self, system: System, links: Collection[Link]) -> None:
        """`links` are those to be cut, sender first. Raises InjectionFailed when none of them is open now."""
        self._system = system
        undirected = {(min(link), max(link)): link for link in links}
        self._links = sorted(link for link, answered in self._try(list(undirected.values())).items() if answered)
        if not self._links:
            raise InjectionFailed("no request crossed these links even before the cut, so nothing can show it")

    def prove(self, timeout_ms: int = 3_000) -> dict[str, Any]:
        """After the cut: no request crosses any of them, though both ends are well. Raises InjectionFailed."""
        await_proof(self._system, "requests over the cut links to stay unanswered", self._silent, timeout_ms)
        return {"no_round_trip": [list(link) for link in self._links]}

    def crossed(self, timeout_ms: int) -> bool:
        """After healing: whether requests cross all of them again in time. Raises Interrupted."""
        try:
            self._system.wait("requests to cross", lambda: all(self._try(self._links).values()), timeout_ms)
        except WaitTimeout:
            return False
        return True

    def _silent(self) -> bool:
        if any(self._try(self._links).values()):
            return False
        for end in {end for link in self._links for end in link}:
            self._system.call(end, "PING", timeout_ms=ANSWERED_MS)  # silence of who is not well is no proof
        return True

    def _try(self, links: Sequence[Link]) -> dict[Link, bool]:
        """Which links answer now. All are tried at once: what is cut takes until the timeout."""
        answered = dict.fromkeys(links, False)

        def attempt(link: Link) -> None:
            with suppress(Unreachable, ReplyError):
                prober(self._system).round_trip_ms(*link, timeout_ms=ANSWERED_MS)
                answered[link] = True

        make = threads_of(self._system).thread
        threads = [make(partial(attempt, link), f"probe-{'-'.join(link)}") for link in links]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answered
