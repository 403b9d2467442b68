"""What a scenario says about an endpoint: where it is, what kind of offering, and how to get in."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import msgspec

from chaos.access import PASSWORD, USER, Access
from chaos.deploy.endpoint.commands import for_node
from chaos.deploy.endpoint.profiles import OWN, Profile, profiles
from chaos.topologies.base import ClusterSpec
from chaos.units import duration, show_duration
from chaos.yaml_source import Place, Source

PLACE: Place = ("endpoint",)
PORT = 6379
SCHEMES = {"redis": False, "rediss": True}
"""Whether TLS is spoken, by the scheme of a URL."""
_KEYS = {"profile", "urls", "ca_file", "verify", "password_file", "faults", "patience"}


class EndpointSpec(msgspec.Struct, frozen=True):
    """The endpoint of a scenario. Has no secret in it."""

    urls: list[str]
    """`rediss://host:port`; of a cluster any node or its discovery endpoint, of a replicated server the primary's
    endpoint and then those of readers."""
    profile: str = OWN
    ca_file: str | None = None
    verify: bool = True
    password_file: str | None = None
    faults: dict[str, str] = {}
    """A command of the user's by the kind of fault that it brings about."""
    patience_ms: int = 300_000
    """How long such a command, and then its effect, may take."""

    @property
    def offering(self) -> Profile:
        """What is known of it."""
        return profiles()[self.profile]

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each URL."""
        parts = map(urlsplit, self.urls)
        return [(part.hostname or "", part.port or PORT) for part in parts]

    @property
    def access(self) -> Access:
        """How its nodes are reached."""
        return Access(
            open=False,
            tls=any(SCHEMES[urlsplit(url).scheme] for url in self.urls),
            ca_file=self.ca_file,
            verify=self.verify,
            password_file=self.password_file,
            refused=frozenset(self.offering.refuses),
        )

    @property
    def cluster(self) -> ClusterSpec:
        """What its nodes form. How many they are is found out; directives are not ours to set."""
        readers = len(self.urls) - 1
        return ClusterSpec(topology=self.offering.topology, primaries=1, replicas=max(1, readers), config={})

    def spelled(self) -> dict[str, Any]:
        """As a scenario file writes it."""
        fields = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}
        return fields | {"patience": show_duration(fields.pop("patience_ms"))}


def endpoint_spec(source: Source, given: Any) -> EndpointSpec:
    """Validate `endpoint` of a scenario. Raises BadInput at its line."""
    if not isinstance(given, dict):
        source.fail(PLACE, "deploy: endpoint needs {endpoint: {urls: [rediss://HOST:PORT]}}, or --endpoint URL")
    for key in given:
        if key not in _KEYS:
            source.unknown((*PLACE, key), "key of endpoint", _KEYS)
    profile = given.get("profile", OWN)
    if profile not in profiles():
        source.fail((*PLACE, "profile"), f"unknown profile {profile!r}; there are {', '.join(profiles())}")
    if not isinstance(given.get("verify", True), bool):
        source.fail((*PLACE, "verify"), "verify: say true or false")
    try:
        patience_ms = duration(given.get("patience", "5m"))
    except ValueError as error:
        source.fail((*PLACE, "patience"), f"patience: {error}")
    return EndpointSpec(
        urls=_urls(source, given.get("urls")),
        profile=profile,
        ca_file=_file(source, "ca_file", given.get("ca_file")),
        verify=given.get("verify", True),
        password_file=_file(source, "password_file", given.get("password_file")),
        faults=_faults(source, given.get("faults"), profile),
        patience_ms=patience_ms,
    )


def _urls(source: Source, given: Any) -> list[str]:
    place = (*PLACE, "urls")
    urls = [given] if isinstance(given, str) else given
    if not isinstance(urls, list) or not urls or not all(isinstance(url, str) for url in urls):
        source.fail(place, "urls: name at least one, like rediss://cache.example.com:6379")
    if any("@" in url for url in urls):  # not quoted: what stands there is a secret
        source.fail(place, f"urls: a URL has no user and no password here; set {USER} and {PASSWORD}")
    for url in urls:
        if (reason := _wrong(urlsplit(url))) is not None:
            source.fail(place, f"urls: {url}: {reason}")
    if len({urlsplit(url).scheme for url in urls}) > 1:
        source.fail(place, "urls: either all with TLS (rediss) or none (redis)")
    return urls


def _wrong(url: SplitResult) -> str | None:
    if url.scheme not in SCHEMES or not url.hostname:
        return "write redis://HOST:PORT, or rediss://HOST:PORT for TLS"
    if url.query or url.fragment or url.path not in ("", "/"):
        return "nothing may stand behind the port; there is only database 0"
    try:
        _ = url.port
    except ValueError as error:
        return str(error)
    return None


def _file(source: Source, key: str, given: Any) -> str | None:
    if given is None:
        return None
    path = Path(str(given)).expanduser().absolute()
    if not path.is_file():
        source.fail((*PLACE, key), f"{key}: there is no file {path}")
    return str(path)


def _words(command: str) -> list[str]:
    """The words of a command; none when its quotes do not end."""
    try:
        return for_node(command, "", "", 0)
    except ValueError:
        return []


def _faults(source: Source, given: Any, profile: str) -> dict[str, str]:
    place = (*PLACE, "faults")
    if not isinstance(given or {}, dict):
        source.fail(place, "faults: a mapping like {failover: COMMAND}")
    able = profiles()[profile].faults
    for kind, command in (given or {}).items():
        if kind not in able:
            can = f"only {', '.join(able)} can" if able else "no fault can"
            source.fail((*place, kind), f"fault {kind} cannot be asked of {profile}: {can}")
        if not isinstance(command, str) or not _words(command):
            source.fail((*place, kind), f"faults: {kind}: {command!r} is no command")
    return dict(given or {})
