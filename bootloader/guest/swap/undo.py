"""The way back: each thing that a patch does to the process is noted with what takes it back."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

_MISSING = object()


class Undo:
    """Used by one thread, for one patch."""

    def __init__(self) -> None:
        self._steps: list[Callable[[], object]] = []

    def note(self, step: Callable[[], object]) -> None:
        """Something is about to be done that ``step`` takes back."""
        self._steps.append(step)

    def attribute(self, thing: object, name: str, value: object) -> None:
        """Set an attribute that the object has."""
        before = getattr(thing, name)
        self.note(lambda: setattr(thing, name, before))
        setattr(thing, name, value)

    def item(self, mapping: MutableMapping[str, Any], key: str, value: object) -> None:
        """Set an item, new or not."""
        self._keep(mapping, key)
        mapping[key] = value

    def without(self, mapping: MutableMapping[str, Any], key: str) -> None:
        """Delete an item, if it is there."""
        self._keep(mapping, key)
        mapping.pop(key, None)

    def member(self, owner: type, name: str, value: object) -> None:
        """Set what a class itself has under a name, past what its metaclass would do."""
        self._keep_member(owner, name)
        type.__setattr__(owner, name, value)

    def without_member(self, owner: type, name: str) -> None:
        """Delete what a class itself has under a name, if it has."""
        if name in vars(owner):
            self._keep_member(owner, name)
            type.__delattr__(owner, name)

    def roll_back(self) -> None:
        """Take everything back, the last first."""
        while self._steps:
            self._steps.pop()()

    def _keep(self, mapping: MutableMapping[str, Any], key: str) -> None:
        before = mapping.get(key, _MISSING)

        def back() -> None:
            if before is _MISSING:
                mapping.pop(key, None)
            else:
                mapping[key] = before

        self.note(back)

    def _keep_member(self, owner: type, name: str) -> None:
        before = vars(owner).get(name, _MISSING)

        def back() -> None:
            if before is not _MISSING:
                type.__setattr__(owner, name, before)
            elif name in vars(owner):
                type.__delattr__(owner, name)

        self.note(back)
