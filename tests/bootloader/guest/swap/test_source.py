"""A source that is made from an earlier one is, to the last column, the one that is made of the whole text."""

from __future__ import annotations

import ast
import bisect
import dataclasses
import shelve
import textwrap
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from bootloader.guest.swap.source import Source

TEXTS = [Path(str(module.__file__)).read_text() for module in (bisect, shelve, textwrap)]
LINES = [
    *("x = 1\n", "x: int = 3\n", "a = 1; b = 2\n", "global x\n", "# only words\n", "'''\n", "\\\n", "(\n", ")\n", "\n"),
    *("else:\n", "if x:\n", "    pass\n", "@deco\n", "import os\n", "from __future__ import annotations\n"),
    *("def f(a=lambda: 1): return a\n", "f = lambda: 1; g = lambda: 1\n", "class A:\n    def f(self): super().f()\n"),
]
line_edits = st.lists(
    st.tuples(
        st.sampled_from(["drop", "put", "put", "swap", "swap", "swap", "more", "in", "out"]),
        st.floats(0, 1),
        st.sampled_from(LINES),
    ),
    min_size=1,
    max_size=3,
)


def edited(text: str, edits: list[tuple[str, float, str]]) -> str:
    lines = text.splitlines(keepends=True) or [""]
    for what, place, line in edits:
        at = int(place * (len(lines) - 1))
        was = lines[at]
        lines[at : at + 1] = {
            "drop": [],
            "put": [line, was],
            "swap": [was.replace("1", "2").replace("self", "this")],
            "more": [was.rstrip("\n") + "; z = 1\n"],
            "in": ["    " + was],
            "out": [was.removeprefix("    ")],
        }[what] or [""]
    return "".join(lines)


def made(text: str, like: Source | None = None) -> Source | str:
    try:
        return Source("m.py", text.encode(), "live/m.py", like)
    except (SyntaxError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


def told(source: Source | str) -> object:
    if isinstance(source, str):
        return source
    codes = {place: list(map(parts, found)) for place, found in source.codes.items()}
    return ast.dump(source.tree, include_attributes=True), codes, source.flags


def parts(code: CodeType) -> list[Any]:
    consts = [parts(each) if isinstance(each, CodeType) else plain(each) for each in code.co_consts]
    names = ("co_name", "co_qualname", "co_firstlineno", "co_code", "co_linetable", "co_exceptiontable", "co_names")
    more = ("co_varnames", "co_freevars", "co_cellvars", "co_flags", "co_argcount", "co_kwonlyargcount")
    return [*consts, *(getattr(code, name) for name in (*names, *more))]


def plain(constant: object) -> tuple[type, object]:
    return type(constant), sorted(map(repr, constant)) if isinstance(constant, frozenset) else repr(constant)


@settings(max_examples=60)
@given(text=st.sampled_from(TEXTS), steps=st.lists(line_edits, min_size=1, max_size=3))
def test_it_is_the_source_of_the_whole_text(text: str, steps: list[list[tuple[str, float, str]]]) -> None:
    before = made(text)
    for step in steps:
        text = edited(text, step)
        after = made(text, before if isinstance(before, Source) else None)
        event(after if isinstance(after, str) else "compiles")
        assert told(after) == told(made(text))
        before = after


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_a_statement_that_a_backslash_joins_to_an_empty_line_is_read_with_what_comes_up(end: str) -> None:
    lines = ["import os", "LIMIT = 1 \\", "", "def f():", "    return 1", ""]
    before = made(end.join(lines))
    assert isinstance(before, Source)
    del lines[2]
    text = end.join(lines)
    assert str(made(text)).startswith("SyntaxError")
    assert made(text, before) == made(text)


def len_of(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.mark.parametrize("module", [dataclasses, textwrap], ids=lambda module: module.__name__)
def test_what_stands_where_it_stood_is_not_compiled_again(module: ModuleType) -> None:
    text = Path(str(module.__file__)).read_text()
    before = Source("m.py", text.encode(), "live/m.py")
    last = [node for node in before.tree.body if isinstance(node, ast.FunctionDef)][-1]
    lines = text.splitlines(keepends=True)
    lines[last.body[-1].lineno - 1 : last.end_lineno] = ["    return None\n" for _ in range(len_of(last.body[-1]))]
    after = Source("m.py", "".join(lines).encode(), "live/m.py", before)
    assert [node for node in before.tree.body if node not in after.tree.body] == [last]
    for at, found in before.codes.items():
        if not last.lineno <= at[1] <= (last.end_lineno or 0):
            assert [id(code) for code in after.codes[at]] == [id(code) for code in found]
    assert after.code_of(last) is not before.code_of(last)


def test_many_edits_do_not_keep_all_that_was_ever_compiled() -> None:
    texts = [f"def f():\n    return {number}\n\n\ndef g():\n    return 0\n" for number in range(60)]
    source = Source("m.py", texts[0].encode(), "live/m.py")
    for text in texts[1:]:
        source = Source("m.py", text.encode(), "live/m.py", source)
    assert len(source._units) <= 16
