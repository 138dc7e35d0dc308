"""What objects have, looked at without running anything of theirs: no property, no ``__getattr__``, no ``__dir__``.

The idea is ``inspect.getattr_static``'s: what lies in the dictionaries of an object and of its classes is found there,
and what would have to be computed is not known.
"""

from __future__ import annotations

import inspect
from itertools import islice
from types import (
    BuiltinFunctionType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

NAMES = 2000
UNKNOWN = object()
"""What can't be known without running something."""

_MRO = type.__dict__["__mro__"]
_DICT = type.__dict__["__dict__"]


def _is(thing: Any, *kinds: type) -> bool:
    """As ``isinstance``, which asks the object itself for its ``__class__``."""
    return issubclass(type(thing), kinds)


def attribute(thing: Any, name: str) -> Any:
    """What ``thing.name`` is; :data:`UNKNOWN` where that is computed, or there is none."""
    found = inspect.getattr_static(thing, name, UNKNOWN)
    if type(found) in (staticmethod, classmethod):
        return found.__func__
    if type(found) is MemberDescriptorType:  # a slot
        try:
            return found.__get__(thing, type(thing))
        except (AttributeError, TypeError):
            return UNKNOWN
    if type(found) is FunctionType and not _is(thing, type, ModuleType) and name not in _own(thing):
        return MethodType(found, thing)
    if hasattr(type(found), "__get__") and type(found) not in (FunctionType, BuiltinFunctionType):
        return UNKNOWN if not _is(thing, type) or type(found) is property else found
    return found


def item(thing: Any, key: object) -> Any:
    """What ``thing[key]`` is, where that is a dict, a list or a tuple and ``key`` a text or a number."""
    try:
        if issubclass(type(thing), dict):
            return dict.get(thing, key, UNKNOWN)
        if issubclass(type(thing), list) and isinstance(key, int):
            return list.__getitem__(thing, key)
        if issubclass(type(thing), tuple) and isinstance(key, int):
            return tuple.__getitem__(thing, key)
    except (IndexError, TypeError):
        pass
    return UNKNOWN


def attributes(thing: Any) -> dict[str, str]:
    """The names of what ``thing`` has, and of what kind each is."""
    found: dict[str, Any] = dict(_own(thing))
    is_class = _is(thing, type)
    for each in _MRO.__get__(thing if is_class else type(thing)):
        for name, value in list(_DICT.__get__(each).items()):
            found.setdefault(name, value)
    if is_class:
        for each in _MRO.__get__(type(thing)):
            for name, value in list(_DICT.__get__(each).items()):
                found.setdefault(name, value)
    return {name: kind(value) for name, value in islice(found.items(), NAMES) if type(name) is str}


def keys(thing: Any) -> list[object]:
    """The keys of a dict, the first ones."""
    if not issubclass(type(thing), dict):
        return []
    try:
        return list(islice(dict.keys(thing), NAMES))
    except RuntimeError:  # it grew meanwhile
        return []


def kind(thing: Any) -> str:
    """One word for what something is."""
    if _is(thing, ModuleType):
        return "module"
    if _is(thing, type):
        return "class"
    if type(thing) is property or type(thing) in (GetSetDescriptorType, MemberDescriptorType):
        return "property"
    functions = (FunctionType, MethodType, BuiltinFunctionType, WrapperDescriptorType, staticmethod, classmethod)
    if type(thing) in functions or type(thing).__name__ in ("method_descriptor", "builtin_function_or_method"):
        return "function"
    return type(thing).__name__[:40]


def _own(thing: Any) -> dict[str, Any]:
    """The object's own dictionary, where its class has not put something else in its place."""
    if _is(thing, type):
        return {}
    place = inspect.getattr_static(type(thing), "__dict__", None)
    if type(place) is not GetSetDescriptorType and not _is(thing, ModuleType):
        return {}
    try:
        found = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        return {}
    return dict(found) if issubclass(type(found), dict) else {}


def parameters(thing: Any) -> list[inspect.Parameter] | None:
    """The parameters of a callable, as far as they can be known so; None where they can't."""
    bound = 0
    if _is(thing, type):
        thing = inspect.getattr_static(thing, "__init__", None)
        bound = 1
    if type(thing) is MethodType:
        thing, bound = thing.__func__, 1
    for _ in range(10):
        if type(thing) is not FunctionType or type(thing.__dict__.get("__wrapped__")) is not FunctionType:
            break
        thing = thing.__dict__["__wrapped__"]
    if type(thing) not in (FunctionType, BuiltinFunctionType):
        return None
    if type(thing) is FunctionType and "__signature__" in thing.__dict__:
        return None
    try:
        found = list(inspect.signature(thing, follow_wrapped=False).parameters.values())
    except (ValueError, TypeError):
        return None
    return found[bound:]
