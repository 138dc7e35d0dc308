"""A blob as a change of another blob: keep the first bytes, keep the last bytes, replace the middle.

One run of changed bytes is what an editor's save is; two distant edits in one save ship what lies between them,
which is still right, only longer. The idea is rsync's without the search: the result is verified by its BLAKE3
anyway, so a delta can be wrong but can't be trusted wrongly.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import Malformed

WORTH_BYTES = 4096
"""A blob smaller than this is shipped whole."""


@dataclass(frozen=True, slots=True)
class Delta:
    """The first ``prefix`` bytes of the base, then ``middle``, then the base's last ``suffix`` bytes."""

    prefix: int
    suffix: int
    middle: bytes

    @property
    def size_bytes(self) -> int:
        """How long the new content is, where the delta fits its base."""
        return self.prefix + len(self.middle) + self.suffix

    def apply(self, base: bytes) -> bytes:
        """The new content. A delta that does not fit ``base`` is :class:`Malformed`."""
        if self.prefix < 0 or self.suffix < 0 or self.prefix + self.suffix > len(base):
            raise Malformed("the delta does not fit its base")
        return base[: self.prefix] + self.middle + base[len(base) - self.suffix :]


def make(base: bytes, new: bytes) -> Delta | None:
    """The delta from ``base`` to ``new``, or None where shipping ``new`` whole is as good."""
    if len(new) < WORTH_BYTES:
        return None
    shorter = min(len(base), len(new))
    prefix = _common(base, new, shorter)
    suffix = _common_tail(base, new, shorter - prefix)
    middle = new[prefix : len(new) - suffix]
    return Delta(prefix, suffix, middle) if len(middle) < len(new) // 2 else None


def _common(one: bytes, two: bytes, most: int) -> int:
    """How many leading bytes are equal, at most ``most``: a binary search over ``memcmp``.

    Slices of ``bytes``, though copied, compare ten times as fast as those of a ``memoryview``.
    """
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == two[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _common_tail(one: bytes, two: bytes, most: int) -> int:
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if one[len(one) - middle : len(one) - low] == two[len(two) - middle : len(two) - low]:
            low = middle
        else:
            high = middle - 1
    return low
