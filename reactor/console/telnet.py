"""What a telnet server sends, taken apart: the port's own bytes, and what is said about them. Pure.

pyserial has a loop for this, which takes a byte at a time, holds without a bound what never ends, and dies of what it
did not expect. The other end is an exporter somewhere in a lab, so none of that will do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_IAC, _SB, _SE = 255, 250, 240
_NEGOTIATIONS = (251, 252, 253, 254)
_SUB_BYTES = 4 * 1024
"""Most of one subnegotiation; the longest that is known has a signature of some dozen bytes."""

_RUN = re.compile(rb"[^\xff]+")


@dataclass(frozen=True, slots=True)
class Negotiation:
    """WILL, WON'T, DO or DON'T, and what."""

    command: bytes
    option: bytes


@dataclass(frozen=True, slots=True)
class Subnegotiation:
    """What is said about an option."""

    content: bytes


class Telnet:
    """One end of a connection, as the other one hears it."""

    def __init__(self) -> None:
        self._held = b""
        self._sub: bytearray | None = None

    def feed(self, data: bytes) -> Iterator[bytes | Negotiation | Subnegotiation]:
        """What ``data`` says, in order; what is not all there yet is said with what comes next."""
        data, self._held = self._held + data, b""
        at = 0
        while at < len(data):
            if run := _RUN.match(data, at):
                at = run.end()
                yield from self._content(run[0])
                continue
            code = data[at + 1] if at + 1 < len(data) else None
            if code is None or (code in _NEGOTIATIONS and at + 2 == len(data)):
                self._held = data[at:]
                return
            at += 2
            if code == _IAC:
                yield from self._content(b"\xff")
            elif code in _NEGOTIATIONS:
                yield Negotiation(data[at - 1 : at], data[at : at + 1])
                at += 1
            elif code == _SB:
                self._sub = bytearray()
            elif code == _SE and self._sub is not None:
                content, self._sub = bytes(self._sub), None
                yield Subnegotiation(content)

    def _content(self, data: bytes) -> Iterator[bytes]:
        if self._sub is None:
            yield data
        elif len(self._sub) + len(data) <= _SUB_BYTES:
            self._sub += data
