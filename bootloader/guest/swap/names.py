"""Gives names of a module and of its classes what the new source binds them to, and takes away those that are gone."""

from __future__ import annotations

import ast
import gc
import sys
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from types import FunctionType, ModuleType
from typing import Any

from . import classes, donor, operators, records
from .plan import Bind, Describe, Plan, Scope, Step, Unbind
from .refusal import Refusal, Undone
from .statements import meaning_of
from .undo import Undo

_CONDITIONAL = "__conditional_annotations__"
"""Where newer Pythons note which of a module's annotations have been reached."""
_PLAIN = (int, float, complex, str, bytes, tuple, frozenset, range, slice, type(None), type, ModuleType)
_PLAIN_MODULES = ("datetime", "decimal", "fractions", "operator", "pathlib", "pathlib._local", "re", "_struct")
"""Types, and modules whose types, have no state: whether it is the one object or another can't be told."""


class Names:
    """The names of one living module, with the plan for it."""

    def __init__(self, plan: Plan, module: ModuleType) -> None:
        self._plan = plan
        self._namespace: dict[str, Any] = vars(module)
        scopes = {step.scope for step in plan.steps} | {edit.scope for edit in plan.edits if edit.scope}
        self.classes: dict[Scope, list[type]] = {
            scope: classes.chain(plan, self._namespace, scope) for scope in scopes if scope is not None
        }
        self._module = module

    def check(self, namespaces: Collection[int], aside: Collection[int]) -> None:
        """Refuse what the living module can't take.

        ``namespaces``: identities of the module namespaces in which replaced functions are replaced too; ``aside``: of
        objects of this patch.
        """
        operators.check(self._plan, self._namespace)
        for scope, node in self._plan.bases:
            classes.check_base(self._plan, scope, node, self._namespace)
        for scope, node in self._plan.former_bases:
            classes.check_base(self._plan, scope, node, self._namespace, "takes a class away below")
        meaning = meaning_of(self._plan.new.tree)
        for step in self._plan.steps:
            if step.scope:
                syntax = classes.syntax_of(self._plan, step.scope)
                name = "" if isinstance(step, Describe) else _mangled(step)
                live, renewed = self.classes[step.scope][-1], step.scope in self._renewed
                classes.check(self._plan, step, name, live, syntax, meaning, renewed=renewed)
            if isinstance(step, Bind) and step.before == step.kind and step.kind in ("function", "value"):
                self._check_holders(step, namespaces, aside)

    def _check_holders(self, step: Bind, namespaces: Collection[int], aside: Collection[int]) -> None:
        """Refuse to replace a function, or something with a state, that somebody would keep."""
        place: Mapping[str, Any] = vars(self.classes[step.scope][-1]) if step.scope else self._namespace
        live = place.get(_mangled(step))
        function = getattr(live, "__func__", live) if step.kind == "function" else live
        if isinstance(function, _PLAIN) or type(function).__module__ in _PLAIN_MODULES:
            return
        if isinstance(function, FunctionType) != (step.kind == "function"):
            return
        known = {id(live), *namespaces, *aside}
        for holder in gc.get_referrers(function, live):
            if id(holder) in known or (
                isinstance(holder, dict)
                and holder.get("__dict__") is not None
                and (step.kind == "function" or _home_of(holder) in namespaces)
            ):
                continue
            if isinstance(holder, dict) and step.scope and holder.get(_mangled(step)) is live:
                continue  # the class's own
            if isinstance(holder, FunctionType | type) and step.scope:
                continue
            if step.kind == "value" and _are_defaults(holder):
                continue  # they are evaluated anew
            what = f"makes another object of `{'.'.join(step.path)}`, and a {type(holder).__name__} holds the one it is"
            raise Refusal(self._plan.new.path, step.line, what)

    @cached_property
    def _renewed(self) -> set[Scope]:
        """The dataclasses that are given other fields."""
        meaning = meaning_of(self._plan.new.tree)
        return {
            scope
            for scope in {step.scope for step in self._plan.steps if not isinstance(step, Unbind)} - {()}
            if records.may_renew(self.classes[scope][-1], classes.syntax_of(self._plan, scope), meaning)
        }

    def perform(self, undo: Undo) -> None:
        """Take all steps, in the order of the source."""
        renewed = self._renewed  # as long as all is as it was
        for step in self._plan.steps:
            try:
                self._take(step, undo)
            except Exception as error:
                what = f"could not be patched: {type(error).__name__}: {error}"
                raise Undone(self._plan.new.path, step.line, what) from error
        for scope, chain in self.classes.items():
            if scope:
                classes.settle(chain[-1], undo)
            if scope in renewed and (syntax := classes.syntax_of(self._plan, scope)):
                records.renew(self._plan, self._namespace, scope, chain, syntax, undo)
        for scope, line in self._plan.classes.items():
            self._move(scope, line, undo)

    def _take(self, step: Step, undo: Undo) -> None:
        match step:
            case Bind():
                self._bind(step, undo)
            case Unbind():
                self._unbind(step, undo)
            case Describe():
                self._describe(step, undo)

    def _run(self, step: Step, statements: Sequence[ast.stmt]) -> dict[str, Any]:
        return donor.run(self._plan.new, self._namespace, step.scope, self.classes[step.scope], statements)

    def _bind(self, step: Bind, undo: Undo) -> None:
        value = self._run(step, step.statements)[_mangled(step)]
        if step.scope:
            classes.bind(self.classes[step.scope][-1], _mangled(step), value, undo)
        else:
            undo.item(self._namespace, step.name, value)

    def _unbind(self, step: Unbind, undo: Undo) -> None:
        if step.scope:
            classes.unbind(self.classes[step.scope][-1], _mangled(step), undo)
        else:
            undo.without(self._namespace, step.name)

    def _describe(self, step: Describe, undo: Undo) -> None:
        body = [*([step.doc] if step.doc else []), *(step.annotations or ())]
        made = self._run(step, body)
        if step.documented:
            if step.scope:
                undo.member(self.classes[step.scope][-1], "__doc__", made.get("__doc__") if step.doc else None)
            else:
                undo.item(self._namespace, "__doc__", made.get("__doc__") if step.doc else None)
        if step.annotations is not None:
            owner: Any = self.classes[step.scope][-1] if step.scope else self._module
            deferred = made.get("__annotate__") or made.get("__annotate_func__")
            if not step.scope and _CONDITIONAL in made:
                undo.item(self._namespace, _CONDITIONAL, made[_CONDITIONAL])
            if sys.version_info >= (3, 14) and deferred is not None:
                undo.attribute(owner, "__annotate__", deferred)
            elif sys.version_info >= (3, 14):
                undo.attribute(owner, "__annotations__", made.get("__annotations__", {}))
            elif step.scope:
                undo.member(owner, "__annotations__", made.get("__annotations__", {}))
            else:
                undo.item(self._namespace, "__annotations__", made.get("__annotations__", {}))

    def _move(self, scope: Scope, line: int, undo: Undo) -> None:
        names: Mapping[str, Any] = self._namespace
        live: object = None
        for name in scope:
            live = names.get(name)
            if not isinstance(live, type):
                return
            names = vars(live)
        if isinstance(live, type) and live.__module__ == self._module.__name__:
            classes.move(live, line, undo)


def _are_defaults(held: object) -> bool:
    return isinstance(held, tuple | dict) and any(
        isinstance(each, FunctionType) and (each.__defaults__ is held or each.__kwdefaults__ is held)
        for each in gc.get_referrers(held)
    )


def _home_of(members: Mapping[str, Any]) -> int:
    """The namespace of the module that a class is of, by identity."""
    return id(vars(sys.modules.get(members.get("__module__", ""), sys)))


def _mangled(step: Bind | Unbind) -> str:
    """The name as it is kept: in a class, private ones have the class's name before them."""
    name, owner = step.name, step.scope[-1].lstrip("_") if step.scope else ""
    return f"_{owner}{name}" if owner and name.startswith("__") and not name.endswith("__") else name
