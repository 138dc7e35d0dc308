"""A traceback of a statement, told with this host's own files.

What a target says of where it stood is only ever a place: the line that is shown comes from the project's file here, or
from the statement as it was typed. Of files that are not the project's, the target's own line is shown, cleaned.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Callable, Iterator, Mapping

from bootloader.wire.messages import Fields

from ..follow import Paths
from ..report import clean, whole

_FRAMES = 60
_CHAIN = 10
_LINE_CHARS = 300
_STATEMENT = re.compile(r"<repl (\d{1,15})>")

_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"

Line = Callable[[str, int], str]
"""The text of a line of a file of this host's, or nothing."""


def story(raised: list[Fields], paths: Paths, statements: Mapping[int, str]) -> str:
    """The traceback as Python writes it. ``statements``: what was run, by its number."""
    parts: list[str] = []
    for told in raised[:_CHAIN]:
        parts.append("".join(_one(told, paths, statements)))
        if told is not raised[-1]:
            parts.append(_CAUSE if told.text("how", "") == "cause" else _CONTEXT)
    return clean("".join(parts))


def message(raised: list[Fields]) -> str:
    """The last line of it."""
    return clean(raised[-1].text("message", "")) if raised else ""


def _one(told: Fields, paths: Paths, statements: Mapping[int, str], depth: int = 0) -> Iterator[str]:
    frames = told.objects("frames")[-_FRAMES:]
    if frames:
        yield "Traceback (most recent call last):\n"
    if left_out := whole(told.integer("left_out", 0)):
        yield f"  [{left_out} more frames]\n"
    for frame in frames:
        yield from _frame(frame, paths, statements)
    if "syntax" in told:
        yield from _syntax(told.child("syntax"), paths, statements)
    yield clean(told.text("message", "")).rstrip("\n") + "\n"
    if depth < 2:
        for number, each in enumerate(told.objects("group")[:_CHAIN], 1):
            inner = "".join(_one(each, paths, statements, depth + 1))
            yield "".join(f"  | {line}\n" for line in [f"--- {number} ---", *inner.splitlines()])


def _frame(frame: Fields, paths: Paths, statements: Mapping[int, str]) -> Iterator[str]:
    file, number = frame.text("file", ""), whole(frame.integer("line", 0))
    place, line = _place(file, number, paths, statements)
    yield f'  File "{place}", line {number}, in {clean(frame.text("function", "?"))}\n'
    line = line if line is not None else clean(frame.text("text", ""))
    yield from _shown(line[:_LINE_CHARS], frame.integer("column", -1), frame.integer("end", -1))


def _place(file: str, number: int, paths: Paths, statements: Mapping[int, str]) -> tuple[str, str | None]:
    """The file as this host names it, and that line of it; None where this host has no such file."""
    if match := _STATEMENT.fullmatch(file):
        lines = statements.get(int(match[1]), "").splitlines()
        return "<repl>", lines[number - 1] if 0 < number <= len(lines) else ""
    if paths.file(file) is not None:
        here = paths.text(file)
        linecache.checkcache(here)
        return clean(here), clean(linecache.getline(here, number).rstrip("\n"))
    return clean(file), None


def _shown(line: str, column: int, end: int) -> Iterator[str]:
    if not line.strip():
        return
    bare = line.strip()
    yield f"    {bare}\n"
    raw = line.encode()
    if 0 <= column < end <= len(raw):
        indent = len(line) - len(line.lstrip())
        start = len(raw[:column].decode(errors="replace")) - indent
        width = len(raw[column:end].decode(errors="replace"))
        if start >= 0 and width < len(bare):
            yield f"    {' ' * start}{'^' * width}\n"


def _syntax(told: Fields, paths: Paths, statements: Mapping[int, str]) -> Iterator[str]:
    number, column = whole(told.integer("line", 0)), whole(told.integer("column", 0))
    place, line = _place(told.text("file", ""), number, paths, statements)
    yield f'  File "{place}", line {number}\n'
    text = (line if line is not None else clean(told.text("text", "")))[:_LINE_CHARS].rstrip()
    if text.strip():
        indent = len(text) - len(text.lstrip())
        yield f"    {text.strip()}\n"
        if indent < column <= len(text) + 1:
            yield f"    {' ' * (column - 1 - indent)}^\n"
