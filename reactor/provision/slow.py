"""BLAKE3 in Python alone: takes the place of the package ``blake3`` on a board for which nobody has a wheel of it.

It is what the bootloader uses of that package, and says ``SLOW``, so that the bootloader can tell. Runs on the board,
and knows nothing but Python. After the reference implementation, with the rounds of the compression written out, as
calls are what is slow here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Self

SLOW = True

_IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
_ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
_MIXES = ("048c", "159d", "26ae", "37bf", "05af", "16bc", "278d", "349e")
_ROUNDS = 7
_START, _END, _PARENT, _ROOT = 1, 2, 4, 8
_BLOCK, _CHUNK = 64, 1024
_words = Struct("<16I").unpack
_bytes = Struct("<16I").pack

_Compress = Callable[[Sequence[int], Sequence[int], int, int, int], tuple[int, ...]]


def _written_out() -> _Compress:
    """The compression function: of a chaining value, a block's words, a counter, a length and flags, 16 words."""
    names = [f"v{each:x}" for each in range(16)]
    words = [f"m{each}" for each in range(16)]
    lines = ["def compress(cv, block, counter, length, flags):", f"    {', '.join(words)} = block"]
    lines += [f"    {', '.join(names[:8])} = cv", f"    {', '.join(names[8:12])} = {_IV[:4]}"]
    lines += ["    vc, vd, ve, vf = counter & 0xFFFFFFFF, counter >> 32, length, flags"]
    for _ in range(_ROUNDS):
        for number, mix in enumerate(_MIXES):
            a, b, c, d = (f"v{each}" for each in mix)
            for word, (right, left) in zip(words[2 * number :], ((16, 12), (8, 7)), strict=False):
                lines += [f"    {a} = {a} + {b} + {word} & 0xFFFFFFFF", f"    {d} ^= {a}"]
                lines += [f"    {d} = ({d} >> {right} | {d} << {32 - right}) & 0xFFFFFFFF"]
                lines += [f"    {c} = {c} + {d} & 0xFFFFFFFF", f"    {b} ^= {c}"]
                lines += [f"    {b} = ({b} >> {left} | {b} << {32 - left}) & 0xFFFFFFFF"]
        words = [words[each] for each in _ORDER]
    low = ", ".join(f"{names[each]} ^ {names[each + 8]}" for each in range(8))
    high = ", ".join(f"{names[each + 8]} ^ cv[{each}]" for each in range(8))
    lines += [f"    return {low}, {high}"]
    found: dict[str, _Compress] = {}
    exec("\n".join(lines), found)
    return found["compress"]


_compress = _written_out()


class blake3:  # noqa: N801 - so that package calls it
    """A hash under way."""

    def __init__(self, data: bytes | bytearray | memoryview = b"", /) -> None:
        self._left = b""
        """What has come since the last whole chunk that is known not to be the last."""
        self._chunks = 0
        self._stack: list[Sequence[int]] = []
        """The chaining values of whole subtrees, the largest first."""
        self.update(data)

    def update(self, data: bytes | bytearray | memoryview, /) -> Self:
        """Add ``data``."""
        whole = self._left + bytes(data)
        at = 0
        while len(whole) - at > _CHUNK:
            value = _compress(*_chunk(whole[at : at + _CHUNK], self._chunks))[:8]
            self._chunks += 1
            count = self._chunks
            while not count & 1:
                value = _compress(*_parent(self._stack.pop(), value))[:8]
                count >>= 1
            self._stack.append(value)
            at += _CHUNK
        self._left = whole[at:]
        return self

    def digest(self, length: int = 32) -> bytes:
        """The hash of what was added so far, up to 64 bytes of it."""
        last = _chunk(self._left, self._chunks)
        for value in reversed(self._stack):
            last = _parent(value, _compress(*last)[:8])
        cv, block, _, size, flags = last
        return _bytes(*_compress(cv, block, 0, size, flags | _ROOT))[:length]

    def hexdigest(self, length: int = 32) -> str:
        """The same as text."""
        return self.digest(length).hex()


_Node = tuple[Sequence[int], Sequence[int], int, int, int]


def _chunk(data: bytes, number: int) -> _Node:
    """The last block of a chunk, with what those before it came to, as arguments of the compression."""
    cv: Sequence[int] = _IV
    flags = _START
    at = 0
    while len(data) - at > _BLOCK:
        cv = _compress(cv, _words(data[at : at + _BLOCK]), number, _BLOCK, flags)[:8]
        flags = 0
        at += _BLOCK
    last = data[at:]
    return cv, _words(last.ljust(_BLOCK, b"\0")), number, len(last), flags | _END


def _parent(left: Sequence[int], right: Sequence[int]) -> _Node:
    return _IV, (*left, *right), 0, _BLOCK, _PARENT
