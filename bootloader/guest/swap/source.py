"""One module's source: its syntax tree, its text by statement, and the code object of each function in it.

Pure: what it is made from is handed in. A code object has no link to its syntax: the two are joined by name and first
line, and where several lambdas share a line, by the columns of the instruction that makes each.

Most saves change one statement of a module. So a source can be made from an earlier one: what stands where it stood has
the syntax and the code that it had, the very same objects, and only the rest is compiled.
"""

from __future__ import annotations
import __future__

import ast
import dis
import sys
from collections.abc import Iterator
from functools import reduce
from importlib.util import decode_source
from itertools import pairwise
from operator import or_
from types import CodeType

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Place = tuple[str, int]

_OPTIMIZED = 0x1  # inspect.CO_OPTIMIZED: a function's code, not a class's or a module's
_FUTURES = reduce(or_, (getattr(__future__, name).compiler_flag for name in __future__.all_feature_names))
_MOST_UNITS = 16
"""Made of more pieces than this, a source is compiled whole again: each keeps all that was compiled with it."""
_SHARED = (ast.Global, ast.AnnAssign) if sys.version_info >= (3, 14) else (ast.Global,)
"""What makes the rest of a module another one: all of its annotations are one function, since Python 3.14."""
_ELSEWHERE = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.expr)


class Source:
    """``path``: in the tree; ``filename``: what code objects are to call it, under the live folder. ``like``: another
    source of that file.
    """

    def __init__(self, path: str, data: bytes, filename: str, like: Source | None = None) -> None:
        self.path = path
        self.data = data
        self.filename = filename
        text = decode_source(data)
        self._lines = text.encode().splitlines(keepends=True)
        if like is None or not self._follow(like):
            self.tree = _parsed(text, filename)
            self._units = [compile(text, filename, "exec", dont_inherit=True)]
            self.codes = _by_place(self._units[0])
            self._imported = _imported(self.tree)
        self.flags = self._units[0].co_flags & _FUTURES
        """The features that it imports from ``__future__``, as :func:`compile` wants them."""

    def _follow(self, like: Source) -> bool:
        """Take over what stands where it stood; False where the rest can't be compiled by itself, or is no module."""
        first, last, before, after = self._rest(like)
        text = "\n" * first + b"".join(self._lines[first:last]).decode()
        above, below = like.tree.body[:before], like.tree.body[after:]
        try:
            part = _parsed(text, self.filename, like.flags)
            tree = ast.Module([*above, *part.body, *below], [])
            imported = _imported(tree)
            if len(like._units) == _MOST_UNITS or imported is None or imported != like._imported:
                return False
            if any(map(_is_future, (*like.tree.body[before:], *part.body))):
                return False
            # Calls of what modules have are compiled otherwise than those of methods: by what is imported anywhere.
            text += f"\nimport {', '.join(sorted(imported))}" if imported else ""
            unit = compile(text, self.filename, "exec", like.flags, dont_inherit=True)
        except SyntaxError:
            return False  # it may well be one with what is around it
        self.tree, self._imported = tree, imported
        kept = {at: found for at, found in like.codes.items() if at[1] <= first or (below and at[1] > last)}
        self._units = [*like._units, unit]
        self.codes = {**kept, **_by_place(unit)}
        return True

    def _rest(self, like: Source) -> tuple[int, int, int, int]:
        """The lines that are to be read, from the first to before the last; and the statements of ``like`` that they
        take the place of. Where lines have moved, all that are below are read.
        """
        body, lines, its = like.tree.body, self._lines, like._lines
        alike = next((at for at, pair in enumerate(zip(lines, its, strict=False)) if pair[0] != pair[1]), len(lines))
        before = sum(1 for node in body if _end(node) <= alike)
        while before and (self._goes_on(body[before - 1]) or _share_a_line(body[before - 1 : before + 1])):
            before -= 1
        first = _end(body[before - 1]) if before else 0
        if len(lines) != len(its):
            return first, len(lines), before, len(body)
        changed = next((at for at in range(len(lines), alike, -1) if lines[at - 1] != its[at - 1]), alike)
        after = sum(1 for node in body if start(node) <= changed)
        while after and _share_a_line(body[after - 1 : after + 1]):
            after += 1
        after = max(before, after)
        return first, start(body[after]) - 1 if after < len(body) else len(lines), before, after

    def _goes_on(self, node: ast.stmt) -> bool:
        """Whether a backslash joins the line that follows to a statement, which ends with an empty one."""
        return self._lines[_end(node) - 1].rstrip(b"\r\n").endswith(b"\\")

    def segment(self, node: ast.stmt) -> bytes:
        """The text of a statement, decorators included. Equal text is an equal statement."""
        last = _end(node) - 1
        first, column = start(node) - 1, node.col_offset
        if first == last:
            return self._lines[first][column : node.end_col_offset]
        lines = [self._lines[first][column:], *self._lines[first + 1 : last], self._lines[last][: node.end_col_offset]]
        return b"".join(lines)

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
            for unit in self._units
            for outer in (unit, *nested(unit))
            if any(constant is one for constant in outer.co_consts for one in among)
            for each in dis.get_instructions(outer)
            if any(each.argval is one for one in among) and each.positions == span
        ]


def _parsed(text: str, filename: str, flags: int = 0) -> ast.Module:
    found = compile(text, filename, "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True)
    assert isinstance(found, ast.Module)
    return found


def _by_place(unit: CodeType) -> dict[Place, list[CodeType]]:
    """All code below a module's own, by name and first line, in the order of the constants."""
    found: dict[Place, list[CodeType]] = {}
    for code in nested(unit):
        found.setdefault(place(code), []).append(code)
    return found


def _imported(tree: ast.Module) -> set[str] | None:
    """The names that a module imports, on which depends how the rest of it compiles; None where it depends on more."""
    names: set[str] = set()
    todo: list[ast.AST] = [*tree.body]
    while todo:
        node = todo.pop()
        if isinstance(node, _ELSEWHERE):
            continue
        if isinstance(node, _SHARED):
            return None
        if isinstance(node, ast.alias):
            names.add(node.asname or node.name.partition(".")[0])
        todo += ast.iter_child_nodes(node)
    return names - {"*"}


def _is_future(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"


def _end(node: ast.stmt) -> int:
    """The line on which a statement ends."""
    return node.end_lineno or node.lineno


def _share_a_line(statements: list[ast.stmt]) -> bool:
    """Whether the first of these ends on the line on which the next one begins; not, where there is none."""
    return any(_end(one) >= start(other) for one, other in pairwise(statements))


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
    if one is other:
        return True
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
