"""What the applications say when they run: one datagram each, ``name version CLOCK_MONOTONIC-in-ns``.

Owns the socket and the bookkeeping of right, stale and repeated answers. The clock is the system's, so a time that
one process read can be subtracted from another's.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from dataclasses import dataclass

ANSWER_BYTES = 256


@dataclass(frozen=True, slots=True)
class Answer:
    """The application of contestant ``name`` runs ``version`` since ``at_ns``."""

    name: str
    version: int
    at_ns: int


class Answers:
    """Listens on a loopback port.

    ``stale`` counts, by contestant, the starts of a version that was already replaced when it started; ``again`` the
    starts of one that ran before.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._asked: dict[str, tuple[int, int]] = {}
        self._heard: set[tuple[str, int]] = set()
        self.stale: Counter[str] = Counter()
        self.again: Counter[str] = Counter()

    def close(self) -> None:
        """Ends the listening."""
        self._socket.close()

    def forget(self) -> None:
        """Counts from zero: the warm-up is over, or another set of contestants begins."""
        self._asked.clear()
        self._heard.clear()
        self.stale.clear()
        self.again.clear()

    def wait(self, name: str, version: int, began_ns: int, timeout_s: float) -> float | None:
        """The ms from the save at ``began_ns`` to ``version`` of ``name`` running; None where it did not in time."""
        self._asked[name] = (version, began_ns)
        end_s = time.monotonic() + timeout_s
        while answer := self._next(end_s):
            self._count(answer)
            if (answer.name, answer.version) == (name, version):
                return (answer.at_ns - began_ns) / 1e6
        return None

    def _count(self, answer: Answer) -> None:
        asked, began_ns = self._asked.get(answer.name, (0, 0))
        if answer.version < asked and answer.at_ns > began_ns:
            self.stale[answer.name] += 1
        elif (answer.name, answer.version) in self._heard:
            self.again[answer.name] += 1
        self._heard.add((answer.name, answer.version))

    def _next(self, end_s: float) -> Answer | None:
        self._socket.settimeout(max(1e-6, end_s - time.monotonic()))
        try:
            name, version, at_ns = self._socket.recv(ANSWER_BYTES).split()
        except TimeoutError:
            return None
        return Answer(name.decode(), int(version), int(at_ns))
