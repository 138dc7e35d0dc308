"""A project on this host's disk: its folder, its settings, the siblings that it depends on.

Owns where a file of a folder lies in the tree that a target gets, and back. It finds and reads what the rules of
:mod:`reactor.plan` must know (ignore files, the git repository around), and refuses folders that can't be a project.
It knows nothing of the files' content.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bootloader.wire.errors import Fault
from bootloader.wire.launch import DEPENDS

from .plan import RULE_FILES, Folder, Look, Rules
from .settings import BadSettings, Package, Settings, package_of, parse

SETTINGS_FILE = "pyproject.toml"


@dataclass(frozen=True, slots=True)
class Root:
    """A folder that is shipped: the project's own (``name`` is empty), or a sibling's."""

    folder: str
    name: str
    rules: Rules
    git: str | None
    """The directory in which its git repository keeps the index, if it is in one."""

    @property
    def prefix(self) -> str:
        """What its files' paths begin with in the tree."""
        return f"{DEPENDS}/{self.name}/" if self.name else ""

    def within(self, path: str) -> str | None:
        """``path`` relative to this folder, empty for the folder itself, or None where it lies elsewhere."""
        if path == self.folder:
            return ""
        return path[len(self.folder) + 1 :] if path.startswith(f"{self.folder}/") else None

    def relevant(self, path: str, is_folder: bool) -> bool:
        """Whether a change of ``path`` (relative to this folder) can change what is shipped."""
        if is_folder:
            return self.rules.enters(path)
        return self.decides(path) or self.rules.ships(path)

    def decides(self, path: str) -> bool:
        """Whether ``path`` is a file that the settings or the rules are read from."""
        folder, _, name = path.rpartition("/")
        if name in RULE_FILES:
            return self.rules.enters(folder)
        return path == SETTINGS_FILE


@dataclass(frozen=True, slots=True)
class Project:
    """A project as it is on disk now. Open it again after its settings changed."""

    folder: Path
    settings: Settings
    roots: tuple[Root, ...]
    """The project itself, then its siblings in the order of ``depends``."""
    siblings: tuple[Package, ...] = ()
    """What these say of themselves."""

    @classmethod
    def open(cls, path: Path | str) -> Project:
        """The project in the folder ``path``. :class:`Fault` where there is none, or none that may be shipped."""
        folder = _folder(Path(path))
        if not (folder / SETTINGS_FILE).is_file():
            raise _refused(folder, f"has no {SETTINGS_FILE}", "`reactor new NAME` makes a project")
        settings = load(folder)
        siblings = _siblings(folder, settings.depends)
        own = _root(folder, "", settings)
        roots = (own, *(_root(sibling, sibling.name, None) for sibling in siblings))
        return cls(folder, settings, roots, tuple(map(_package, siblings)))

    def differs(self, other: Project) -> bool:
        """Whether the settings, the siblings or the ignore files that were met are others than in ``other``."""
        facts = (self.settings, self.siblings)
        return facts != (other.settings, other.siblings) or [
            (root.folder, root.rules.facts()) for root in self.roots
        ] != [(root.folder, root.rules.facts()) for root in other.roots]

    def root_of(self, path: str) -> tuple[Root, str] | None:
        """The root that ``path``, an absolute path of this host, lies in, and its path there."""
        for root in self.roots:
            within = root.within(path)
            if within is not None:
                return root, within
        return None

    def host_path(self, tree_path: str) -> Path:
        """Where the file ``tree_path`` of the tree lies on this host."""
        for root in self.roots[1:]:
            if tree_path.startswith(root.prefix):
                return Path(root.folder, tree_path[len(root.prefix) :])
        return self.folder / tree_path

    def tree_path(self, path: Path) -> str | None:
        """Where ``path`` of this host would lie in the tree, or None where it lies in none of the roots."""
        found = self.root_of(str(path))
        return f"{found[0].prefix}{found[1]}" if found and found[1] else None


def load(folder: Path) -> Settings:
    """The settings of the project in ``folder``."""
    return parse(_settings_text(folder, SETTINGS_FILE), SETTINGS_FILE, folder.name)


def _package(folder: Path) -> Package:
    """What a sibling says of itself; that may be nothing."""
    file = folder / SETTINGS_FILE
    return package_of(_settings_text(folder, str(file)) if file.exists() else "", str(file), folder.name)


def _settings_text(folder: Path, name: str) -> str:
    try:
        return (folder / SETTINGS_FILE).read_text("utf-8")
    except UnicodeDecodeError as error:
        raise BadSettings("is not UTF-8", file=name, do="save it as UTF-8") from error
    except OSError as error:
        raise BadSettings(f"can't be read: {error.strerror}", file=name) from error


def _folder(path: Path) -> Path:
    """``path`` resolved, if it is a folder that may be shipped."""
    try:
        folder = path.expanduser().resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise _refused(path, "does not exist", "give the folder that holds the project's pyproject.toml") from error
    if not folder.is_dir():
        raise _refused(path, "is not a folder", "give the folder that holds the project's pyproject.toml")
    if folder.parent == folder:
        raise _refused(folder, "is the root of a file system", "put the project into a folder of its own")
    if Path("~").expanduser().resolve().is_relative_to(folder):
        raise _refused(folder, "is a home directory, or holds one", "put the project into a folder of its own")
    return folder


def _refused(path: Path, what: str, do: str) -> Fault:
    return Fault("not-a-project", what, to=str(path), do=do)


def _siblings(project: Path, texts: Sequence[str]) -> list[Path]:
    """The folders that ``depends`` lists, checked."""

    def wrong(text: str, what: str, do: str) -> BadSettings:
        return BadSettings(f"'depends' lists {text!r}, which {what}", file=SETTINGS_FILE, do=do)

    siblings: dict[str, Path] = {}
    for text in texts:
        try:
            folder = _folder(project / Path(text).expanduser())
        except Fault as fault:
            raise wrong(text, fault.what, "name the folder of a sibling project") from fault
        if folder.is_relative_to(project):
            raise wrong(text, "lies in the project and is shipped already", "take it out of 'depends'")
        if project.is_relative_to(folder):
            raise wrong(text, "holds the project", "name the folder of a sibling project")
        if folder.name in siblings:
            raise wrong(text, f"has the same name as {siblings[folder.name]}", "rename one of them")
        siblings[folder.name] = folder
    return list(siblings.values())


def _root(folder: Path, name: str, settings: Settings | None) -> Root:
    above, top, git = _repository(folder)
    rules = Rules(
        _look(folder),
        include=settings.include if settings else None,
        exclude=settings.exclude if settings else (),
        inside=folder.relative_to(top).as_posix() if top and top != folder else "",
        above=above,
    )
    return Root(str(folder), name, rules, git)


def _look(folder: Path) -> Look:
    def look(path: str) -> Folder:
        here = folder / path
        return Folder(_text(here / ".gitignore"), (here / "pyvenv.cfg").exists())

    return look


def _repository(folder: Path) -> tuple[list[tuple[str, str]], Path | None, str | None]:
    """Of the git repository of ``folder``: the ignore files above it, weakest first; the top; the git directory."""
    top = next((each for each in (folder, *folder.parents) if (each / ".git").exists()), None)
    if top is None:
        return [], None, None
    git = common = top / ".git"
    if git.is_file():  # of a worktree or a submodule: a line that says where
        git = top / (_text(git) or "").removeprefix("gitdir:").strip()
        common = git / (_text(git / "commondir") or "").strip()
    above = [("", _text(common / "info" / "exclude"))]
    for each in reversed(folder.parents):
        if each.is_relative_to(top):
            base = each.relative_to(top).as_posix()
            above.append(("" if base == "." else base, _text(each / ".gitignore")))
    return [(base, text) for base, text in above if text is not None], top, str(git) if git.is_dir() else None


def _text(file: Path) -> str | None:
    """The text of ``file``, or None where it can't be read; git, too, takes such an ignore file for an absent one."""
    try:
        return file.read_bytes().decode("utf-8", "surrogateescape") if file.is_file() else None
    except OSError:
        return None
