"""Operators are code where somebody has defined them: ``reader >> motor`` may well connect the two."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from .effects import reads
from .plan import Bind, Describe, Plan
from .refusal import Refusal, quoted
from .signature import defaults

_APPLIES = (
    ast.BinOp | ast.UnaryOp | ast.BoolOp | ast.Compare | ast.Subscript | ast.IfExp | ast.FormattedValue | ast.Starred
    | ast.comprehension
)  # fmt: skip
_BINARY = ["add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow", "lshift", "rshift", "and", "or", "xor"]
_OTHERS = [
    "neg",
    "pos",
    "invert",
    "getitem",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "contains",
    "iter",
    "bool",
    "len",
    "format",
]
_METHODS = frozenset(f"__{name}__" for name in (*_BINARY, *(f"r{name}" for name in _BINARY), *_OTHERS))


def check(plan: Plan, namespace: Mapping[str, Any]) -> None:
    """Refuse what applies operators of a class's own, or did: they would have to run again, or not to have run."""
    for line, value in (*_before(plan), *_after(plan)):
        for node in ast.walk(value):
            for path in reads(node) if isinstance(node, _APPLIES) else ():
                if _defines_operators(_live(namespace, path)):
                    what = f"applies operators that `{'.'.join(path)}` defines itself: {quoted(value)}"
                    raise Refusal(plan.new.path, line, what)


def _after(plan: Plan) -> Iterator[tuple[int, ast.expr]]:
    for step in plan.steps:
        for statement in step.statements if isinstance(step, Bind) else ():
            if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
                yield statement.lineno, statement.value
    for edit in plan.edits:
        yield from ((value.lineno, value) for name, value in defaults(edit.syntax).items() if name in edit.anew)


def _before(plan: Plan) -> Iterator[tuple[int, ast.expr]]:
    """What the names that change were given by the old source."""
    changed = {step.path for step in plan.steps if not isinstance(step, Describe)}
    todo: list[tuple[tuple[str, ...], ast.stmt]] = [((), node) for node in plan.old.tree.body if changed]
    for scope, node in todo:  # grows while it is walked
        if isinstance(node, ast.ClassDef):
            todo += [((*scope, node.name), each) for each in node.body]
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any((*scope, each.id) in changed for target in targets for each in _names(target)):
                yield node.lineno, node.value


def _names(target: ast.expr) -> list[ast.Name]:
    return [each for each in ast.walk(target) if isinstance(each, ast.Name)]


def _live(namespace: Mapping[str, Any], path: tuple[str, ...]) -> object:
    """What a path of the module stands for now, found without running anything; None where it can't be."""
    found: object = namespace.get(path[0])
    for name in path[1:]:
        found = inspect.getattr_static(found, name, None)
    return found


def _defines_operators(value: object) -> bool:
    return any(
        base.__module__.partition(".")[0] not in sys.stdlib_module_names and not _METHODS.isdisjoint(vars(base))
        for base in type(value).__mro__
    )
