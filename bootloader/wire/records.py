r"""How an application's process tells its output apart on one pipe, so that nothing changes places.

Python's ``print`` and ``logging`` write *records*: ``\x1e`` ``R``, the kind (one byte), the length of the payload (two
bytes, big-endian), the payload. A record is at most ``PIPE_BUF`` bytes, so the kernel writes it whole, whichever
thread or forked child wrote it. Anything between records is raw output of descriptor 1 (a subprocess, a C
library). One pipe has one order; that is the point.

Kinds: ``o`` stdout, ``e`` stderr, ``D I W E C`` a log record by level (debug to critical), ``n`` a note of the
guest to the bootloader (a line of JSON).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from .limits import LINE_BYTES

BYTES = "latin-1"
"""How bytes are written as text where they have to be: each is the character of its number."""

STDOUT, STDERR, NOTE = "o", "e", "n"
LEVELS = {"D": "debug", "I": "info", "W": "warning", "E": "error", "C": "critical"}
KINDS = frozenset({STDOUT, STDERR, NOTE, *LEVELS})

PROBLEM_KEYS = ("frames", "traceback", "syntax", "missing_module", "missing_file")
"""What a note about an exception holds, besides its name and its message."""

_MARK = b"\x1eR"
_HEAD = struct.Struct(">2s1sH")
_MOST = 4096 - _HEAD.size

STATE_BYTES = 1_000_000
"""Longest state that an application may hand over, as JSON; it comes in a note, as a text whose quotes are escaped."""

_NOTE_BYTES = 2 * STATE_BYTES + 64 * 1024


def encode(kind: str, payload: bytes) -> list[bytes]:
    """``payload`` as records, each to be written with one ``write``."""
    mark = kind.encode()
    if len(payload) <= _MOST:  # as nearly all are
        return [_HEAD.pack(_MARK, mark, len(payload)) + payload] if payload else []
    parts = (payload[start : start + _MOST] for start in range(0, len(payload), _MOST))
    return [_HEAD.pack(_MARK, mark, len(part)) + part for part in parts]


def level_kind(level: int) -> str:
    """The kind of a log record of ``level`` (:mod:`logging`'s numbers)."""
    return "DIWEC"[min(4, max(0, level // 10 - 1))]


def stream_of(kind: str) -> dict[str, str]:
    """Where a line of ``kind`` was written, as a ``log`` event tells it."""
    if kind in LEVELS:
        return {"stream": "log", "level": LEVELS[kind]}
    return {"stream": "stderr" if kind == STDERR else "stdout"}


class Lines:
    """Bytes of the pipe in, lines out: ``(kind, text)`` in order. Bounded: a line past ``LINE_BYTES`` is split."""

    def __init__(self) -> None:
        self._buffer = b""
        self._open: dict[str, bytearray] = {}

    def feed(self, data: bytes) -> Iterator[tuple[str, str]]:
        """Every line that ``data`` completes."""
        buffer, most = self._buffer + data, LINE_BYTES
        at = 0
        while at < len(buffer):
            mark = buffer.find(_MARK, at)
            if mark == -1:
                end = len(buffer) - (buffer[-1] == _MARK[0])
                yield from self._add(STDOUT, buffer[at:end])
                at = end
                break
            if mark > at:
                yield from self._add(STDOUT, buffer[at:mark])
                at = mark
            if len(buffer) - at < _HEAD.size:
                break
            _, kind_byte, length = _HEAD.unpack_from(buffer, at)
            kind = kind_byte.decode("latin-1")
            if kind not in KINDS or length > _MOST:
                yield from self._add(STDOUT, buffer[at : at + len(_MARK)])
                at += len(_MARK)
                continue
            begin, end = at + _HEAD.size, at + _HEAD.size + length
            if len(buffer) < end:
                break
            if length <= most and buffer.find(b"\n", begin, end) == end - 1 and kind not in self._open:
                yield kind, buffer[begin : end - 1].removesuffix(b"\r").decode("utf-8", "replace")  # as nearly all are
            else:
                yield from self._add(kind, buffer[begin:end])
            at = end
        self._buffer = buffer[at:]

    def close(self) -> Iterator[tuple[str, str]]:
        """What is left when the pipe is at its end."""
        if self._buffer:
            yield from self._add(STDOUT, self._buffer)
            self._buffer = b""
        for kind, rest in self._open.items():
            yield kind, rest.decode("utf-8", "replace")
        self._open.clear()

    def _add(self, kind: str, data: bytes) -> Iterator[tuple[str, str]]:
        if not data:
            return
        most = _NOTE_BYTES if kind == NOTE else LINE_BYTES
        held = self._open.pop(kind, bytearray())
        held += data
        if b"\n" not in data and len(held) <= most:
            self._open[kind] = held  # a long line comes in many parts: none is copied again for each of the others
            return
        *ended, rest = bytes(held).split(b"\n")
        for line in ended:
            *parts, last = _parts(line, most)
            for part in (*parts, last.removesuffix(b"\r")):
                yield kind, part.decode("utf-8", "replace")
        *parts, rest = _parts(rest, most)
        for part in parts:
            yield kind, part.decode("utf-8", "replace")
        if rest:
            self._open[kind] = bytearray(rest)


def _parts(line: bytes, most: int) -> list[bytes]:
    """``line`` cut into at most ``most`` bytes each, between characters where it is UTF-8."""
    parts = []
    while len(line) > most:
        end = next((at for at in range(most, most - 4, -1) if line[at] & 0xC0 != 0x80), most)
        parts.append(line[:end])
        line = line[end:]
    return [*parts, line]
