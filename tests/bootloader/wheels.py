"""Wheels that a test builds itself: tiny, the same bytes each time, and wrong in one way where that is asked for."""

from __future__ import annotations

import base64
import hashlib
import io
import stat
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bootloader.wire.layer import Wheel
from bootloader.wire.manifest import blob_name

Files = Mapping[str, bytes | str]


@dataclass(frozen=True, slots=True)
class Built:
    """A wheel's file."""

    wheel: Wheel
    content: bytes

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / self.wheel.file
        path.write_bytes(self.content)
        return path


def build(
    name: str,
    version: str = "1",
    files: Files | None = None,
    *,
    requires: Iterable[str] = (),
    tag: str = "py3-none-any",
    record: Callable[[str], str] = lambda text: text,
    more: Iterable[tuple[zipfile.ZipInfo | str, bytes]] = (),
    runnable: Iterable[str] = (),
    told: str = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n",
) -> Built:
    """A wheel of ``files``, or of one module that knows its version. ``record`` makes of the text of RECORD another
    one; ``more`` is put into the archive and not into RECORD.
    """
    if files is None:
        files = {f"{name}.py": f"VERSION = {version!r}\n"}
    info = f"{name}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"]
    metadata += [f"Requires-Dist: {each}\n" for each in requires]
    content = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
    content |= {f"{info}/METADATA": "".join(metadata).encode(), f"{info}/WHEEL": f"{told}Tag: {tag}\n".encode()}
    rows = [f"{path},{digest(each)},{len(each)}\n" for path, each in content.items()] + [f"{info}/RECORD,,\n"]
    content[f"{info}/RECORD"] = record("".join(rows)).encode()
    made = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(made, "w") as zipped:
        for path, each in content.items():
            zipped.writestr(entry(path, 0o755 if path in runnable else 0o644), each)
        for extra, each in more:
            zipped.writestr(entry(extra) if isinstance(extra, str) else extra, each)
    return of(f"{name}-{version}-{tag}.whl", made.getvalue())


def of(file: str, content: bytes) -> Built:
    return Built(Wheel(file, blob_name(content), len(content)), content)


def entry(path: str, mode: int = 0o644, kind: int = stat.S_IFREG) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(path)
    info.external_attr = (kind | mode) << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
