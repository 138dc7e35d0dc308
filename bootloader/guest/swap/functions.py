"""Gives living functions their new code, and what else of a changed signature can't be seen in the code.

The function object stays: whoever holds it, calls the new body from the next call on.
"""

from __future__ import annotations

import ast
import inspect
import sys
import warnings
from collections.abc import Container, Iterable, Mapping, Sequence
from types import CodeType, FunctionType
from typing import Any

from . import donor
from .census import Cache
from .plan import Edit, Plan
from .refusal import Refusal, Undone
from .signature import defaults
from .source import Function, nested
from .successors import Successors
from .undo import Undo
from .wrappers import Copies, unwrapped

_DONOR = "__donor__"
_KIND = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_HAS_DOC = getattr(inspect, "CO_HAS_DOCSTRING", 0)
"""Where Python has no such flag, a function without a docstring has None for its first constant."""


def check(plan: Plan, functions: Iterable[FunctionType], successors: Successors) -> None:
    """Refuse where a living function can't take its new code."""
    current = {id(old): new for old, new in plan.successors}
    nested = {id(edit.new): edit for edit in plan.edits if edit.scope is None}
    for function in functions:
        code = function.__code__
        new = successors.of(code)
        if new is None or new.co_filename != plan.new.filename:
            continue
        if not fits(code, new) and (id(code) in current or _is_of(plan, code)):
            what = f"needs other variables of what is around it, and a living `{code.co_qualname}` has the old ones"
            raise Refusal(plan.new.path, new.co_firstlineno, what)
        edit = nested.get(id(new))
        if edit is not None and not _is_literal(edit):
            what = f"has other defaults, and a living `{code.co_qualname}` can't be given them"
            raise Refusal(plan.new.path, new.co_firstlineno, what)


def may_misfit(plan: Plan) -> bool:
    """Whether it depends on what lives if the plan can be performed."""
    return any(not fits(old, new) for old, new in plan.successors) or any(edit.scope is None for edit in plan.edits)


def fits(old: CodeType, new: CodeType) -> bool:
    """Whether a function that has the cells of ``old`` can run ``new``."""
    return old.co_freevars == new.co_freevars


def swap(function: FunctionType, new: CodeType, undo: Undo, copies: Copies) -> None:
    """The new body, and its docstring where the function still had that of the old one."""
    old = function.__code__
    if new is old:
        return
    if (old.co_flags ^ new.co_flags) & _KIND:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # a function that becomes a generator, or the like
            undo.attribute(function, "__code__", new)
    else:
        undo.attribute(function, "__code__", new)
    if function.__doc__ == _doc(old) != _doc(new):
        copies.set(function, "__doc__", _doc(new), undo)


def forget(caches: Iterable[Cache[Any]], changed: Container[int], touched: Mapping[int, set[str]]) -> None:
    """Empty the caches of functions that changed, or that read what changed: they remember the old answers.

    ``touched``: names that stand for something else now, by the identity of the namespace that they are seen from.
    """
    for cache in caches:
        if any(id(function) in changed or _reads(function, touched) for function in unwrapped(cache)):
            cache.cache_clear()


def _reads(function: object, touched: Mapping[int, set[str]]) -> bool:
    if not isinstance(function, FunctionType):
        return False
    names = touched.get(id(function.__globals__), set())
    codes = (function.__code__, *nested(function.__code__)) if names else ()
    return any(not names.isdisjoint(code.co_names) for code in codes)


class Signatures:
    """The changed signatures of one module: each made once, by running its ``def`` without a body."""

    def __init__(
        self,
        plan: Plan,
        namespace: dict[str, Any],
        classes: Mapping[tuple[str, ...], Sequence[type]],
        copies: Copies,
    ) -> None:
        self._edits = {id(edit.new): edit for edit in plan.edits}
        self._plan = plan
        self._namespace = namespace
        self._classes = classes
        self._copies = copies
        self._made: dict[int, FunctionType] = {}

    def apply(self, function: FunctionType, old: CodeType, undo: Undo) -> None:
        """Give a function, which has its new code already, the defaults and annotations that go with it."""
        edit = self._edits.get(id(function.__code__))
        if edit is None:
            return
        made = self._made.get(id(edit.new))
        if made is None:
            try:
                made = self._made[id(edit.new)] = self._make(edit)
            except Exception as error:
                what = f"could not be patched: {type(error).__name__}: {error}"
                raise Undone(self._plan.new.path, edit.syntax.lineno, what) from error
        kept = _defaults(old, function)
        given = {
            name: default if name in edit.anew or name not in kept else kept[name]
            for name, default in _defaults(made.__code__, made).items()
        }
        code = edit.new
        keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        positional = tuple(value for name, value in given.items() if name not in keywords)
        undo.attribute(function, "__defaults__", positional or None)
        undo.attribute(function, "__kwdefaults__", {name: given[name] for name in keywords if name in given} or None)
        if edit.annotated and edit.scope is not None:
            self._annotate(function, made, undo)

    def _annotate(self, function: FunctionType, made: FunctionType, undo: Undo) -> None:
        if sys.version_info >= (3, 14) and made.__annotate__ is not None:
            self._copies.set(function, "__annotate__", made.__annotate__, undo)
        else:
            self._copies.set(function, "__annotations__", dict(made.__annotations__), undo)
        if sys.version_info >= (3, 12):
            self._copies.set(function, "__type_params__", made.__type_params__, undo)

    def _make(self, edit: Edit) -> FunctionType:
        scope = edit.scope or ()
        made = donor.run(
            self._plan.new, self._namespace, scope, self._classes.get(scope, ()), [_without_body(edit.syntax, edit)]
        )[_DONOR]
        assert isinstance(made, FunctionType)
        return made


def _without_body(node: Function, edit: Edit) -> ast.stmt:
    """The signature alone, under another name."""
    if isinstance(node, ast.Lambda):
        name = ast.copy_location(ast.Name(_DONOR, ast.Store()), node)
        value = ast.copy_location(ast.Lambda(node.args, ast.copy_location(ast.Constant(None), node)), node)
        return ast.copy_location(ast.Assign([name], value), node)
    arguments = node.args if edit.annotated and edit.scope is not None else _bare(node.args)
    returns = node.returns if edit.annotated and edit.scope is not None else None
    bare = ast.FunctionDef(_DONOR, arguments, [ast.copy_location(ast.Pass(), node)], [], returns)
    if sys.version_info >= (3, 12):
        bare.type_params = getattr(node, "type_params", [])
    return ast.copy_location(bare, node)


def _bare(arguments: ast.arguments) -> ast.arguments:
    """The parameters without annotations."""

    def bare(parameter: ast.arg | None) -> ast.arg | None:
        return None if parameter is None else ast.copy_location(ast.arg(parameter.arg), parameter)

    def all_bare(parameters: list[ast.arg]) -> list[ast.arg]:
        return [ast.copy_location(ast.arg(each.arg), each) for each in parameters]

    return ast.arguments(
        all_bare(arguments.posonlyargs),
        all_bare(arguments.args),
        bare(arguments.vararg),
        all_bare(arguments.kwonlyargs),
        arguments.kw_defaults,
        bare(arguments.kwarg),
        arguments.defaults,
    )


def _defaults(code: CodeType, function: FunctionType) -> dict[str, object]:
    """The defaults of a function by parameter, with ``code`` for its own."""
    values = function.__defaults__ or ()
    positional = code.co_varnames[: code.co_argcount]
    return dict(zip(positional[len(positional) - len(values) :], values, strict=False)) | (
        function.__kwdefaults__ or {}
    )


def _is_literal(edit: Edit) -> bool:
    return all(
        isinstance(default, ast.Constant) for name, default in defaults(edit.syntax).items() if name in edit.anew
    )


def _is_of(plan: Plan, code: CodeType) -> bool:
    """Whether ``code`` is of the source that the plan starts from, and not of an older one."""
    return any(
        each.co_qualname == code.co_qualname and each.co_freevars == code.co_freevars
        for each in plan.old.codes.get((code.co_name, code.co_firstlineno), ())
    )


def _doc(code: CodeType) -> str | None:
    first = code.co_consts[0] if code.co_consts else None
    return first if isinstance(first, str) and (not _HAS_DOC or code.co_flags & _HAS_DOC) else None
