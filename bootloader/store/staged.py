"""A new tree on its way: what the store hands out between an overlay and the switch to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..wire.launch import Launch
from ..wire.manifest import Edits, Manifest
from .trees import Tree


@dataclass(slots=True)
class Staged:
    """A new tree that is verified, and is to be built: not live yet.

    ``fresh``: those of its blobs that are in memory, verified; ``tree``: where it lies, whole, once it is built.
    """

    manifest: Manifest
    before: Manifest
    edits: Edits
    launch: Launch
    launch_before: Launch | None
    fresh: Mapping[str, bytes] = field(repr=False)
    tree: Tree | None = None

    @property
    def programs(self) -> dict[str, bytes | None] | None:
        """The Python files that differ, None for those that are gone; None where not all of them are in memory."""
        found: dict[str, bytes | None] = {}
        for path, entry in self.edits.items():
            if path.endswith(".py"):
                if entry is not None and entry.blake3 not in self.fresh:
                    return None
                found[path] = self.fresh[entry.blake3] if entry is not None else None
        return found
