"""Modules whose file is gone from where it was: it lies elsewhere now as it was, or nowhere.

One that moved keeps its module object, and so its state, under its new name. One that is gone loses its name: it can't
be imported any more, but whoever holds it, or something of it, goes on with it, and is named.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from types import FunctionType, ModuleType

from .modules import Modules
from .refusal import Refusal
from .undo import Undo


class Departure:
    """``to``: where the file lies now in the tree, and the module's new name; None where it lies nowhere."""

    def __init__(self, path: str, module: ModuleType, to: tuple[str, str] | None) -> None:
        self.path = path
        self.module = module
        self.name = module.__name__
        self.to = to

    def check(self, leaving: Iterable[str]) -> None:
        """Refuse what is more than one module. ``leaving``: the names of all that depart."""
        if self.name == "__main__":
            raise Refusal(self.path, 0, "is the program that runs, and is gone")
        left = [name for name in sys.modules if name.startswith(f"{self.name}.") and name not in set(leaving)]
        if left:
            raise Refusal(self.path, 0, f"is gone, and `{left[0]}` of its package is loaded")
        if self.to and hasattr(self.module, "__path__"):
            raise Refusal(self.path, 0, f"is a package, and moved to `{self.to[0]}`")
        if self.to and (not self.to[1] or self.to[1] in sys.modules):
            raise Refusal(self.path, 0, f"moved to `{self.to[0]}`, where it can't have a name")

    def perform(self, live: str, functions: Iterable[FunctionType], undo: Undo) -> None:
        """Take the old name away, and give the new one. ``functions``: of this module, among others."""
        undo.without(sys.modules, self.name)
        parent, _, last = self.name.rpartition(".")
        if parent in sys.modules and vars(sys.modules[parent]).get(last) is self.module:
            undo.without(vars(sys.modules[parent]), last)
        if self.to:
            self._rename(f"{live}/{self.to[0]}", self.to[1], functions, undo)

    def _rename(self, file: str, name: str, functions: Iterable[FunctionType], undo: Undo) -> None:
        parent, _, last = name.rpartition(".")
        if parent:
            importlib.import_module(parent)
            undo.item(vars(sys.modules[parent]), last, self.module)
        undo.item(sys.modules, name, self.module)
        spec = importlib.util.spec_from_file_location(name, file)
        names = vars(self.module)
        told = {
            "__name__": name,
            "__file__": file,
            "__package__": parent,
            "__spec__": spec,
            "__loader__": spec.loader if spec else None,
            "__cached__": spec.cached if spec else None,
        }
        for key, value in told.items():
            undo.item(names, key, value)
        for function in functions:
            if function.__globals__ is names and function.__module__ == self.name:
                undo.attribute(function, "__module__", name)
        for each in _classes(names, self.name):
            undo.member(each, "__module__", name)

    def holders(self, modules: Modules) -> Iterator[str]:
        """Sentences on who still holds what is gone."""
        if self.to:
            return
        for found in modules.by_path.values():
            for other in found:
                if other is self.module or other.__name__ not in sys.modules:
                    continue
                for name, value in list(vars(other).items()):
                    if value is self.module:
                        yield f"`{self.path}` is gone, and `{other.__name__}` still holds it as `{name}`"
                    elif isinstance(value, FunctionType | type) and value.__module__ == self.name:
                        yield f"`{self.path}` is gone, and `{other.__name__}` still holds `{name}` of it"


def _classes(names: Mapping[str, object], module: str) -> Iterator[type]:
    for value in list(names.values()):
        if isinstance(value, type) and value.__module__ == module:
            yield value
            yield from _classes(vars(value), module)
