"""A result as text, bounded in length, depth and number of items, whatever it is.

Containers of Python's own are walked, so that a list of a million items costs what is shown of it. What the text of
anything else costs is up to its ``__repr__``: whoever asks sees to the time, and one that raises costs only itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

CHARS = 20_000
ITEMS = 1000
DEPTH = 12
_ONE_CHARS = 10_000
_DIGITS = 1000


class _Full(Exception):
    """There is no room for more."""


class Shown:
    """``value`` as ``text``. ``cut`` says what was left out, or nothing. ``width``: of a line; 0 for one line."""

    def __init__(self, value: object, width: int = 0) -> None:
        self._width = width
        self._left = CHARS
        self._path: set[int] = set()
        self._cuts: list[str] = []
        try:
            self.text = self._of(value, 0)
        except RecursionError:
            self.text = f"<{type(value).__name__}: nested too deep to be shown>"
        if len(self.text) > 2 * CHARS:
            self._note(f"{len(self.text)} characters")
            self.text = self.text[: 2 * CHARS] + "…"
        self.cut = ", ".join(self._cuts[:3])

    def _note(self, what: str) -> None:
        if what not in self._cuts:
            self._cuts.append(what)

    def _of(self, value: Any, depth: int) -> str:
        kind = type(value)
        if kind in _BRACKETS and value:
            return self._container(value, kind, depth)
        text = self._plain(value, kind)
        self._left -= len(text)
        return text

    def _plain(self, value: Any, kind: type) -> str:
        if kind in (str, bytes) and len(value) > self._most:
            self._note(f"{len(value)} {'characters' if kind is str else 'bytes'}")
            return repr(value[: self._most]) + "…"
        if kind is int and value.bit_length() > _DIGITS * 3:
            self._note(f"a number of {value.bit_length()} bits")
            return f"{value >> (value.bit_length() - 64):#x}…"
        try:
            text = repr(value)
        except Exception as error:  # noqa: BLE001 - a __repr__ is user code, and may raise anything
            return f"<{kind.__qualname__}: its __repr__ raised {type(error).__qualname__}>"
        if len(text) > self._most:
            self._note(f"{len(text)} characters")
            return text[: self._most] + "…"
        return text

    @property
    def _most(self) -> int:
        return max(16, min(_ONE_CHARS, self._left))

    def _container(self, value: Any, kind: type, depth: int) -> str:
        opening, closing = _BRACKETS[kind]
        if id(value) in self._path:
            return f"{opening}...{closing}"
        if depth >= DEPTH:
            self._note("what is nested deeper")
            return f"{opening}…{closing}"
        self._path.add(id(value))
        parts: list[str] = []
        try:
            for part in islice(self._parts(value, kind, depth + 1), ITEMS):
                parts.append(part)
        except RuntimeError:  # it is changed meanwhile by the application
            self._note("what was changed while it was looked at")
        finally:
            self._path.discard(id(value))
        if len(parts) < len(value):
            self._note(f"{len(parts)} of {len(value)} items")
            parts.append("…")
        elif kind is tuple and len(parts) == 1:
            return f"({parts[0]},)"
        return self._laid_out(opening, parts, closing, depth)

    def _parts(self, value: Any, kind: type, depth: int) -> Iterator[str]:
        items: Iterable[Any] = value.items() if kind is dict else value
        for item in items:
            if self._left <= 0:
                return
            self._left -= 2
            if kind is dict:
                yield f"{self._of(item[0], depth)}: {self._of(item[1], depth)}"
            else:
                yield self._of(item, depth)

    def _laid_out(self, opening: str, parts: list[str], closing: str, depth: int) -> str:
        line = opening + ", ".join(parts) + closing
        if not self._width or len(line) + depth <= self._width:
            return line
        inner = " " * (depth + len(opening))
        if all(len(part) < 12 and "\n" not in part for part in parts):  # many short ones: as many a line as there fit
            return opening + f",\n{inner}".join(_rows(parts, self._width - len(inner) - 1)) + closing
        return opening + f",\n{inner}".join(parts) + closing


def _rows(parts: list[str], width: int) -> Iterator[str]:
    row: list[str] = []
    used = 0
    for part in parts:
        if row and used + len(part) > width:
            yield ", ".join(row)
            row, used = [], 0
        row.append(part)
        used += len(part) + 2
    yield ", ".join(row)


_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
    dict: ("{", "}"),
}
