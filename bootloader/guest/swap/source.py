"""One module's source: its syntax tree, its text by statement, and the code object of each function in it.

Pure: what it is made from is handed in. A code object has no link to its syntax: the two are joined by name and first
line, and where several lambdas share a line, by the columns of the instruction that makes each.
"""

from __future__ import annotations

import ast
import dis
from collections.abc import Iterator
from functools import cached_property
from importlib.util import decode_source
from types import CodeType

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Place = tuple[str, int]

_OPTIMIZED = 0x1  # inspect.CO_OPTIMIZED: a function's code, not a class's or a module's


class Source:
    """``path``: in the tree; ``filename``: what code objects are to call it, under the live folder."""

    def __init__(self, path: str, data: bytes, filename: str) -> None:
        self.path = path
        self.data = data
        self.filename = filename
        text = decode_source(data)
        self.tree = ast.parse(text, filename)
        self.code: CodeType = compile(text, filename, "exec", dont_inherit=True)
        self._lines = text.encode().splitlines(keepends=True)

    def segment(self, node: ast.stmt) -> bytes:
        """The text of a statement, decorators included. Equal text is an equal statement."""
        last = (node.end_lineno or node.lineno) - 1
        first, column = start(node) - 1, node.col_offset
        if first == last:
            return self._lines[first][column : node.end_col_offset]
        lines = [self._lines[first][column:], *self._lines[first + 1 : last], self._lines[last][: node.end_col_offset]]
        return b"".join(lines)

    @cached_property
    def codes(self) -> dict[Place, list[CodeType]]:
        """All code below the module's own, by name and first line, in the order of the constants."""
        found: dict[Place, list[CodeType]] = {}
        for code in nested(self.code):
            found.setdefault(place(code), []).append(code)
        return found

    def code_of(self, node: Function) -> CodeType | None:
        """The code object of a function; None where it can't be told apart, or the compiler left it out."""
        name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
        found = [code for code in self.codes.get((name, start(node)), ()) if code.co_flags & _OPTIMIZED]
        if len(found) > 1 and isinstance(node, ast.Lambda):
            found = self._made_at(node, found)
        return found[0] if len(found) == 1 else None

    def _made_at(self, node: ast.Lambda, among: list[CodeType]) -> list[CodeType]:
        """Those of some code objects that the instructions of ``node`` itself make a function of."""
        span = (node.lineno, node.end_lineno, node.col_offset, node.end_col_offset)
        return [
            each.argval
            for outer in (self.code, *nested(self.code))
            if any(constant is one for constant in outer.co_consts for one in among)
            for each in dis.get_instructions(outer)
            if any(each.argval is one for one in among) and each.positions == span
        ]


def start(node: ast.stmt | ast.expr) -> int:
    """The line on which a statement begins: that of its first decorator."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return decorators[0].lineno if decorators else node.lineno


def place(code: CodeType) -> Place:
    """What finds a code object's syntax."""
    return code.co_name, code.co_firstlineno


def nested(code: CodeType) -> Iterator[CodeType]:
    """All code objects within ``code``, outer ones first."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from nested(constant)


def arity(code: CodeType) -> tuple[int, int, int]:
    """How many parameters it takes: by place, of those by place alone, and by name alone."""
    return code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount


def alike(one: CodeType, other: CodeType, *, inner: bool = True) -> bool:
    """Whether two code objects do the same, wherever they stand; ``inner``: and so do the functions that they make."""
    if not (one.co_flags | other.co_flags) & _OPTIMIZED:
        return _are_alike_classes(one, other)
    return (
        one.co_code == other.co_code
        and one.co_exceptiontable == other.co_exceptiontable
        and arity(one) == arity(other)
        and one.co_flags == other.co_flags
        and one.co_names == other.co_names
        and one.co_varnames == other.co_varnames
        and one.co_freevars == other.co_freevars
        and one.co_cellvars == other.co_cellvars
        and len(one.co_consts) == len(other.co_consts)
        and all(
            _equal(mine, its) or not (inner or not isinstance(mine, CodeType) or not isinstance(its, CodeType))
            for mine, its in zip(one.co_consts, other.co_consts, strict=True)
        )
    )


def _equal(one: object, other: object) -> bool:
    if isinstance(one, CodeType) and isinstance(other, CodeType):
        return alike(one, other)
    if isinstance(one, frozenset) and isinstance(other, frozenset):
        return sorted(map(repr, one)) == sorted(map(repr, other))
    return type(one) is type(other) and repr(one) == repr(other)


def _are_alike_classes(one: CodeType, other: CodeType) -> bool:
    """A class's code says on which line it stands, since Python 3.13."""
    mine, its = _said(one), _said(other)
    return len(mine) == len(its) and all(
        op == other_op and _equal(value, other_value)
        for (op, value), (other_op, other_value) in zip(mine, its, strict=True)
    )


_LINE = ("STORE_NAME", "__firstlineno__")


def _said(code: CodeType) -> list[tuple[str, object]]:
    """What it does, instruction by instruction, but for that line."""
    said = [(each.opname, each.argval) for each in dis.get_instructions(code)]
    at = said.index(_LINE) if _LINE in said else 0
    return said[: at - 1] + said[at:] if at else said
