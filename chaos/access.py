"""How nodes are reached that somebody else runs: by TLS, with a user and a password, and without what they refuse.

Only `Access` is ever written down. The user and the password are read where they are needed, by each process for
itself, from the environment (`CACHEQUAKE_USER`, `CACHEQUAKE_PASSWORD`) or from a file that the scenario names, and
are part of nothing that is printed or stored.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import NamedTuple

import msgspec

from chaos.errors import BadInput

USER, PASSWORD = "CACHEQUAKE_USER", "CACHEQUAKE_PASSWORD"
"""The variables of the environment."""
HIDDEN = "***"
"""What stands for the password in texts of others."""


class Credentials(NamedTuple):
    """Who we are. Never to be written anywhere."""

    user: str | None
    password: str

    def __repr__(self) -> str:
        return f"Credentials({HIDDEN})"

    @property
    def command(self) -> tuple[str, ...]:
        """AUTH, which is the first command of every connection."""
        return ("AUTH", self.password) if self.user is None else ("AUTH", self.user, self.password)


class Access(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a process has to know to reach the nodes; has no secret in it."""

    open: bool = True
    """Anybody may come in: no user and no password are sent, also when the environment has some for other servers."""
    tls: bool = False
    ca_file: str | None = None
    """Certificates that are trusted, as PEM; None: those that this machine trusts."""
    verify: bool = True
    """Whether the certificate of a node must be good, and be that of its host name."""
    password_file: str | None = None
    """Holds the password and nothing else; goes before the environment."""
    refused: frozenset[str] = frozenset()
    """Commands that the nodes do not offer: `CONFIG`, or `CLIENT LIST` where others of CLIENT are offered."""

    def context(self) -> ssl.SSLContext | None:
        """How to speak TLS; None for plain connections. Raises BadInput for certificates that cannot be read."""
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise BadInput(f"endpoint.ca_file {self.ca_file}: no certificates can be read from it: {error}") from error
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def credentials(self) -> Credentials | None:
        """Who we are; None for nobody in particular. Raises BadInput when only half of it is there."""
        if self.open:
            return None
        user = os.environ.get(USER) or None
        password = os.environ.get(PASSWORD) or None
        if self.password_file is not None:
            try:
                password = Path(self.password_file).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise BadInput(f"endpoint.password_file cannot be read: {error}") from error
            if not password:
                raise BadInput(f"endpoint.password_file {self.password_file} is empty")
        if password is None:
            if user is not None:
                raise BadInput(f"{USER} is set, and there is no password: set {PASSWORD}, or endpoint.password_file")
            return None
        return Credentials(user, password)

    def offers(self, *words: object) -> bool:
        """Whether the nodes offer a command, given with its first argument or more."""
        name = str(words[0]).upper()
        return name not in self.refused and (len(words) < 2 or f"{name} {str(words[1]).upper()}" not in self.refused)

    def redacted(self, text: str) -> str:
        """A text of somebody else's without the password, should it be in there."""
        credentials = self.credentials()
        return text if credentials is None else text.replace(credentials.password, HIDDEN)
