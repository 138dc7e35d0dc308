"""Which files of a folder are shipped: git's rules, less what no target needs, as the settings change that.

Owns the default exclusions and git's semantics of nested ``.gitignore`` files: the deeper file wins, the last
matching line wins, and below an ignored folder nothing can be brought back. The lines themselves are compiled by
pathspec. Pure: paths are text relative to the root of the project, ``/`` between the parts, and what must be known
of a folder comes from a function that is handed in.

The user's global excludes file is left out on purpose: two hosts with one checkout ship one tree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from bootloader.wire.launch import DEPENDS
from bootloader.wire.manifest import Manifest

RULE_FILES = frozenset({".gitignore", "pyvenv.cfg"})
"""A change of a file of one of these names, anywhere, changes what is shipped."""

NEVER_FOLDERS = frozenset(
    (
        *(".git", ".hg", ".svn", ".bzr", ".jj", "_darcs", "CVS"),
        *(".venv", "venv", "node_modules"),
        *("__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".tox", ".nox", ".eggs"),
        *(".ipynb_checkpoints", ".reactor"),
    )
)
"""Version control, virtual environments, caches, our own: not shipped, whatever ``include`` says."""

NEVER_FILES = re.compile(
    r"""\.git                       # of a worktree or a submodule
    | .*\.py[co]
    | \..*\.sw[a-z] | 4913 | .*~    # vim, and the backups of most editors
    | \#.*\# | \.\#.*               # emacs
    | .*___jb_(tmp|old)___          # JetBrains
    | \..*\.kate-swp | \.goutputstream-.* | \.subl.*\.tmp
    | \.DS_Store | Thumbs\.db""",
    re.VERBOSE | re.DOTALL,
)
"""Bytecode and what editors leave beside a file: not shipped either."""

TOP_FOLDERS = frozenset({"tests", "test", "docs", "doc", "build", "dist"})
"""Folders at the project's top that ``include`` may bring back."""

TOP_FILES = re.compile(r"(README|CHANGELOG|CHANGES|CONTRIBUTING|LICEN[SC]E|NOTICE|AUTHORS)([._-].*)?", re.DOTALL)
"""Documents at the project's top that ``include`` may bring back: an edit of them should not restart a motor."""

ANY_FOLDERS = re.compile(r".*\.egg-info|\.idea|\.vscode", re.DOTALL)
"""Folders anywhere that ``include`` may bring back."""


@dataclass(frozen=True, slots=True)
class Folder:
    """What the rules must know of a folder: the text of its .gitignore, and whether it is a virtual environment."""

    gitignore: str | None = None
    environment: bool = False


Look = Callable[[str], Folder]
"""Tells of the folder of that path, ``""`` for the root. It is asked once a folder."""


def pattern_problem(pattern: str) -> str | None:
    """What is wrong with ``pattern`` as a line of ``include`` or ``exclude``, or None."""
    parts = pattern.removeprefix("!").split("/")
    if "." in parts or ".." in parts:
        return "has a '.' or '..' part; patterns start at the project's folder"
    try:
        (compiled,) = GitIgnoreSpec.from_lines([pattern]).patterns
    except (ValueError, re.error):
        return "is not a pattern"
    return "matches nothing" if compiled.include is None else None


class Rules:
    """The rules of one root. Thread-safe: what is cached is only ever replaced by the same or by newer facts."""

    def __init__(
        self,
        look: Look,
        *,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        inside: str = "",
        above: Iterable[tuple[str, str]] = (),
    ) -> None:
        """``inside``: the root's path in its git repository. ``above``: the ignore files of that repository that lie
        above the root, as (folder, text), weakest first: ``.git/info/exclude``, then from the top down."""
        self._look = look
        self._include = GitIgnoreSpec.from_lines(include) if include is not None else None
        self._reach = [_reach(pattern) for pattern in include or () if not pattern.startswith("!")]
        self._exclude = _Lines("", exclude)
        self._inside = f"{inside}/" if inside else ""
        self._given = tuple(above)
        chain = tuple(_Lines(base, text.splitlines()) for base, text in self._given)
        if any(_ignored(chain, folder, True) for folder in _ancestors(inside)):
            chain = ()  # the repository ignores the whole project: its rules are about other things
        self._above = chain
        self._folders: dict[str, Folder] = {}
        self._chains: dict[str, tuple[_Lines, ...]] = {}
        self._enters: dict[str, bool] = {}

    def enters(self, folder: str) -> bool:
        """Whether anything in ``folder`` may be shipped, as far as the folder itself can tell."""
        known = self._enters.get(folder)
        if known is None:
            known = self._enters[folder] = not folder or self._decide_folder(folder)
        return known

    def ships(self, path: str) -> bool:
        """Whether the file ``path`` is shipped."""
        folder, _, name = path.rpartition("/")
        if NEVER_FILES.fullmatch(name) or not self.enters(folder):
            return False
        if self._exclude.decide(path, False):
            return False
        if self._include is not None:
            return self._include.match_file(path)
        if not folder and TOP_FILES.fullmatch(name):
            return False
        return not _ignored(self._chain(folder), self._inside + path, False)

    def forget(self, folder: str = "") -> None:
        """Look again at ``folder`` and all below it when next asked: it is new, or an ignore file in it changed."""
        if folder and folder not in self._enters and folder not in self._chains:
            return  # and so nothing below it is known
        caches: tuple[dict[str, Any], ...] = (self._enters, self._chains, self._folders)
        for cache in caches:
            for path in list(cache):
                if not folder or path == folder or path.startswith(f"{folder}/"):
                    cache.pop(path, None)

    def facts(self) -> dict[str, Folder]:
        """What is special about the folders that were looked at, and the files of the repository above."""
        folders = {path: facts for path, facts in list(self._folders.items()) if facts != Folder()}
        return {**folders, **{f"/{base}/{n}": Folder(text) for n, (base, text) in enumerate(self._given)}}

    def _facts(self, folder: str) -> Folder:
        facts = self._folders.get(folder)
        if facts is None:
            facts = self._folders[folder] = self._look(folder)
        return facts

    def _decide_folder(self, folder: str) -> bool:
        parent, _, name = folder.rpartition("/")
        if name in NEVER_FOLDERS or not self.enters(parent) or self._exclude.decide(folder, True):
            return False
        if self._include is not None:
            if not any(_meets(reach, folder) for reach in self._reach):
                return False
        elif (
            (not parent and name in TOP_FOLDERS)
            or ANY_FOLDERS.fullmatch(name)
            or _ignored(self._chain(parent), self._inside + folder, True)
        ):
            return False
        return not self._facts(folder).environment

    def _chain(self, folder: str) -> tuple[_Lines, ...]:
        """The ignore files that speak about what lies in ``folder``, weakest first."""
        chain = self._chains.get(folder)
        if chain is None:
            chain = self._chain(folder.rpartition("/")[0]) if folder else self._above
            text = self._facts(folder).gitignore
            if text is not None:
                chain = (*chain, _Lines((self._inside + folder).rstrip("/"), text.splitlines()))
            self._chains[folder] = chain
        return chain


class _Lines:
    """The lines of one ignore file that lies in the folder ``base``."""

    def __init__(self, base: str, lines: Iterable[str]) -> None:
        self._skip = len(base) + 1 if base else 0
        self._lines: list[tuple[re.Pattern[str], bool, bool]] = []
        """Last line first: the expression, whether it ignores, and whether it is about the name alone."""
        for line in lines:
            named = "/" not in line.rstrip().rstrip("/")
            for pattern in _compiled(line):
                if pattern.regex is not None and pattern.include is not None:
                    self._lines.insert(0, (pattern.regex, pattern.include, named))
        # Most lines are about a name, and most names match none of them: one search says so.
        names = [re.sub(r"\(\?P<\w+>", "(?:", regex.pattern) for regex, _, named in self._lines if named]
        self._any_name = re.compile("|".join(names) or r"(?!)")
        self._others = [line for line in self._lines if not line[2]]

    def decide(self, path: str, folder: bool) -> bool | None:
        """True where the last line that matches ``path`` ignores it, False where it brings it back, else None."""
        path = path[self._skip :]
        name = path[path.rfind("/") + 1 :]
        lines = self._lines if self._any_name.search(f"{name}/" if folder else name) else self._others
        for regex, ignored, named in lines:
            if _matches(regex, name if named else path, folder):
                return ignored
        return None


def python_path(manifest: Manifest, depends: Sequence[str]) -> tuple[str, ...]:
    """The folders of the tree that go to the front of ``sys.path``: of the project, then of each sibling of the names
    ``depends``, ``src`` where it holds Python, then its root."""
    path: list[str] = []
    for root in ("", *(f"{DEPENDS}/{name}" for name in depends)):
        source = f"{root}/src" if root else "src"
        # A `src` that is a package itself is imported as `src`, from the root.
        if f"{source}/__init__.py" not in manifest and any(file.endswith(".py") for file in manifest.below(source)):
            path.append(source)
        path.append(root or ".")
    return tuple(path)


def _compiled(line: str) -> Sequence[GitIgnoreSpecPattern]:
    # `x/**/` is the folders in x, which pathspec takes for x; `x/**/*/` says the same to git.
    line = re.sub(r"/\*\*/\s*$", "/**/*/", line)
    try:
        return GitIgnoreSpec.from_lines([line]).patterns
    except (ValueError, re.error):
        return ()  # git, too, passes over a line that is no pattern


def _ignored(chain: Sequence[_Lines], path: str, folder: bool) -> bool:
    """Whether the strongest of ``chain`` that has a say ignores ``path``."""
    for lines in reversed(chain):
        decision = lines.decide(path, folder)
        if decision is not None:
            return decision
    return False


def _matches(regex: re.Pattern[str], path: str, folder: bool) -> bool:
    """Whether a compiled line matches ``path`` itself.

    pathspec's expressions also match what lies below a matching folder, and set their one group at that folder's
    slash. Git asks each folder on the way down instead, so that a match through a folder above says nothing here.
    """
    match = regex.search(f"{path}/" if folder else path)
    if match is None:
        return False
    if not folder:
        return match.lastindex is None
    if match.lastindex is None:
        return regex.search(path) is not None  # `x/**` is about what x holds, not about x
    return match.end() == len(path) + 1 or match.group() == "/"  # the latter: `*/`, any folder


def _ancestors(path: str) -> list[str]:
    """``path`` and the folders above it, from the top down."""
    parts = path.split("/") if path else []
    return ["/".join(parts[: end + 1]) for end in range(len(parts))]


def _reach(pattern: str) -> list[str]:
    """The leading folders that anything matching ``pattern`` lies in; none where it may lie anywhere."""
    parts = pattern.rstrip("/").split("/")
    if len(parts) == 1:
        return []
    parts = parts[1:] if not parts[0] else parts
    plain = [not re.search(r"[*?\[\\]", part) for part in parts]
    return parts[: plain.index(False)] if False in plain else parts


def _meets(reach: Sequence[str], folder: str) -> bool:
    return all(one == two for one, two in zip(reach, folder.split("/"), strict=False))
