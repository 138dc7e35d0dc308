"""What is ordered of a running application when its code is to be replaced: to prepare, then to commit.

Owns what was prepared last. How code is replaced is ``swap``'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..wire.records import BYTES
from . import kin
from .swap import Prepared, Refusal, Swap, Tree, Undone


class Patch:
    """``tree``: the folder that the application runs from, as its files are named in it."""

    def __init__(self, tree: str) -> None:
        self._swap = Swap(tree)
        self._prepared: Prepared | None = None

    def prepare(self, order: Mapping[str, Any]) -> Mapping[str, Any]:
        """See whether it can go from the tree in the folder ``old`` to the one in ``new``, where ``paths`` differ;
        nothing is touched. ``programs``: what those of them hold that do not lie there yet, or None for what is gone.
        ``compiled``: those that compile.
        """
        self._prepared = None
        if kindred := _kindred():
            return {"refused": kindred}
        try:
            told = order["programs"].items()
            programs = {path: None if text is None else text.encode(BYTES) for path, text in told}
            new = Tree(order["new"], programs)
            self._prepared = self._swap.prepare(Tree(order["old"]), new, order["paths"])
        except Refusal as refusal:
            return {"compiled": self._swap.compiled, "refused": refusal.reason}
        return {"compiled": self._swap.compiled}

    def commit(self, _order: Mapping[str, Any]) -> Mapping[str, Any]:
        """Replace it: the new tree is live now."""
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            return {"refused": "nothing was prepared"}
        if kindred := _kindred():
            return {"refused": kindred}
        try:
            return {"report": prepared.commit().as_fields()}
        except Undone as undone:
            return {"refused": undone.reason}


def _kindred() -> str:
    """Why another process is in the way; empty where none is."""
    pid = kin.found()
    return f"its process {pid} runs its code, too, and a patch would not reach that" if pid else ""
