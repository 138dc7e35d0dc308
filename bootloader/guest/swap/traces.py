"""What calls at import have read, or set, *within* the functions that they ran: ``motor = Motor()``, whose ``__init__``
reads ``PIN``. It can't be done again. Neither can what a decorator has done.

Follows calls that can be told from the source and what its names stand for: functions, classes, methods of what has a
name, and of ``self``. What is only handed on, such as a callback, is not followed, nor what only the run could tell.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from functools import partial
from types import CodeType, FunctionType, ModuleType

from .frames import modules_running
from .modules import Modules
from .order import runs
from .plan import Bind, Plan, Unbind
from .refusal import Refusal, quoted
from .signature import defaults
from .source import Function, alike, place, start
from .statements import is_main, meaning_of, parts
from .tree import Tree

_MOST_FUNCTIONS = 2_000
_MADE_BY = ("__new__", "__init__", "__post_init__")
_ANY = re.compile(b"")
_MAKES = ("__prepare__", "__new__", "__init__")
_HOOKS = (*_MAKES, "__init_subclass__")
CodePlace = tuple[str, str, int]
"""File, name and first line."""
_Use = tuple[int, str]
"""The identity of a namespace, or of a class, and a name in it."""


class Traces:
    """Of one process. ``live``: the folder that it runs from."""

    def __init__(self, live: str) -> None:
        self._live = live
        self._trees: dict[str, tuple[bytes, ast.Module]] = {}

    def check(self, plans: Mapping[str, Plan], modules: Modules, old: Tree) -> None:
        """Refuse where a value changes that has been used so, or what has made functions and classes."""
        changing, bodies = dict(_changing(plans, modules)), list(_rewritten(plans))
        if not changing and not bodies:
            return
        rewritten = {(file, name, line) for file, _, name, line in bodies}
        words = [rb"@[\w. ]*\b" + name.encode() + rb"\b" if name else rb"\bclass\b" for _, name, _, _ in bodies]
        wanted = re.compile(b"" if changing else b"|".join(words))
        for path, found in modules.by_path.items():
            tree = self._tree(old, path, wanted) if path.endswith(".py") else None
            running = [line for _, line in modules_running({f"{self._live}/{path}"})] if tree else []
            for module, body in [(module, tree.body) for module in found] if tree else ():
                for node in _ran(body, as_main=module.__name__ == "__main__"):
                    if any(start(node) <= line <= (node.end_lineno or line) for line in running):
                        continue  # it still runs: what it reads from now on is new
                    trace = _Trace(self, old, changing, rewritten)
                    if told := trace.of(node, vars(module)):
                        raise Refusal(path, start(node), f"ran at import, and has used the old {told}: {quoted(node)}")

    def function(self, function: FunctionType, old: Tree) -> Function | None:
        """The syntax of a function of the application."""
        code = function.__code__
        if not code.co_filename.startswith(f"{self._live}/"):
            return None
        tree = self._tree(old, code.co_filename[len(self._live) + 1 :])
        for node in ast.walk(tree) if tree else ():
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and place(code) == (node.name, start(node)):
                return node
        return None

    def _tree(self, old: Tree, path: str, wanted: re.Pattern[bytes] = _ANY) -> ast.Module | None:
        data = old.read(path)
        if data is None or not wanted.search(data):
            return None
        if path not in self._trees or self._trees[path][0] != data:
            self._trees[path] = data, ast.parse(data)
        return self._trees[path][1]


def _changing(plans: Mapping[str, Plan], modules: Modules) -> Iterator[tuple[_Use, str]]:
    """The values that change, with their names for a reason."""
    for path, plan in plans.items():
        kinds = {step.path: step.kind for step in plan.steps if isinstance(step, Bind | Unbind)}
        new = {step.path for step in plan.steps if isinstance(step, Bind) and step.before is None}
        for module in modules.by_path[path]:
            for names in plan.touched - new:
                owner: object = module
                for name in names[:-1]:
                    owner = vars(owner).get(name) if isinstance(owner, type | ModuleType) else None
                if not isinstance(owner, type | ModuleType) or kinds.get(names) in ("function", "class"):
                    continue
                if not isinstance(vars(owner).get(names[-1]), FunctionType | type | ModuleType):
                    yield (_identity(owner), names[-1]), ".".join(names)


def _identity(owner: type | ModuleType) -> int:
    return id(owner) if isinstance(owner, type) else id(vars(owner))


def _ran(body: list[ast.stmt], *, as_main: bool) -> Iterator[ast.stmt]:
    """The statements of a module that have run something. What runs as the program is not what is imported."""
    meaning = meaning_of(ast.Module(body, []))
    todo = list(parts(body, meaning, runs_as_main=as_main))
    for part in todo:  # grows while it is walked
        if isinstance(part.node, ast.ClassDef):
            todo += parts(part.node.body, meaning, runs_as_main=as_main)
        if isinstance(part.node, ast.If) and is_main(part.node.test):
            continue
        if part.kind in ("effect", "function", "class") and runs(part, meaning):
            yield part.node


def _rewritten(plans: Mapping[str, Plan]) -> Iterator[tuple[str, str, str, int]]:
    """Functions that may have made others, or classes, and whose own body changes: not only what these run."""
    for plan in plans.values():
        for before, after in plan.successors:
            outer, _, inner = before.co_qualname.partition(".")
            may = inner.startswith("<locals>.") or (before.co_argcount and not inner) or before.co_name in _HOOKS
            if (may or any(isinstance(each, CodeType) for each in before.co_consts)) and not alike(
                before, after, inner=False
            ):
                yield (before.co_filename, outer if before.co_name not in _HOOKS else "", *place(before))


def _makers(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, names: Mapping[str, object]
) -> Iterator[tuple[object, int]]:
    """What was called to make a function or a class; and how many functions deep that ran."""
    for decorator in node.decorator_list:
        yield (
            _value(decorator.func if isinstance(decorator, ast.Call) else decorator, names, (), None),
            isinstance(decorator, ast.Call),
        )
    for base in node.bases if isinstance(node, ast.ClassDef) else ():
        live = _value(base, names, (), None)
        if isinstance(live, type):
            yield inspect.getattr_static(live, "__init_subclass__", None), 0
            yield from ((vars(type(live)).get(name), 0) for name in _MAKES)
    for keyword in node.keywords if isinstance(node, ast.ClassDef) else ():
        meta = _value(keyword.value, names, (), None)
        if keyword.arg == "metaclass" and isinstance(meta, type):
            yield from ((vars(meta).get(name), 0) for name in _MAKES)


class _Trace:
    def __init__(
        self, traces: Traces, old: Tree, changing: Mapping[_Use, str], rewritten: Container[CodePlace]
    ) -> None:
        self._traces, self._old, self._changing, self._rewritten = traces, old, changing, rewritten
        self._todo: list[FunctionType] = []
        self._seen: set[int] = set()

    def of(self, node: ast.stmt, names: Mapping[str, object]) -> str:
        """What of that which changes ``node`` has read in functions, and in which; empty for nothing."""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for called, depth in _makers(node, names):
                self._enter(called)
                if old := self._made_otherwise(depth):
                    return old
            self._call(node.decorator_list, names, (), None)
        else:
            self._call([node], names, (), None)
        for function in self._todo:  # grows while it is walked
            syntax = self._traces.function(function, self._old)
            if syntax is None or isinstance(syntax, ast.Lambda):
                continue
            code = function.__code__
            local = {*code.co_varnames, *code.co_cellvars, *code.co_freevars}
            owner = _owner(function)
            namespace = function.__globals__
            read = [*_uses(syntax.body, namespace, local, owner)]
            read += _uses(list(defaults(syntax).values()), namespace, (), None)
            if used := next((self._changing[each] for each in read if each in self._changing), ""):
                return f"`{used}` within `{code.co_qualname}`"
            self._call(syntax.body, namespace, local, owner)
        return ""

    def _made_otherwise(self, depth: int) -> str:
        """Whether what was called for a definition, and of what this made ``depth`` more, has another body now."""
        codes = [function.__code__ for function in self._todo]
        for _ in range(depth):
            codes += [inner for code in codes for inner in code.co_consts if isinstance(inner, CodeType)]
        found = (code for code in codes if (code.co_filename, *place(code)) in self._rewritten)
        return next((f"body of `{code.co_qualname}`" for code in found), "")

    def _call(
        self, nodes: Iterable[ast.AST], names: Mapping[str, object], local: Container[str], owner: type | None
    ) -> None:
        for node in _evaluated(nodes):
            if isinstance(node, ast.Call):
                self._enter(_value(node.func, names, local, owner))

    def _enter(self, called: object) -> None:
        """What is called is followed, where it is the application's."""
        found = [called]
        if isinstance(called, type):
            found = [inspect.getattr_static(called, name, None) for name in _MADE_BY]
        for each in found:
            for _ in range(20):  # so many wrappers may lie around each other
                if isinstance(each, staticmethod | classmethod):
                    each = each.__func__
                elif isinstance(each, partial):
                    each = each.func
                elif (inner := getattr(each, "__wrapped__", None)) is not None:
                    each = inner
                else:
                    break
            if isinstance(each, FunctionType) and id(each) not in self._seen and len(self._seen) < _MOST_FUNCTIONS:
                self._seen.add(id(each))
                self._todo.append(each)


def _evaluated(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All that is evaluated with ``nodes``: not what is in functions that they define."""
    todo = list(nodes)
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            todo += ast.iter_child_nodes(node)


def _uses(
    nodes: Iterable[ast.AST], names: Mapping[str, object], local: Container[str], owner: type | None
) -> Iterator[_Use]:
    for node in _evaluated(nodes):
        if isinstance(node, ast.Name) and node.id not in local:  # where it is bound, too: it is global
            yield id(names), node.id
        elif isinstance(node, ast.Attribute) and (isinstance(node.ctx, ast.Load) or not _is_self(node.value, owner)):
            of = owner if _is_self(node.value, owner) else _value(node.value, names, local, owner)
            if isinstance(of, ModuleType):
                yield id(vars(of)), node.attr
            else:
                for base in (of if isinstance(of, type) else type(of)).__mro__:
                    yield id(base), node.attr


def _value(node: ast.expr, names: Mapping[str, object], local: Container[str], owner: type | None) -> object:
    """What an expression stands for now, found without running anything; None where it can't be."""
    match node:
        case ast.Name(name):
            return None if name in local else names.get(name)
        case ast.Attribute(value, name):
            of = owner if _is_self(value, owner) else _value(value, names, local, owner)
            return None if of is None else inspect.getattr_static(of, name, None)
        case ast.Call(ast.Name("super"), []) if owner is not None:
            return owner.__mro__[1]
        case ast.Call(function):
            made = _value(function, names, local, owner)
            return made if isinstance(made, type | FunctionType) else None  # what it makes has its methods
    return None


def _is_self(node: ast.expr, owner: type | None) -> bool:
    return owner is not None and isinstance(node, ast.Name) and node.id in ("self", "cls")


def _owner(function: FunctionType) -> type | None:
    """The class that a method is of."""
    found: object = None
    names: Mapping[str, object] = function.__globals__
    for name in function.__qualname__.split(".")[:-1]:
        found = names.get(name)
        if not isinstance(found, type):
            return None
        names = vars(found)
    return found if isinstance(found, type) else None
