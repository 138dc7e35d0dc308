"""What happened, on the disk: files of JSON lines, so many bytes in all, appended in chunks; the oldest go.

Owns the format. A file is of one start of the bootloader and named by its place in the order, that start, the start of
the machine, and its first event. Each chunk begins with a line that tells its length and checksum: what is torn, cut
off or damaged costs its chunk, and a person can read the rest with any tool. Nothing is fsynced: the kernel keeps what
was written through the death of a process, and writes it out in its own time, which is what a memory card bears.
"""

from __future__ import annotations

import errno
import os
import re
from binascii import crc32
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from .aside import is_other
from .journal import Block

MOST_BYTES = 8 * 1024 * 1024
MOST_FILES = 64
FILE_BYTES = 1024 * 1024

_NAME = re.compile(r"(\d{8})-([0-9a-f]{16})-([0-9a-f]{8})-(\d{1,15})\.jsonl")
_MARK = b'{"chunk": '
_HEAD = re.compile(rb'\{"chunk": (\d{1,9}), "first": (\d{1,15}), "last": (\d{1,15}), "crc": (\d{1,10})\}\n')
_HEAD_BYTES = 100


class Segment(NamedTuple):
    """One file. ``machine``: which start of the machine it is of, as far as that is known."""

    number: int
    boot: str
    machine: str
    first: int
    path: Path

    def blocks(self) -> Iterator[Block]:
        """What is whole in it; nothing where it can't be read."""
        try:
            if is_other(self.path, folder=False):
                return
            data = self.path.read_bytes()
        except OSError:
            return
        at = 0
        while (at := data.find(_MARK, at)) != -1:
            head = _HEAD.match(data, at, at + _HEAD_BYTES)
            if head is not None:
                size, first, last, crc = map(int, head.groups())
                lines = data[head.end() : head.end() + size]
                if len(lines) == size and crc == _sum(first, last, lines):
                    yield Block(last, first, lines)
                    at = head.end() + size
                    continue
            at += len(_MARK)


def found(*folders: Path) -> list[Segment]:
    """The files in these folders, the oldest first; whatever else is there is nobody's business here."""
    made = []
    for folder in folders:
        with suppress(OSError):
            for path in folder.iterdir():
                if match := _NAME.fullmatch(path.name):
                    made.append(Segment(int(match[1]), match[2], match[3], int(match[4]), path))
    return sorted(made)


def shorten(folder: Path, most_bytes: int, most_files: int = MOST_FILES) -> None:
    """Have the oldest files go, but for the newest."""
    left_bytes, left_files = most_bytes, most_files
    for at, segment in enumerate(reversed(found(folder))):
        with suppress(OSError):  # not a file, or not to be deleted: left alone
            left_bytes -= segment.path.lstat().st_size
            left_files -= 1
            if at and (left_bytes < 0 or left_files < 0):
                segment.path.unlink()


class Writer:
    """Appends what happens in the start ``boot`` to files in ``folder``. Every method may raise OSError."""

    def __init__(self, folder: Path, boot: str, machine: str, number: int) -> None:
        """``number``: of the last file that there is."""
        self._folder = folder
        self._boot = boot
        self._machine = machine
        self._number = number
        self._file = -1
        self._size = 0

    def append(self, block: Block) -> None:
        """One chunk. Where that fails, the next one begins another file, as the end of this one may be torn."""
        head = b'{"chunk": %d, "first": %d, "last": %d, "crc": %d}\n' % (
            len(block.lines),
            block.first,
            block.last,
            _sum(block.first, block.last, block.lines),
        )
        data = head + block.lines
        if self._file < 0 or self._size + len(data) > FILE_BYTES:
            self._begin(block.first)
        try:
            if os.write(self._file, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder))
        except OSError:
            if not self._size:
                self._path.unlink()
            self.close()
            raise
        self._size += len(data)

    def _begin(self, first: int) -> None:
        self.close()
        shorten(self._folder, MOST_BYTES - FILE_BYTES, MOST_FILES - 1)
        self._number += 1
        self._path = self._folder / f"{self._number:08}-{self._boot}-{self._machine}-{first}.jsonl"
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = 0

    def close(self) -> None:
        """Close the file; the next chunk begins another."""
        if self._file >= 0:
            file, self._file = self._file, -1
            os.close(file)


def _sum(first: int, last: int, lines: bytes) -> int:
    return crc32(lines, crc32(b"%d-%d" % (first, last)))
