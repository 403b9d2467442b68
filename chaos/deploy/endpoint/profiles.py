"""What is known of offerings: a table in `profiles.yaml`, with the documentation that says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources

import msgspec
import yaml


class DocumentedClaim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that the documentation of an offering says about what this tool measures."""

    about: str
    """The claim of a scenario that it concerns: `lost_writes`."""
    says: str
    link: str


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An offering, as far as a run has to know it."""

    summary: str
    topology: str
    """One of `chaos.topologies.TOPOLOGIES` whose nodes are found."""
    routes: list[str]
    """By which clients reach it; the first is the default."""
    links: dict[str, str] = {}
    """Its documentation, by subject: `commands`, `failover`, `endpoints`."""
    refuses: list[str] = []
    """Commands that are not sent: it refuses them, or nothing says that it offers them. `CONFIG`, `CLIENT LIST`."""
    faults: list[str] = []
    """Faults that can be asked of it, by a command of the user's."""
    example: str | None = None
    """Such a command."""
    claims: list[DocumentedClaim] = []


OWN = "cluster"
"""The profile unless a scenario names one."""


@cache
def profiles() -> Mapping[str, Profile]:
    """All profiles by name."""
    text = (resources.files(__package__) / "profiles.yaml").read_text(encoding="utf-8")
    return msgspec.convert(yaml.safe_load(text), dict[str, Profile])


def described(name: str) -> Iterator[str]:
    """A profile in lines for a person."""
    profile = profiles()[name]
    yield f"{name}: {profile.summary}"
    yield f"  routes: {', '.join(profile.routes)}"
    if profile.refuses:
        yield f"  refuses: {', '.join(profile.refuses)}"
    yield f"  faults that can be asked of it: {', '.join(profile.faults) or 'none'}"
    if profile.example:
        yield f"    for example {profile.example}"
    for claim in profile.claims:
        yield f"  documented ({claim.about}): {claim.says}"
        yield f"    {claim.link}"
    for subject, link in profile.links.items():
        yield f"  {subject}: {link}"
