"""A new tree, made and not live yet: what the store hands out between an overlay and the switch to it."""

from __future__ import annotations

from dataclasses import dataclass

from ..wire.launch import Launch
from ..wire.manifest import Edits, Manifest
from .trees import Tree


@dataclass(frozen=True, slots=True)
class Staged:
    """A new tree, whole, in the idle place: not live yet."""

    tree: Tree
    manifest: Manifest
    before: Manifest
    edits: Edits
    launch: Launch
    launch_before: Launch | None
