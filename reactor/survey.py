"""What lies on the disk below some paths of a project: the files to ship, with their stats, and the symlinks there.

Owns what a symlink is worth. A tree has none: a link to a file or a folder of the project, or of a sibling, ships
what it points to, under its own name; one that leads out of them is refused; one that leads nowhere, or to a
folder that it lies in, ships nothing. Sockets, pipes and devices ship nothing. Reads no file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from bootloader.wire.errors import Fault, Malformed
from bootloader.wire.limits import MANIFEST_FILES
from bootloader.wire.manifest import Manifest, check_path

from .project import Project, Root

Progress = Callable[[int, int | None], None]
"""Told (files done, files in all) by a full scan; the second is None while files are still being found."""

_TELL = 512
"""After how many files found the progress is told again."""

_NAMED = 8
"""Of how many files, besides the first, it is told that they can't be shipped; the others are counted."""


def unreadable(path: str, error: OSError) -> Fault:
    """The fault of a file or folder that the system does not let us read."""
    do = "fix its permissions, or exclude it in [tool.reactor]"
    return Fault("unreadable", f"can't be read: {error.strerror}", to=path, do=do, file=path)


class Survey:
    """One look at a project's disk. It holds what was found; what was looked at and is not in it is not there."""

    def __init__(self, project: Project, progress: Progress | None = None) -> None:
        self.files: dict[str, tuple[str, os.stat_result]] = {}
        """Path in the tree to path on this host and stat, of each file that ships."""
        self.links: dict[str, str] = {}
        """Path in the tree of each symlink to what it resolves to on this host."""
        self._project = project
        self._progress = progress
        self._refused: list[Fault] = []
        self._refusals = 0

    def refuse(self, fault: Fault) -> None:
        """Some file can't be shipped. The others are looked at all the same, so that :meth:`check` can name each."""
        self._refusals += 1
        if len(self._refused) <= _NAMED:
            self._refused.append(fault)

    def check(self) -> None:
        """Raise the fault of the first file that can't be shipped, if there is any; it names the others."""
        if not self._refused:
            return
        first, *others = sorted(self._refused, key=lambda fault: fault.to)
        if others:
            more = self._refusals - len(self._refused)
            names = [fault.to for fault in others] + ([f"{more} more"] if more else [])
            first.what += f"; nor can {', '.join(names)} be shipped"
        raise first

    def look(self, root: Root, within: str) -> None:
        """Find what is at the path ``within`` of ``root``, and all below it."""
        if within and not root.rules.enters(within.rpartition("/")[0]):
            return
        path = f"{root.folder}/{within}" if within else root.folder
        try:
            mode = os.lstat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            root.rules.forget(within)
            return
        except OSError as error:
            self.refuse(unreadable(root.prefix + within, error))
            return
        folders: list[tuple[str, str]] = []
        if stat.S_ISLNK(mode):
            self._link(root, within, path, folders)
        elif stat.S_ISDIR(mode):
            root.rules.forget(within)  # it may be new, with rules of its own
            if root.rules.enters(within):
                folders.append((within, path))
        elif stat.S_ISREG(mode) and root.rules.ships(within):
            self._file(root, within, Path(path))
        while folders:
            self._folder(root, *folders.pop(), folders)

    def look_again(self, paths: Iterable[str], manifest: Manifest, links: Mapping[str, str]) -> set[str]:
        """Look at those ``paths`` of this host that lie in the project, and at whatever in the tree they bear upon.

        ``manifest`` and ``links`` are of the last survey. The answer is what was looked at, as paths in the tree.
        """
        looked: set[str] = set()

        def look(root: Root, within: str) -> None:
            tree_path = root.prefix + within
            for end, mark in enumerate(within):  # a file in the tree that is a folder now
                above = root.prefix + within[:end]
                if mark == "/" and above in manifest:
                    tree_path, within = above, within[:end]
                    break
            if tree_path not in looked:
                looked.add(tree_path)
                self.look(root, within)

        def look_at_link(link: str, rest: str = "") -> None:
            for root in reversed(self._project.roots):
                if link.startswith(root.prefix):
                    look(root, link[len(root.prefix) :] + rest)
                    return

        for path in sorted(paths):
            for root in self._project.roots:
                within = root.within(path)
                if within is not None:
                    look(root, within)
            for link, real in links.items():
                if path == real or path.startswith(f"{real}/"):
                    look_at_link(link, path[len(real) :])
                elif real.startswith(f"{path}/"):
                    look_at_link(link)
        if not looked.isdisjoint({*links, *self.links}):  # a link may lead over a link
            for link in links:
                look_at_link(link)
        return looked

    def _folder(self, root: Root, within: str, path: str, folders: list[tuple[str, str]]) -> None:
        prefix = f"{within}/" if within else ""
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    inner = prefix + entry.name
                    if entry.is_symlink():
                        self._link(root, inner, entry.path, folders)
                    elif entry.is_dir(follow_symlinks=False):
                        if root.rules.enters(inner):
                            folders.append((inner, entry.path))
                    elif entry.is_file(follow_symlinks=False) and root.rules.ships(inner):
                        self._file(root, inner, entry)
        except (FileNotFoundError, NotADirectoryError):
            return  # gone since its name was read
        except OSError as error:
            self.refuse(unreadable(root.prefix + within, error))

    def _file(self, root: Root, within: str, path: Path | os.DirEntry[str]) -> None:
        try:
            status = path.stat()
            check_path(root.prefix + within)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            self.refuse(unreadable(root.prefix + within, error))
            return
        except Malformed as error:
            self.refuse(Fault("bad-file-name", error.what, to=error.to, do=error.do))
            return
        self.files[root.prefix + within] = (os.fspath(path), status)
        if len(self.files) > MANIFEST_FILES:
            do = "exclude what need not be shipped in [tool.reactor]"
            raise Fault("too-many-files", f"holds more than {MANIFEST_FILES} files to ship", to=root.folder, do=do)
        if self._progress and len(self.files) % _TELL == 0:
            self._progress(0, None)

    def _link(self, root: Root, within: str, path: str, folders: list[tuple[str, str]]) -> None:
        real = os.path.realpath(path)
        is_folder = Path(real).is_dir()
        if not (root.rules.enters(within) if is_folder else root.rules.ships(within)):
            return
        tree_path = root.prefix + within
        if self._project.root_of(real) is None:
            what = f"is a symlink to {real}, which lies outside of the project"
            do = "put a copy in its place, list the other folder in 'depends', or exclude it in [tool.reactor]"
            self.refuse(Fault("link-leaves-project", what, to=tree_path, do=do, file=tree_path))
            return
        self.links[tree_path] = real
        if len(self.links) > MANIFEST_FILES:
            raise Fault("too-many-files", f"holds more than {MANIFEST_FILES} symlinks", to=root.folder)
        if not is_folder:
            if Path(real).is_file():
                self._file(root, within, Path(path))
        elif real not in {os.path.realpath(parent) for parent in Path(path).parents}:
            folders.append((within, path))
