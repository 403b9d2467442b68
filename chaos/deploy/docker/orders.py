"""What a controller that runs in a container on the engine is told by the process that sent it there.

It finds them in its environment. Without orders a controller runs where the person is who started the run.
"""

from __future__ import annotations

import functools
import os

import msgspec

VARIABLE = "CACHEQUAKE_ORDERS"


class Orders(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that it cannot find out in its container."""

    run: str
    """The run directory where the person is: what is made is labelled with it."""
    owner: str
    """Whom the labels name."""
    image: str
    """The server's, which is on the engine already."""
    command: list[str]
    """See `chaos.deploy.docker.images.Image`."""
    note: str | None
    """The same."""
    helper: str
    """Image of the programs that cut links, on the engine as well."""

    def environment(self) -> dict[str, str]:
        """The variable that carries them."""
        return {VARIABLE: msgspec.json.encode(self).decode()}


@functools.cache
def given() -> Orders | None:
    """The orders of this process; None when it was not sent anywhere."""
    text = os.environ.get(VARIABLE)
    return None if text is None else msgspec.json.decode(text, type=Orders)
