"""A layer: the wheels that an application needs besides its own code, as a value.

Pure. A wheel is a file that is named by its content; a layer is named by the list of its wheels, so one that two
generations have in common is there once. Knows nothing of where wheels come from, and of what is in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .errors import Malformed
from .limits import LAYER_BYTES, MOST_WHEELS
from .manifest import blob_name, check_hash
from .messages import Fields

MODULES, PROGRAMS = "site", "bin"
"""The folders of a layer that go on ``sys.path`` and on ``PATH``."""

_FILE = re.compile(r"[A-Za-z0-9_.]+-[A-Za-z0-9_.!+]+(-[0-9][A-Za-z0-9_.]*)?(-[A-Za-z0-9_.]+){3}\.whl")
_FILE_CHARS = 250


@dataclass(frozen=True, slots=True, order=True)
class Wheel:
    """One wheel: its file's name, which tells its distribution and version; its BLAKE3; its size in bytes."""

    file: str
    blake3: str
    size: int

    def __post_init__(self) -> None:
        if len(self.file) > _FILE_CHARS or not _FILE.fullmatch(self.file):
            raise Malformed("not the name of a wheel", to=repr(self.file[:80]))
        check_hash(self.blake3)
        if not 0 < self.size <= LAYER_BYTES:
            raise Malformed(f"the size is {self.size}, expected 1 to {LAYER_BYTES}", to=self.file)

    @property
    def distribution(self) -> str:
        """The name of what it installs, as in its file's name."""
        return self.file.partition("-")[0]

    @property
    def version(self) -> str:
        """Its version, as in its file's name."""
        return self.file.split("-")[1]

    @property
    def row(self) -> list[str | int]:
        """For a message."""
        return [self.file, self.blake3, self.size]


def layer_name(wheels: Iterable[Wheel]) -> str:
    """The BLAKE3 of the list of ``wheels``, a line each; an empty text where there are none."""
    lines = "".join(f"{wheel.blake3} {wheel.size} {wheel.file}\n" for wheel in sorted(wheels))
    return blob_name(lines.encode()) if lines else ""


def plain(name: str) -> str:
    """A distribution's name, as such names are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_wheels(fields: Fields, key: str = "wheels") -> tuple[Wheel, ...]:
    """The wheels in the rows ``key``, sorted; anything odd is :class:`Malformed`."""
    rows = fields.rows(key)
    if len(rows) > MOST_WHEELS:
        raise Malformed(f"{len(rows)} wheels, at most {MOST_WHEELS} make up a layer")
    wheels = []
    for row in rows:
        match row:
            case [str(file), str(name), int(size)] if not isinstance(size, bool):
                wheels.append(Wheel(file, name, size))
            case _:
                raise Malformed("not [file, blake3, size]", to=f"'{key}'")
    if len({plain(wheel.distribution) for wheel in wheels}) != len(wheels):
        raise Malformed("two wheels of one distribution", to=f"'{key}'")
    return tuple(sorted(wheels))
