"""Blobs on disk by their BLAKE3: ``objects/ab/cdef…``, written aside, then renamed; verified whenever they are read.

Owns the folder ``objects`` and the uploads that are under way. Knows nothing of trees or generations. Not thread-safe:
the store's lock is held around every call.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

from ..aside import is_folder, is_other
from ..regular import regular
from ..wire.errors import Malformed, Refused
from ..wire.manifest import blob_name, check_hash

READ_BYTES = 32 * 1024 * 1024
"""Most bytes of one blob that are held in memory."""

_REST = re.compile(r"[0-9a-f]{62}")
_CHUNK_BYTES = 1024 * 1024
_ONE_BY_ONE = 256
"""More files than this are made durable with one sync of everything, which is faster on any disk."""


class Objects:
    """The blobs of one target. ``elsewhere`` names files that may hold a blob too: a lost one is taken from there."""

    def __init__(self, folder: Path, elsewhere: Callable[[str], Iterable[Path]] = lambda _name: ()) -> None:
        self._folder = folder
        self._parts = folder / "part"
        self._elsewhere = elsewhere
        remove(self._parts)  # uploads of the last time: hosts begin them anew
        self._parts.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """Where a blob lies."""
        return self._folder / name[:2] / name[2:]

    def has(self, name: str, size_bytes: int) -> bool:
        """Whether the blob is here with that size. Its content is verified when it is read."""
        try:
            status = os.stat(self.path(name))  # noqa: PTH116 - asked for every file of a project
        except OSError:
            return False
        return status.st_size == size_bytes and stat.S_ISREG(status.st_mode)

    def make_sure(self, name: str) -> bool:
        """Whether the blob is here and whole, or could be taken from elsewhere: it is read for that."""
        try:
            return file_name(self.path(name)) == name or self.recover(name)
        except OSError:
            return self.recover(name)

    def missing(self, blobs: Iterable[tuple[str, int]]) -> list[str]:
        """Those of ``blobs`` (name, size) that are not here."""
        return [name for name, size in blobs if not self.has(check_hash(name), size)]

    def begun(self, name: str) -> int:
        """How many bytes of a large blob that is not here have come by now."""
        try:
            return (self._parts / check_hash(name)).stat().st_size
        except OSError:
            return 0

    def put(self, name: str, content: bytes) -> None:
        """Keep a blob whose content has the BLAKE3 ``name``; any other is :class:`Malformed`."""
        verified(name, content)
        with self._aside(name) as aside:
            aside.write_bytes(content)
            self._place(aside, name)

    def append(self, name: str, offset: int, content: bytes, size_bytes: int) -> None:
        """Keep the next part of a large blob. Parts come in order; the last one completes and verifies it."""
        part = self._parts / name
        have = part.stat().st_size if part.exists() and offset else 0
        if offset != have or offset + len(content) > size_bytes:
            part.unlink(missing_ok=True)
            raise Refused(
                "wrong-part", f"a part at {offset}, expected one at {have}", to=f"blob {name[:12]}", do="send it again"
            )
        try:
            with open(part, "ab" if offset else "wb", opener=regular) as file:
                file.write(content)
            if offset + len(content) < size_bytes:
                return
            if file_name(part) != name:
                raise Malformed("the content does not have this BLAKE3", to=f"blob {name[:12]}")
            self._place(part, name)
        except Malformed:
            part.unlink(missing_ok=True)
            raise
        except OSError:
            with suppress(OSError):
                os.truncate(part, offset)  # as before this part, which may be tried again
            raise

    @contextmanager
    def _aside(self, name: str) -> Iterator[Path]:
        """A place to write a blob before it gets its name; what a full disk cuts short does not fill it further."""
        aside = self._parts / f"{name}.new"
        try:
            yield aside
        finally:
            aside.unlink(missing_ok=True)

    def _place(self, written: Path, name: str) -> None:
        try:
            written.rename(self.path(name))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError):
            folder = self.path(name).parent
            if is_folder(folder) and is_other(folder, folder=True):
                folder.rename(folder.with_name(f"{folder.name}.lost"))
            if not folder.is_dir():
                remove(folder)
                folder.mkdir()
            elif self.path(name).is_dir():
                remove(self.path(name))
            written.rename(self.path(name))

    def read(self, name: str) -> bytes:
        """The content of a blob, verified. One that is damaged is removed; one that is nowhere is refused.

        For what is small: a blob past ``READ_BYTES`` is refused, and :meth:`copy` is for those.
        """
        content = self._read(name)
        if content is None and self.recover(name):
            content = self._read(name)
        if content is None:
            raise _missing(name)
        return content

    def _read(self, name: str) -> bytes | None:
        try:
            with open(self.path(name), "rb", opener=regular) as file:
                content = _chunk(file, READ_BYTES + 1)
        except _Unreadable:
            content = b""  # it goes, or it would be taken for one that is here
        except OSError:
            return None
        if len(content) > READ_BYTES:
            raise Refused("too-large", f"is larger than {READ_BYTES} bytes", to=f"blob {name[:12]}", do="send it whole")
        if blob_name(content) == name:
            return content
        self.discard(name)
        return None

    def discard(self, name: str) -> None:
        """Drop a blob, which may not be here."""
        with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            self.path(name).unlink()

    def names(self) -> Iterator[str]:
        """All blobs that are here, whole or not."""
        for folder in self._folder.glob("[0-9a-f][0-9a-f]"):
            with suppress(OSError):
                yield from (folder.name + path.name for path in folder.iterdir() if _REST.fullmatch(path.name))

    def copy(self, name: str, descriptor: int) -> None:
        """Write the content of a blob to an open, empty file, verified on the way, in bounded memory."""
        if not self._copy(name, descriptor):
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            if not self.recover(name) or not self._copy(name, descriptor):
                raise _missing(name)

    def _copy(self, name: str, descriptor: int) -> bool:
        try:
            source = open(self.path(name), "rb", opener=regular)  # noqa: SIM115 - what the other file raises is not caught here
        except OSError:
            return False
        with source, open(descriptor, "wb", closefd=False) as target, suppress(_Unreadable):
            if _transfer(source, target) == name:
                return True
        self.discard(name)
        return False

    def recover(self, name: str) -> bool:
        """Take a blob that is lost here from a tree that still has it."""
        for path in self._elsewhere(name):
            try:
                if path.is_symlink() or not path.is_file() or file_name(path) != name:
                    continue
            except OSError:
                continue
            with self._aside(name) as aside:
                with open(path, "rb", opener=regular) as source, open(aside, "wb") as target:
                    found = _transfer(source, target)
                if found == name:
                    self._place(aside, name)
                    return True
        return False

    def free_bytes(self) -> int:
        """Free space where the blobs lie."""
        return shutil.disk_usage(self._folder).free

    def block_bytes(self) -> int:
        """What the disk gives away at once: the least that a file with anything in it takes."""
        return os.statvfs(self._folder).f_frsize


def verified(name: str, content: bytes) -> bytes:
    """``content``, which has the BLAKE3 ``name``; any other is :class:`Malformed`."""
    if blob_name(content) != name:
        raise Malformed("the content does not have this BLAKE3", to=f"blob {name[:12]}")
    return content


def sync(paths: Collection[Path]) -> None:
    """fsync files and folders; what is gone by now, or is no longer a plain one, needs none, nor what is not ours."""
    if len(paths) > _ONE_BY_ONE:
        os.sync()
        return
    for path in paths:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES):
                continue
            raise
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove(path: Path) -> None:
    """Clear a place in a folder of the store's, where nobody else has anything to keep."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def file_name(path: Path) -> str:
    """The BLAKE3 of a file."""
    with open(path, "rb", opener=regular) as file:
        return _transfer(file, None)


def _transfer(source: BinaryIO, target: BinaryIO | None) -> str:
    """The BLAKE3 of what ``source`` holds, on its way to ``target``."""
    hasher = blake3()
    while chunk := _chunk(source, _CHUNK_BYTES):
        hasher.update(chunk)
        if target is not None:
            target.write(chunk)
    return hasher.hexdigest()


def _chunk(source: BinaryIO, size_bytes: int) -> bytes:
    try:
        return source.read(size_bytes)
    except OSError as error:
        raise _Unreadable(error.errno, error.strerror, source.name) from error


class _Unreadable(OSError):
    """A file whose content can't be read, where another one that is written to is well."""


def _missing(name: str) -> Refused:
    return Refused("missing-blob", "is not on this target, or was damaged", to=f"blob {name[:12]}", do="send it again")
