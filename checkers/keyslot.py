"""The hash slot of a key, as Redis Cluster computes it.

Source: the Redis Cluster specification, "Key distribution model" and "Hash tags": CRC16 (XMODEM: polynomial 0x1021,
initial value 0) of the hash tag, or of the whole key when it has none, modulo 16384.
"""

from __future__ import annotations

from binascii import crc_hqx

SLOTS = 16384


def hash_tag(key: bytes) -> bytes:
    """What of a key is hashed: what stands between the first `{` and the first `}` after it, unless that is empty."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            return key[start + 1 : end]
    return key


def key_slot(key: str | bytes) -> int:
    """Slot of a key, 0 to 16383; a `str` is encoded as UTF-8."""
    raw = key.encode() if isinstance(key, str) else key
    return crc_hqx(hash_tag(raw), 0) % SLOTS
