"""In which order a module imports others of the application and runs something itself, and what of that counts.

Owns what is known of the modules that are imported: whether they merely define, read what others may have done, or run
something. Knows nothing of what changes.
"""

from __future__ import annotations

import ast
import itertools
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType

from .effects import reads
from .modules import Modules, resolved
from .order import runs
from .statements import Part, meaning_of, parts
from .tree import Tree

DEFINES, READS, RUNS = range(3)
"""What a module does when it is imported, with all that it imports."""


class Imports:
    """``tree``: with the sources of the loaded ``modules``."""

    def __init__(self, modules: Modules, tree: Tree) -> None:
        self._loaded = {module.__name__: path for path, found in modules.by_path.items() for module in found}
        self._tree = tree
        self._known: dict[str, int] = {}

    def sequence(self, told: Iterable[Part], importer: ModuleType) -> dict[str, int]:
        """What a module does, one after the other, each with its line: the names of those that it imports, each where
        it does so first; and what it runs, which has no module's name. ``told``: what is :func:`telling` of that.
        """
        found: dict[str, int] = {}
        for part in told:
            if isinstance(part.node, ast.Import | ast.ImportFrom):
                for name in asked_for(part.node, importer):
                    if name in self._loaded:
                        found.setdefault(name, part.node.lineno)
            else:
                found[f"{part.name} {len(found)}" if part.name in found else f"{part.name} "] = part.node.lineno
        return found

    def gone(self, before: list[str], after: list[str]) -> list[str]:
        """The modules that ran something, and are not imported here any more."""
        return [name for name in before if name not in after and name in self._loaded and self.weight(name) == RUNS]

    def moved(self, before: list[str], after: list[str]) -> str:
        """A module that is imported on the other side of something, where that can be told later; empty for none."""
        places = {name: place for place, name in enumerate(after)}
        for first, second in itertools.combinations([name for name in before if name in places], 2):
            if places[first] < places[second] or not self._loaded.keys() & {first, second}:
                continue
            weights = {self.weight(first), self.weight(second)}
            if RUNS in weights and DEFINES not in weights:
                return second if second in self._loaded else first
        return ""

    def weight(self, name: str) -> int:
        """How much is done by what has that name in a sequence."""
        if name not in self._loaded:
            return RUNS
        if name not in self._known:
            self._known[name] = DEFINES  # for those that import each other
            self._known[name] = self._weigh(self._loaded[name], sys.modules[name])
        return self._known[name]

    def _weigh(self, path: str, module: ModuleType) -> int:
        if not path.endswith(".py"):
            return DEFINES
        data = self._tree.read(path)
        if data is None:
            return RUNS  # for all that can be told
        tree = ast.parse(data)
        meaning, found = meaning_of(tree), DEFINES
        for part in parts(tree.body, meaning, runs_as_main=False):
            if runs(part, meaning):
                return RUNS
            if part.kind == "value" and any(True for _ in reads(part.node if part.value is None else part.value)):
                found = READS
        return max(
            found,
            *(self.weight(name) for name in self.sequence(telling(tree), module) if name in self._loaded),
            DEFINES,
        )


def telling(tree: ast.Module) -> list[Part]:
    """The parts of a module that import something, or run something."""
    meaning = meaning_of(tree)
    found = parts(tree.body, meaning, runs_as_main=False)
    return [part for part in found if isinstance(part.node, ast.Import | ast.ImportFrom) or runs(part, meaning)]


def asked_for(node: ast.AST, importer: ModuleType | None) -> Iterator[str]:
    """The modules that an import asks for, or may ask for; without an ``importer``, those by their full names alone."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            parts = alias.name.split(".")
            yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))
    elif isinstance(node, ast.ImportFrom):
        base = resolved(node, importer) if importer else node.module or ""
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)
