"""The project's own random numbers: the same on every machine and Python version.

SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014) in counter form:
word `n` of a stream is a pure function of the stream's seed and `n`. Streams are derived by name, so that a new
client or nemesis never shifts the numbers of another. `VERSION` changes when any number would.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")
VERSION = 1
_MASK = 0xFFFF_FFFF_FFFF_FFFF
_GAMMA = 0x9E37_79B9_7F4A_7C15


def word(seed: int, n: int) -> int:
    """Word `n` (64 bits) of the stream with this seed."""
    z = (seed + (n + 1) * _GAMMA) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58_476D_1CE4_E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D0_49BB_1331_11EB) & _MASK
    return z ^ (z >> 31)


def derive(seed: int, *names: str | int) -> int:
    """Seed of the stream that these names select below `seed`."""
    text = "\0".join([str(seed), *map(str, names)])
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


class Stream:
    """Draws numbers one after the other from the stream with this seed."""

    __slots__ = ("position", "seed")

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.position = 0

    def bits(self) -> int:
        """64 random bits."""
        self.position += 1
        return word(self.seed, self.position - 1)

    def below(self, bound: int) -> int:
        """A number from 0 to `bound` - 1 (multiply-shift; the bias is below bound / 2⁶⁴)."""
        return (self.bits() * bound) >> 64

    def between(self, low: int, high: int) -> int:
        """A number from `low` to `high`, both included."""
        return low + self.below(high - low + 1)

    def unit(self) -> float:
        """A float in [0, 1) of 53 bits."""
        return (self.bits() >> 11) / (1 << 53)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.unit() < probability

    def choice(self, items: Sequence[T]) -> T:
        """One of `items`, which must not be empty."""
        return items[self.below(len(items))]

    def shuffle(self, items: MutableSequence[T]) -> None:
        """Put `items` in random order, in place (Fisher and Yates)."""
        for last in range(len(items) - 1, 0, -1):
            other = self.below(last + 1)
            items[last], items[other] = items[other], items[last]
