"""The application's modules as they are loaded: by file, in the order of their needs, and who imports what of whom."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.machinery import FileFinder
from operator import is_
from types import ModuleType

from .plan import Path
from .source import Source

_NOTHING = object()


class Modules:
    """What is loaded from below ``live`` at this moment."""

    def __init__(self, live: str) -> None:
        self._live = live
        self.by_path: dict[str, list[ModuleType]] = {}
        self._loaded = list(sys.modules.values())
        for module in self._loaded:
            file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
            if isinstance(file, str) and file.startswith(live + "/"):
                found = self.by_path.setdefault(file[len(live) + 1 :], [])
                if module not in found:
                    found.append(module)

    @property
    def is_current(self) -> bool:
        """Whether nothing was loaded since, nothing is gone, and nothing is of another file."""
        now = list(sys.modules.values())
        return (
            len(now) == len(self._loaded)
            and all(map(is_, now, self._loaded))
            and all(
                vars(each)["__file__"] == f"{self._live}/{path}" for path, all_ in self.by_path.items() for each in all_
            )
        )

    def name_for(self, path: str) -> str:
        """The name under which a file of the tree is imported; empty for none."""
        file = f"{self._live}/{path}"
        roots = [root for root in sys.path if f"{root}/".startswith(self._live + "/") and file.startswith(f"{root}/")]
        if not roots or not path.endswith(".py") or path.endswith("__init__.py"):
            return ""
        return file[len(max(roots, key=len)) + 1 : -3].replace("/", ".")

    def find_new(self) -> None:
        """Have the next import look at the folders again."""
        for folder, finder in list(sys.path_importer_cache.items()):
            if f"{folder}/".startswith(self._live + "/") and isinstance(finder, FileFinder):
                finder.invalidate_caches()

    def importers(
        self, module: ModuleType, paths: Iterable[Path], written: Mapping[str, object]
    ) -> Iterator[tuple[str, Path]]:
        """Who may see what ``paths`` of ``module`` stand for: the tree path of a module, and its own name for it.

        ``written``: literals that the module's source gave its names; it may have given them others since.
        """
        wanted = {path: vars(module).get(path[0], _NOTHING) for path in paths}
        packages = packages_of(module)
        for file, found in self.by_path.items():
            for other in found:
                if other is module:
                    continue
                for seen, value in _members(vars(other), other.__name__):
                    if id(value) in packages:
                        yield from ((file, (*seen, *packages[id(value)], *path)) for path in wanted)
                    for path, held in wanted.items():
                        if value is held or _is_written(value, path, written):
                            yield file, (*seen, *path[1:])


def _members(names: Mapping[str, object], module: str, scope: Path = ()) -> Iterator[tuple[Path, object]]:
    """All that a module, and its classes, have names for: a class's body may import, too."""
    for name, value in list(names.items()):
        yield (*scope, name), value
        if isinstance(value, type) and value.__module__ == module and value.__qualname__ == ".".join((*scope, name)):
            yield from _members(vars(value), module, (*scope, name))


def packages_of(module: ModuleType) -> dict[int, Path]:
    """The module, and the packages that it is in, by identity: each with the names that lead from there to it."""
    found: dict[int, Path] = {id(module): ()}
    names = module.__name__.split(".")
    for end in range(1, len(names)):
        package = sys.modules.get(".".join(names[:end]))
        if package is not None:
            found[id(package)] = tuple(names[end:])
    return found


def literals(tree: ast.Module) -> dict[str, object]:
    """The names that a module gives a plain literal."""
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }


def _is_written(value: object, path: Path, written: Mapping[str, object]) -> bool:
    literal = written.get(path[0], _NOTHING)
    return type(value) is type(literal) and value == literal


def imports_from(tree: ast.Module, importer: ModuleType, module: ModuleType) -> dict[str, str]:
    """The names that ``importer`` has from ``module``, by its own source: its name for each, and the module's."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and resolved(node, importer) == module.__name__:
            found.update({alias.asname or alias.name: alias.name for alias in node.names})
    return found


def in_order(sources: Mapping[str, Source], modules: Modules) -> list[str]:
    """Paths of changed modules, those that others import first."""
    names = {module.__name__: path for path in sources for module in modules.by_path.get(path, ())}
    needs = {
        path: {names[name] for name in _imported(source.tree, modules.by_path.get(path, [])) if name in names}
        for path, source in sources.items()
    }
    ordered: list[str] = []
    visited: set[str] = set()

    def visit(path: str) -> None:
        if path in visited:
            return
        visited.add(path)
        for needed in sorted(needs[path]):
            visit(needed)
        ordered.append(path)

    for path in sorted(sources):
        visit(path)
    return ordered


def _imported(tree: ast.Module, loaded: list[ModuleType]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            for module in loaded:
                base = resolved(node, module)
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names)


def resolved(node: ast.ImportFrom, importer: ModuleType) -> str:
    """The full name of the module that is imported from; empty where there can't be one."""
    if not node.level:
        return node.module or ""
    package = importer.__package__ or importer.__name__.rpartition(".")[0]
    try:
        return importlib.util.resolve_name("." * node.level + (node.module or ""), package)
    except ImportError:  # beyond the top package: the import itself will say so
        return ""
