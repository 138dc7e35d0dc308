"""What is put on a board: this host's own ``bootloader`` package and, unpacked beside it, what it needs.

Named by the hash of all of it, so one name is one content. Knows nothing of how it gets there.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bootloader.wire import limits
from bootloader.wire.errors import Fault, Malformed
from bootloader.wire.manifest import PLAIN, Entry, Manifest, blob_name, check_path

from ..wheels import Wheel

_NEEDS = "bootloader/requirements.txt"
_MOST_BYTES = 64 * 1024 * 1024
_SHARES = ("purelib", "platlib")
"""The parts of a wheel's ``.data`` folder that are code; the others are scripts and manuals."""

_EXTRA = re.compile(r"""(.+?)\s*;\s*extra\s*==\s*['"](\w+)['"]""")


def package() -> dict[str, bytes]:
    """The bootloader that lies beside this host's own code: its Python files and what it needs, by path."""
    folder = Path(limits.__file__).parents[1]
    needs = folder.parent / _NEEDS
    return {**python_files(folder), _NEEDS: needs.read_bytes()}


def python_files(folder: Path) -> dict[str, bytes]:
    """Those of a package, by their path beside it."""
    return {path.relative_to(folder.parent).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.py"))}


def requirements() -> list[str]:
    """What a target can't do without."""
    return package()[_NEEDS].decode().split()


def extras(*names: str) -> dict[str, list[str]]:
    """What it can do without, by what it is for, as this host's package has it; nothing where that is not installed."""
    from importlib import metadata  # takes longer than most commands do

    try:
        lines = metadata.requires("live-reactor") or ()
    except metadata.PackageNotFoundError:
        lines = ()
    told = [_EXTRA.fullmatch(line) for line in lines]
    return {name: [one[1] for one in told if one is not None and one[2] == name] for name in names}


def unit(name: str = "bootloader") -> str:
    """A systemd unit that lies in the package, with a user and commands to be replaced."""
    return (Path(limits.__file__).parents[1] / f"{name}.service").read_text("utf-8")


@dataclass(frozen=True)
class Payload:
    """``contents`` by path; ``told``: what is in it, with versions."""

    contents: dict[str, bytes]
    told: tuple[str, ...]

    @classmethod
    def of(cls, wheels: Sequence[Wheel], *, slow: bool = False) -> Payload:
        """The bootloader and ``wheels``, unpacked; ``slow``: with what takes the place of blake3."""
        contents = package()
        if slow:
            contents["blake3/__init__.py"] = Path(__file__).with_name("slow.py").read_bytes()
            contents["blake3-1.0.dist-info/METADATA"] = b"Metadata-Version: 2.1\nName: blake3\nVersion: 1.0\n"
        for wheel in wheels:
            contents.update(_unpacked(wheel))
        return cls(contents, tuple(f"{wheel.name} {wheel.version}" for wheel in wheels))

    @cached_property
    def root(self) -> str:
        """The BLAKE3 of the manifest of all of it: its name."""
        tree = {path: Entry(blob_name(content), PLAIN, len(content)) for path, content in self.contents.items()}
        return Manifest(tree).root

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(map(len, self.contents.values()))

    @property
    def sums(self) -> bytes:
        """The list for ``sha256sum -c``."""
        return "".join(
            f"{hashlib.sha256(content).hexdigest()}  {path}\n" for path, content in sorted(self.contents.items())
        ).encode()

    @cached_property
    def tar(self) -> bytes:
        """An archive of it, with a list for ``sha256sum -c``; the same bytes for the same content."""
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for path, content in (*sorted(self.contents.items()), ("SHA256SUMS", self.sums)):
                entry = tarfile.TarInfo(path)
                entry.size, entry.mode = len(content), PLAIN
                archive.addfile(entry, io.BytesIO(content))
        return out.getvalue()


def _unpacked(wheel: Wheel) -> dict[str, bytes]:
    """The files of a wheel where Python finds them, by path: nothing of it is run, nor lies outside."""
    found: dict[str, bytes] = {}
    size = 0
    try:
        with zipfile.ZipFile(wheel.path) as archive:
            for info in archive.infolist():
                path = _place(info.filename)
                if info.is_dir() or path is None:
                    continue
                size += info.file_size
                if size > _MOST_BYTES:
                    raise Malformed("it is larger than 64 MB unpacked", to=wheel.path.name)
                found[check_path(path)] = archive.read(info)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OSError) as error:
        raise Fault("bad-wheel", f"can't be unpacked ({error})", to=str(wheel.path)) from error
    return found


def _place(name: str) -> str | None:
    top, _, rest = name.partition("/")
    if not top.endswith(".data"):
        return name
    share, _, path = rest.partition("/")
    return path if share in _SHARES else None
