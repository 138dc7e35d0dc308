"""A new tree on its way: what the store hands out between an overlay and the switch to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..wire.launch import Launch
from ..wire.manifest import Edits, Manifest
from .trees import Tree


@dataclass(slots=True)
class Staged:
    """A new tree that is verified, and is to be built: not live yet.

    ``fresh``: those of its blobs that are in memory, verified; ``place_of``: where a blob is kept; ``tree``: where the
    new one lies, whole, once it is built.
    """

    manifest: Manifest
    before: Manifest
    edits: Edits
    launch: Launch
    launch_before: Launch | None
    fresh: Mapping[str, bytes] = field(repr=False)
    place_of: Callable[[str], Path]
    tree: Tree | None = None

    @property
    def files(self) -> dict[str, str | None] | None:
        """Where each file that differs lies before the tree is built; None where a program may not be whole."""
        found: dict[str, str | None] = {}
        for path, entry in self.edits.items():
            if entry is not None and entry.blake3 not in self.fresh and path.endswith(".py"):
                return None
            found[path] = str(self.place_of(entry.blake3)) if entry is not None else None
        return found
