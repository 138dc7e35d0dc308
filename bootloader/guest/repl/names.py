"""The names that statements see: their own, then those of the application's entry module, then its modules.

Assignments stay here. To change a name of the application's, a statement names its module: ``main.limit = 3``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

NAME = "__console__"


class Names(dict[str, Any]):
    """``entry``: the module whose names are read through; ``tree``: where the application's own modules lie."""

    def __init__(self, entry: str, tree: str) -> None:
        super().__init__({"__name__": NAME, "__doc__": None, "__package__": None})
        self._entry = entry
        self._tree = tree + "/"

    def __missing__(self, name: str) -> Any:
        for found in self.behind():
            if name in found:
                return found[name]
        raise KeyError(name)

    def behind(self) -> Iterator[dict[str, Any]]:
        """What is read through, in the order in which it is."""
        entry = sys.modules.get(self._entry)
        if entry is not None:
            yield {name: value for name, value in list(vars(entry).items()) if not _is_machinery(name)}
        yield self._modules()

    def _modules(self) -> dict[str, ModuleType]:
        """The application's own, by their full name, where that is one word, or else by the last one."""
        found: dict[str, ModuleType] = {}
        for name, module in list(sys.modules.items()):
            file = vars(module).get("__file__") if type(module) is ModuleType else None
            if name != "__main__" and isinstance(file, str) and file.startswith(self._tree):
                last = name.rpartition(".")[2]
                if last == name or last not in found:
                    found[last] = module
        return found


def _is_machinery(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")
