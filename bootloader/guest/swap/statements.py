"""What the statements of a module or class body are: definitions, values, imports, and what merely runs.

Pure. A body becomes a list of parts, each of which binds one name, or is an effect: something whose running again
can't be told from doing something twice.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeVar

from .effects import Meaning
from .source import Function

_Syntax = TypeVar("_Syntax", bound=ast.AST)
_Found = TypeVar("_Found")

Kind = Literal["function", "class", "import", "value", "annotation", "effect"]
_TYPE_ALIAS = getattr(ast, "TypeAlias", ())
_TYPE_CHECKING = ("typing.TYPE_CHECKING", "typing_extensions.TYPE_CHECKING")
_MEANINGS = 4
"""For so many meanings of the names of its module, what a statement is made of is kept."""
_POSITIONS = frozenset({"lineno", "col_offset", "end_lineno", "end_col_offset", "ctx", "type_comment", "kind"})


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One binding of a body; ``name`` is empty for an effect. ``node``: the statement, or its share of one."""

    kind: Kind
    name: str
    node: ast.stmt
    whole: ast.stmt
    """The statement as it is written."""

    @property
    def value(self) -> ast.expr | None:
        """The expression that a value is given; None where there is none."""
        if isinstance(self.node, ast.Assign | ast.AnnAssign):
            return self.node.value
        return None


def parts(body: Iterable[ast.stmt], meaning: Meaning, *, runs_as_main: bool) -> Iterator[Part]:
    """The parts of a body, in order. What never runs, and what does nothing, is left out.

    Those of a statement are the same objects whenever they are asked for, also by the next patch.
    """
    for node in body:
        known: dict[tuple[Meaning, bool], list[Part]] = vars(node).setdefault("_parts", {})
        found = known.get((meaning, runs_as_main))
        if found is None:
            if len(known) >= _MEANINGS:
                known.clear()
            found = known[meaning, runs_as_main] = list(_parts_of(node, meaning, runs_as_main))
        yield from found


def _parts_of(node: ast.stmt, meaning: Meaning, runs_as_main: bool) -> Iterator[Part]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield Part("function", node.name, node, node)
        case ast.ClassDef():
            yield Part("class", node.name, node, node)
        case ast.ImportFrom(module="__future__") | ast.Pass():
            pass
        case ast.Expr(ast.Constant()):
            pass
        case ast.If(test=test) if meaning.dotted(test) in _TYPE_CHECKING or (is_main(test) and not runs_as_main):
            yield from parts(node.orelse, meaning, runs_as_main=runs_as_main)
        case ast.Import() | ast.ImportFrom() if not any(alias.name == "*" for alias in node.names):
            for alias in node.names:
                single = _import_of(node, alias)
                yield Part("import", alias.asname or alias.name.partition(".")[0], single, node)
        case ast.AnnAssign(target=ast.Name(name), value=None):
            yield Part("annotation", name, node, node)
        case ast.AnnAssign(target=ast.Name(name), value=ast.expr() as value):
            yield from _value(name, node, value, node, meaning)
        case ast.Assign(targets=targets, value=value):
            yield from _assigned(node, targets, value, meaning)
        case _ if isinstance(node, _TYPE_ALIAS):
            yield Part("value", node.name.id, node, node)
        case _:
            yield Part("effect", "", node, node)


def function_of(part: Part) -> Function:
    """The function that a part of that kind defines."""
    node = part.node if part.value is None else part.value
    assert isinstance(node, Function)
    return node


def by_name(found: Iterable[Part]) -> dict[str, list[Part]]:
    """What binds each name, in the order of the last binding."""
    groups: dict[str, list[Part]] = {}
    for part in found:
        if part.kind not in ("effect", "annotation"):
            groups[part.name] = [*groups.pop(part.name, []), part]
    return groups


def _assigned(node: ast.Assign, targets: list[ast.expr], value: ast.expr, meaning: Meaning) -> Iterator[Part]:
    match targets, value:
        case [ast.Name(name)], _:
            yield from _value(name, node, value, node, meaning)
        case [ast.Tuple(names)], ast.Tuple(values) if (
            len(names) == len(values) and all(isinstance(each, ast.Name) for each in names) and meaning.is_free(value)
        ):
            for target, single in zip(names, values, strict=True):
                assert isinstance(target, ast.Name)
                share = ast.copy_location(ast.Assign([target], single), node)
                yield from _value(target.id, share, single, node, meaning)
        case _, ast.Constant() if all(isinstance(each, ast.Name) for each in targets):
            for target in targets:
                assert isinstance(target, ast.Name)
                share = ast.copy_location(ast.Assign([target], value), node)
                yield Part("value", target.id, share, node)
        case _:
            yield Part("effect", "", node, node)


def _value(name: str, node: ast.stmt, value: ast.expr, whole: ast.stmt, meaning: Meaning) -> Iterator[Part]:
    if isinstance(value, ast.Lambda) and meaning.is_free(value):
        yield Part("function", name, node, whole)
    elif meaning.is_free(value):
        yield Part("value", name, node, whole)
    else:
        yield Part("effect", "", node, whole)


def _import_of(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> ast.stmt:
    if isinstance(node, ast.Import):
        return ast.copy_location(ast.Import([alias]), node)
    return ast.copy_location(ast.ImportFrom(node.module, [alias], node.level), node)


def is_main(test: ast.expr) -> bool:
    """Whether a condition asks if the module is the program itself."""
    match test:
        case ast.Compare(ast.Name("__name__"), [ast.Eq()], [ast.Constant("__main__")]):
            return True
    return False


def kept(find: Callable[[_Syntax], _Found]) -> Callable[[_Syntax], _Found]:
    """What is found of a piece of syntax is kept with it: it is asked for again and again, also by the next patch."""
    name = f"_{find.__name__}"

    def found(syntax: _Syntax) -> _Found:
        known: _Found | None = getattr(syntax, name, None)
        if known is None:
            known = find(syntax)
            setattr(syntax, name, known)
        return known

    return found


@kept
def bound_by(statement: ast.stmt) -> Sequence[str]:
    """The names that a statement may bind in its own scope."""
    return tuple(_bound_by(statement))


def _bound_by(statement: ast.stmt) -> Iterator[str]:
    todo: list[ast.AST] = [statement]
    while todo:
        node = todo.pop()
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
                continue
            case ast.Lambda():
                continue
            case ast.Name(name, ast.Store() | ast.Del()):
                yield name
            case ast.alias(name=name, asname=asname):
                yield asname or name.partition(".")[0]
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name
        todo += ast.iter_child_nodes(node)


@kept
def meaning_of(tree: ast.Module) -> Meaning:
    """What the names of a module stand for: its imports, and what else it binds."""
    imported: dict[str, str] = {}
    bound: list[str] = []
    for node in tree.body:
        match node:
            case ast.Import(names=names):
                for alias in names:
                    imported[alias.asname or alias.name.partition(".")[0]] = (
                        alias.name if alias.asname else alias.name.partition(".")[0]
                    )
            case ast.ImportFrom(module=str(module), names=names, level=0):
                imported.update({alias.asname or alias.name: f"{module}.{alias.name}" for alias in names})
            case _:
                bound += bound_by(node)
    return _meaning(frozenset(imported.items()), frozenset(bound))


@lru_cache(16)
def _meaning(imported: frozenset[tuple[str, str]], bound: frozenset[str]) -> Meaning:
    """One for all sources whose names mean the same, so that what follows from it can be kept."""
    return Meaning(dict(imported), bound)


def imported_in(statement: ast.stmt) -> Iterator[str]:
    """Those of them that it imports."""
    todo: list[ast.AST] = [statement]
    while todo:
        node = todo.pop()
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda() | ast.ClassDef():
                continue
            case ast.alias(name=name, asname=asname):
                yield asname or name.partition(".")[0]
        todo += ast.iter_child_nodes(node)


def same(one: object, other: object, *, bodies: bool = True) -> bool:
    """Whether two pieces of syntax are the same, wherever they stand; ``bodies``: those of functions too."""
    if one is other:
        return True
    if isinstance(one, ast.AST):
        if type(one) is not type(other):
            return False
        skipped = "body" if not bodies and isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) else ""
        return all(
            same(getattr(one, field, None), getattr(other, field, None), bodies=bodies)
            for field in one._fields
            if field != skipped and field not in _POSITIONS
        )
    if isinstance(one, list):
        return (
            isinstance(other, list)
            and len(one) == len(other)
            and all(same(mine, its, bodies=bodies) for mine, its in zip(one, other, strict=True))
        )
    return type(one) is type(other) and repr(one) == repr(other)
