"""What stayed in a module, but was made from something that changes: it changes too, or there is a refusal.

Pure. A value is computed again where that makes no second one of something in use; a default or an annotation is
evaluated again; what has run at import, or was decorated, can't be taken back.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .effects import Meaning, reads
from .plan import ANNOTATIONS, DEFAULTS, DOCSTRING, Bind, Describe, Edit, Path, Plan, Scope
from .refusal import Refusal, quoted
from .signature import annotations_of, defaults
from .source import start
from .statements import Part, bound_by, function_of, imported_in, parts

_DEPTH = 8
"""Longer paths are not followed: there may be a circle."""

_DECLARED = frozenset({ANNOTATIONS, *DEFAULTS, DOCSTRING})
"""What a function, a class or a module declares besides its body."""

_WHOLE = frozenset({"vars", "globals", "locals", "eval", "exec"})
"""What reads names that it does not say."""


def follow(
    plan: Plan,
    meaning: Meaning,
    kept: list[tuple[Scope, Part]],
    compared: set[Scope],
    given: frozenset[Path],
    main: bool,
) -> None:
    """Add to ``plan``.

    ``kept``: all parts that stayed, but for those of classes that were not ``compared``; ``given``: what changes of
    what the module imports; ``main``: it runs as ``__main__``.
    """
    if plan.touched:
        _Consequences(plan, meaning, kept, compared, given, main).follow()


class _Consequences:
    def __init__(
        self,
        plan: Plan,
        meaning: Meaning,
        kept: list[tuple[Scope, Part]],
        compared: set[Scope],
        given: frozenset[Path],
        main: bool,
    ) -> None:
        self._plan, self._meaning, self._kept = plan, meaning, kept
        self._compared, self._given, self._runs_as_main = compared, given, main
        self._likenesses = list(_likenesses(plan.new.tree.body))
        self._definitions = {
            step.path for step in plan.steps if not isinstance(step, Describe) and step.kind in ("function", "class")
        }

    def follow(self) -> None:
        """Until nothing more is concerned."""
        self._unfold()
        todo = True
        while todo:  # each round takes at least one part out
            todo = False
            self._inherit()
            for scope, part in list(self._kept):
                used = self._used_by(scope, part)
                if used:
                    self._kept.remove((scope, part))
                    todo |= self._follow_part(scope, part, used)
        self._follow_stars()

    def _inherit(self) -> None:
        """What changes of a class, changes of what derives from it, is made of it, or is another name for it."""
        todo = list(self._plan.touched)
        while todo:
            path = todo.pop()
            for like in self._likenesses:
                size = len(like.of)
                mine = (*like.path, *path[size:])
                if path[:size] != like.of or len(path) == size or path[size] in like.own or len(mine) > _DEPTH:
                    continue
                if path in self._definitions:
                    self._definitions.add(mine)
                if mine not in self._plan.touched:
                    self._plan.touched.add(mine)
                    self._plan.inherited.add(mine)
                    todo.append(mine)

    def _follow_stars(self) -> None:
        """Names that came with ``import *`` and that stand for something else now."""
        stars = [part.node for scope, part in self._kept if not scope and _is_star(part.node)]
        bound = {step.path for step in self._plan.steps if not isinstance(step, Describe)}
        bound |= {(part.name,) for scope, part in self._kept if not scope}
        for path in sorted(self._given - bound) if stars else ():
            if len(path) == 1:
                if len(stars) > 1:
                    raise Refusal(
                        self._plan.new.path, stars[0].lineno, f"may be where `{path[0]}` comes from, which changed"
                    )
                star = stars[0]
                assert isinstance(star, ast.ImportFrom)
                node = ast.copy_location(ast.ImportFrom(star.module, [ast.alias(path[0])], star.level), star)
                self._plan.steps.append(Bind((), path[0], "import", (node,), "import", star.lineno))

    def _follow_part(self, scope: Scope, part: Part, used: Path) -> bool:
        """Whether a name stands for another object now."""
        if part.kind == "function":
            return self._followfunction_of(scope, part)
        if part.kind == "import":
            self._bind(scope, part)
            return False
        if part.kind == "value" and self._is_current(scope, used) and self._is_derived(part):
            self._bind(scope, part)
            return True
        ran = "ran at import with" if part.kind == "effect" else "was made with"
        raise Refusal(self._plan.new.path, start(part.whole), f"{ran} the old `{'.'.join(used)}`: {quoted(part.node)}")

    def _is_derived(self, part: Part) -> bool:
        return part.value is None or self._meaning.is_derived(part.value)

    def _is_current(self, scope: Scope, used: Path) -> bool:
        """Whether ``used`` is as it will be when values are computed: functions get what they declare after that."""
        described = {step.scope for step in self._plan.steps if isinstance(step, Describe)}
        return used[-1] not in _DECLARED or not described.isdisjoint({used[:-1], (*scope, *used[:-1])})

    def _followfunction_of(self, scope: Scope, part: Part) -> bool:
        """A kept function: its decorators can't be run again, its defaults and annotations can be evaluated again.

        Whether more stands for another object now.
        """
        node = function_of(part)
        for decorator in getattr(node, "decorator_list", ()):
            if used := self._is_touched(scope, decorator) or self._is_handed(scope, decorator):
                raise Refusal(self._plan.new.path, decorator.lineno, f"was decorated with the old `{'.'.join(used)}`")
        anew = frozenset(name for name, default in defaults(node).items() if self._is_touched(scope, default))
        annotated = any(self._is_touched(scope, each) for each in annotations_of(node))
        for decorator in getattr(node, "decorator_list", ()):
            if (anew or annotated) and not self._meaning.may_decorate(decorator, {part.name}):
                what = f"may have read a default or an annotation of `{part.name}`, which is another one now"
                raise Refusal(self._plan.new.path, decorator.lineno, f"`@{ast.unparse(decorator)}` {what}")
        code = self._plan.new.code_of(node)
        before = next((old for old, new in self._plan.successors if new is code), None)
        if code is None or before is None:
            raise Refusal(self._plan.new.path, start(node), f"can't be told from what is beside it: {quoted(node)}")
        for edit in [each for each in self._plan.edits if each.new is code]:
            self._plan.edits.remove(edit)
            anew |= edit.anew
            annotated |= edit.annotated
        edit, known = Edit(code.co_qualname, scope, before, code, node, anew, annotated), len(self._plan.touched)
        self._plan.edits.append(edit)
        self._plan.touched |= edit.touches
        if anew and code.co_qualname not in self._plan.changed:
            self._plan.changed.append(code.co_qualname)
        return len(self._plan.touched) > known

    def _unfold(self) -> None:
        """Look into the classes that did not change."""
        for scope, part in self._kept:  # grows while it is walked
            if isinstance(part.node, ast.ClassDef) and (*scope, part.name) not in self._compared:
                inner = parts(part.node.body, self._meaning, runs_as_main=self._runs_as_main)
                self._kept += [((*scope, part.name), each) for each in inner]

    def _used_by(self, scope: Scope, part: Part) -> Path:
        """What ``part`` reads, while it is evaluated, of what changed; empty for nothing."""
        nodes: Iterable[ast.AST] = [part.node if part.value is None or part.kind == "effect" else part.value]
        if isinstance(part.node, ast.ClassDef):  # its body has parts of its own
            nodes = [*part.node.bases, *part.node.keywords, *part.node.decorator_list]
        elif part.kind == "import":
            return (part.name,) if (*scope, part.name) in self._given else ()
        elif part.kind == "effect" and (
            used := self._is_handed(scope, part.node) or self._is_imported(scope, part.node)
        ):
            return used
        return next((used for node in nodes if (used := self._is_touched(scope, node))), ())

    def _is_touched(self, scope: Scope, node: ast.AST) -> Path:
        for path in reads(node):
            for end in range(1, len(path) + 1):
                if path[:end] in self._plan.touched or (scope and (*scope, *path[:end]) in self._plan.touched):
                    return path[:end]
        return ()

    def _is_handed(self, scope: Scope, node: ast.AST) -> Path:
        """What changes within something that ``node`` hands on as a whole: ``Config.PIN`` for ``Motor(Config)``."""
        declared = {path for edit in self._plan.edits for path in edit.touches}
        values = {path for path in self._plan.touched - self._definitions - declared if path[-1] != DOCSTRING}
        if any(path[0] in _WHOLE for path in reads(node)):
            return min((path for path in values if len(path) > len(scope)), default=())
        for path in reads(node, called=False):
            for whole in (path, (*scope, *path)):
                for used in values:
                    if len(used) > len(whole) and used[: len(whole)] == whole:
                        return used
        return ()

    def _is_imported(self, scope: Scope, node: ast.stmt) -> Path:
        """What a statement imports, on a condition say, and what changed."""
        return next(((name,) for name in imported_in(node) if (*scope, name) in self._given), ())

    def _bind(self, scope: Scope, part: Part) -> None:
        self._plan.steps.append(Bind(scope, part.name, part.kind, (part.node,), part.kind, start(part.whole)))
        self._plan.touched.add((*scope, part.name))


def _is_star(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.names[0].name == "*"


@dataclass(frozen=True, slots=True)
class _Likeness:
    """``path`` has the attributes that ``of`` has, but for its ``own``."""

    path: Path
    of: Path
    own: frozenset[str] = frozenset()


def _likenesses(body: Iterable[ast.stmt], scope: Scope = ()) -> Iterator[_Likeness]:
    for node in body:
        match node:
            case ast.ClassDef():
                own = frozenset(name for each in node.body for name in bound_by(each))
                for base in node.bases:
                    yield from (_Likeness((*scope, node.name), path, own) for path in _named(base, scope))
                yield from _likenesses(node.body, (*scope, node.name))
            case ast.Assign([ast.Name(name)], ast.Call(func=source) | (ast.Name() | ast.Attribute() as source)):
                yield from (_Likeness((*scope, name), path) for path in _named(source, scope))


def _named(node: ast.expr, scope: Scope) -> Iterator[Path]:
    """What a name or a name of a name may mean, seen from the body of ``scope``."""
    if isinstance(node, ast.Name | ast.Attribute):
        for path in reads(node):
            yield path
            if scope:
                yield (*scope, *path)
