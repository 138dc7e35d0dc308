"""Trees on loan: one that an application's code runs from is not built in until it is given back.

Safe state is made from the tree of the last healthy generation, at a moment that nobody chooses; the store builds the
next generation in a tree that nobody uses. This is where the two meet. Thread-safe, and without the store's lock: who
holds that may be waiting for the one who wants to borrow.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..wire.errors import Refused
from ..wire.launch import Launch
from ..wire.manifest import Manifest
from .trees import Tree

_WAIT_S = 80.0
"""Longer than any call of an application's code may take."""


@dataclass(frozen=True, slots=True)
class Loan:
    """``tree`` holds ``generation``, and stays as it is until ``give_back`` is called, once."""

    tree: Path
    launch: Launch
    generation: int
    give_back: Callable[[], None]


class Loans:
    """Who uses which tree."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._lent: Counter[Tree] = Counter()
        self._built: Tree | None = None

    def lend(
        self, trees: Iterable[Tree], root: str, generation: int, launch_of: Callable[[Manifest], Launch | None]
    ) -> Loan | None:
        """Lend the first of ``trees`` that is whole and holds ``root``, or None where there is none."""
        with self._changed:
            for tree in trees:
                manifest = tree.manifest if tree is not self._built else None
                if manifest is not None and manifest.root == root and (launch := launch_of(manifest)):
                    self._lent[tree] += 1
                    return Loan(tree.folder, launch, generation, partial(self._give_back, tree))
            return None

    def _give_back(self, tree: Tree) -> None:
        with self._changed:
            self._lent[tree] -= 1
            self._changed.notify_all()

    @contextmanager
    def building(self, trees: Sequence[Tree]) -> Iterator[Tree]:
        """The first of ``trees`` that is not on loan, and will not be meanwhile; waits for one where all are."""
        with self._changed:
            self._changed.wait_for(lambda: not all(self._lent[tree] for tree in trees), _WAIT_S)
            tree = next((tree for tree in trees if not self._lent[tree]), None)
            if tree is None:
                raise Refused("busy", "all trees are in use", do="try again")
            self._built = tree
        try:
            yield tree
        finally:
            with self._changed:
                self._built = None
