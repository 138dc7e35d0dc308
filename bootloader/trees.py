"""One tree on disk: files under a folder, and beside it a note of the root that they make up.

The note is taken away before the first change and written after the last, so that a tree without a note is known to be
half done and is rebuilt. It is written as ``a.written`` and becomes ``a.root`` once all is on the disk for certain; a
start that finds the former compares every file, as a power cut may have torn some. Only paths of a manifest are ever
touched: what an application wrote next to its code is left alone, or moved aside where it is in the way. Never follows
a symlink.

A file's modification time is made from its BLAKE3. Python's bytecode cache compares times, and two edits within one
second with one length would serve stale code; the content can't lie. It also lets both trees share one cache.
"""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from blake3 import blake3

from .objects import Objects
from .wire.errors import Fault, Refused
from .wire.manifest import EMPTY, PLAIN, RUNNABLE, Edits, Entry, Manifest, check_hash

_MEMORY_BYTES = 4 * 1024 * 1024


def content_time_ns(name: str) -> int:
    """The modification time of a file with this BLAKE3, in nanoseconds: whole seconds, 31 bits."""
    return (int(name[:8], 16) >> 1) * 1_000_000_000


class Tree:
    """One of the two trees. ``manifest`` is what lies there, or None where that is not known."""

    def __init__(
        self,
        folder: Path,
        aside: Path,
        read_manifest: Callable[[str], Manifest | None],
        on_notice: Callable[[str, str], None],
    ) -> None:
        self.folder = folder
        self.unsynced: dict[Path, None] = {}
        """What was written and may not be on the disk yet."""
        self._aside = aside
        self._notice = on_notice
        self._moved: list[str] = []
        self._note = folder.with_suffix(".root")
        self._draft = folder.with_suffix(".written")
        self.manifest = self._noted(read_manifest)

    def _noted(self, read_manifest: Callable[[str], Manifest | None]) -> Manifest | None:
        durable = self._note.exists()
        if not durable and not self._draft.exists() and not os.path.lexists(self.folder):
            return EMPTY
        if self.folder.is_symlink() or not self.folder.is_dir():
            return None
        try:
            manifest = read_manifest(check_hash((self._note if durable else self._draft).read_text().strip()))
            return manifest if manifest is None or durable or self._holds(manifest) else None
        except (OSError, ValueError, Fault):
            return None

    def _holds(self, manifest: Manifest) -> bool:
        return all(_entry(self.folder / path) == entry for path, entry in manifest.items())

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
        for folder, names, files in os.walk(self.folder, topdown=True):
            for name in (*files, *(name for name in names if Path(folder, name).is_symlink())):
                path = Path(folder, name)
                tree_path = path.relative_to(self.folder).as_posix()
                found = _entry(path)
                if found is not None and found == wanted.get(tree_path):
                    path.chmod(found.mode)
                    os.utime(path, ns=(content_time_ns(found.blake3),) * 2)
                    self.unsynced[path] = None
                    right.add(tree_path)
                elif found is not None and objects.has(found.blake3, found.size):
                    path.unlink()
                else:
                    self._move_aside(path)
        for folder, _, _ in os.walk(self.folder, topdown=False):
            if folder != str(self.folder):
                with suppress(OSError):  # it is not empty; an empty one would be a package to Python
                    Path(folder).rmdir()
        made: set[str] = set()
        for path_, entry in wanted.items():
            if path_ not in right:
                self._write(path_, entry, objects, {}, made)
        self._end(wanted)

    def _begin(self) -> None:
        self.manifest = None
        self._note.unlink(missing_ok=True)
        self._draft.unlink(missing_ok=True)
        self.folder.mkdir(parents=True, exist_ok=True)

    def _end(self, manifest: Manifest) -> None:
        self._draft.write_text(manifest.root + "\n")
        self.unsynced[self._draft] = None
        self.manifest = manifest
        if self._moved:
            what = self._moved[0] if len(self._moved) == 1 else f"{self._moved[0]} and {len(self._moved) - 1} more"
            self._notice("moved-aside", f"{what} lay in the way of the tree, and is now in {self._aside}")
            self._moved.clear()

    def synced(self, manifest: Manifest) -> None:
        """All of ``manifest`` is on the disk for certain, unless the tree has changed since."""
        if self.manifest is manifest and self._draft.exists():
            self._draft.rename(self._note)

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
        self.unsynced[target] = None
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
        self._aside.mkdir(parents=True, exist_ok=True)
        place = tempfile.mkdtemp(prefix=f"{time.time():.0f}-", dir=self._aside)
        path.rename(Path(place, path.name))
        self._moved.append(path.name)


def _entry(path: Path) -> Entry | None:
    """The entry of a regular file, or None for anything else."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        return None
    hasher = blake3()
    hasher.update_mmap(path)
    return Entry(hasher.hexdigest(), RUNNABLE if status.st_mode & 0o100 else PLAIN, status.st_size)


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
