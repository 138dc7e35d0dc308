"""How long imports took: each module's own time, and with all that it imported.

Owns the place where Python begins an import that is not done yet, of which a traceback shows nothing, as of Python's
own parts there. Costs about a microsecond an import.
"""

from __future__ import annotations

import importlib
import sys
from _thread import get_ident
from collections.abc import Mapping
from time import perf_counter
from types import ModuleType
from typing import Any

_LEAST_S = 0.0001
_MOST = 2000
_SLOWEST = 10


class Imports:
    """What has been imported in this process, and in the one that it was forked from, since it was made."""

    def __init__(self) -> None:
        self._took: list[tuple[str, float, float]] = []
        self._ahead = 0
        self._tree = ""
        self._within: dict[int, list[float]] = {}
        """By thread: how long the imports took that the one under way has begun."""
        machinery: Any = importlib._bootstrap
        original = machinery._find_and_load

        def find_and_load(name: str, load: object) -> ModuleType:
            thread = get_ident()
            within, outer = [0.0], self._within.get(thread)
            self._within[thread] = within
            began = perf_counter()
            try:
                found: ModuleType = original(name, load)
                return found
            finally:
                took = perf_counter() - began
                if outer is None:
                    self._within.pop(thread, None)
                else:
                    self._within[thread] = outer
                    outer[0] += took
                if took >= _LEAST_S and len(self._took) < _MOST:
                    self._took.append((name, took - within[0], took))

        if hasattr(original, "__code__"):  # as long as Python's own is written in Python
            find_and_load.__code__ = find_and_load.__code__.replace(co_filename=original.__code__.co_filename)
            machinery._find_and_load = find_and_load

    def begin(self, tree: str) -> None:
        """What was imported so far was ahead of the start of the application, which runs from the folder ``tree``."""
        self._ahead, self._tree = len(self._took), tree + "/"

    def slowest(self, _order: Mapping[str, Any]) -> Mapping[str, Any]:
        """The slowest of this start, then the slowest ahead of it: [module, own ms, ms in all, ahead, of the tree]."""
        start, ahead = self._took[self._ahead :], self._took[: self._ahead]
        rows = [self._row(*one, ahead=False) for one in _sorted(start)]
        return {"imports": rows + [self._row(*one, ahead=True) for one in _sorted(ahead)]}

    def _row(self, name: str, own_s: float, all_s: float, *, ahead: bool) -> list[Any]:
        file = getattr(sys.modules.get(name), "__file__", None)
        is_own = isinstance(file, str) and file.startswith(self._tree)
        return [name[:200], round(own_s * 1000, 2), round(all_s * 1000, 2), ahead, is_own]


def _sorted(took: list[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    return sorted(took, key=lambda one: -one[1])[:_SLOWEST]
