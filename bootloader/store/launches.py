"""What trees say to run, read from their launch files, a blob each.

Owns a cache of these: the same file is in most trees. Knows nothing of processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..wire.errors import Fault, Refused
from ..wire.launch import PATH, Launch
from ..wire.layer import Wheel
from ..wire.manifest import Manifest
from .objects import Objects
from .trees import OnNotice

_CACHED = 256


class Launches:
    """One that can't be read is told, and is none."""

    def __init__(self, objects: Objects, on_notice: OnNotice) -> None:
        self._objects = objects
        self._notice = on_notice
        self._read: dict[str, Launch] = {}

    def of(self, manifest: Manifest, fresh: Mapping[str, bytes] | None = None) -> Launch | None:
        """What a tree says to run. ``fresh``: blobs that are in memory, verified."""
        entry = manifest.get(PATH)
        return self._launch(entry.blake3, (fresh or {}).get(entry.blake3)) if entry is not None else None

    def wanted(self, manifest: Manifest, fresh: Mapping[str, bytes] | None = None) -> Launch:
        """As :meth:`of`, where there has to be something to run."""
        launch = self.of(manifest, fresh)
        if launch is None:
            raise Refused("no-launch", "the tree does not say what to run", to=PATH, do="push with `reactor`")
        return launch

    def layers(self, blobs: Iterable[str]) -> set[tuple[Wheel, ...]]:
        """The wheels of each layer that the launch files ``blobs`` need."""
        return {launch.wheels for blob in blobs if (launch := self._launch(blob)) is not None and launch.wheels}

    def _launch(self, blob: str, content: bytes | None = None) -> Launch | None:
        if blob not in self._read:
            try:
                launch = Launch.decode(self._objects.read(blob) if content is None else content)
            except (Fault, OSError) as fault:
                self._notice("launch-unreadable", str(fault))
                return None
            if len(self._read) >= _CACHED:
                self._read.clear()
            self._read[blob] = launch
        return self._read[blob]
