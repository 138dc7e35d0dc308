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
from collections import deque
from heapq import merge
from itertools import islice

from .wire.messages import Body

LOG_BYTES = 4 * 1024 * 1024
OTHER_EVENTS = 2048


class Journal:
    """The events of one start of the bootloader."""

    def __init__(self) -> None:
        self.boot = secrets.token_hex(8)
        self._changed = threading.Condition()
        self._next = 1
        self._closed = False
        self._logs: deque[tuple[int, bytes]] = deque()
        self._log_bytes = 0
        self._others: deque[tuple[int, bytes]] = deque(maxlen=OTHER_EVENTS)

    def add(self, event: str, fields: Body) -> int:
        """Append one event; its number. ``at`` is the target's wall clock, in seconds."""
        with self._changed:
            number = self._next
            self._next += 1
            line = json.dumps({"n": number, "event": event, "at": round(time.time(), 4), **fields}).encode() + b"\n"
            if event == "log":
                self._logs.append((number, line))
                self._log_bytes += len(line)
                while self._log_bytes > LOG_BYTES:
                    self._log_bytes -= len(self._logs.popleft()[1])
            else:
                self._others.append((number, line))
            self._changed.notify_all()
            return number

    def pull(self, cursor: int, max_events: int, max_bytes: int, wait_s: float) -> tuple[int, int, bytes]:
        """Events past ``cursor``: (the new cursor, how many were lost before or between them, JSON lines).

        Waits up to ``wait_s`` for the first one. A cursor of a negative number -N starts N events before the end.
        """
        with self._changed:
            if cursor < 0:
                cursor = max(0, self._next - 1 + cursor)
            self._changed.wait_for(lambda: self._closed or self._next > cursor + 1, timeout=wait_s)
            first_log = _after(self._logs, cursor)
            first_other = _after(self._others, cursor)
            events = merge(islice(self._logs, first_log, None), islice(self._others, first_other, None))
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

    def close(self) -> None:
        """Wake everybody who waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _after(ring: deque[tuple[int, bytes]], cursor: int) -> int:
    """The index of the first event past ``cursor``; readers are near the end, so it looks from there."""
    index = len(ring)
    for number, _ in reversed(ring):
        if number <= cursor:
            break
        index -= 1
    return index
