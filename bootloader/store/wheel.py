"""A wheel as an archive: what is in it, where in a layer each file of it belongs, and whether all is as it says.

Trusts nothing of it: every file has to be in the wheel's own RECORD with its size and its hash, and nothing leaves the
layer, is a symlink, comes twice, or holds more than it says. No code of a wheel is run, nor is any made. Where a layer
lies is not known here. The format is that of the packaging standard (binary distribution format, version 1).
"""

from __future__ import annotations

import hashlib
import io
import re
import stat
import struct
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from ..wire.errors import Malformed, Refused
from ..wire.layer import MODULES, PROGRAMS, Wheel, plain
from ..wire.limits import LAYER_BYTES
from ..wire.manifest import PLAIN, RUNNABLE, check_path

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

_SCHEMES: Mapping[str, str] = {
    "purelib": f"{MODULES}/",
    "platlib": f"{MODULES}/",
    "scripts": f"{PROGRAMS}/",
    "headers": "include/",
    "data": "",
}
"""Where the folders of a wheel's ``.data`` belong."""

_HASHES = ("sha256", "sha384", "sha512")
_CHUNK_BYTES = 1024 * 1024
_DIRECTORY_BYTES = 16 * 1024 * 1024
_LINE_CHARS = 4096
"""Of RECORD, where a line is a path, its hash and its size."""

_MORE_LINES = 100
"""So many lines of RECORD may be empty, or of what is not in it."""

_LOCATOR_BYTES = 20
"""Before the record that ends an archive: where one of zip64 lies, whose numbers count instead."""
_END = struct.Struct("<4s4H2IH")
_LISTED = b"PK\x01\x02"
_MORE_FILES = 100
"""So often what begins a file's entry may be in a name or a number."""

_ENCRYPTED = 0x1
_METHODS = (0, 8)
"""Stored, and deflated: what every Python that can unpack wheels can read."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a wheel. ``path``: where it belongs in a layer; ``digest``: what RECORD says of its content."""

    path: str
    mode: int
    size: int
    algorithm: str
    digest: bytes
    info: ZipInfo


class Archive:
    """A wheel that is open. ``members``: its files, sorted by path."""

    def __init__(self, wheel: Wheel, zipped: ZipFile) -> None:
        self._wheel = wheel
        self._zipped = zipped
        infos: dict[str, ZipInfo] = {}
        for info in zipped.infolist():
            if not info.is_dir():
                if info.filename in infos:
                    raise self._bad(f"holds '{info.filename[:80]}' twice")
                infos[info.filename] = info
        self._name = self._named(infos)
        self._check_version(infos)
        record = self._record(infos)
        kept = {path: info for path, info in infos.items() if not self._is_signature(path)}
        if unknown := record.keys() ^ kept.keys():
            raise self._bad(f"'{min(unknown)[:80]}' is only in one of the archive and its RECORD")
        found = [self._member(info, *record[path]) for path, info in kept.items()]
        self.members = tuple(sorted(found, key=lambda member: member.path))
        if len({member.path for member in found}) != len(found):
            raise self._bad("two of its files belong in one place")
        if sum(member.size for member in found) > LAYER_BYTES:
            raise self._bad(f"is larger than {LAYER_BYTES} bytes, unpacked")

    def _named(self, infos: Mapping[str, ZipInfo]) -> str:
        """What its ``.dist-info`` and its ``.data`` begin with, which is what its file's name says."""
        tops = {top for top, sep, _ in (path.partition("/") for path in infos) if sep and top.endswith(".dist-info")}
        if len(tops) != 1:
            raise self._bad("has not one folder '.dist-info'")
        name = tops.pop().removesuffix(".dist-info")
        if plain(name) != plain(f"{self._wheel.distribution}-{self._wheel.version}"):
            raise self._bad(f"says that it is '{name[:80]}'")
        return name

    def _check_version(self, infos: Mapping[str, ZipInfo]) -> None:
        told = (re.fullmatch(r"Wheel-Version:\s*(\d+)\.\d+\s*", line) for line in self._lines(infos, "WHEEL", 100))
        version = next(filter(None, told), None)
        if version is None or version[1] != "1":
            raise self._bad("is not of the wheel format's version 1")

    def _lines(self, infos: Mapping[str, ZipInfo], file: str, most: int) -> Iterator[str]:
        """The lines of a text of the wheel's own, one after the other: what is in memory does not grow with it."""
        info = infos.get(f"{self._name}.dist-info/{file}")
        if info is None:
            raise self._bad(f"has no {file}")
        self._check(info)
        with self._opened(info) as binary, io.TextIOWrapper(binary, "utf-8", newline="") as text:
            for _ in range(most):
                line = text.readline(_LINE_CHARS)
                if not line:
                    return
                if len(line) == _LINE_CHARS:
                    raise self._bad(f"its {file} has a line of more than {_LINE_CHARS} characters")
                yield line
        raise self._bad(f"its {file} has more than {most} lines")

    def _record(self, infos: Mapping[str, ZipInfo]) -> dict[str, tuple[str, bytes, int]]:
        """What RECORD says of each file: algorithm, digest, size."""
        import csv  # here, as a stripped Python may be without

        found: dict[str, tuple[str, bytes, int]] = {}
        try:
            for row in csv.reader(self._lines(infos, "RECORD", len(infos) + _MORE_LINES)):
                if not row or (len(row) == 3 and self._is_signature(row[0])):
                    continue
                path, value = self._row(row)
                if path in found:
                    raise self._bad(f"its RECORD has '{path[:80]}' twice")
                found[path] = value
        except csv.Error as error:
            raise self._bad(f"its RECORD can't be read: {error}") from error
        return found

    def _row(self, row: list[str]) -> tuple[str, tuple[str, bytes, int]]:
        try:
            path, told, size = row
            algorithm, _, digest = told.partition("=")
            value = algorithm, urlsafe_b64decode(digest + "=" * (-len(digest) % 4)), int(size)
        except ValueError as error:
            raise self._bad(f"its RECORD has a line that says neither hash nor size: {str(row)[:80]}") from error
        if algorithm not in _HASHES:
            raise self._bad(f"its RECORD has no good hash of '{path[:80]}'")
        return path, value

    def _is_signature(self, path: str) -> bool:
        """RECORD can't hold its own hash, nor that of what signs it."""
        return path in {f"{self._name}.dist-info/{file}" for file in ("RECORD", "RECORD.jws", "RECORD.p7s")}

    def _member(self, info: ZipInfo, algorithm: str, digest: bytes, size: int) -> Member:
        self._check(info)
        if size != info.file_size:
            raise self._bad(f"'{info.filename[:80]}' has {info.file_size} bytes, its RECORD says {size}")
        first, _, rest = info.filename.partition("/")
        place = f"{MODULES}/{info.filename}"
        if first == f"{self._name}.data":
            scheme, _, inner = rest.partition("/")
            if scheme not in _SCHEMES:
                raise self._bad(f"has files of a kind that is not known, '{scheme[:40]}'")
            place = _SCHEMES[scheme] + inner
        try:
            path = check_path(place)
        except Malformed as error:
            raise self._bad(f"{error.what}: {info.filename[:80]!r}") from error
        runnable = info.external_attr >> 16 & 0o111 or path.startswith(f"{PROGRAMS}/")
        return Member(path, RUNNABLE if runnable else PLAIN, size, algorithm, digest, info)

    def _check(self, info: ZipInfo) -> None:
        if not 0 <= info.header_offset < LAYER_BYTES:
            raise self._bad(f"'{info.filename[:80]}' lies nowhere in it")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise self._bad(f"'{info.filename[:80]}' is no plain file, but a symlink or the like")
        if info.flag_bits & _ENCRYPTED or info.compress_type not in _METHODS:
            raise self._bad(f"'{info.filename[:80]}' is encrypted, or compressed in a way that wheels are not")

    def read(self, member: Member) -> Iterator[bytes]:
        """Its content, in parts. Where it is not as RECORD says, a refusal comes in place of the last one."""
        hasher, size, last = hashlib.new(member.algorithm), 0, b""
        for chunk in self._chunks(member.info):
            yield last
            hasher.update(chunk)
            size, last = size + len(chunk), chunk
        if size != member.size or hasher.digest() != member.digest:
            raise self._bad(f"'{member.path[:80]}' is not what its RECORD says")
        yield last

    def _chunks(self, info: ZipInfo) -> Iterator[bytes]:
        with self._opened(info) as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk

    @contextmanager
    def _opened(self, info: ZipInfo) -> Iterator[IO[bytes]]:
        from zipfile import BadZipFile
        from zlib import error as zlib_error

        try:
            with self._zipped.open(info) as file:
                yield file
        except (BadZipFile, zlib_error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
            raise self._bad(f"'{info.filename[:80]}' can't be unpacked: {str(error)[:80]}") from error

    def _bad(self, what: str) -> Refused:
        return bad(self._wheel, what)


@contextmanager
def opened(path: Path, wheel: Wheel) -> Iterator[Archive]:
    """The archive ``path``, which is ``wheel``; one that is not as it should be is :class:`Refused`."""
    try:
        import csv  # noqa: F401 - to be sure of it
        from zipfile import BadZipFile, ZipFile
        from zlib import error as zlib_error
    except ImportError as error:  # a stripped Python
        do = "install the whole of Python's standard library there"
        raise Refused("no-zlib", f"this device's Python can't unpack wheels: {error}", to=wheel.file, do=do) from error
    with open(path, "rb") as file:
        _check_directory(wheel, file)
        try:
            zipped = ZipFile(file, metadata_encoding="utf-8")  # or it needs one that a stripped Python may not have
        except (BadZipFile, zlib_error, ValueError, NotImplementedError, UnicodeDecodeError) as error:
            raise bad(wheel, f"is no archive: {str(error)[:80]}") from error
        with zipped:
            yield Archive(wheel, zipped)


def _check_directory(wheel: Wheel, file: BinaryIO) -> None:
    """The list of an archive's files is read at once, so it has to be bounded before: in bytes, and in files, of which
    it may hold more than it says.
    """
    size = file.seek(0, io.SEEK_END)
    tail_bytes = min(size, _LOCATOR_BYTES + _END.size + 0xFFFF)
    file.seek(size - tail_bytes)
    tail = file.read(tail_bytes)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise bad(wheel, "is no archive, or is cut")
    fields: tuple[Any, ...] = _END.unpack_from(tail, at)
    if at + _END.size + fields[7] != len(tail):
        raise bad(wheel, "is no archive alone: something follows it, or its end is cut")
    is_zip64 = tail[max(0, at - _LOCATOR_BYTES) : at].startswith(b"PK\x06\x07")
    if is_zip64 or 0xFFFF in fields[1:5] or 0xFFFFFFFF in fields[5:7] or fields[5] > _DIRECTORY_BYTES:
        raise bad(wheel, f"holds more than {0xFFFF - 1} files, or more than {LAYER_BYTES} bytes")
    file.seek(max(0, size - len(tail) + at - fields[5]))
    count = file.read(fields[5]).count(_LISTED)  # of which there is one before each, and hardly any within a name
    if count > fields[4] + _MORE_FILES:
        raise bad(wheel, f"says that it holds {fields[4]} files, and holds {count}")
    file.seek(0)


def bad(wheel: Wheel, what: str) -> Refused:
    """The refusal of a wheel."""
    do = "it is damaged, or was not built as wheels are: require another version of it"
    return Refused("bad-wheel", what, to=wheel.file, do=do)
