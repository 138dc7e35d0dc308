"""Events on Linux: an inotify watch on each folder that may hold something to ship, and on no other.

watchdog's observer is not used here. It watches virtual environments and caches too, passes each event through two more
threads and queues, swallows a lack of watches below the root, and holds everything back for half a second when a file
is moved out of the project, as editors with a backup folder do at each save.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ..gather import WRITING_S, Kind
from ..project import Project, Root
from . import kernel
from .kernel import Event, Kernel

if TYPE_CHECKING:
    from . import Watcher

_GONE = kernel.DELETE | kernel.MOVED_FROM
_COME = kernel.CREATE | kernel.MOVED_TO
_SELF = kernel.DELETE_SELF | kernel.MOVE_SELF
_FILE = kernel.MODIFY | kernel.CLOSE_WRITE | kernel.ATTRIB
_MASK = _GONE | _COME | _SELF | _FILE | kernel.ONLYDIR | kernel.DONT_FOLLOW | kernel.EXCL_UNLINK

_FILE_KINDS: tuple[tuple[int, Kind], ...] = (
    (kernel.CLOSE_WRITE, "closed"),
    (kernel.MODIFY, "modified"),
    (kernel.CREATE, "created"),
    (kernel.MOVED_TO, "arrived"),
    (_GONE, "gone"),
    (kernel.ATTRIB, "touched"),
)


class Inotify:
    """A source of events for a :class:`~reactor.watch.Watcher`."""

    writing_s = WRITING_S

    def __init__(self, project: Project, watcher: Watcher) -> None:
        self._project = project
        self._watcher = watcher
        self._lock = threading.Lock()
        self._folders: dict[int, str] = {}
        self._watches: dict[str, int] = {}
        self._inner: dict[str, set[str]] = {}
        """By folder, those right in it that were watched since it was dropped last: a project may have thousands."""
        self._git = {root.git for root in project.roots if root.git}
        self._moved: tuple[int, str] | None = None
        self._kernel = Kernel(self.on_event, watcher.drained)
        self._kernel.start()
        try:
            with self._lock:  # what happens meanwhile waits in `on_event`
                for root in project.roots:
                    self._add(root.folder)
                    self._add_below(root, root.folder)
                for git in self._git:
                    self._add(git)
        except OSError:
            self.close()
            raise

    def alive(self) -> bool:
        """Whether it still tells of events."""
        return self._kernel.is_alive

    def close(self) -> None:
        """End the thread; nothing more is told."""
        self._kernel.close()

    # What the thread calls.

    def on_event(self, event: Event) -> None:
        """One event."""
        if event.mask & kernel.OVERFLOW:
            self._watcher.trouble("overflow")
            return
        with self._lock:
            folder = self._folders.get(event.watch)
            if event.mask & kernel.IGNORED:  # the kernel, or :meth:`_drop`, took the watch away
                self._forget(event.watch)
        if folder is None:
            return
        if not event.name:
            if event.mask & (_SELF | kernel.UNMOUNT) and any(folder == root.folder for root in self._project.roots):
                self._watcher.trouble("gone")
            return
        name = os.fsdecode(event.name)
        if folder in self._git:
            if name == "index.lock" and event.mask & (_COME | _GONE):
                self._watcher.git(locked=bool(event.mask & _COME))
            return
        path = f"{folder}/{name}"
        for root in self._project.roots:
            within = root.within(path)
            if within:
                if event.mask & kernel.ISDIR:
                    self._on_folder(root, within, path, event)
                else:
                    self._on_file(root, within, path, event)

    def _on_file(self, root: Root, within: str, path: str, event: Event) -> None:
        if not root.relevant(within, is_folder=False):
            return
        if event.mask & kernel.MOVED_FROM:
            self._moved = (event.cookie, path)
        elif event.mask & kernel.MOVED_TO and self._moved is not None and self._moved[0] == event.cookie:
            self._watcher.move(self._moved[1], path)
            return
        kind = next(kind for mask, kind in _FILE_KINDS if event.mask & mask)
        if kind == "created" and Path(path).is_symlink():
            kind = "arrived"  # nobody writes to a link and closes it
        self._watcher.change(path, kind)

    def _on_folder(self, root: Root, within: str, path: str, event: Event) -> None:
        """A folder came, or went. What is there now counts: it may have changed places with another one."""
        root.rules.forget(within)
        if not event.mask & (_COME | _GONE) or not root.rules.enters(within):
            return
        try:
            with self._lock:
                self._drop(path)
                self._add(path)
                self._add_below(root, path)
        except OSError as error:
            self._watcher.trouble(error)
        self._watcher.change(path, "arrived" if event.mask & _COME else "gone")

    # With the lock held.

    def _add(self, folder: str) -> None:
        """Watch ``folder``, if it is (still) there and may be watched."""
        if folder in self._watches:
            return
        try:
            watch = self._kernel.add(folder, _MASK)
        except (FileNotFoundError, NotADirectoryError):
            return
        except PermissionError:
            return  # the scan will tell of it
        if (before := self._folders.get(watch)) is not None:  # it moved, and its event is still to come
            self._watches.pop(before, None)
        self._watches[folder] = watch
        self._inner.setdefault(folder.rpartition("/")[0], set()).add(folder)
        self._folders[watch] = folder

    def _add_below(self, root: Root, top: str) -> None:
        folders = [top]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(folder) as entries:
                    inner = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
            except OSError:
                continue  # gone, or not for us: the scan will tell
            for path in inner:
                if root.rules.enters(root.within(path) or ""):
                    self._add(path)
                    folders.append(path)

    def _drop(self, top: str) -> None:
        self._inner.get(top.rpartition("/")[0], set()).discard(top)
        folders = [top]
        while folders:
            folder = folders.pop()
            folders += self._inner.pop(folder, ())
            if (watch := self._watches.get(folder)) is not None:
                self._forget(watch)
                self._kernel.remove(watch)

    def _forget(self, watch: int) -> None:
        folder = self._folders.pop(watch, "")
        if self._watches.get(folder) == watch:
            del self._watches[folder]
