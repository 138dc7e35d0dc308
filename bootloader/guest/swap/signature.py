"""A function's parameters, defaults and annotations, and what kind of thing a call of it gives. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .source import Function
from .statements import same


def defaults(node: Function) -> dict[str, ast.expr]:
    """The parameters that have a default, positional ones first, as they are written."""
    positional = [*node.args.posonlyargs, *node.args.args]
    given = positional[len(positional) - len(node.args.defaults) :]
    found = {parameter.arg: default for parameter, default in zip(given, node.args.defaults, strict=True)}
    for parameter, keyword in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
        if keyword is not None:
            found[parameter.arg] = keyword
    return found


def changed_parameters(old: Function, new: Function) -> frozenset[str]:
    """The parameters whose default is new or another one."""
    before = defaults(old)
    return frozenset(
        name for name, default in defaults(new).items() if name not in before or not same(before[name], default)
    )


def is_annotated_otherwise(old: Function, new: Function) -> bool:
    """Whether annotations or type parameters differ."""
    return not (
        same(list(_annotations(old)), list(_annotations(new)))
        and same(getattr(old, "type_params", []), getattr(new, "type_params", []))
    )


def is_declared_otherwise(old: Function, new: Function) -> bool:
    """Whether there differs, besides the body, what a decorator or a register could have read of it."""
    return (
        is_annotated_otherwise(old, new)
        or not same(old.args, new.args)
        or doc_of(old) != doc_of(new)
        or nature(old) != nature(new)
    )


def annotations_of(node: Function) -> list[ast.expr]:
    """The expressions of its annotations."""
    return [each.annotation for each in _annotations(node) if each.annotation is not None]


def nature(node: Function) -> tuple[bool, bool]:
    """Whether it is async, and whether it is a generator: what a decorator may have asked for."""
    return isinstance(node, ast.AsyncFunctionDef), any(True for _ in _yields(node))


def doc_of(node: Function | ast.ClassDef | ast.Module) -> str | None:
    """Its docstring, as it is written."""
    return None if isinstance(node, ast.Lambda) else ast.get_docstring(node, clean=False)


def _annotations(node: Function) -> Iterator[ast.arg]:
    parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    for parameter in filter(None, parameters):
        if parameter.annotation is not None:
            yield ast.arg(parameter.arg, parameter.annotation)
    if not isinstance(node, ast.Lambda) and node.returns is not None:
        yield ast.arg("return", node.returns)


def _yields(node: Function) -> Iterator[ast.AST]:
    todo: list[ast.AST] = list(node.body) if isinstance(node.body, list) else [node.body]
    while todo:
        each = todo.pop()
        if isinstance(each, ast.Yield | ast.YieldFrom):
            yield each
        if not isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            todo += ast.iter_child_nodes(each)
