"""Keeps what happens on the disk, so that an end of the bootloader does not take along what led there.

One thread reads the journal as a host would, a moment after it was told, and writes what came meanwhile with one call:
the hot path is not longer for it. A memory card wears, so what is written is bounded over time: of a flood that goes
on, only the newest is kept now and then. A disk that is full or fails costs what would have been kept, no more.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from .journal import Block, Journal, take
from .segments import Segment, Writer, found

BATCH_S = 0.05
"""So long what happens is gathered before it is written, and so much of it dies with a bootloader that is killed."""

BURST_BYTES = 64 * 1024 * 1024
STEADY_BYTES_S = 16 * 1024
"""What may be written, at once and for ever: 1.4 GB a day at most."""

LEAST_FREE_BYTES = 4 * 1024 * 1024
"""The last of the disk is for saves, not for logs."""

_CHUNK_BYTES = 64 * 1024
_AGAIN_S = 5.0
_JOIN_S = 1.0
_MACHINE = Path("/proc/sys/kernel/random/boot_id")
_UNKNOWN = "0" * 8


class Chronicle:
    """What is kept of this and of earlier starts of the bootloader: in ``folder``, and to be read in ``more``, too."""

    def __init__(self, folder: Path, journal: Journal, on_notice: Callable[[str, str], None], *more: Path) -> None:
        self._journal = journal
        self._notice = on_notice
        self._folders = (*more, folder)
        self._folder = folder
        self._machine = _machine()
        segments = found(*self._folders)
        self._writer = Writer(folder, journal.boot, self._machine, segments[-1].number if segments else 0)
        self._cursor = 0
        self._budget = float(BURST_BYTES)
        self._budget_at = time.monotonic()
        self._failing = ""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chronicle", daemon=True)

    def start(self) -> None:
        """Begin to keep what happens, from the journal's beginning."""
        self._thread.start()

    def close(self) -> None:
        """Keep what there still is, and end. A disk that hangs is not waited for."""
        self._closing.set()
        self._thread.join(_JOIN_S)

    # the past

    def boots(self) -> list[dict[str, Any]]:
        """The earlier starts of which something is kept, the oldest first: their first and last events, and whether
        the machine is in the same start of its own (``alike``).
        """
        starts: dict[str, list[Segment]] = {}
        for segment in self._past():
            starts.setdefault(segment.boot, []).append(segment)
        told = []
        for boot, kept in starts.items():
            last = max((block.last for segment in kept for block in segment.blocks()), default=0)
            alike = kept[-1].machine == self._machine != _UNKNOWN
            if last:
                told.append({"boot": boot, "first": kept[0].first, "last": last, "alike": alike})
        return told

    def pull(self, boot: str, cursor: int, max_events: int, max_bytes: int) -> tuple[int, int, bytes] | None:
        """As :meth:`.journal.Journal.pull`, of an earlier start; None where nothing is kept of that one.

        What is no longer kept of its beginning is not lost: it was so long ago.
        """
        segments = [segment for segment in self._past() if segment.boot == boot]
        if not segments:
            return None
        if cursor <= 0:
            cursor = segments[0].first - 1
        while len(segments) > 1 and segments[1].first <= cursor + 1:
            del segments[0]
        blocks = chain.from_iterable(segment.blocks() for segment in segments)
        return take((block for block in blocks if block.last > cursor), cursor, max_events, max_bytes)

    def _past(self) -> list[Segment]:
        return [segment for segment in found(*self._folders) if segment.boot != self._journal.boot]

    # the thread

    def _run(self) -> None:
        while True:
            self._journal.wait(self._cursor)
            is_over = self._closing.wait(BATCH_S) or self._journal.ended(self._cursor)
            pause_s = self._keep()
            if is_over and self._closing.is_set():
                break
            self._closing.wait(pause_s)
        with suppress(OSError):
            self._writer.close()

    def _keep(self) -> float:
        """Write what there is; after how long to try again what could not be."""
        blocks = list(_joined(self._journal.blocks(self._cursor)))
        try:
            if blocks and _free_bytes(self._folder) < LEAST_FREE_BYTES:
                raise OSError("the disk is full")
            for block in self._affordable(blocks):
                self._writer.append(block)
                self._cursor = block.last
        except OSError as error:
            self._fail(error.strerror or str(error))
            return _AGAIN_S
        self._failing = ""
        return 0.0 if blocks and self._cursor == blocks[-1].last else _AGAIN_S if blocks else 0.0

    def _affordable(self, blocks: list[Block]) -> list[Block]:
        """The newest of them that may be written."""
        now = time.monotonic()
        self._budget = min(BURST_BYTES, self._budget + (now - self._budget_at) * STEADY_BYTES_S)
        self._budget_at = now
        kept = []
        for block in reversed(blocks):
            if len(block.lines) > self._budget:
                break
            self._budget -= len(block.lines)
            kept.append(block)
        return kept[::-1]

    def _fail(self, why: str) -> None:
        """Said once; the events that there are by then are tried again, as long as the journal has them."""
        if self._failing != why:
            self._failing = why
            self._notice("logs-not-kept", f"what happens is not kept on the disk: {why}")


def _joined(blocks: list[Block]) -> Iterator[Block]:
    """Blocks that follow one another as one, up to a size."""
    held: list[Block] = []
    size = 0
    for block in blocks:
        if held and (block.first != held[-1].last + 1 or size + len(block.lines) > _CHUNK_BYTES):
            yield Block(held[-1].last, held[0].first, b"".join(one.lines for one in held))
            held, size = [], 0
        held.append(block)
        size += len(block.lines)
    if held:
        yield Block(held[-1].last, held[0].first, b"".join(one.lines for one in held))


def _free_bytes(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def _machine() -> str:
    try:
        told = _MACHINE.read_text("ascii").replace("-", "")[:8]
        return told if int(told, 16) and len(told) == 8 else _UNKNOWN
    except (OSError, ValueError):
        return _UNKNOWN
