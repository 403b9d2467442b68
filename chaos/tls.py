"""TLS over any transport: what goes out is encrypted, what comes in is decrypted, and nothing blocks.

A connection counts as made when the handshake is done and the certificate was found to be good.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Generic

from chaos.transport import Address, Happening, Kind, L, Transport

CHUNK = 65_536


class _Session:
    """One connection's state: bytes from and for the network, with the cipher between."""

    __slots__ = ("cipher", "incoming", "outgoing", "ready")

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.cipher = context.wrap_bio(self.incoming, self.outgoing, server_hostname=host)
        self.ready = False
        """The handshake is done."""

    def shake(self) -> bool:
        """Go on with the handshake; whether it is done. Raises ssl.SSLError."""
        try:
            self.cipher.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self.ready = True
        return True

    def read(self) -> bytes:
        """All that can be decrypted by now; an end of the session is left to the connection below. Raises SSLError."""
        parts = []
        with suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while part := self.cipher.read(CHUNK):
                parts.append(part)
        return b"".join(parts)


class TlsTransport(Generic[L]):
    """Implements `chaos.transport.Transport`."""

    def __init__(self, below: Transport[L], context: ssl.SSLContext) -> None:
        """`below` carries the encrypted bytes."""
        self._below = below
        self._context = context
        self._sessions: dict[L, _Session] = {}

    def connect(self, link: L, address: Address, source: str | None) -> None:
        """See `Transport`; the certificate must be that of the host in `address`."""
        self._sessions[link] = _Session(self._context, address[0])
        self._below.connect(link, address, source)

    def send(self, link: L, data: bytes) -> None:
        """See `Transport`."""
        session = self._sessions.get(link)
        if session is not None:
            session.cipher.write(data)
            self._pass_on(link, session)

    def close(self, link: L) -> None:
        """See `Transport`."""
        self._sessions.pop(link, None)
        self._below.close(link)

    def poll(self, timeout_ns: int) -> list[Happening[L]]:
        """See `Transport`."""
        happened: list[Happening[L]] = []
        for each in self._below.poll(timeout_ns):
            session = self._sessions.get(each.link)
            if session is None:
                continue
            if each.kind is Kind.LOST:
                del self._sessions[each.link]
                happened.append(each)
            else:
                happened += self._heard(each, session)
        return happened

    def _heard(self, each: Happening[L], session: _Session) -> list[Happening[L]]:
        """The connection below was made, or bytes came in."""
        news: list[Happening[L]] = []
        try:
            if each.data:
                session.incoming.write(each.data)
            if not session.ready and session.shake():
                news.append(Happening(each.link, Kind.CONNECTED))
            if session.ready and (data := session.read()):
                news.append(Happening(each.link, Kind.DATA, data))
        except ssl.SSLError as error:
            self.close(each.link)
            return [*news, Happening(each.link, Kind.LOST, error=error)]
        self._pass_on(each.link, session)
        return news

    def _pass_on(self, link: L, session: _Session) -> None:
        if session.outgoing.pending:
            self._below.send(link, session.outgoing.read())
