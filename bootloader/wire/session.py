"""What a REPL's host and its session in the application say to each other, as messages on a stream.

Each is ``wire.messages``, with its length before it (4 bytes, big-endian). Pure: bytes in, messages out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from .errors import Malformed
from .limits import SESSION_BYTES
from .messages import Body, Fields, pack, unpack

VERSION = 1
"""Of what is said on the stream."""

KIND = "repl"
"""What such a stream is called."""

_HEAD = struct.Struct(">I")

OUTCOMES = ("done", "raised", "interrupted", "left", "exit")
"""How a statement can end. ``left``: it goes on on a thread of its own, and nobody waits for it any more."""


def framed(body: Body, blobs: Sequence[bytes] = ()) -> bytes:
    """One message, as it goes onto the stream."""
    message = pack(body, blobs)
    return _HEAD.pack(len(message)) + message


class Messages:
    """The messages in what came so far. A longer one than there may be is :class:`Malformed`."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Fields, list[bytes]]]:
        """Those that are whole with ``data``."""
        self._buffer += data
        while len(self._buffer) >= _HEAD.size:
            (length,) = _HEAD.unpack_from(self._buffer)
            if length > SESSION_BYTES:
                raise Malformed(f"a message of {length} bytes; the most is {SESSION_BYTES}")
            end = _HEAD.size + length
            if len(self._buffer) < end:
                return
            message = bytes(self._buffer[_HEAD.size : end])
            del self._buffer[:end]
            yield unpack(message)
