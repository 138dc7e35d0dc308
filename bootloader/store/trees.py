"""One tree on disk: files under a folder, and beside it a note of the root that they make up.

The note is taken away before the first change and written after the last. It is a hint and no proof: a power cut may
bring one back, and tear any file, so a start compares the files with the manifest, all of them, before any is run or
built upon. Only paths of a manifest are ever touched: what an application wrote next to its code is left alone, or
moved aside where it is in the way. Never follows a symlink.

A file's modification time is made from its BLAKE3. Python's bytecode cache compares times, and two edits within one
second with one length would serve stale code; the content can't lie. It also lets both trees share one cache, and tells
a file of ours, left behind by a deletion that a power cut undid, from an application's own.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath

from ..aside import Aside
from ..regular import regular
from ..wire.errors import Fault, Refused
from ..wire.manifest import EMPTY, PLAIN, RUNNABLE, Edits, Entry, Manifest, check_hash
from .objects import Objects, file_name

NAMES = ("a", "b", "c")

_MEMORY_BYTES = 4 * 1024 * 1024

OnNotice = Callable[[str, str], None]


def content_time_ns(name: str) -> int:
    """The modification time of a file with this BLAKE3, in nanoseconds: whole seconds, 31 bits."""
    return (int(name[:8], 16) >> 1) * 1_000_000_000


class Tree:
    """One tree. ``noted``: what a start found noted, and so what most of the files there are, at least.

    ``manifest``: what lies there for certain; None until it has been compared, made, or where it is neither.
    """

    def __init__(
        self, folder: Path, read_manifest: Callable[[str], Manifest | None], aside: Aside, on_notice: OnNotice
    ) -> None:
        self.folder = folder
        self.unsynced: dict[Path, None] = {}
        """What was written and may not be on the disk yet."""
        self._aside = aside
        self._notice = on_notice
        self._moved: list[str] = []
        self._note = folder.with_suffix(".root")
        self.manifest: Manifest | None = None
        self.noted = self._found_noted(read_manifest)
        if self.noted is None and not os.path.lexists(self.folder) and not os.path.lexists(self._note):
            self.noted = self.manifest = EMPTY

    def _found_noted(self, read_manifest: Callable[[str], Manifest | None]) -> Manifest | None:
        try:
            with open(self._note, opener=regular) as note:
                return read_manifest(check_hash(note.read().strip()))
        except (OSError, ValueError, Fault):
            return None

    @property
    def is_made(self) -> bool:
        """Whether there is anything in it, or may be."""
        return self.manifest is None or len(self.manifest) > 0

    def identify(self, roots: Collection[str]) -> Manifest | None:
        """Where no manifest tells what should be here: what is, if that is one of ``roots`` or as noted."""
        entries = {path: entry for path, place in self._files() if (entry := entry_of(place)) is not None}
        try:
            noted = self._note.read_text().strip() if self._note.is_file() else ""
            manifest = Manifest(entries)
        except (OSError, ValueError, Fault):
            return None
        if not entries or manifest.root not in {noted, *roots}:
            return None
        self.manifest = self.noted = manifest
        return manifest

    def compare(self, manifest: Manifest, is_named: Callable[[str], bool]) -> str:
        """Read every file: empty where the tree is ``manifest``, which it then is for certain; else what is wrong.

        Folders that are left of a change which broke off are removed. ``is_named`` tells whether a file of this path
        was ever part of a tree here.
        """
        wrong = self._wrong(manifest, is_named)
        if not wrong:
            self._prune()
            self.manifest = self.noted = manifest
        return wrong

    def _wrong(self, manifest: Manifest, is_named: Callable[[str], bool]) -> str:
        if self.folder.is_symlink() or not self.folder.is_dir():
            return f"'{self.folder}' is no folder"
        right: set[str] = set()
        for path, place in self._files():
            wanted = manifest.get(path)
            if wanted is None:
                if _is_left_behind(place, partial(is_named, path)):
                    return f"'{path}' should be gone"
            elif entry_of(place) != wanted:
                return f"'{path}' is damaged"
            else:
                right.add(path)
        return next((f"'{path}' is not there" for path in manifest if path not in right), "")

    def _files(self) -> Iterator[tuple[str, Path]]:
        """Everything below that is not a folder: its path in the tree, and where it lies."""
        for top, names, files in os.walk(self.folder):
            for name in (*files, *(name for name in names if Path(top, name).is_symlink())):
                place = Path(top, name)
                yield place.relative_to(self.folder).as_posix(), place

    def _prune(self) -> None:
        """Remove the empty folders: each would be a package to Python."""
        for folder, _, _ in os.walk(self.folder, topdown=False):
            if folder != str(self.folder):
                with suppress(OSError):  # it is not empty, or lies where nothing can be written
                    Path(folder).rmdir()

    def become(
        self, wanted: Manifest, objects: Objects, fresh: Mapping[str, bytes], is_named: Callable[[str], bool]
    ) -> None:
        """Make this tree ``wanted``, in time that grows with the change where it is known what lies here."""
        if self.manifest is None and self.noted is not None:
            self.compare(self.noted, is_named)  # once a start; what is built upon must be what it is noted to be
        if self.manifest is None:
            self.rebuild(wanted, objects)
        elif self.manifest.root != wanted.root:
            self.edit(self.manifest.edits_to(wanted), wanted, objects, fresh)

    def edit(self, edits: Edits, new: Manifest, objects: Objects, fresh: Mapping[str, bytes]) -> None:
        """Make this tree ``new`` by ``edits``; ``fresh`` has blobs that are in memory already.

        A symlink where a folder should be is refused before anything is touched. Where it breaks off later, the
        tree's content is unknown until :meth:`rebuild`.
        """
        self._check_parents(edits)
        self._begin()
        for path, entry in edits.items():
            if entry is None:
                self._remove(path)
        made: set[str] = set()
        for path, entry in edits.items():
            if entry is not None:
                self._write(path, entry, objects, fresh, made)
        self._end(new)

    def rebuild(self, wanted: Manifest, objects: Objects) -> None:
        """Make this tree ``wanted`` whatever lies there now. What is no blob of ours is moved aside, not deleted."""
        if os.path.lexists(self.folder) and (self.folder.is_symlink() or not self.folder.is_dir()):
            self._move_aside(self.folder)
        self._begin()
        right: set[str] = set()
        for tree_path, path in list(self._files()):
            found = entry_of(path)
            if found is not None and found == wanted.get(tree_path):
                path.chmod(found.mode)
                os.utime(path, ns=(content_time_ns(found.blake3),) * 2)
                self._touched(path)
                right.add(tree_path)
            elif found is not None and objects.has(found.blake3, found.size):
                path.unlink()
                self._touched(path)
            else:
                self._move_aside(path)
        self._prune()
        made: set[str] = set()
        for path_, entry in wanted.items():
            if path_ not in right:
                self._write(path_, entry, objects, {}, made)
        self._end(wanted)

    def _begin(self) -> None:
        self.manifest = None
        if self._note.is_dir() and not self._note.is_symlink():
            self._move_aside(self._note)
        self._note.unlink(missing_ok=True)
        self.folder.mkdir(parents=True, exist_ok=True)

    def _end(self, manifest: Manifest) -> None:
        self._note.write_text(manifest.root + "\n")
        self._touched(self._note)
        self.manifest = self.noted = manifest
        if self._moved:
            what = self._moved[0] if len(self._moved) == 1 else f"{self._moved[0]} and {len(self._moved) - 1} more"
            self._notice("moved-aside", f"{what} lay in the way of the tree, and is now in {self._aside.folder}")
            self._moved.clear()

    def _touched(self, path: Path) -> None:
        """A file that was written, or is gone; and the folders that say so, up to the one of the trees."""
        self.unsynced[path] = None
        for parent in path.parents:
            self.unsynced[parent] = None
            if parent == self.folder.parent:
                break

    def _check_parents(self, edits: Edits) -> None:
        seen: set[str] = set()
        for path in edits:
            for parent in PurePosixPath(path).parents:
                name = str(parent)
                if name in seen:
                    continue
                seen.add(name)
                if (self.folder / name).is_symlink():
                    raise Refused(
                        "symlink-in-the-way",
                        "a symlink on the target lies where a folder should be",
                        to=name,
                        do="remove it there; applications should write to their working folder",
                    )

    def _remove(self, path: str) -> None:
        target = self.folder / path
        try:
            target.unlink()
        except (FileNotFoundError, NotADirectoryError):
            return
        except (IsADirectoryError, PermissionError):
            if target.is_symlink() or not target.is_dir():
                raise
            self._move_aside(target)
        self._touched(target)
        for parent in PurePosixPath(path).parents:
            if str(parent) == ".":
                break
            try:
                (self.folder / parent).rmdir()
            except OSError:
                break

    def _write(self, path: str, entry: Entry, objects: Objects, fresh: Mapping[str, bytes], made: set[str]) -> None:
        target = self.folder / path
        parent = path.rpartition("/")[0]
        if parent not in made:
            self._make_folder(parent)
            made.add(parent)
        try:
            target.unlink(missing_ok=True)
        except (IsADirectoryError, PermissionError):
            if target.is_symlink() or not target.is_dir():
                raise
            self._remove_or_move(target)
        self._touched(target)
        self.unsynced[objects.path(entry.blake3)] = None
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(target, flags, PLAIN)
        try:
            self._fill(descriptor, entry, objects, fresh)
        except (OSError, Fault):
            target.unlink(missing_ok=True)  # a piece of a file is nobody's, and would only take up space
            raise
        finally:
            os.close(descriptor)

    def _fill(self, descriptor: int, entry: Entry, objects: Objects, fresh: Mapping[str, bytes]) -> None:
        content = fresh.get(entry.blake3)
        if content is None and entry.size <= _MEMORY_BYTES:
            content = objects.read(entry.blake3)
        if content is None:
            objects.copy(entry.blake3, descriptor)
        else:
            _write_all(descriptor, content)
        os.fchmod(descriptor, entry.mode)
        os.utime(descriptor, ns=(content_time_ns(entry.blake3),) * 2)

    def _make_folder(self, parent: str) -> None:
        try:
            (self.folder / parent).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            # A file of the application's own, or a symlink, lies where a folder of the tree must be.
            at = self.folder
            for part in PurePosixPath(parent).parts:
                at = at / part
                if at.is_symlink() or (at.exists() and not at.is_dir()):
                    self._move_aside(at)
                at.mkdir(exist_ok=True)

    def _remove_or_move(self, folder: Path) -> None:
        try:
            folder.rmdir()
        except OSError:
            self._move_aside(folder)

    def _move_aside(self, path: Path) -> None:
        self._aside.take(path)
        self._touched(path)
        self._moved.append(path.name)


def entry_of(path: Path) -> Entry | None:
    """The entry of a regular file that can be read, or None for anything else."""
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            return None
        return Entry(file_name(path), RUNNABLE if status.st_mode & 0o100 else PLAIN, status.st_size)
    except OSError:
        return None


def _is_left_behind(path: Path, is_named: Callable[[], bool]) -> bool:
    """Whether a file that should not be there is one of ours: whole, or torn before it had its time or its content."""
    found = entry_of(path)
    if found is None:
        return False
    time_ns = path.lstat().st_mtime_ns
    if time_ns == content_time_ns(found.blake3):
        return True
    return (found.size == 0 or time_ns % 1_000_000_000 == 0) and is_named()


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
