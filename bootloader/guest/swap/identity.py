"""Which function of the old syntax is which of the new one.

Pure. A definition is the same as the one of its name in its scope; of several, and of lambdas, first those that did not
change find each other, then the others, in order, where there are as many as before. What finds none is new or gone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .source import Function
from .statements import same

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def pairs(old: ast.AST, new: ast.AST) -> Iterator[tuple[Function, Function]]:
    """The functions in ``old`` with what became of them in ``new``: outer ones first, ``old`` and ``new`` left out."""
    before, after = _functions_in(old), _functions_in(new)
    for key, mine in before.items():
        for one, other in _matched(mine, after.get(key, [])):
            yield one, other
            yield from pairs(one, other)


def _functions_in(node: ast.AST) -> dict[tuple[str, ...], list[Function]]:
    """The functions right in ``node``, not those within them, by name and the classes around them."""
    found: dict[tuple[str, ...], list[Function]] = {}
    todo: list[tuple[tuple[str, ...], ast.AST]] = [((), child) for child in ast.iter_child_nodes(node)]
    while todo:
        scope, each = todo.pop()
        if isinstance(each, _FUNCTIONS):
            name = "" if isinstance(each, ast.Lambda) else each.name
            found.setdefault((*scope, name), []).append(each)
            # Its defaults, decorators and annotations are evaluated outside of it.
            inside = each.body if isinstance(each.body, list) else [each.body]
            todo += [(scope, child) for child in ast.iter_child_nodes(each) if child not in inside]
            continue
        inner = (*scope, each.name) if isinstance(each, ast.ClassDef) else scope
        todo += [(inner, child) for child in ast.iter_child_nodes(each)]
    for group in found.values():
        group.sort(key=lambda each: (each.lineno, each.col_offset))
    return found


def _matched(old: list[Function], new: list[Function]) -> Iterator[tuple[Function, Function]]:
    if len(old) == len(new) == 1:
        yield old[0], new[0]
        return
    left = list(new)
    changed = []
    for one in old:
        twin = next((other for other in left if same(one, other)), None)
        if twin is None:
            changed.append(one)
        else:
            left.remove(twin)
            yield one, twin
    if len(changed) == len(left):
        yield from zip(changed, left, strict=True)
