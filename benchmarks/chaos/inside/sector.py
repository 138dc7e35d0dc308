"""One file whose content can't be read, as its place on the disk is bad: every read of it fails with EIO.

It is told by its inode, so that it stays bad under any name, and in every process that is told the same; what is
written to it is readable again, as a disk puts that elsewhere. All else can be done to it.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import posix
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_bad = ""


def named(descriptor: int) -> str:
    """What tells an open file, as it is now, from all others."""
    status = os.fstat(descriptor)
    return f"{status.st_dev}:{status.st_ino}:{status.st_mtime_ns}"


def _check(descriptor: int) -> None:
    if named(descriptor) == _bad:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


class _File(io.FileIO):
    """A file as :func:`open` makes it."""

    def read(self, size: int | None = -1, /) -> bytes:
        _check(self.fileno())
        return super().read(-1 if size is None else size)

    def readall(self) -> bytes:
        _check(self.fileno())
        return super().readall()

    def readinto(self, buffer: Any, /) -> int:
        _check(self.fileno())
        return super().readinto(buffer)


_real_open = builtins.open


def _open(
    file: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Any = None,
) -> Any:
    if set(mode) & set("wax+"):
        return _real_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
    raw = _File(file, "r", closefd, opener)
    if buffering == 0:
        return raw
    buffered = io.BufferedReader(raw, buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE)
    return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)


def _checked(real: Callable[..., Any], at: int) -> Callable[..., Any]:
    """A call whose argument number ``at`` is a descriptor that it reads from."""

    def call(*arguments: Any, **named: Any) -> Any:
        _check(arguments[at])
        return real(*arguments, **named)

    return call


def begin(bad: str) -> Callable[[], None]:
    """From here on, the file that ``bad`` names can't be read; what undoes that."""
    global _bad
    _bad = bad
    io_module: Any = __import__("_io")
    places: list[tuple[Any, str, Any]] = [(module, "open", _open) for module in (builtins, io, io_module)]
    places += [(module, "FileIO", _File) for module in (io, io_module)]
    places += [(module, "open_code", lambda path: _open(path, "rb")) for module in (io, io_module)]
    for name, at in (("read", 0), ("pread", 0), ("sendfile", 1)):
        places += [(module, name, _checked(getattr(posix, name), at)) for module in (posix, os)]
    before = [(module, name, vars(module)[name]) for module, name, _ in places]
    _set(places)
    return lambda: _set(before)


def _set(places: list[tuple[Any, str, Any]]) -> None:
    for module, name, value in places:
        setattr(module, name, value)


@contextmanager
def unreadable(path: Path) -> Iterator[str]:
    """In this process the file ``path`` can't be read meanwhile; gives what tells it to others.

    It is held open, so that no other file gets its inode.
    """
    with path.open("rb") as held:
        bad = named(held.fileno())
        undo = begin(bad)
        try:
            yield bad
        finally:
            undo()
