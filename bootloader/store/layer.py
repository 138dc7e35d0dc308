"""One layer on the disk: what should be in it, and whether it is.

The list of its files lies beside it and begins with its own BLAKE3, so a list that is torn is none. Knows nothing of
wheels but their names, and makes nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from ..regular import regular
from ..wire.errors import Fault
from ..wire.layer import Wheel, layer_name
from ..wire.manifest import Entry, blob_name
from .trees import entry_of


@dataclass(frozen=True, slots=True)
class Layer:
    """``files``: by path, each with the BLAKE3 of the wheel that it is of; ``partial``: the wheels of which something
    is not in here, or counts as another one's.
    """

    wheels: tuple[Wheel, ...]
    files: dict[str, tuple[Entry, str]] = field(default_factory=dict)
    partial: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        """The layer's name."""
        return layer_name(self.wheels)

    def encode(self) -> bytes:
        """The list."""
        files = [[path, entry.blake3, entry.mode, entry.size, wheel] for path, (entry, wheel) in self.files.items()]
        told = {"wheels": [wheel.row for wheel in self.wheels], "files": files, "partial": sorted(self.partial)}
        text = json.dumps(told, separators=(",", ":")).encode()
        return f"{blob_name(text)}\n".encode() + text

    def of(self, wheel: str, folder: Path) -> dict[str, tuple[Entry, Path]]:
        """The files of a wheel that lie in ``folder``; none where it is not all of them."""
        if wheel in self.partial:
            return {}
        return {path: (entry, folder / path) for path, (entry, whose) in self.files.items() if whose == wheel}

    def wrong(self, folder: Path) -> dict[str, str]:
        """Read every file: those that are not in ``folder`` as they should be, and of which wheel each is.

        What lies there besides is an application's own, and is left alone.
        """
        return {path: wheel for path, (entry, wheel) in self.files.items() if entry_of(folder / path) != entry}


def read(file: Path) -> Layer | None:
    """The layer of the list ``file``; None where there is none, or a damaged one."""
    try:
        with open(file, "rb", opener=regular) as listed:
            digest, _, text = listed.read().partition(b"\n")
        if blob_name(text).encode() != digest:
            return None
        told = json.loads(text)
        files = {path: (Entry(name, mode, size), wheel) for path, name, mode, size, wheel in told["files"]}
        return Layer(tuple(Wheel(*row) for row in told["wheels"]), files, set(told["partial"]))
    except (OSError, ValueError, KeyError, TypeError, Fault):
        return None
