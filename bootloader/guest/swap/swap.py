"""Makes a running application the one that its new source describes: all changed modules together, or none.

``prepare`` compares, looks at what lives, and refuses or promises; it touches nothing. ``commit`` does it, and puts all
of it back where anything fails. The files that change have the same name before and after, below the live folder, so
that code objects, tracebacks and ``inspect`` go on to find them. Knows nothing of how an order comes, or who hears.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import EXTENSION_SUFFIXES
from time import sleep  # by its own name: what an application puts in its place is none of ours
from types import CodeType, FunctionType, ModuleType

from . import classes, frames, functions, offers
from .census import Census, Frozen, Witness, census
from .departures import Departure
from .difference import difference
from .modules import Modules, imports_from, in_order, literals, packages_of
from .names import Names
from .plan import ANNOTATIONS, DOCSTRING, Bind, Path, Plan, Unbind
from .refusal import Refusal, Undone
from .report import Report
from .source import Source, alike
from .successors import Successors
from .traces import Traces
from .tree import Tree
from .undo import Undo
from .wrappers import Copies

_ROUNDS = 20
_KEPT = 4
"""Of so many files, the last source is kept: what is new in one patch is old in the next."""
_QUIET_S = 0.2
_YIELD_S = 0.00002


class Swap:
    """One for each process of an application. ``live``: the folder that it runs from, as its modules' files begin."""

    def __init__(self, live: str) -> None:
        self._live = live.rstrip("/")
        self._witness = Witness()
        self._kept: dict[str, Source] = {}
        self._modules: Modules | None = None
        self._traces = Traces(self._live)
        self.compiled: list[str] = []
        """Files of the new tree that :meth:`prepare` has found to compile, also where it refused."""

    def prepare(self, old: Tree, new: Tree, paths: Sequence[str]) -> Prepared:
        """Compare the trees at the changed ``paths``; raises :class:`Refusal`."""
        if self._modules is None or not self._modules.is_current:
            self._modules = Modules(self._live)
        modules = self._modules
        self.compiled = []
        survey = _Survey(self._live, old, new, modules, self._kept, self.compiled)
        plans = survey.plans(paths)
        self._traces.check(plans, modules, old)
        prepared = Prepared(self._live, paths, plans, survey.departures, modules, self._witness)
        if prepared.concerned:
            prepared.check()
        return prepared


class Prepared:
    """A patch that can be made. Worth nothing any more once the process has been patched otherwise."""

    def __init__(
        self,
        live: str,
        paths: Sequence[str],
        plans: dict[str, Plan],
        departures: Sequence[Departure],
        modules: Modules,
        witness: Witness,
    ) -> None:
        self._live = live
        self._paths = paths
        self._witness = witness
        self._plans = plans
        self._departures = departures
        self._modules = modules
        gone = {f"{live}/{departure.path}" for departure in departures}
        self._files = frozenset(plan.old.filename for plan in plans.values()) | gone
        self._swapped: list[tuple[FunctionType, CodeType]] = []
        self._successors = Successors(pair for plan in plans.values() for pair in plan.successors)

    @property
    def concerned(self) -> bool:
        """Whether this process has loaded anything of what changed."""
        return bool(self._plans or self._departures)

    def check(self) -> None:
        """Look at what lives; raises :class:`Refusal`."""
        for plan in self._plans.values():
            for code, line in frames.modules_running({plan.old.filename}):
                if any(old.co_firstlineno > line for old, _ in plan.successors if old in code.co_consts):
                    raise Refusal(
                        plan.new.path, line, "is still running its body, above definitions that it has yet to make"
                    )
        for departure in self._departures:
            departure.check(each.name for each in self._departures)
        unsure = [plan for plan in self._plans.values() if functions.may_misfit(plan)]
        try:
            living = census(self._files, self._witness).functions if unsure else []
        except Frozen as frozen:
            raise Refusal(unsure[0].new.path, 0, f"can't be patched: {frozen}") from frozen
        for plan in unsure:
            functions.check(plan, living, self._successors)
        namespaces = {id(vars(module)) for _, module in self._loaded()}
        for plan, module in self._loaded():
            if getattr(module.__spec__, "_initializing", False):
                raise Refusal(plan.new.path, 0, "is still being imported")
            Names(plan, module).check(namespaces, {id(living)})

    def commit(self) -> Report:
        """Make the patch; raises :class:`Undone` where that fails, with everything put back."""
        report = Report()
        self._check_current()
        self._modules.find_new()
        if not self.concerned:
            return report
        undo = Undo()
        try:
            with _quiet():
                found = self._perform(undo)
                self._forget(found)
        except Undone:
            undo.roll_back()
            raise
        except BaseException as error:
            undo.roll_back()
            raise self._undone(error) from error
        self._tell(report, found)
        return report

    def _forget(self, found: Census) -> None:
        """What is remembered of the old code."""
        functions.forget(
            found.caches,
            {id(function) for function, old in self._swapped if not alike(function.__code__, old)},
            {id(vars(module)): {path[-1] for path in plan.touched} for plan, module in self._loaded()},
        )
        if any(step.scope for plan in self._plans.values() for step in plan.steps) or any(
            function.__name__ == "__subclasshook__" for function, _ in self._swapped
        ):
            classes.forget()
        for file in self._files:
            linecache.cache.pop(file, None)

    def _loaded(self) -> Iterator[tuple[Plan, ModuleType]]:
        for path, plan in self._plans.items():
            for module in self._modules.by_path[path]:
                yield plan, module

    def _perform(self, undo: Undo) -> Census:
        try:
            self.check()  # again: much may have come to live since
        except Refusal as refusal:
            raise refusal.undone() from refusal
        found, copies = census(self._files, self._witness), Copies()
        for departure in self._departures:
            departure.perform(self._live, found.functions, undo)
        performed = [(plan, module, Names(plan, module)) for plan, module in self._loaded()]
        for _, _, names in performed:
            names.perform(undo)
        for function in found.functions:
            old = function.__code__
            new = self._successors.of(old)
            if new is not None and functions.fits(old, new):
                functions.swap(function, new, undo, copies)
                self._swapped.append((function, old))
        for plan, module, names in performed:
            signatures = functions.Signatures(plan, vars(module), names.classes, copies)
            for function, old in self._swapped:
                if function.__globals__ is vars(module):
                    signatures.apply(function, old, undo)
        copies.follow(found.caches, undo)
        return found

    def _check_current(self) -> None:
        """What was not loaded when the patch was prepared, was not compared, nor asked what it has of what changes: it
        must not have been loaded since.
        """
        if self._modules.is_current:
            return
        before, loaded = self._modules.by_path, Modules(self._live).by_path
        for path in sorted({*self._paths, *before, *loaded} if self.concerned else self._paths):
            if loaded.get(path, []) != before.get(path, []):
                raise Undone(path, 0, "was imported while the patch was being made")

    def _undone(self, error: BaseException) -> Undone:
        path = next(iter(self._plans), self._departures[0].path if self._departures else "")
        return Undone(path, 0, f"could not be patched: {type(error).__name__}: {error}"[:300])

    def _tell(self, report: Report, found: Census) -> None:
        for plan, module in self._loaded():
            name = module.__name__
            report.modules.append(name)
            report.patched += [f"{name}.{changed}" for changed in plan.changed]
            for step in plan.steps:
                if isinstance(step, Bind):
                    (report.patched if step.before else report.added).append(".".join((name, *step.path)))
                elif isinstance(step, Unbind):
                    report.removed.append(".".join((name, *step.path)))
        for departure in self._departures:
            report.removed.append(departure.name)
            report.notes += departure.holders(self._modules)
        report.old = frames.outdated(self._files, found.suspended, self._successors)


class _Survey:
    """From the paths that changed to a plan for each module that they concern."""

    def __init__(
        self, live: str, old: Tree, new: Tree, modules: Modules, kept: dict[str, Source], compiled: list[str]
    ) -> None:
        self._kept = kept
        self._compiled = compiled
        self._live, self._old, self._new = live, old, new
        self._modules = modules
        self._sources: dict[str, tuple[Source, Source]] = {}
        self.departures: list[Departure] = []
        self._touched: dict[str, set[Path]] = {}

    def plans(self, paths: Sequence[str]) -> dict[str, Plan]:
        """Plans by tree path, in the order in which they are to be performed."""
        offers.check_added([path for path in paths if path.endswith(".py")], self._modules, self._old)
        for path in paths:
            if path in self._modules.by_path:
                if path.endswith(tuple(EXTENSION_SUFFIXES)):
                    raise Refusal(path, 0, "is native code, and loaded")
                before, after = self._read(self._old, path), self._read_new(path)
                if before is None:
                    raise Refusal(path, 0, "was imported, but the tree did not have it")
                if after is None:
                    self._depart(path, before, paths)
                else:
                    self._sources[path] = before, after
        plans = {path: self._compare(path) for path in self._sources}
        todo = list(plans)
        for _ in range(_ROUNDS * len(plans)):
            if not todo:
                break
            for path in self._pass_on(plans[todo.pop()]):
                plans[path] = self._compare(path)
                todo.append(path)
        else:
            if todo:
                raise Refusal(todo[0], 0, "is imported in too many ways to tell what its change concerns")
        offers.check(plans, self._modules, self._new)
        offers.check_imports(plans, self._modules, self._old, self._new)
        if len(plans) < 2:
            return plans
        order = in_order({path: self._sources[path][1] for path in plans}, self._modules)
        return {path: plans[path] for path in order}

    def _depart(self, path: str, before: Source, paths: Sequence[str]) -> None:
        """A loaded module's file is gone: see whether it lies elsewhere."""
        to = None
        added = [
            other
            for other in paths
            if other.endswith(".py") and self._new.has(other)
            if not self._old.has(other) and other not in self._modules.by_path
        ]
        for other in added:
            after = self._read_new(other)
            if after is not None and after.data == before.data:
                self._sources[path] = before, after
                to = other, self._modules.name_for(other)
                offers.check_moved(before, other, self._modules.by_path[path][0], to[1])
                break
            if _last_name(other) == _last_name(path):
                raise Refusal(path, 0, f"is gone, and `{other}` looks like what became of it")
        self.departures += [Departure(path, module, to) for module in self._modules.by_path[path]]

    def _read_new(self, path: str) -> Source | None:
        source = self._read(self._new, path)
        if source is not None:
            self._compiled.append(path)
        return source

    def _read(self, tree: Tree, path: str) -> Source | None:
        data = tree.read(path)
        if data is None:
            return None
        try:
            kept = self._kept.get(path)
            source = kept if kept and kept.data == data else Source(path, data, f"{self._live}/{path}", kept)
            self._kept.pop(path, None)
            self._kept[path] = source
            if len(self._kept) > _KEPT:
                del self._kept[next(iter(self._kept))]
            return source
        except SyntaxError as error:
            raise Refusal(path, error.lineno or 0, f"does not compile: {error.msg}") from error

    def _compare(self, path: str) -> Plan:
        before, after = self._sources[path]
        main = any(module.__name__ == "__main__" for module in self._modules.by_path[path])
        return difference(before, after, touched=self._touched.get(path, ()), runs_as_main=main)

    def _pass_on(self, plan: Plan) -> set[str]:
        """The modules that have something that changes from the one of ``plan``, and did not know."""
        replaced = {step.path for step in plan.steps if isinstance(step, Bind) and step.before is not None}
        replaced |= plan.inherited | {path for path in plan.touched if path[-1] in (ANNOTATIONS, DOCSTRING)}
        written = literals(plan.old.tree)
        concerned: set[str] = set()
        for module in self._modules.by_path[plan.new.path] if replaced else ():
            for path, seen in self._modules.importers(module, replaced, written):
                known = self._touched.get(path, ())
                if seen not in known and seen != (DOCSTRING,) and self._has(path, seen, module):
                    self._touched.setdefault(path, set()).add(seen)
                    concerned.add(path)
        return concerned

    def _has(self, path: str, seen: Path, module: ModuleType) -> bool:
        """Whether the source of ``path`` says that it has that name from ``module``."""
        if path not in self._sources:
            source = self._read(self._old, path)
            if source is None:
                return False
            self._sources[path] = source, source
        importers = self._modules.by_path[path]
        packages = packages_of(module)
        if any(id(vars(importer).get(seen[0])) in packages for importer in importers):
            return True
        given = (imports_from(self._sources[path][0].tree, importer, module) for importer in importers)
        return any("*" in names or not names.keys().isdisjoint(seen) for names in given)


def _last_name(path: str) -> str:
    """What a module is called in its package."""
    return path.removesuffix(".py").removesuffix("/__init__").rpartition("/")[2]


@contextmanager
def _quiet() -> Iterator[None]:
    """Other threads are not let in between two steps, unless one of these waits for something.

    A thread that waits for the interpreter already, would get it after the interval that held when it began: so that is
    let go for a moment, and all begin to wait anew, and for longer. When it is over, they go first: what is left to do
    is a report.
    """
    before = sys.getswitchinterval()
    sleep(0)
    sys.setswitchinterval(_QUIET_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
        sleep(_YIELD_S)
