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
from types import FunctionType, MemberDescriptorType
from typing import Any

from .effects import Meaning
from .plan import Bind, Describe, Plan, Scope, Step, Unbind
from .refusal import Refusal
from .statements import bound_by
from .undo import Undo

_METACLASSES = (type, abc.ABCMeta, type(typing.Protocol))
_IMPLICIT = {"__new__": staticmethod, "__init_subclass__": classmethod, "__class_getitem__": classmethod}
_ORDER = ("__eq__", "__lt__", "__le__", "__gt__", "__ge__")
_GENERATED = ("__init__", "__hash__", "__setattr__", "__delattr__", "__match_args__", "__post_init__", *_ORDER)
"""What ``dataclass`` makes, or makes use of, depending on whether the class has it."""
_TUPLE = ("__new__", "__init__", "__getnewargs__", "_field_defaults", "_make", "_replace", "_asdict", "_source")
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


def check(
    plan: Plan, step: Step, key: str, live: type, syntax: ast.ClassDef | None, meaning: Meaning, *, renewed: bool
) -> None:
    """Refuse a step that this class can't take. ``key``: as which it keeps the name; ``syntax``: its new source;
    ``renewed``: what a dataclass's decorator made is made again.
    """
    path, line = plan.new.path, step.line
    name = live.__qualname__
    for decorator in syntax.decorator_list if syntax else ():
        if not meaning.may_decorate(decorator):
            what = f"changed attributes of `{name}`, which `@{ast.unparse(decorator)}` was run for"
            raise Refusal(path, line, what)
    if isinstance(step, Describe):
        _check_description(path, step, live, renewed)
        return
    if step.name == "__slots__":
        raise Refusal(path, line, f"changed `__slots__` of class `{name}`")
    if isinstance(live, enum.EnumMeta):
        if (
            "function" not in (step.kind, getattr(step, "before", None) or step.kind)
            or _is_sunder(step.name)
            or step.name in ("__new__", "__init__")
            or (isinstance(step, Unbind) and step.name.startswith("__"))
        ):
            raise Refusal(path, line, f"changed `{step.name}`, a member of `{name}`, which is an Enum")
        return
    _check_open(path, line, live)
    if made := _made_with(step, key, live, renewed):
        raise Refusal(path, line, f"changed {made}")
    unhashable = vars(live).get("__hash__", live) is None and "__hash__" in _bound_in(syntax)
    if unhashable and isinstance(step, Unbind) and step.name == "__eq__":
        raise Refusal(path, line, f"took `__eq__` from `{name}`, and left its `__hash__`")


def _check_description(path: str, step: Describe, live: type, renewed: bool) -> None:
    name = live.__qualname__
    if step.annotations is not None:
        for mark, kind in _FIELDS.items():
            if mark in vars(live) and not renewed:
                raise Refusal(path, step.line, f"changed the fields of `{name}`, which is {kind}")
        if typing.is_typeddict(live):
            raise Refusal(path, step.line, f"changed the keys of `{name}`, which is a TypedDict")
        if _is_runtime_protocol(live):
            raise Refusal(path, step.line, f"changed the members of `{name}`, which is a runtime protocol")
        _check_open(path, step.line, live)
    if step.documented and step.doc is None and (isinstance(live, enum.EnumMeta) or _FIELDS.keys() & vars(live).keys()):
        raise Refusal(path, step.line, f"took the docstring from `{name}`, for which Python makes one")


def _made_with(step: Bind | Unbind, key: str, live: type, renewed: bool) -> str:
    """Of what, besides the attribute itself, Python made something when it made the class; empty for nothing."""
    name, comes_or_goes = step.name, isinstance(step, Unbind) or step.before is None
    whole = f"`{live.__qualname__}`"
    if name in getattr(live, "__dataclass_fields__", ()) and not renewed:
        return f"the fields of {whole}, which is a dataclass"
    if isinstance(vars(live).get(key), MemberDescriptorType):
        return f"`{name}`, which is in the `__slots__` of {whole}"
    if "_fields" in vars(live) and issubclass(live, tuple) and name in (*_TUPLE, *vars(live)["_fields"]):
        return f"`{name}`, a part of {whole}, which is a NamedTuple"
    if name == "__new__" and isinstance(step, Unbind):
        return f"whether {whole} has a `__new__`"
    if name == "__init_subclass__":
        return f"whether {whole} has an `__init_subclass__`"
    for each in _derived(live):
        generated = name == "__post_init__" or (each is live and name in _GENERATED)
        generated |= each is live and name == "__repr__" and isinstance(step, Unbind)
        if comes_or_goes and generated and "__dataclass_fields__" in vars(each):
            return f"whether {whole} has `{name}`, of which a dataclass was made"
        if name in _ORDER and _is_ordered(each):
            return f"`{name}` of {whole}, from which `total_ordering` made others"
        if _is_runtime_protocol(each) and comes_or_goes:
            return f"the members of `{each.__qualname__}`, which is a runtime protocol"
        if vars(each).get("_is_protocol") and name in ("__init__", "__subclasshook__"):
            return f"`{name}` of `{each.__qualname__}`, which is a protocol"
    return ""


def _is_ordered(live: type) -> bool:
    return any(getattr(vars(live).get(name), "__module__", "") == "functools" for name in _ORDER)


def _is_runtime_protocol(live: type) -> bool:
    return bool(vars(live).get("_is_protocol") and getattr(live, "_is_runtime_protocol", False))


def _bound_in(syntax: ast.ClassDef | None) -> set[str]:
    return {name for node in (syntax.body if syntax else ()) for name in bound_by(node)}


def syntax_of(plan: Plan, scope: Scope) -> ast.ClassDef | None:
    """The new source of a class; the last one where there are several."""
    found: ast.AST = plan.new.tree
    for name in scope:
        inner = [each for each in ast.walk(found) if isinstance(each, ast.ClassDef) and each.name == name]
        inner = [each for each in inner if each is not found]
        if not inner:
            return None
        found = inner[-1]
    return found if isinstance(found, ast.ClassDef) else None


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


def check_base(
    plan: Plan, scope: Scope, node: ast.expr, namespace: Mapping[str, Any], does: str = "derives a new class from"
) -> None:
    """Refuse a class that comes or goes where a base, which the source alone does not tell, runs code for it."""
    base = _value_of(node.value if isinstance(node, ast.Subscript) else node, namespace)
    if base is None and isinstance(node, ast.Name) and _is_new(plan, (*scope, node.id), (node.id,)):
        return  # it has been checked for itself
    if not isinstance(base, type):
        what = f"{does} `{ast.unparse(node)}`, of which can't be told what it runs"
        raise Refusal(plan.new.path, node.lineno, what)
    if not isinstance(base, enum.EnumMeta) and type(base) not in _METACLASSES:
        what = f"{does} `{base.__qualname__}`, whose metaclass runs code"
        raise Refusal(plan.new.path, node.lineno, what)
    if running := _hook(base.__mro__):
        what = f"{does} `{ast.unparse(node)}`, and `{running.__qualname__}` runs code for it"
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
    if name == "__hash__" and "__eq__" in vars(live):
        undo.member(live, name, None)
    else:
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


def forget() -> None:
    """Have abstract classes ask anew who is of them: they keep what their `__subclasshook__` and others have said."""
    known: set[int] = set()  # by identity: what a metaclass makes of `==` is code of its own
    todo: list[type] = [object]
    while todo:
        each = todo.pop()
        if id(each) not in known:
            known.add(id(each))
            todo += type.__subclasses__(each)
            if isinstance(each, abc.ABCMeta):
                abc.ABCMeta._abc_caches_clear(each)  # type: ignore[attr-defined]


def move(live: type, line: int, undo: Undo) -> None:
    """Newer Pythons keep on which line a class begins."""
    if "__firstlineno__" in vars(live):
        undo.member(live, "__firstlineno__", line)


def _is_sunder(name: str) -> bool:
    return name[:1] == "_" and name[-1:] == "_" and name[:2] != "__"
