"""Bytes of a serial port become lines of text, in whatever pieces they come. Pure.

What is no UTF-8 becomes U+FFFD. A line ends with ``\\n``, ``\\r\\n`` (with any number of ``\\r``) or ``\\r``: there are
devices for each. One that has no end, a prompt mostly, is given out when its reader asks (:meth:`Lines.rest`), and
one of endless length comes in parts, so no more than a part is held. It is not harmless yet: that is
:func:`reactor.report.clean`'s.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

LINE_CHARS = 8 * 1024
"""Most of one line; the next part of a longer one is a line of its own."""

_PIECE = re.compile(r"[^\r\n]+|[\r\n]")


@dataclass(frozen=True, slots=True)
class Line:
    """A line, or a part of one that has not ended. ``at``: when its first byte came, by the clock of who fed it."""

    text: str
    at: float
    ended: bool = True


class Lines:
    """What has come of a line that is under way."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._text = ""
        self._at: float | None = None
        self._returned = False

    def feed(self, data: bytes, at: float) -> Iterator[Line]:
        """The lines that end with ``data``, which came ``at``."""
        for piece in _PIECE.findall(self._decode(data)):
            if piece in ("\r", "\n"):
                if not self._returned:
                    yield self._end(at, ended=True)
                self._returned = piece == "\r"
                continue
            self._returned = False
            if self._at is None:
                self._at = at
            self._text += piece
            while len(self._text) > LINE_CHARS:
                more = self._text[LINE_CHARS:]
                self._text = self._text[:LINE_CHARS]
                yield self._end(at, ended=False)
                self._text, self._at = more, at

    @property
    def is_under_way(self) -> bool:
        """Whether there is something of a line that has not ended."""
        return bool(self._text)

    def rest(self) -> Iterator[Line]:
        """What there is of a line that has not ended; what follows is a line of its own."""
        if self._text:
            yield self._end(0.0, ended=False)

    def _end(self, at: float, *, ended: bool) -> Line:
        line = Line(self._text, at if self._at is None else self._at, ended)
        self._text, self._at = "", None
        return line
