"""This very process as the application: a live folder, two trees, and modules that are imported through it."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from bootloader.guest.swap import Prepared, Report, Swap, Tree


class Process:
    """Each edit writes the next tree, so that any number of them can follow each other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.live = folder / "live"
        self._trees = 0
        self._files: dict[str, str] = {}
        self.swap = Swap(str(self.live))

    def start(self, **files: str) -> None:
        """Write the first tree; ``package__module`` is ``package/module.py``."""
        self._files = {_path(name): text for name, text in files.items()}
        self._switch(self._tree())

    def load(self, name: str = "app") -> Any:
        """Import a module of the application."""
        return importlib.import_module(name)

    def prepare(self, **files: str | None) -> Prepared:
        """Write the next tree, and ask for a patch to it. None takes a file away."""
        changed = {_path(name): text for name, text in files.items()}
        self._files = {path: text for path, text in (self._files | changed).items() if text is not None}
        self._next = self._tree()
        old = os.path.realpath(self.live)
        return self.swap.prepare(Tree(old), Tree(str(self._next)), list(changed))

    def patch(self, **files: str | None) -> Report:
        """An edit from save to report."""
        prepared = self.prepare(**files)
        self._switch(self._next)
        return prepared.commit()

    def _tree(self) -> Path:
        self._trees += 1
        tree = self._folder / f"tree{self._trees}"
        for path, text in self._files.items():
            file = tree / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return tree

    def _switch(self, tree: Path) -> None:
        aside = self._folder / "aside"
        aside.symlink_to(tree)
        aside.replace(self.live)


def process(folder: Path) -> Iterator[Process]:
    """One whose modules are let go at the end."""
    found = Process(folder)
    before: dict[str, ModuleType] = dict(sys.modules)
    sys.path.insert(0, str(found.live))
    importlib.invalidate_caches()
    try:
        yield found
    finally:
        sys.path.remove(str(found.live))
        for name in sys.modules.keys() - before.keys():
            del sys.modules[name]


def _path(name: str) -> str:
    """``package__module``, and ``package__init`` for the package itself."""
    package, _, module = name.rpartition("__")
    module = "__init__" if module == "init" else module
    return f"{package.replace('__', '/')}/{module}.py" if package else f"{module}.py"
