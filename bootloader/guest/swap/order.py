"""Whether what stays, and what is evaluated again, stands where it would see what a new start sees.

Pure. A patch evaluates with the names as they are in the living module, bound for the last time. So a statement that is
evaluated may read only what is not bound again below it, one that stays may not have moved across a binding of
what it read, and what does more than define keeps its order.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .effects import Meaning
from .plan import Path, Plan, Scope
from .refusal import Refusal, quoted
from .signature import annotations_of, defaults
from .source import start
from .statements import Part, bound_by, parts, same

_Key = tuple[str, int]
"""A name, empty for an effect, and its how manieth binding it is."""
_State = tuple[bool, int]
"""Of a name where it is read: whether it is bound below, and how often it has been above, if so."""
_TYPE_ALIAS = getattr(ast, "TypeAlias", ())


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """A module's, or a class's: the parts that it had, and those that it has. ``owner``: the class."""

    scope: Scope
    before: list[Part]
    after: list[Part]
    owner: ast.ClassDef | None


def check(plan: Plan, bodies: Iterable[Body], meaning: Meaning, *, deferred: bool) -> None:
    """Refuse a plan, once it is whole, that would see another order. ``deferred``: annotations are not evaluated."""
    evaluated = set(plan.touched)
    evaluated |= {
        tuple(edit.name.split(".")) for edit in plan.edits if edit.scope is not None and (edit.anew or edit.annotated)
    }
    todo = list(bodies)
    compared = {body.scope for body in todo}
    for body in todo:  # grows while it is walked
        _Order(plan, body, meaning, evaluated, deferred or sys.version_info >= (3, 14)).check()
        for part in body.after:
            inner = (*body.scope, part.name)
            if inner in compared or not isinstance(part.node, ast.ClassDef):
                continue
            if any(path[: len(inner)] == inner for path in evaluated if len(path) > len(inner)):
                found = list(parts(part.node.body, meaning, runs_as_main=True))
                todo.append(Body(inner, found, found, part.node))


def runs(part: Part, meaning: Meaning) -> bool:
    """Whether it does more than define, as far as the source tells."""
    match part.node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() as node:
            return not all(meaning.may_decorate(each, {part.name}) for each in node.decorator_list)
        case ast.ClassDef() as node:
            return (
                bool(node.keywords)
                or not all(map(meaning.may_decorate, node.decorator_list))
                or not all(map(meaning.is_known_base, node.bases))
                or any(runs(each, meaning) for each in parts(node.body, meaning, runs_as_main=True))
            )
    return part.kind == "effect"


class _Order:
    def __init__(self, plan: Plan, body: Body, meaning: Meaning, evaluated: set[Path], deferred: bool) -> None:
        self._plan, self._meaning, self._evaluated, self._deferred = plan, meaning, evaluated, deferred
        self._body = body
        self._before, self._after = dict(_keyed(body.before)), dict(_keyed(body.after))
        self._bound_before: dict[str, list[int]] = {}
        self._bound_after: dict[str, list[int]] = {}

    def check(self) -> None:
        if not self._evaluated and list(self._before) == list(self._after):
            return
        self._bound_before, self._bound_after = _bindings(self._body.before), _bindings(self._body.after)
        self._keeps_what_runs()
        self._keeps_members()
        places = {key: place for place, key in enumerate(self._before)}
        for place, (key, part) in enumerate(self._after.items()):
            for name in sorted(_loaded(part, self._deferred) & self._bound_after.keys()):
                if name != part.name or part.kind != "function":  # all of a property is made together
                    self._sees(name, part, key, place, places.get(key))

    def _sees(self, name: str, part: Part, key: _Key, place: int, before: int | None) -> None:
        state = _state(self._bound_after[name], place, part.name == name)
        stays = before is not None and same(self._before[key].node, part.node, bodies=False)
        again = (*self._body.scope, part.name) in self._evaluated and part.kind != "effect"
        if before is not None and name in self._bound_before:
            was = _state(self._bound_before[name], before, part.name == name)
            if was != state and not (again and part.kind == "value" and not state[0]):
                what = f"reads `{name}` on the other side of where it is bound: {quoted(part.node)}"
                raise Refusal(self._plan.new.path, start(part.whole), what)
        if state[0] and (again or not stays or (*self._body.scope, name) in self._plan.touched):
            what = f"reads `{name}`, which is bound{' again' if state[1] else ''} below: {quoted(part.node)}"
            raise Refusal(self._plan.new.path, start(part.whole), what)

    def _keeps_what_runs(self) -> None:
        before = [key for key, part in self._before.items() if runs(part, self._meaning) and key in self._after]
        after = [key for key, part in self._after.items() if runs(part, self._meaning) and key in self._before]
        for mine, its in zip(before, after, strict=False):
            if mine != its:
                part = self._after[its]
                where = f"in the body of class `{self._body.scope[-1]}`" if self._body.scope else "at import"
                what = f"changed the order of what runs {where}: {quoted(part.node)}"
                raise Refusal(self._plan.new.path, start(part.whole), what)

    def _keeps_members(self) -> None:
        """The members of an Enum, or of what may be one, count by their order."""
        owner = self._body.owner
        if owner is None or all(
            self._meaning.is_known_base(base) and not self._meaning.dotted(base).startswith("enum.")
            for base in owner.bases
        ):
            return
        before, after = list(_members(self._body.before)), list(_members(self._body.after))
        mine = [name for name in before if name in after]
        its = [name for name in after if name in before]
        if mine != its:
            what = f"changed the order of the members of class `{owner.name}`"
            raise Refusal(self._plan.new.path, start(owner), what)


def _keyed(body: list[Part]) -> Iterator[tuple[_Key, Part]]:
    seen: Counter[str] = Counter()
    for part in body:
        if part.kind != "annotation":
            seen[part.name] += 1
            yield (part.name, seen[part.name]), part


def _binds(part: Part) -> set[str]:
    return {part.name} if part.name else set(bound_by(part.node))


def _bindings(body: list[Part]) -> dict[str, list[int]]:
    """Where each name is bound."""
    found: dict[str, list[int]] = {}
    for place, (_, part) in enumerate(_keyed(body)):
        for name in _binds(part):
            found.setdefault(name, []).append(place)
    return found


def _state(bound: list[int], place: int, itself: bool) -> _State:
    above = sum(each < place for each in bound)
    below = itself or any(each > place for each in bound)
    return below, above if below else 0


def _members(body: list[Part]) -> Iterator[str]:
    for part in body:
        if part.kind in ("value", "effect"):
            yield from _binds(part)


def _loaded(part: Part, deferred: bool) -> set[str]:
    """The names that are read while a part is evaluated."""
    return _loads([part.node], deferred) if part.kind != "import" else set()


def _loads(nodes: Iterable[ast.AST | None], deferred: bool) -> set[str]:
    found: set[str] = set()
    todo = list(nodes)
    while todo:
        each = todo.pop()
        match each:
            case ast.Name(name, ast.Load()) | ast.AugAssign(target=ast.Name(name)):
                found.add(name)
            case ast.ClassDef():
                todo += [*each.decorator_list, *each.bases, *each.keywords]
                found |= _loads(each.body, deferred) - {name for node in each.body for name in bound_by(node)}
                continue
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                todo += [*each.decorator_list, *defaults(each).values(), *([] if deferred else annotations_of(each))]
                continue
            case ast.Lambda():
                todo += defaults(each).values()
                continue
            case ast.AnnAssign():
                todo += [each.value, None if deferred else each.annotation]
                continue
            case None:
                continue
            case _ if isinstance(each, _TYPE_ALIAS):
                continue
        todo += ast.iter_child_nodes(each)
    return found
