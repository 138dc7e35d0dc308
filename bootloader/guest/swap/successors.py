"""Which new code takes the place of a code object that is met in the process. Pure.

What is met was compiled at another time than what is compared, or belongs to an even older source: so it is known by
name and line, by the columns of its instructions and what they do where that leaves a choice, or by a qualified name
that is unique.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import CodeType

from .source import alike

_Pair = tuple[CodeType, CodeType]


class Successors:
    """Made from the pairs of all modules of a patch."""

    def __init__(self, pairs: Iterable[_Pair]) -> None:
        self._by_place: dict[tuple[str, str, int], list[_Pair]] = {}
        self._by_name: dict[tuple[str, str], list[_Pair]] = {}
        self._own: dict[int, _Pair] = {}
        self._new: set[int] = set()
        for pair in pairs:
            old, new = pair
            self._own[id(old)] = pair
            self._by_place.setdefault((old.co_filename, old.co_name, old.co_firstlineno), []).append(pair)
            self._by_name.setdefault((old.co_filename, old.co_qualname), []).append(pair)
            self._new.add(id(new))

    def of(self, code: CodeType) -> CodeType | None:
        """The code that follows ``code``; None where there is none, or ``code`` is new itself."""
        pair = self._pair(code)
        return pair[1] if pair else None

    def is_outdated(self, code: CodeType) -> bool:
        """Whether ``code`` does something else than what took its place, or has none."""
        if id(code) in self._new:
            return False
        pair = self._pair(code)
        return pair is None or not alike(*pair)

    def _pair(self, code: CodeType) -> _Pair | None:
        if id(code) in self._own:  # it may follow itself: in a module whose source is as it was
            return self._own[id(code)]
        if id(code) in self._new:
            return None
        found = self._by_place.get((code.co_filename, code.co_name, code.co_firstlineno), [])
        if len(found) > 1:
            where = list(code.co_positions())
            found = [pair for pair in found if list(pair[0].co_positions()) == where]
        if len(found) > 1:  # on 3.12, `lambda: 1` does not say in which column it stands
            found = [pair for pair in found if alike(pair[0], code)]
            found = found[:1] if all(alike(found[0][1], new) for _, new in found[1:]) else found
        if not found:
            found = self._by_name.get((code.co_filename, code.co_qualname), [])
        return found[0] if len(found) == 1 else None
