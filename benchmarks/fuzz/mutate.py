"""Makes inputs from good ones: bytes are changed, and values in messages. Pure, but for the chance it is given."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Sequence
from typing import Any

from bootloader.wire.errors import Malformed
from bootloader.wire.messages import pack, unpack

MOST_BYTES = 64 * 1024

_HEAD_BYTES = 7
_DICTIONARY = (
    *(b"\x00", b"\xff" * 4, b"\x7f\xff\xff\xff", b"RL\x01", b"\n", b"\r\n\r\n", b"\x1eR", b"\x1b[2J", b"\x9b31m"),
    *(b"\xed\xa0\x80", b"\xe2\x80\xae", b"NaN", b"1e999", b"-0", b"9" * 400, b"[" * 3000, b'{"' * 1000),
    *(b"../", b"/etc", b'"blobs"', b'"refused"', b"__class__", b"\x0f\x10\x12\x1b", b"\x0a\x00", b"a" * 300),
)  # fmt: skip
_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**53, 2**64, -(2**63), 10**40, 0.0, -0.5, 1e308, 5e-324),
    *("", "x", "../../etc/passwd", "/etc/passwd", "..", "\x00", "\x1b]8;;file:///etc/passwd\x1b\\x\x1b]8;;\x1b\\"),
    *("\x1b[2J\x9b1m\u202e", "\ud800", "a\nb\r\n✓ main.py", "x" * 70_000, "0" * 64, "g" * 64, "__reduce__", "inf"),
    *([], {}, [[]], [None], [0] * 300, ["x"] * 300, {"": ""}, {"a": {"a": {"a": []}}}, [["a", 1, "b", [2]]]),
)  # fmt: skip


class Mutator:
    """``chance`` decides everything, so that a seed repeats a run."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def next(self, seeds: Sequence[bytes]) -> bytes:
        """One input, made from ``seeds``; now and then one that is made of nothing."""
        chance = self.chance
        if chance.random() < 0.02:
            return chance.randbytes(chance.randrange(200))
        data = chance.choice(seeds)
        if chance.random() < 0.6:
            data = self._inside(data)
        if chance.random() < 0.5:
            for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
                data = self._bytes(data, seeds)
        return data[:MOST_BYTES]

    def _inside(self, data: bytes) -> bytes:
        """With other values in its message, if it is one."""
        lead = data[:4] if data[4:6] == b"RL" else b""  # where messages come with their lengths before them
        try:
            fields, blobs = unpack(data[len(lead) :])
            body = {key: value for key, value in fields.plain().items() if key != "blobs"}
            for _ in range(self.chance.choice((1, 1, 2, 5))):
                body = self.value(body)
                if not isinstance(body, dict):
                    body = {"x": body}
            if blobs and self.chance.random() < 0.3:
                blobs[self.chance.randrange(len(blobs))] = self._bytes(self.chance.choice(blobs), blobs)
            made = _packed(body, blobs)
        except (Malformed, ValueError):
            return data
        return (struct.pack(">I", len(made)) if lead else b"") + made

    def value(self, value: Any) -> Any:
        """``value`` with one place in it changed."""
        chance = self.chance
        if isinstance(value, dict) and value and chance.random() < 0.9:
            key = chance.choice(list(value))
            kind = chance.random()
            if kind < 0.1:
                return {one: inner for one, inner in value.items() if one != key}
            if kind < 0.15:
                return {**value, chance.choice(("", "\x1b[2J", "file", "line", "event", "x")): chance.choice(_ODD)}
            return {**value, key: self.value(value[key])}
        if isinstance(value, list) and value and chance.random() < 0.85:
            at = chance.randrange(len(value))
            kind = chance.random()
            if kind < 0.1:
                return value[:at] + value[at + 1 :]
            if kind < 0.2:
                return value + value[at : at + 1] * chance.choice((1, 2, 50))
            return [*value[:at], self.value(value[at]), *value[at + 1 :]]
        if isinstance(value, str) and value and chance.random() < 0.5:
            at = chance.randrange(len(value))
            odd = chance.choice([one for one in _ODD if isinstance(one, str)])
            return value[:at] + odd + value[at + chance.randrange(2) :]
        if isinstance(value, int) and chance.random() < 0.5:
            return value + chance.choice((-1, 1, 2**16, -(2**16), 2**32))
        return chance.choice(_ODD)

    def _bytes(self, data: bytes, seeds: Sequence[bytes]) -> bytes:
        chance = self.chance
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(8)
        if kind == 0 and at < len(data):
            return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
        if kind == 1 and at < len(data):
            return data[:at] + chance.randbytes(1) + data[at + 1 :]
        if kind == 2:
            return data[:at] + chance.choice(_DICTIONARY) + data[at:]
        if kind == 3:
            return data[:at] + data[at + chance.choice((1, 2, 4, 64)) :]
        if kind == 4:
            return data[:at]
        if kind == 5:
            part = data[at : at + chance.choice((1, 4, 64))]
            return data[:at] + part * chance.choice((2, 3, 100)) + data[at:]
        if kind == 6:
            other = chance.choice(seeds)
            return data[:at] + other[chance.randrange(len(other) + 1) :]
        number = chance.choice((0, 1, 255, 2**16, 2**24, 2**31, 2**32 - 1, len(data), len(data) - at))
        return data[:at] + struct.pack(">I", number) + data[at + 4 :]


def _packed(body: dict[str, Any], blobs: Sequence[bytes]) -> bytes:
    """As :func:`pack`, but that it takes what no end of ours would send."""
    try:
        return pack(body, blobs)
    except (UnicodeEncodeError, RecursionError):
        text = json.dumps({**body, "blobs": [len(blob) for blob in blobs]}).encode()
        return b"".join((struct.pack(">2sBI", b"RL", 1, len(text)), text, *blobs))
