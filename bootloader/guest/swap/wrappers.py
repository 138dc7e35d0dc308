"""What ``functools.wraps``, the caches and properties copied from a function that changes now: docstring, annotations.

A copy is followed only where the wrapper still has the very object that the function had.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from functools import cached_property
from types import FunctionType

from .undo import Undo

_DEPTH = 20
"""So many wrappers may lie around each other."""


class Copies:
    """Collects what changed of functions in one patch, then looks for who has a copy."""

    def __init__(self) -> None:
        self._changes: dict[int, list[tuple[str, object, object]]] = {}

    def set(self, function: FunctionType, name: str, value: object, undo: Undo) -> None:
        """Set an attribute of a function, and remember it."""
        self._changes.setdefault(id(function), []).append((name, getattr(function, name), value))
        undo.attribute(function, name, value)

    def follow(self, caches: Iterable[object], undo: Undo) -> None:
        """Set the same on everything that wraps one of the functions."""
        if not self._changes:
            return
        for wrapper in (*caches, *_copying()):
            for wrapped in unwrapped(wrapper):
                for name, old, new in self._changes.get(id(wrapped), ()):
                    if getattr(wrapper, name, self) is old:
                        undo.attribute(wrapper, name, new)


def unwrapped(wrapper: object) -> Iterator[object]:
    """What ``wrapper`` wraps, and what that wraps."""
    for _ in range(_DEPTH):
        match wrapper:
            case property(fget=getter):
                wrapper = getter
            case cached_property(func=function):
                wrapper = function
            case _:
                wrapper = getattr(wrapper, "__wrapped__", None)
        if wrapper is None:
            return
        yield wrapper


def _copying() -> list[object]:
    """A wrapper written in Python reaches what it wraps through a closure."""
    return [
        each
        for each in gc.get_objects()
        if (type(each) is FunctionType and each.__closure__) or type(each) in (property, cached_property)
    ]
