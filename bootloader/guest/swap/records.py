"""Dataclasses whose fields change while no instance lives: what the decorator made of them is made again.

The class stays the object that it is. A second one is made of the new fields, and what was generated for that is given
to the one that lives.
"""

from __future__ import annotations

import ast
import gc
from types import FunctionType
from typing import Any

from . import donor
from .effects import Meaning
from .plan import Plan, Scope
from .statements import bound_by
from .undo import Undo

_FIELDS = "__dataclass_fields__"
_ORDER = ("__lt__", "__le__", "__gt__", "__ge__")
_FROZEN = ("__setattr__", "__delattr__")
_GENERATED = (
    "__init__", "__repr__", "__eq__", "__hash__", "__match_args__", "__replace__", _FIELDS, "__dataclass_params__",
    *_ORDER, *_FROZEN,
)  # fmt: skip


def may_renew(live: type, syntax: ast.ClassDef | None, meaning: Meaning) -> bool:
    """Whether ``live`` is such a class, and nothing has been made of it. ``syntax``: its new source."""
    return (
        syntax is not None
        and _FIELDS in vars(live)
        and type(live) is type
        and "__slots__" not in vars(live)
        and len(syntax.decorator_list) == 1
        and _is_dataclass(syntax.decorator_list[0], meaning)
        and all(not node.decorator_list for node in _special(syntax))
        and not type.__subclasses__(live)
        and not _may_live(live)
    )


def _may_live(live: type) -> bool:
    """Whether an instance lives, or can't be seen: where the class itself is hidden from the collector, so are they."""
    objects = gc.get_objects()
    return any(type(each) is live for each in objects) or not any(each is live for each in objects)


def renew(
    plan: Plan, namespace: dict[str, Any], scope: Scope, chain: list[type], syntax: ast.ClassDef, undo: Undo
) -> None:
    """Give the last class of ``chain`` what is generated for its new fields."""
    live = chain[-1]
    fields = [node for node in syntax.body if isinstance(node, ast.Assign | ast.AnnAssign)]
    body: list[ast.stmt] = [*fields, *_special(syntax)]
    node = ast.ClassDef(syntax.name, syntax.bases, syntax.keywords, body or [ast.Pass()], syntax.decorator_list)
    node.type_params = getattr(syntax, "type_params", [])  # type: ignore[attr-defined,unused-ignore]
    made = donor.run(plan.new, namespace, scope[:-1], chain[:-1], [ast.copy_location(node, syntax)])[syntax.name]
    own = {name for each in syntax.body for name in bound_by(each)}
    defaults = {*vars(live)[_FIELDS], *vars(made)[_FIELDS]}
    generated = {name for name in _GENERATED if name not in own}
    if ast.get_docstring(syntax) is None:
        generated.add("__doc__")
    for name in sorted(defaults | generated):
        if name in vars(made):
            undo.member(live, name, _of(live, made, vars(made)[name]))
        else:
            undo.without_member(live, name)


def _of(live: type, made: type, value: Any) -> Any:
    """A function that was generated may know its class."""
    for cell in (value.__closure__ or ()) if isinstance(value, FunctionType) else ():
        if cell.cell_contents is made:
            cell.cell_contents = live
    return value


def _is_dataclass(node: ast.expr, meaning: Meaning) -> bool:
    return meaning.dotted(node.func if isinstance(node, ast.Call) else node) == "dataclasses.dataclass"


def _special(syntax: ast.ClassDef) -> list[ast.FunctionDef]:
    """The methods of its own that the decorator looks for."""
    return [node for node in syntax.body if isinstance(node, ast.FunctionDef) and node.name[:2] == "__"]
