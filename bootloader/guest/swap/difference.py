"""Two sources of one module become a plan, or a refusal that names the statement which does not allow one.

Pure. The rule: a patch leads to the module that a new start would have, but for the state that has built up since. So a
definition is replaced where it stands, a value is given anew only where its source changed, and what merely runs at
import must be what it was, and must not have used what changed.
"""

from __future__ import annotations

import ast
import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from types import CodeType

from . import order
from .admission import admit, admit_annotations
from .consequences import follow
from .identity import pairs
from .plan import ANNOTATIONS, DOCSTRING, Bind, Describe, Edit, Path, Plan, Scope, Unbind
from .refusal import Refusal, quoted
from .signature import (
    annotations_of,
    changed_parameters,
    defaults,
    doc_of,
    is_annotated_otherwise,
    is_declared_otherwise,
    nature,
)
from .source import Function, Place, Source, alike, arity, place, start
from .statements import Part, bound_by, by_name, function_of, meaning_of, parts, same


def difference(old: Source, new: Source, *, touched: Iterable[Path] = (), runs_as_main: bool = False) -> Plan:
    """How to lead the module of ``old`` to ``new``. ``touched``: names that it imports and that change elsewhere."""
    return _Comparison(old, new, set(touched), runs_as_main).plan()


class _Comparison:
    def __init__(self, old: Source, new: Source, touched: set[Path], runs_as_main: bool) -> None:
        self._old, self._new = old, new
        self._runs_as_main = runs_as_main
        self._given = frozenset(touched)
        self._plan = Plan(old, new, touched=touched)
        self._meaning_before, self._meaning = meaning_of(old.tree), meaning_of(new.tree)
        self._kept: list[tuple[Scope, Part]] = []
        self._compared: set[Scope] = set()
        self._bodies: list[order.Body] = []
        self._places = sorted({place(code) for codes in old.codes.values() for code in codes}, key=_line)

    def plan(self) -> Plan:
        if _futures(self._old.tree) != _futures(self._new.tree):
            raise self._refusal(1, "changed its imports from `__future__`")
        self._body((), self._old.tree, self._new.tree)
        self._tell_apart()
        follow(self._plan, self._meaning, self._kept, self._compared, self._given, self._runs_as_main)
        order.check(self._plan, self._bodies, self._meaning, deferred="annotations" in _futures(self._new.tree))
        self._plan.steps.sort(key=lambda step: (not isinstance(step, Unbind), step.line))
        moved = _classes(self._old.tree.body)
        self._plan.classes = {
            scope: line for scope, line in _classes(self._new.tree.body).items() if moved.get(scope, line) != line
        }
        return self._plan

    def _refusal(self, line: int, what: str) -> Refusal:
        return Refusal(self._new.path, line, what)

    def _body(self, scope: Scope, old: ast.Module | ast.ClassDef, new: ast.Module | ast.ClassDef) -> None:
        """Compare the bodies of the module, or of one class."""
        before = list(parts(old.body, self._meaning_before, runs_as_main=self._runs_as_main))
        after = list(parts(new.body, self._meaning, runs_as_main=self._runs_as_main))
        self._bodies.append(order.Body(scope, before, after, new if isinstance(new, ast.ClassDef) else None))
        self._effects(scope, _of_kind(before, "effect"), _of_kind(after, "effect"))
        self._describe(scope, old, new, before, after)
        shared = {name for part in (*before, *after) if part.kind == "effect" for name in bound_by(part.node)}
        mine, its = by_name(before), by_name(after)
        for name, group in its.items():
            if name in mine:
                self._stays(scope, name, mine[name], group, shared)
            else:
                self._comes(scope, name, group, shared)
        for name in mine.keys() - its.keys():
            if name in shared:
                raise self._refusal(start(mine[name][0].whole), f"bound `{name}`, which is bound elsewhere too")
            self._leaves(scope, mine[name])
            first = mine[name][0]
            self._plan.steps.append(Unbind(scope, name, first.kind, start(first.whole)))
            self._plan.touched.add((*scope, name))

    def _effects(self, scope: Scope, old: list[Part], new: list[Part]) -> None:
        where = f"in the body of class `{scope[-1]}`" if scope else "at import"
        for one, other in itertools.zip_longest(old, new):
            if one is None or other is None or not self._is_same(one, other, bodies=False):
                for part in new:
                    if not any(self._is_same(each, part, bodies=False) for each in old):
                        raise self._refusal(start(part.whole), f"changed what runs {where}: {quoted(part.node)}")
                for part in old:
                    if not any(self._is_same(part, each, bodies=False) for each in new):
                        raise self._refusal(start(part.whole), f"ran {where}, and is gone: {quoted(part.node)}")
                raise self._refusal(start((other or one).whole), f"changed the order of what runs {where}")
            self._kept.append((scope, other))
            self._pair(one, other)

    def _describe(
        self,
        scope: Scope,
        old: ast.Module | ast.ClassDef,
        new: ast.Module | ast.ClassDef,
        before: list[Part],
        after: list[Part],
    ) -> None:
        documented = doc_of(old) != doc_of(new)
        declared = _declared(after)
        annotated = not same(_declared(before), declared)
        if annotated:
            expressions = [each.annotation for each in declared if isinstance(each, ast.AnnAssign)]
            admit_annotations(self._new.path, expressions, self._meaning)
            self._plan.touched.add((*scope, ANNOTATIONS))
        if documented:
            self._plan.touched.add((*scope, DOCSTRING))
        if documented or annotated:
            first = new.body[0] if new.body else None
            doc = first if isinstance(first, ast.Expr) and doc_of(new) is not None else None
            told = tuple(declared) if annotated else None
            self._plan.steps.append(Describe(scope, documented, doc, told, start(first) if first else 1))

    def _stays(self, scope: Scope, name: str, old: list[Part], new: list[Part], shared: set[str]) -> None:
        line = start(new[-1].whole)
        if [part.kind for part in old] == [part.kind for part in new]:
            # A lambda in a table that is otherwise the same gets its new body where it is.
            deep = new[0].kind != "value"
            unlike = [pair for pair in zip(old, new, strict=True) if not self._is_same(*pair, bodies=deep)]
            if not unlike or (new[0].kind in ("function", "class") and self._edited(scope, old, new)):
                for one, other in zip(old, new, strict=True):
                    self._kept.append((scope, other))
                    self._pair(one, other)
                return
        elif {part.kind for part in (*old, *new)} & {"function", "class"} and old[0].kind != new[0].kind:
            raise self._refusal(line, f"made `{name}` a {new[-1].kind}, which was a {old[-1].kind}")
        if name in shared:
            other = next(part for part in self._kept_effects(scope) if name in bound_by(part.node))
            raise self._refusal(start(other.whole), f"was built upon the old `{name}`: {quoted(other.node)}")
        if name == "__slots__" and scope:
            raise self._refusal(line, f"changed `__slots__` of class `{scope[-1]}`")
        if any(part.kind == "class" for part in (*old, *new)):
            raise self._refusal(line, f"changed how often class `{name}` is defined")
        self._leaves(scope, old[len(new) :])
        for one, other in zip(old, new, strict=False):
            self._redecorated({part.name for part in old}, one.node, other.node)
        self._plan.bases += admit(self._new.path, scope, new, self._meaning)
        for one, other in zip(old, new, strict=False):
            if one.kind == other.kind == "function" and self._fits_cells(function_of(one), function_of(other)):
                self._pair(one, other)  # whoever holds the old object, runs the new body all the same
        self._bind(scope, name, new, old[-1])

    def _comes(self, scope: Scope, name: str, group: list[Part], shared: set[str]) -> None:
        if name in shared:
            raise self._refusal(start(group[0].whole), f"binds `{name}`, which is bound elsewhere too")
        if name == "__slots__" and scope:
            raise self._refusal(start(group[0].whole), f"gave class `{scope[-1]}` `__slots__`")
        self._plan.bases += admit(self._new.path, scope, group, self._meaning)
        self._bind(scope, name, group, None)

    def _leaves(self, scope: Scope, group: list[Part]) -> None:
        """Refuse to take away what did more than define: that would stay."""
        for part in group:
            try:
                self._plan.former_bases += admit(self._old.path, scope, [part], self._meaning_before)
            except Refusal as refusal:
                what = f"took `{part.name}` away, which did more than define it: {quoted(part.node)}"
                raise self._refusal(start(part.whole), what) from refusal

    def _bind(self, scope: Scope, name: str, group: Sequence[Part], before: Part | None) -> None:
        for part in group:
            code = self._new.code_of(function_of(part)) if part.kind == "function" else None
            if code is not None and set(code.co_freevars) - {"__class__"}:
                what = f"needs `{code.co_freevars[0]}`, a type parameter of its class, which it can't be given"
                raise self._refusal(start(part.whole), what)
        statements = tuple(part.node for part in group)
        kind = before.kind if before else None
        self._plan.steps.append(Bind(scope, name, group[-1].kind, statements, kind, start(group[-1].whole)))
        self._plan.touched.add((*scope, name))

    def _redecorated(self, siblings: set[str], old: ast.stmt, new: ast.stmt) -> None:
        """Refuse where a decorator that may have done anything is no longer there."""
        after: list[ast.expr] = getattr(new, "decorator_list", [])
        for decorator in getattr(old, "decorator_list", ()):
            if not any(same(decorator, each) for each in after) and not self._meaning_before.may_decorate(
                decorator, siblings
            ):
                for each in after:
                    if not self._meaning.may_decorate(each, siblings):
                        what = f"has the decorator `@{ast.unparse(each)}`, which would have to run again"
                        raise self._refusal(each.lineno, what)
                what = f"lost the decorator `@{ast.unparse(decorator)}`, which ran at import"
                raise self._refusal(start(new), what)

    def _heard(self, old: Function, new: Function) -> None:
        """Refuse another signature or docstring where a decorator may have read the one it was."""
        if isinstance(new, ast.Lambda):
            return
        for decorator in new.decorator_list:
            if not self._meaning.may_decorate(decorator, {new.name}) and is_declared_otherwise(old, new):
                what = f"declares `{new.name}` otherwise than `@{ast.unparse(decorator)}` may have read it at import"
                raise self._refusal(new.lineno, what)

    def _edited(self, scope: Scope, old: list[Part], new: list[Part]) -> bool:
        """Edit the functions and classes of one name in place; False where they have to be made anew."""
        if new[0].kind == "class":
            for one, other in zip(old, new, strict=True):
                self._class(scope, one.node, other.node)
            return True
        found = [(function_of(one), function_of(other)) for one, other in zip(old, new, strict=True)]
        if not all(self._fits(before, after) for before, after in found):
            return False
        for before, after in found:
            self._edit(scope, before, after)
        return True

    def _fits(self, old: Function, new: Function) -> bool:
        """Whether the function object can stay, with the new code in it."""
        if isinstance(old, ast.Lambda) or isinstance(new, ast.Lambda):
            return type(old) is type(new)
        if not same(old.decorator_list, new.decorator_list, bodies=False):
            return False
        if old.decorator_list and nature(old) != nature(new):
            return False
        return self._fits_cells(old, new)

    def _fits_cells(self, old: Function, new: Function) -> bool:
        before, after = self._old.code_of(old), self._new.code_of(new)
        return before is not None and after is not None and before.co_freevars == after.co_freevars

    def _edit(self, scope: Scope | None, old: Function, new: Function) -> None:
        before, after = self._old.code_of(old), self._new.code_of(new)
        if before is None or after is None:
            return
        self._heard(old, new)
        anew = changed_parameters(old, new)
        annotated = is_annotated_otherwise(old, new)
        if scope is not None:
            for name, default in defaults(new).items():
                if name in anew and not self._meaning.is_free(default):
                    raise self._refusal(default.lineno, f"has a default that runs code: {quoted(default)}")
            if annotated:
                admit_annotations(self._new.path, annotations_of(new), self._meaning)
            if anew or annotated or not alike(before, after):
                self._plan.changed.append(after.co_qualname)
            if not isinstance(new, ast.Lambda) and doc_of(old) != doc_of(new):
                self._plan.touched.add((*scope, new.name, DOCSTRING))
        if anew or annotated or arity(before) != arity(after) or defaults(old).keys() != defaults(new).keys():
            edit = Edit(after.co_qualname, scope, before, after, new, anew, annotated)
            self._plan.edits.append(edit)
            self._plan.touched |= edit.touches

    def _kept_effects(self, scope: Scope) -> list[Part]:
        return [part for at, part in self._kept if at == scope and part.kind == "effect"]

    def _class(self, scope: Scope, old: ast.stmt, new: ast.stmt) -> None:
        assert isinstance(old, ast.ClassDef)
        assert isinstance(new, ast.ClassDef)
        for what in ("bases", "keywords", "decorator_list", "type_params"):
            if not same(getattr(old, what, None), getattr(new, what, None), bodies=False):
                named = {"keywords": "metaclass or keywords", "decorator_list": "decorators"}.get(what, what)
                raise self._refusal(new.lineno, f"changed the {named.replace('_', ' ')} of class `{new.name}`")
        self._pair_within(_header(old), _header(new))
        inner = (*scope, new.name)
        self._compared.add(inner)
        self._body(inner, old, new)

    def _is_same(self, old: Part, new: Part, *, bodies: bool = True) -> bool:
        if old is new:
            return True
        if old.kind == new.kind == "value" and old.value is not None and new.value is not None:
            return same(old.value, new.value, bodies=bodies)  # a hint beside it is none of the value's business
        whole = old.node is old.whole and new.node is new.whole
        return (whole and self._is_written(old.whole, new.whole)) or same(old.node, new.node, bodies=bodies)

    def _is_written(self, old: ast.stmt, new: ast.stmt) -> bool:
        """Whether the text of a statement is the same."""
        return old is new or self._old.segment(old) == self._new.segment(new)

    def _pair(self, old: Part, new: Part) -> None:
        """Find the successor of all code in a statement."""
        if old.kind not in ("function", "class", "effect", "value"):
            return
        if self._is_written(old.whole, new.whole) and self._pair_moved(old.whole, new.whole):
            return
        if old.kind == "class":
            if self._is_same(old, new):  # its body is compared for itself otherwise
                self._pair_within(old.node, new.node)
            return
        if old.kind == "function":
            one, other = function_of(old), function_of(new)
            self._succeed(one, other)
            self._pair_within(one, other)
        else:
            self._pair_within(old.node, new.node)

    def _pair_within(self, old: ast.AST, new: ast.AST) -> None:
        for one, other in pairs(old, new):
            self._succeed(one, other)
            self._edit(None, one, other)

    def _succeed(self, old: Function, new: Function) -> None:
        before, after = self._old.code_of(old), self._new.code_of(new)
        if before is not None and after is not None:
            self._plan.successors.append((before, after))
        elif len(self._old.codes.get(("<lambda>", start(old)), ())) > 1 and not same(old, new):
            # Python can be told to keep no columns.
            raise self._refusal(start(new), f"can't be told from what is beside it: {quoted(new)}")

    def _pair_moved(self, old: ast.stmt, new: ast.stmt) -> bool:
        """The code of a statement whose text is the same: by place, all lines moved by as many.

        False where there is not as much of it as there was: of what else stands on its lines.
        """
        by = start(new) - start(old)
        first = bisect_left(self._places, start(old), key=_line)
        last = bisect_right(self._places, old.end_lineno or old.lineno, key=_line)
        found: list[tuple[CodeType, CodeType]] = []
        for name, line in self._places[first:last]:
            before, after = self._old.codes[name, line], self._new.codes.get((name, line + by), [])
            if len(before) != len(after):
                return False
            found += zip(before, after, strict=True)
        self._plan.successors += found
        return True

    def _tell_apart(self) -> None:
        """Refuse where one code object that is met in the process may have to become either of two."""
        beside: dict[Place, list[tuple[CodeType, CodeType]]] = {}
        for old, new in self._plan.successors:
            if old.co_name == "<lambda>":
                beside.setdefault(place(old), []).append((old, new))
        for group in beside.values():
            for (old, new), (other, its) in itertools.combinations(group, 2):
                if not alike(new, its) and alike(old, other) and [*old.co_positions()] == [*other.co_positions()]:
                    what = "has lambdas that were the same, and which Python does not tell apart"
                    raise self._refusal(new.co_firstlineno, what)


def _of_kind(found: Iterable[Part], kind: str) -> list[Part]:
    return [part for part in found if part.kind == kind]


def _declared(found: Iterable[Part]) -> list[ast.stmt]:
    """The annotated names of a body, without their values."""
    return [
        ast.copy_location(ast.AnnAssign(part.node.target, part.node.annotation, None, part.node.simple), part.node)
        for part in found
        if isinstance(part.node, ast.AnnAssign) and isinstance(part.node.target, ast.Name)
    ]


def _futures(tree: ast.Module) -> set[str]:
    return {
        alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        for alias in node.names
    }


def _classes(body: Iterable[ast.stmt], scope: Scope = ()) -> dict[Scope, int]:
    """On which line each class begins."""
    found: dict[Scope, int] = {}
    for node in body:
        if isinstance(node, ast.ClassDef):
            found[*scope, node.name] = start(node)
            found |= _classes(node.body, (*scope, node.name))
    return found


def _header(node: ast.ClassDef) -> ast.ClassDef:
    """The class without its body."""
    return ast.ClassDef(node.name, node.bases, node.keywords, [], node.decorator_list)


def _line(at: tuple[str, int]) -> int:
    return at[1]
