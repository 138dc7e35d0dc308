"""Which function of the old syntax is which of the new one.

Pure. Where all is as it was but for bodies of functions, a function is the one in its place. Elsewhere a definition is
the same as the one of its name in its scope; of several, and of lambdas, first those that did not change find each
other, then the others, in order, where there are as many as before. What finds none is new or gone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .source import Function
from .statements import same

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def pairs(old: ast.AST, new: ast.AST) -> Iterator[tuple[Function, Function]]:
    """The functions in ``old`` with what became of them in ``new``: outer ones first, ``old`` and ``new`` left out."""
    for mine, its in zip(_regions(old), _regions(new), strict=False):
        in_place = same(mine, its, bodies=False)
        before, after = _functions_in(mine), _functions_in(its)
        for key, found in before.items():
            others = after.get(key, [])
            for one, other in zip(found, others, strict=True) if in_place else _matched(found, others):
                yield one, other
                yield from pairs(one, other)


def _regions(node: ast.AST) -> list[list[ast.AST]]:
    """The children of ``node``; of a function, those that are evaluated outside of it, and those inside."""
    children = list(ast.iter_child_nodes(node))
    if not isinstance(node, _FUNCTIONS):
        return [children]
    inside: list[ast.AST] = [*node.body] if isinstance(node.body, list) else [node.body]
    return [[child for child in children if child not in inside], inside]


def _functions_in(nodes: list[ast.AST]) -> dict[tuple[str, ...], list[Function]]:
    """The functions right in ``nodes``, not those within them, by name and the classes around them."""
    found: dict[tuple[str, ...], list[Function]] = {}
    todo: list[tuple[tuple[str, ...], ast.AST]] = [((), node) for node in nodes]
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
