"""Frames on a line on which others may talk, too, and bytes are lost or garbled. Pure.

A frame is what lies between two tildes, and ends with its CRC-32. So whatever comes between frames, or in the middle of
one (a login prompt, the kernel's messages, half a frame of a program that was killed), costs that one, and the next
tilde begins anew. Knows nothing of what frames say.
"""

from __future__ import annotations

from binascii import crc32
from itertools import count
from string import ascii_letters, digits

BODY_BYTES = 320
"""Most bytes of a frame's body."""

_FLAG, _ESCAPE = b"~", b"}"
_CRC_BYTES = 4
_MOST_BYTES = 2 * (BODY_BYTES + _CRC_BYTES)
_ODD_BYTES = 256
_PLAIN = frozenset((ascii_letters + digits).encode())


def framed(body: bytes) -> bytes:
    """``body`` as it goes over the line."""
    body += _sum(body)
    return _FLAG + body.replace(_ESCAPE, b"}]").replace(_FLAG, b"}^") + _FLAG


def harmless(text: bytes) -> bytes:
    """``text``, of letters and digits, with some digits added so that its frame has nothing else than such, either.

    Whatever listens takes it for the beginning of a line that never ends: not a shell would do anything.
    """
    return next(body for number in count() if _PLAIN.issuperset(_sum(body := b"%b %d" % (text, number))))


class Deframer:
    """Frames out of bytes, in whatever pieces these come."""

    def __init__(self) -> None:
        self.odd = b""
        """The last bytes that were no frame."""
        self._piece = bytearray()
        self._is_lost = False

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies of the frames that are complete now."""
        *ended, rest = data.split(_FLAG)
        bodies = []
        for part in ended:
            body = self._body(part)
            if body is not None:
                bodies.append(body)
        self._add(rest)
        return bodies

    def _body(self, last: bytes) -> bytes | None:
        self._add(last)
        piece, self._piece = bytes(self._piece), bytearray()
        is_lost, self._is_lost = self._is_lost, False
        plain = piece.replace(b"}^", _FLAG).replace(b"}]", _ESCAPE)
        body = plain[:-_CRC_BYTES]
        if body and not is_lost and len(body) <= BODY_BYTES and plain[-_CRC_BYTES:] == _sum(body):
            return body
        self._tell(piece)
        return None

    def _add(self, part: bytes) -> None:
        self._piece += part
        if len(self._piece) > _MOST_BYTES:  # of a frame that long nothing is kept but that it was there
            self._tell(bytes(self._piece[-_ODD_BYTES:]))
            self._piece.clear()
            self._is_lost = True

    def _tell(self, piece: bytes) -> None:
        self.odd = (self.odd + piece)[-_ODD_BYTES:]


def _sum(body: bytes) -> bytes:
    return crc32(body).to_bytes(_CRC_BYTES, "big")
