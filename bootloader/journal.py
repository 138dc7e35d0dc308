"""Numbered events in a bounded ring, pulled in batches: a reconnect resumes, a slow reader stalls nobody.

Logs and everything else are bounded apart, so that a flood of logs can't push out the event that tells how a
generation fared. Numbers are given in one sequence and start at 1 with each start of the bootloader (``boot``).
What comes together is kept and told together, as the JSON lines that it is pulled as. Thread-safe.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from heapq import merge
from json.encoder import encode_basestring_ascii as quoted
from operator import itemgetter
from typing import NamedTuple

from .wire.messages import Body
from .wire.records import KINDS, stream_of

LOG_BYTES = 16 * 1024 * 1024
OTHER_BYTES = 2 * 1024 * 1024

MOST_LOST = 64
"""So many losses of a start are told by ``status``, the first ones: what they lead to comes later."""

_BLOCK_CHARS = 32 * 1024
"""About as long is what is kept together: it goes together, and is cut anew for whoever has read a part of it."""

_BLOCK_COST = 200
"""What a block takes besides its lines."""


class Block(NamedTuple):
    """Events whose numbers follow one another, a line of JSON each."""

    last: int
    first: int
    lines: bytes


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
        """Append one event; its number. ``at`` is the target's wall clock, ``mono`` the one that goes only forward."""
        with self._changed:
            number = self._next
            self._next += 1
            line = json.dumps({"n": number, "event": event, **_now(), **fields}).encode() + b"\n"
            (self._logs if event == "log" else self._others).append(Block(number, number, line))
            self._changed.notify_all()
            return number

    def add_lines(self, application: str, lines: Sequence[tuple[str, str]]) -> None:
        """Append what an application wrote, a ``log`` event for each (kind, text): as one, since they may be many."""
        now = json.dumps({"event": "log", **_now(), "application": application})[1:-1]
        heads = {kind: f"{now}, {json.dumps(stream_of(kind))[1:-1]}" for kind in KINDS}
        with self._changed:
            first = number = self._next
            made: list[str] = []
            size = 0
            for kind, text in lines:
                line = f'{{"n": {number}, {heads[kind]}, "text": {quoted(text)}}}\n'
                number += 1
                made.append(line)
                size += len(line)
                if size > _BLOCK_CHARS:
                    self._logs.append(Block(number - 1, first, "".join(made).encode()))
                    made, size, first = [], 0, number
            if made:
                self._logs.append(Block(number - 1, first, "".join(made).encode()))
            self._next = number
            self._changed.notify_all()

    def lose(self, code: str, text: str) -> None:
        """A notice about the state, which ``status`` tells of from now on, too."""
        told = {"code": code, "text": text}
        self.add("notice", told)
        if len(self.lost) < MOST_LOST and told not in self.lost:
            self.lost.append(told)

    def pull(
        self, cursor: int, max_events: int, max_bytes: int, wait_s: float, newest_bytes: int = 0
    ) -> tuple[int, int, bytes]:
        """Events past ``cursor``: (the new cursor, how many were lost before or between them, JSON lines).

        Waits up to ``wait_s`` for the first one. A cursor of a negative number -N starts N events before the end.
        Of the logs, about the ``newest_bytes`` are told, or all for 0: who wants no more loses those before them.
        """
        with self._changed:
            last = self._next - 1
            cursor = max(0, last + cursor) if cursor < 0 else min(cursor, last)
            self._changed.wait_for(lambda: self._closed or self._next > cursor + 1, timeout=wait_s)
            logs = self._logs.after(cursor, newest_bytes or LOG_BYTES)
            return take(merge(logs, self._others.after(cursor)), cursor, max_events, max_bytes)

    def wait(self, cursor: int) -> None:
        """Until there is something past ``cursor``, or nothing will come any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._next > cursor + 1)

    def blocks(self, cursor: int) -> list[Block]:
        """All that there is past ``cursor``, in blocks; the first one may begin before it."""
        with self._changed:
            return list(merge(self._logs.after(cursor), self._others.after(cursor)))

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


def take(blocks: Iterator[Block], cursor: int, max_events: int, max_bytes: int) -> tuple[int, int, bytes]:
    """The lines of ``blocks`` past ``cursor``, as :meth:`Journal.pull` tells them: one in any case, if there is any."""
    parts: list[bytes] = []
    size = lost = 0
    for block in blocks:
        if block.first > cursor and block.last - block.first < max_events and size + len(block.lines) <= max_bytes:
            lost += block.first - cursor - 1
            max_events -= block.last - block.first + 1
            size += len(block.lines)
            cursor = block.last
            parts.append(block.lines)
            continue
        for number, line in enumerate(block.lines.splitlines(keepends=True), block.first):
            if number <= cursor:
                continue
            if not max_events or (parts and size + len(line) > max_bytes):
                return cursor, lost, b"".join(parts)
            lost += number - cursor - 1
            max_events -= 1
            size += len(line)
            cursor = number
            parts.append(line)
    return cursor, lost, b"".join(parts)


def _now() -> Body:
    return {"at": round(time.time(), 4), "mono": round(time.monotonic(), 4)}


class _Ring:
    """Blocks of events with rising numbers, of ``most_bytes`` at most: the oldest go, the newest stays in any case."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._blocks: deque[Block] = deque()

    def append(self, block: Block) -> None:
        self._blocks.append(block)
        self._bytes += len(block.lines) + _BLOCK_COST
        while self._bytes > self._most_bytes and len(self._blocks) > 1:
            self._bytes -= len(self._blocks.popleft().lines) + _BLOCK_COST

    def after(self, cursor: int, newest_bytes: int = LOG_BYTES) -> Iterator[Block]:
        """Those with events past ``cursor``; of these the ``newest_bytes``, in whole blocks, at least the last one."""
        first = last = len(self._blocks)
        begin = bisect_right(self._blocks, cursor, key=itemgetter(0))
        if newest_bytes < self._bytes:
            while first > begin and (first == last or newest_bytes >= len(self._blocks[first - 1].lines)):
                first -= 1
                newest_bytes -= len(self._blocks[first].lines)
        else:
            first = begin
        for at in range(first, last):
            yield self._blocks[at]
