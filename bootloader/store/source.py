"""A state folder that is only read: the base that a device was provisioned with, or a state on a read-only disk.

Its live tree can be run where it lies; its older generations and its blobs repair what a store lost. Its files are
compared before they are used, like all others. Knows nothing of the store.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..aside import Aside, is_folder
from ..wire.manifest import Manifest
from .manifests import Manifests
from .trees import NAMES, OnNotice, Tree


class Source:
    """``live``: the tree that its link of that name leads to, or None; ``trees``: all that it has; ``layers``: the
    folder of those.
    """

    def __init__(self, folder: Path, on_notice: OnNotice) -> None:
        self._objects = folder / "objects"
        self.layers = folder / "layers"
        self._manifests = Manifests(folder / "manifests")
        places = [folder / "trees" / name for name in NAMES]
        aside = Aside(folder / "aside")  # where nothing is ever moved from here
        self.trees = tuple(Tree(place, self.read, aside, on_notice) for place in places if is_folder(place))
        try:
            led_to = (folder / "live").readlink().name
        except OSError:
            led_to = ""
        self.live = next((tree for tree in self.trees if tree.folder.name == led_to), None)

    def read(self, root: str) -> Manifest | None:
        """One of its manifests."""
        return self._manifests.read(root)

    def files_of(self, blob: str) -> Iterator[Path]:
        """Where a blob should lie."""
        yield self._objects / blob[:2] / blob[2:]
