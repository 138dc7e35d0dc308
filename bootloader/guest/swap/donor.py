"""Runs single statements of a module's new source where they stand: in its namespace, or in the body of its class.

What they bind is handed back, and nothing of the module or the class is changed. Functions that are made here have the
module's globals, true line numbers and qualified names, and ``super()`` in them means the class that lives.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from types import CellType
from typing import Any

from .plan import Scope
from .source import Source

_OWNER = "__live_class__"
_FRESH = ("__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__", "__classcell__")
"""What a body makes for itself; with what the class has of these, it would be changed in place."""


class Owner:
    """Stands for a class where its body is run again: gives the body the names, and the class itself as the result."""

    def __init__(self, live: type, inner: Mapping[str, object]) -> None:
        self._live = live
        self._inner = inner
        self.namespace: dict[str, Any] = {}

    def __prepare__(self, _name: str, _bases: tuple[type, ...]) -> dict[str, Any]:
        """The names that the body sees."""
        parameters = {each.__name__: each for each in getattr(self._live, "__type_params__", ())}
        members = {name: value for name, value in vars(self._live).items() if name not in _FRESH}
        return {**parameters, **members, **self._inner}

    def __call__(self, _name: str, _bases: tuple[type, ...], namespace: dict[str, Any]) -> type:
        """End the body. Python checks that the cell, if there is one, has what comes back."""
        cell: CellType | None = namespace.pop("__classcell__", None)
        if cell is not None:
            cell.cell_contents = self._live
        self.namespace = namespace
        return self._live


def run(
    source: Source, namespace: dict[str, Any], scope: Scope, classes: Sequence[type], statements: Iterable[ast.stmt]
) -> dict[str, Any]:
    """What ``statements`` bind. ``classes``: the live ones of ``scope``, outermost first."""
    body = list(statements)
    line = body[0].lineno if body else 1
    owners: list[Owner] = []
    inner: dict[str, object] = {}
    for name, live in zip(reversed(scope), reversed(classes), strict=True):
        owners.append(Owner(live, inner))
        keyword = ast.keyword("metaclass", ast.Name(_OWNER, ast.Load()))
        body = [_class(name, keyword, body or [ast.Pass()], line)]
        inner = {_OWNER: owners[-1]}
    tree = ast.fix_missing_locations(ast.Module(body, []))
    made: dict[str, Any] = dict(inner)
    exec(compile(tree, source.filename, "exec", source.flags, dont_inherit=True), namespace, made)
    return owners[0].namespace if owners else made


def _class(name: str, keyword: ast.keyword, body: list[ast.stmt], line: int) -> ast.stmt:
    node = ast.ClassDef(name, [], [keyword], body, [])
    if hasattr(node, "type_params"):
        node.type_params = []
    node.lineno, node.col_offset, node.end_lineno, node.end_col_offset = line, 0, line, 0
    return node
