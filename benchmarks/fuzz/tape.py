"""An end of a link whose other end has said all that it will: bytes in memory in place of a socket."""

from __future__ import annotations

from collections.abc import Callable

from bootloader.wire.errors import Fault, LinkClosed, LinkDown


class Tape:
    """As much of :class:`~bootloader.wire.stream.TlsStream` as frames and pairing use; ``said``: what was written."""

    def __init__(self, data: bytes, peer_pem: str = "", peer_fingerprint: str = "") -> None:
        self._data = memoryview(data)
        self.peer = "a tape"
        self.peer_pem = peer_pem
        self.peer_fingerprint = peer_fingerprint
        self.said = 0
        self.asked_bytes = 0
        self.closed = False
        self._why: Callable[[], Fault] = LinkClosed

    def read(self, size: int, idle_s: float | None = 0.0) -> bytearray:  # noqa: ARG002 - it never waits
        """The next bytes; how many were asked for at most is kept, as a stream would make room for them."""
        self.asked_bytes = max(self.asked_bytes, size)
        part, self._data = self._data[:size], self._data[size:]
        if len(part) < size or self.closed:
            raise LinkDown("the tape is at its end")
        return bytearray(part)

    def write(self, *parts: bytes) -> None:
        """Counted."""
        if self.closed:
            raise self.fault
        self.said += sum(map(len, parts))

    def close(self, why: Callable[[], Fault] | None = None) -> None:
        """For good; the first reason counts."""
        if not self.closed:
            self.closed, self._why = True, why or LinkClosed

    @property
    def fault(self) -> Fault:
        """Why it is closed."""
        return self._why()
