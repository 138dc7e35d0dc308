"""Finds the living classes of a module, says what may be done to them, and does it.

A class stays the object that it is: its attributes are set and deleted one by one, so its instances, its subclasses and
whoever imported it see the change. What Python does once, when a class is made, is done again here where it is known.
"""

from __future__ import annotations

import abc
import ast
import enum
import typing
from collections.abc import Iterator, Mapping, Sequence
from types import FunctionType
from typing import Any

from .plan import Bind, Describe, Plan, Scope, Step, Unbind
from .refusal import Refusal
from .undo import Undo

_METACLASSES = (type, abc.ABCMeta, type(typing.Protocol))
_IMPLICIT = {"__new__": staticmethod, "__init_subclass__": classmethod, "__class_getitem__": classmethod}
_GENERATED = ("__init__", "__repr__", "__eq__", "__hash__", "__lt__", "__le__", "__gt__", "__ge__", "__setattr__")
_FIELDS = {"__dataclass_fields__": "a dataclass", "_fields": "a NamedTuple", "__attrs_attrs__": "an attrs class"}


def chain(plan: Plan, namespace: Mapping[str, Any], scope: Scope) -> list[type]:
    """The living classes of ``scope``, outermost first."""
    found: list[type] = []
    names = namespace
    for depth, name in enumerate(scope, 1):
        live = names.get(name)
        if not isinstance(live, type) or live.__qualname__ != ".".join(scope[:depth]):
            what = f"is about class `{'.'.join(scope)}`, which is not there as the source has it"
            raise Refusal(plan.new.path, 0, what)
        found.append(live)
        names = vars(live)
    return found


def check(plan: Plan, step: Step, live: type) -> None:
    """Refuse a step that this class can't take."""
    path, line = plan.new.path, step.line
    name = live.__qualname__
    if isinstance(step, Describe):
        if step.annotations is not None:
            for mark, kind in _FIELDS.items():
                if mark in vars(live):
                    raise Refusal(path, line, f"changed the fields of `{name}`, which is {kind}")
            if typing.is_typeddict(live):
                raise Refusal(path, line, f"changed the keys of `{name}`, which is a TypedDict")
            _check_open(path, line, live)
        return
    if isinstance(live, enum.EnumMeta):
        if "function" not in (step.kind, getattr(step, "before", None) or step.kind) or _is_sunder(step.name):
            raise Refusal(path, line, f"changed `{step.name}`, a member of `{name}`, which is an Enum")
        return
    _check_open(path, line, live)
    if step.name in getattr(live, "__dataclass_fields__", {}) or (
        "__dataclass_fields__" in vars(live) and isinstance(step, Unbind) and step.name in _GENERATED
    ):
        raise Refusal(path, line, f"changed the fields of `{name}`, which is a dataclass")
    if step.name == "__init_subclass__":
        raise Refusal(path, line, f"changed whether `{name}` has an `__init_subclass__`")


def _check_open(path: str, line: int, live: type) -> None:
    """Refuse a class that would have heard of its attributes when it was made."""
    if type(live) not in _METACLASSES:
        raise Refusal(path, line, f"changed attributes of `{live.__qualname__}`, whose metaclass runs code")
    if running := _hook(live.__mro__[1:]):
        what = f"changed attributes of `{live.__qualname__}`, whose base `{running.__qualname__}` runs code for it"
        raise Refusal(path, line, what)


def _hook(bases: Sequence[type]) -> type | None:
    """The class that runs code of its own when it is derived from."""
    quiet = (object, typing.Generic, typing.Protocol)
    return next((base for base in bases if base not in quiet and "__init_subclass__" in vars(base)), None)


def check_base(plan: Plan, scope: Scope, node: ast.expr, namespace: Mapping[str, Any]) -> None:
    """Refuse a new class whose base, which the source alone does not tell, runs code when it is derived from."""
    base = _value_of(node.value if isinstance(node, ast.Subscript) else node, namespace)
    if base is None and isinstance(node, ast.Name) and _is_new(plan, (*scope, node.id), (node.id,)):
        return  # it has been checked for itself
    if not isinstance(base, type):
        what = f"derives a new class from `{ast.unparse(node)}`, of which can't be told what it runs"
        raise Refusal(plan.new.path, node.lineno, what)
    if not isinstance(base, enum.EnumMeta) and type(base) not in _METACLASSES:
        what = f"derives a new class from `{base.__qualname__}`, whose metaclass runs code"
        raise Refusal(plan.new.path, node.lineno, what)
    if running := _hook(base.__mro__):
        what = f"derives a new class from `{ast.unparse(node)}`, and `{running.__qualname__}` runs code for it"
        raise Refusal(plan.new.path, node.lineno, what)


def _is_new(plan: Plan, *paths: tuple[str, ...]) -> bool:
    return any(isinstance(step, Bind) and step.kind == "class" and step.path in paths for step in plan.steps)


def _value_of(node: ast.expr, namespace: Mapping[str, Any]) -> object:
    """What a name, or a name of a name, stands for now; None for nothing."""
    if isinstance(node, ast.Name):
        return namespace.get(node.id)
    if isinstance(node, ast.Attribute):
        return getattr(_value_of(node.value, namespace), node.attr, None)
    return None


def bind(live: type, name: str, value: Any, undo: Undo) -> None:
    """What Python does with an attribute of a class body."""
    if isinstance(value, FunctionType) and name in _IMPLICIT:
        value = _IMPLICIT[name](value)
    if name == "__eq__" and "__hash__" not in vars(live):
        undo.member(live, "__hash__", None)
    undo.member(live, name, value)
    if (named := getattr(type(value), "__set_name__", None)) is not None:
        named(value, live, name)


def unbind(live: type, name: str, undo: Undo) -> None:
    """Take an attribute away, and what Python made because of it."""
    undo.without_member(live, name)
    if name == "__eq__" and vars(live).get("__hash__", live) is None:
        undo.without_member(live, "__hash__")


def settle(live: type, undo: Undo) -> None:
    """After all attributes are set: which methods are abstract, here and in what is derived."""
    for each in _derived(live):
        if isinstance(each, abc.ABCMeta):
            names = {name for base in each.__bases__ for name in getattr(base, "__abstractmethods__", ())}
            names |= vars(each).keys()
            abstract = {name for name in names if getattr(getattr(each, name, None), "__isabstractmethod__", False)}
            undo.attribute(each, "__abstractmethods__", frozenset(abstract))


def _derived(live: type) -> Iterator[type]:
    yield live
    each: type
    for each in type.__subclasses__(live):
        yield from _derived(each)


def move(live: type, line: int, undo: Undo) -> None:
    """Newer Pythons keep on which line a class begins."""
    if "__firstlineno__" in vars(live):
        undo.member(live, "__firstlineno__", line)


def _is_sunder(name: str) -> bool:
    return name[:1] == "_" and name[-1:] == "_" and name[:2] != "__"
