"""What modules have of each other: whether a new start would still find it, and would find nothing else.

Knows where names come from by the source of whoever asks for them, and by what is loaded.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType

from .effects import Meaning, reads
from .imports import Imports, asked_for, telling
from .modules import Modules, resolved
from .plan import Bind, Plan, Unbind
from .refusal import Refusal, quoted
from .source import Source
from .statements import bound_by, parts
from .tree import Tree

_OWN_NAMES = ("__name__", "__file__", "__package__", "__spec__")
_DOTTED = re.compile(rb"\bimport\b(?:[^\n]|\\\r?\n)*\.")
"""What may be ``import package.module``."""
_STAR = re.compile(rb"import\s*\*")


def check(plans: Mapping[str, Plan], modules: Modules, new: Tree) -> None:
    """Refuse where a module asks for a name that another one no longer has, or asks for all of its names, and those
    are others.
    """
    for path, plan in plans.items():
        steps = {step.name: step for step in plan.steps if isinstance(step, Bind | Unbind) and not step.scope}
        goes = {name for name, step in steps.items() if isinstance(step, Unbind)}
        comes = {name for name, step in steps.items() if isinstance(step, Bind) and step.before is None}
        if "__all__" in steps:
            public = {"__all__"}
        elif any("__all__" in bound_by(node) for node in plan.new.tree.body):
            public = goes
        else:
            public = {name for name in goes | comes if name[0] != "_"}
        for module in modules.by_path[path] if goes or public else ():
            for other, node in _asking(modules, new, module, goes, stars=bool(public)):
                names = {alias.name for alias in node.names}
                if lost := sorted(names & goes):
                    what = f"imports `{lost[0]}` from `{module.__name__}`, which no longer has it"
                    raise Refusal(other, node.lineno, what)
                if "*" in names and public:
                    what = f"imports `*` from `{module.__name__}`, where `{min(public)}` came, went or changed"
                    raise Refusal(other, node.lineno, what)
        _check_submodules(plan)
        _check_derived(plan, modules, new)
        for module in modules.by_path[path]:
            _check_stars(plan, module, steps.keys())


def check_imports(plans: Mapping[str, Plan], modules: Modules, old: Tree, new: Tree) -> None:
    """Refuse where a module that has run something at import is no longer imported; or not in the order that it was
    with what else runs, or reads what that may have done.
    """
    imports = Imports(modules, old)
    for path, plan in plans.items():
        for module in modules.by_path[path]:
            mine, its = telling(plan.old.tree), telling(plan.new.tree)
            if mine == its:
                continue
            before, after = imports.sequence(mine, module), imports.sequence(its, module)
            if list(before) == list(after):
                continue
            for name in imports.gone(list(before), list(after)):
                if not _is_imported(name, modules, new):
                    what = f"imported `{name}`, which runs something at import, and nothing does so any more"
                    raise Refusal(path, before[name], what)
            if moved := imports.moved(list(before), list(after)):
                what = f"imports `{moved}` in another order with what runs at import"
                raise Refusal(path, after[moved], what)


def _is_imported(name: str, modules: Modules, new: Tree) -> bool:
    wanted = re.compile(rb"\b" + name.rpartition(".")[2].encode() + rb"\b")
    return any(
        name in asked_for(node, importer)
        for _, importer, tree in _sources(modules, new, wanted)
        for node in _at_import(tree)
    )


def check_added(paths: Iterable[str], modules: Modules, old: Tree) -> None:
    """Refuse a new file that a new start would import where this one found something else, or nothing."""
    for path in paths:
        if old.has(path) or path in modules.by_path:
            continue
        name = modules.name_for(path.replace("/__init__.py", ".py"))
        if name in sys.modules:
            raise Refusal(path, 0, f"is new, and something else is loaded as `{name}`")
        wanted = re.compile(rb"\b" + name.rpartition(".")[2].encode() + rb"\b")
        for other, importer, tree in _sources(modules, old, wanted) if name else ():
            for node in _at_import(tree):
                if name in asked_for(node, importer):
                    raise Refusal(other, getattr(node, "lineno", 0), f"looked for `{name}`, which is there now")


def _asking(
    modules: Modules, new: Tree, module: ModuleType, goes: Iterable[str], *, stars: bool
) -> Iterator[tuple[str, ast.ImportFrom]]:
    """The imports from ``module`` that may be for names of ``goes``, or for all."""
    words = [rb"\b" + name.encode() + rb"\b" for name in goes] + [_STAR.pattern] * stars
    for path, importer, tree in _sources(modules, new, re.compile(b"|".join(words))):
        for node in _at_import(tree):
            if isinstance(node, ast.ImportFrom) and resolved(node, importer) == module.__name__:
                yield path, node


def _sources(modules: Modules, tree: Tree, wanted: re.Pattern[bytes]) -> Iterator[tuple[str, ModuleType, ast.Module]]:
    """The loaded modules whose source in ``tree`` has what is ``wanted``; none that departs."""
    for path, found in modules.by_path.items():
        data = tree.read(path) if path.endswith(".py") else None
        if data is not None and wanted.search(data):
            syntax = ast.parse(data)
            yield from ((path, module, syntax) for module in found)


def _at_import(tree: ast.Module) -> Iterator[ast.AST]:
    """All that runs when a module is imported: not what is in functions."""
    todo: list[ast.AST] = [*tree.body]
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            todo += ast.iter_child_nodes(node)


def _check_derived(plan: Plan, modules: Modules, new: Tree) -> None:
    """Refuse to take a class away where the application asks a class what derives from it: it would still find it."""
    going = [step for step in plan.steps if isinstance(step, Unbind) and step.kind == "class"]
    for path, _, _ in _sources(modules, new, re.compile(rb"__subclasses__")) if going else ():
        what = f"takes class `{going[0].name}` away, which `__subclasses__` in `{path}` may still find"
        raise Refusal(plan.new.path, going[0].line, what)


def _check_submodules(plan: Plan) -> None:
    """Refuse where ``import package.module`` is gone, and the module is still reached by its package."""
    gone = _submodules(plan.old.tree) if _DOTTED.search(plan.old.data) else set()
    for node in _at_import(plan.new.tree) if gone else ():
        gone.difference_update(asked_for(node, None))
    for node in ast.walk(plan.new.tree) if gone else ():
        if isinstance(node, ast.Attribute) and (name := ast.unparse(node)) in gone:
            raise Refusal(plan.new.path, node.lineno, f"uses `{name}`, which nothing imports here any more")


def _submodules(tree: ast.Module) -> set[str]:
    return {
        alias.name
        for node in _at_import(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if "." in alias.name and not alias.asname
    }


def check_moved(before: Source, to: str, module: ModuleType, name: str) -> None:
    """Refuse to let a module go to the file ``to``, and be ``name``, where its body has done something with what it
    was, which it keeps.
    """
    for part in parts(before.tree.body, Meaning({}, ()), runs_as_main=False):
        for path in reads(part.node):
            if path[0] in _OWN_NAMES:
                what = f"moved to `{to}`, and has the old `{path[0]}` from its import: {quoted(part.node)}"
                raise Refusal(before.path, part.node.lineno, what)
    if name.rpartition(".")[0] != module.__package__ and any(
        getattr(node, "level", 0) for node in ast.walk(before.tree)
    ):
        raise Refusal(before.path, 0, f"moved to `{to}`, where its relative imports are others")


def _check_stars(plan: Plan, module: ModuleType, changed: Iterable[str]) -> None:
    """Refuse where it depends on what came with a star what a name of the module's own stands for."""
    for star in plan.new.tree.body:
        if not isinstance(star, ast.ImportFrom) or star.names[0].name != "*":
            continue
        source = sys.modules.get(resolved(star, module))
        names = vars(source) if source is not None else {}
        own = {name for body in (plan.old.tree.body, plan.new.tree.body) for node in body for name in bound_by(node)}
        for name in sorted(own & {*getattr(source, "__all__", names)}):
            before, after = _bindings(plan.old.tree, name), _bindings(plan.new.tree, name)
            if before != after or (after[-1] == "*" and name in changed):
                what = f"imports `*` from `{star.module or '.'}`, which has `{name}`, too"
                raise Refusal(plan.new.path, star.lineno, what)


def _bindings(tree: ast.Module, name: str) -> list[str]:
    """How a name comes by what it stands for, in order: by a star, or by itself."""
    return [each for node in tree.body for each in bound_by(node) if each in ("*", name)]
