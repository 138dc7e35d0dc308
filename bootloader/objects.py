"""Blobs on disk by their BLAKE3: ``objects/ab/cdef…``, written aside, then renamed; verified whenever they are read.

Owns the folder ``objects`` and the uploads that are under way. Knows nothing of trees or generations. Not thread-safe:
the store's lock is held around every call.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from blake3 import blake3

from .wire.errors import Malformed, Refused
from .wire.manifest import blob_name, check_hash

_CHUNK_BYTES = 1024 * 1024


class Objects:
    """The blobs of one target."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts = folder / "part"
        self._parts.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """Where a blob lies."""
        return self._folder / name[:2] / name[2:]

    def has(self, name: str, size_bytes: int) -> bool:
        """Whether the blob is here with that size. Its content is verified when it is read."""
        try:
            return os.stat(self.path(name)).st_size == size_bytes  # noqa: PTH116 - asked for every file of a project
        except OSError:
            return False

    def missing(self, blobs: Iterable[tuple[str, int]]) -> list[str]:
        """Those of ``blobs`` (name, size) that are not here."""
        return [name for name, size in blobs if not self.has(check_hash(name), size)]

    def put(self, name: str, content: bytes) -> None:
        """Keep a blob whose content has the BLAKE3 ``name``; any other is :class:`Malformed`."""
        if blob_name(content) != name:
            raise Malformed("the content does not have this BLAKE3", to=f"blob {name[:12]}")
        path = self.path(name)
        aside = self._parts / f"{name}.new"
        aside.write_bytes(content)
        try:
            aside.rename(path)
        except FileNotFoundError:
            path.parent.mkdir(exist_ok=True)
            aside.rename(path)

    def append(self, name: str, offset: int, content: bytes, size_bytes: int) -> None:
        """Keep the next part of a large blob. Parts come in order; the last one completes and verifies it."""
        part = self._parts / name
        have = part.stat().st_size if part.exists() else 0
        if offset == 0:
            have = 0
        if offset != have or offset + len(content) > size_bytes:
            part.unlink(missing_ok=True)
            raise Refused(
                "wrong-part", f"a part at {offset}, expected one at {have}", to=f"blob {name[:12]}", do="send it again"
            )
        with open(part, "wb" if offset == 0 else "ab") as file:
            file.write(content)
        if offset + len(content) < size_bytes:
            return
        if _file_name(part) != name:
            part.unlink()
            raise Malformed("the content does not have this BLAKE3", to=f"blob {name[:12]}")
        self.path(name).parent.mkdir(exist_ok=True)
        part.rename(self.path(name))

    def read(self, name: str) -> bytes:
        """The content of a blob, verified. One that is absent or damaged is refused, and a damaged one removed."""
        try:
            content = self.path(name).read_bytes()
        except FileNotFoundError as error:
            raise _missing(name) from error
        if blob_name(content) != name:
            self.path(name).unlink()
            raise _missing(name, "was damaged and is removed")
        return content

    def copy(self, name: str, descriptor: int) -> None:
        """Write the content of a blob to an open file, verified on the way, in bounded memory."""
        hasher = blake3()
        try:
            with open(self.path(name), "rb") as source, open(descriptor, "wb", closefd=False) as target:
                while chunk := source.read(_CHUNK_BYTES):
                    hasher.update(chunk)
                    target.write(chunk)
        except FileNotFoundError as error:
            raise _missing(name) from error
        if hasher.hexdigest() != name:
            self.path(name).unlink()
            raise _missing(name, "was damaged and is removed")

    def free_bytes(self) -> int:
        """Free space where the blobs lie."""
        return shutil.disk_usage(self._folder).free


def sync(path: Path) -> None:
    """fsync one file or folder; one that is gone by now needs none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _file_name(path: Path) -> str:
    hasher = blake3()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            hasher.update(chunk)
    return hasher.hexdigest()


def _missing(name: str, what: str = "is not on this target") -> Refused:
    return Refused("missing-blob", what, to=f"blob {name[:12]}", do="send it again")
