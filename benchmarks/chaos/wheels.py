"""Wheels that are made on the spot: each brings one module, which says the wheel's version. Pure."""

from __future__ import annotations

import hashlib
import io
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from zipfile import ZipFile, ZipInfo

from bootloader.wire.layer import MODULES, Wheel
from bootloader.wire.manifest import blob_name

STEADY, FICKLE = NAMES = ("chaos_steady", "chaos_fickle")
"""What there may be in a layer: one that is always the same, and one that changes."""

_FORMAT = b"Wheel-Version: 1.0\nGenerator: chaos\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@dataclass(frozen=True, slots=True)
class Made:
    """One wheel: its content, and the ``files`` that it brings, by their paths in a layer."""

    wheel: Wheel
    content: bytes
    files: Mapping[str, bytes]


def layer(number: int) -> tuple[Made, ...]:
    """The wheels of tree ``number``: none, or those of the tree before it, or one that is new and one that is not."""
    if number % 4 == 0:
        return ()
    return _made(STEADY, 1), _made(FICKLE, number - (number % 3 == 0))


def _made(name: str, version: int) -> Made:
    about = f"{name}-{version}.dist-info"
    files = {f"{name}.py": f'SAYS = "{version}"\n'.encode(), f"{about}/WHEEL": _FORMAT}
    record = "".join(f"{path},{_hash(content)},{len(content)}\n" for path, content in files.items())
    with io.BytesIO() as file:
        with ZipFile(file, "w") as zipped:
            for path, content in {**files, f"{about}/RECORD": f"{record}{about}/RECORD,,\n".encode()}.items():
                zipped.writestr(ZipInfo(path), content)
        whole = file.getvalue()
    wheel = Wheel(f"{name}-{version}-py3-none-any.whl", blob_name(whole), len(whole))
    return Made(wheel, whole, {f"{MODULES}/{path}": content for path, content in files.items()})


def _hash(content: bytes) -> str:
    return f"sha256={urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip('=')}"
