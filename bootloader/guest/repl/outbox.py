"""What is to go to the host: answers, and what statements print, which is bounded.

Who prints on a statement's own thread waits for room. Who prints for it on a thread of the application's never waits:
what there is no room for is dropped there, and counted.
"""

from __future__ import annotations

from _thread import RLock
from collections import deque
from collections.abc import Callable
from time import monotonic, sleep

from bootloader.wire.session import framed

ROOM_BYTES = 256 * 1024
_PART_CHARS = 16 * 1024
_WAIT_S = 0.002
_SOON_S = 0.01
"""How long the beginning of a line waits for its end."""


class Outbox:
    """``ring``: wakes who sends. ``may_wait``: whether this thread is a statement's own."""

    def __init__(self, ring: Callable[[], None], may_wait: Callable[[], bool]) -> None:
        self._ring = ring
        self._may_wait = may_wait
        self._gate = RLock()  # a handler of a signal may print while its thread does
        self._frames: deque[bytes] = deque()
        self._size = 0
        self._text: list[str] = []
        self._of = (0, "")
        self._text_chars = 0
        self._since = 0.0
        self._dropped = 0
        self.is_closed = False

    @property
    def is_full(self) -> bool:
        """Whether more is waiting than should."""
        return self._size > ROOM_BYTES

    def post(self, frame: bytes) -> None:
        """An answer; what was printed before comes before it."""
        with self._gate:
            self._close_text()
            self._frames.append(frame)
            self._size += len(frame)
        self._ring()

    def print(self, number: int, stream: str, text: str) -> bool:
        """What the statement ``number`` prints; False where there is no host any more."""
        for start in range(0, len(text), _PART_CHARS):
            if not self._print(number, stream, text[start : start + _PART_CHARS]):
                return False
        return not self.is_closed

    def _print(self, number: int, stream: str, part: str) -> bool:
        while not self.is_closed:
            with self._gate:
                if self._size + 4 * self._text_chars <= ROOM_BYTES:
                    if self._of != (number, stream):
                        self._close_text()
                        self._of = number, stream
                    self._since = self._since if self._text else monotonic()
                    self._text.append(part)
                    self._text_chars += len(part)
                    break
                if not self._may_wait():
                    self._dropped += len(part)
                    return True  # who sends has enough to send, and is not woken for it
            sleep(_WAIT_S)
        else:
            return False
        self._ring()
        return True

    def due_s(self) -> float | None:
        """When to take what is printed: at the end of a line, or soon; None where there is nothing."""
        with self._gate:
            if not self._text:
                return None
            if self._text[-1].endswith("\n") or self._text_chars > _PART_CHARS:
                return 0
            return max(0.0, self._since + _SOON_S - monotonic())

    def take(self) -> bytes:
        """The next bytes for the host; empty where there are none."""
        with self._gate:
            if not self._frames:
                if self.due_s() == 0:
                    self._close_text()
                if self._dropped:
                    self._frames.append(framed({"is": "dropped", "chars": self._dropped}))
                    self._dropped = 0
            frame = self._frames.popleft() if self._frames else b""
            self._size = max(0, self._size - len(frame))
            return frame

    def _close_text(self) -> None:
        if self._text:
            number, stream = self._of
            frame = framed({"is": "output", "id": number, "stream": stream, "text": "".join(self._text)})
            self._text.clear()
            self._text_chars = 0
            self._frames.append(frame)
            self._size += len(frame)
