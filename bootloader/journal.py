"""Numbered events in a bounded ring, pulled in batches: a reconnect resumes, a slow reader stalls nobody.

Logs and everything else are bounded apart, so that a flood of logs can't push out the event that tells how a
generation fared. Numbers are given in one sequence and start at 1 with each start of the bootloader (``boot``).
Thread-safe.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from heapq import merge
from itertools import islice
from operator import itemgetter

from .wire.messages import Body

LOG_BYTES = 16 * 1024 * 1024
OTHER_BYTES = 2 * 1024 * 1024

MOST_LOST = 64
"""So many losses of a start are told by ``status``, the first ones: what they lead to comes later."""


class Journal:
    """The events of one start of the bootloader."""

    def __init__(self) -> None:
        self.boot = secrets.token_hex(8)
        self._changed = threading.Condition()
        self._next = 1
        self._closed = False
        self.lost: list[Body] = []
        """What of the state was lost, damaged or mended since the start, for ``status``."""
        self._readers: set[object] = set()
        self._logs = _Ring(LOG_BYTES)
        self._others = _Ring(OTHER_BYTES)

    def add(self, event: str, fields: Body) -> int:
        """Append one event; its number. ``at`` is the target's wall clock, in seconds."""
        with self._changed:
            number = self._next
            self._next += 1
            line = json.dumps({"n": number, "event": event, "at": round(time.time(), 4), **fields}).encode() + b"\n"
            (self._logs if event == "log" else self._others).append(number, line)
            self._changed.notify_all()
            return number

    def lose(self, code: str, text: str) -> None:
        """A notice about the state, which ``status`` tells of from now on, too."""
        told = {"code": code, "text": text}
        self.add("notice", told)
        if len(self.lost) < MOST_LOST and told not in self.lost:
            self.lost.append(told)

    def pull(self, cursor: int, max_events: int, max_bytes: int, wait_s: float) -> tuple[int, int, bytes]:
        """Events past ``cursor``: (the new cursor, how many were lost before or between them, JSON lines).

        Waits up to ``wait_s`` for the first one. A cursor of a negative number -N starts N events before the end.
        """
        with self._changed:
            last = self._next - 1
            cursor = max(0, last + cursor) if cursor < 0 else min(cursor, last)
            self._changed.wait_for(lambda: self._closed or self._next > cursor + 1, timeout=wait_s)
            events = merge(self._logs.after(cursor), self._others.after(cursor))
            lines: list[bytes] = []
            size = lost = 0
            for number, line in islice(events, max_events):
                if lines and size + len(line) > max_bytes:
                    break
                lost += number - cursor - 1
                cursor = number
                size += len(line)
                lines.append(line)
            return cursor, lost, b"".join(lines)

    def ended(self, cursor: int) -> bool:
        """Whether nothing comes after ``cursor`` any more."""
        with self._changed:
            return self._closed and cursor >= self._next - 1

    def enter(self, reader: object) -> None:
        """``reader`` means to read to the end: :meth:`close` waits for it to :meth:`leave`."""
        with self._changed:
            self._readers.add(reader)

    def leave(self, reader: object) -> None:
        """``reader`` is gone."""
        with self._changed:
            self._readers.discard(reader)
            self._changed.notify_all()

    def close(self, within_s: float) -> None:
        """Wake everybody who waits for events, and wait until the readers have left, ``within_s`` at most."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._readers, within_s)


class _Ring:
    """Events with their numbers, rising; the oldest go where all would take more than ``most_bytes``."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._events: deque[tuple[int, bytes]] = deque()

    def append(self, number: int, line: bytes) -> None:
        self._events.append((number, line))
        self._bytes += len(line)
        while self._bytes > self._most_bytes:
            self._bytes -= len(self._events.popleft()[1])

    def after(self, cursor: int) -> Iterator[tuple[int, bytes]]:
        """Those past ``cursor``."""
        return islice(self._events, bisect_right(self._events, cursor, key=itemgetter(0)), None)
