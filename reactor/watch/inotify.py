"""Events on Linux: an inotify watch on each folder that may hold something to ship, and on no other.

watchdog's reader of an inotify descriptor is used without its observer. The observer watches virtual environments
and caches too, passes each event through two more threads and queues, swallows a lack of watches below the root, and
holds everything back for half a second when a file is moved out of the project, as editors with a backup folder do
at each save.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from watchdog.observers.inotify_c import CallbackId, InotifyConstants, InotifyEvent, InotifyFD, Mask, WatchDescriptor

from ..gather import WRITING_S, Kind
from ..project import Project, Root

if TYPE_CHECKING:
    from . import Watcher

_C = InotifyConstants
_MASK = Mask(
    _C.IN_CREATE
    | _C.IN_MODIFY
    | _C.IN_CLOSE_WRITE
    | _C.IN_ATTRIB
    | _C.IN_MOVE
    | _C.IN_DELETE
    | _C.IN_DELETE_SELF
    | _C.IN_MOVE_SELF
    | _C.IN_ONLYDIR
    | _C.IN_DONT_FOLLOW
    | _C.IN_EXCL_UNLINK
)
_GONE = _C.IN_DELETE | _C.IN_MOVED_FROM
_COME = _C.IN_CREATE | _C.IN_MOVED_TO
_SELF = _C.IN_DELETE_SELF | _C.IN_MOVE_SELF | _C.IN_UNMOUNT

_FILE_KINDS: tuple[tuple[int, Kind], ...] = (
    (_C.IN_CLOSE_WRITE, "closed"),
    (_C.IN_MODIFY, "modified"),
    (_C.IN_CREATE, "created"),
    (_C.IN_MOVED_TO, "arrived"),
    (_GONE, "gone"),
    (_C.IN_ATTRIB, "touched"),
)

CLOSE_S = 2.0

# It warns of each overflow, which `Watcher.trouble` is told of; without a handler that would go to stderr.
logging.getLogger("watchdog").addHandler(logging.NullHandler())


class Inotify:
    """A source of events for a :class:`~reactor.watch.Watcher`."""

    writing_s = WRITING_S

    def __init__(self, project: Project, watcher: Watcher) -> None:
        self._project = project
        self._watcher = watcher
        self._lock = threading.Lock()
        self._folders: dict[WatchDescriptor, str] = {}
        self._watches: dict[str, tuple[WatchDescriptor, CallbackId]] = {}
        self._ids = itertools.count(1)
        self._git = {root.git for root in project.roots if root.git}
        self._moved: tuple[int, str] | None = None
        self._reader = _Reader(watcher.drained)
        self._reader.start()
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
        return self._reader.is_alive()

    def close(self) -> None:
        """End the threads; nothing more is told."""
        self._reader.stop()
        if threading.current_thread() is not self._reader:
            self._reader.join(CLOSE_S)

    # What the reader calls, in its thread.

    def on_event(self, event: InotifyEvent) -> None:
        """One event."""
        with self._lock:
            folder = self._folders.get(event.wd)
        if folder is None:
            return
        if not event.name:
            if event.mask & _SELF and any(folder == root.folder for root in self._project.roots):
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
                if event.mask & _C.IN_ISDIR:
                    self._on_folder(root, within, path, event)
                else:
                    self._on_file(root, within, path, event)

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """The kernel, or :meth:`close`, took a watch away."""
        with self._lock:
            folder = self._folders.pop(wd, None)
            if folder is not None and self._watches.get(folder, (None,))[0] == wd:
                del self._watches[folder]

    def on_queue_overflow(self) -> None:
        """The kernel dropped events."""
        self._watcher.trouble("overflow")

    def _on_file(self, root: Root, within: str, path: str, event: InotifyEvent) -> None:
        if not root.relevant(within, is_folder=False):
            return
        if event.mask & _C.IN_MOVED_FROM:
            self._moved = (event.cookie, path)
        elif event.mask & _C.IN_MOVED_TO and self._moved is not None and self._moved[0] == event.cookie:
            self._watcher.move(self._moved[1], path)
            return
        kind = next(kind for mask, kind in _FILE_KINDS if event.mask & mask)
        if kind == "created" and Path(path).is_symlink():
            kind = "arrived"  # nobody writes to a link and closes it
        self._watcher.change(path, kind)

    def _on_folder(self, root: Root, within: str, path: str, event: InotifyEvent) -> None:
        if event.mask & _COME:
            root.rules.forget(within)
            if root.rules.enters(within):
                try:
                    with self._lock:
                        self._add(path)
                        self._add_below(root, path)
                except OSError as error:
                    self._watcher.trouble(error)
                self._watcher.change(path, "arrived")
        elif event.mask & _GONE and root.rules.enters(within):
            with self._lock:
                self._drop(path)
            root.rules.forget(within)
            self._watcher.change(path, "gone")

    # With the lock held.

    def _add(self, folder: str) -> None:
        """Watch ``folder``, if it is (still) there and may be watched."""
        if folder in self._watches:
            return
        id_ = CallbackId(next(self._ids))
        try:
            wd = self._reader.add_callback(os.fsencode(folder), _MASK, self, id_)
        except (FileNotFoundError, NotADirectoryError):
            return
        if wd != -1:  # -1: no permission, which the scan will tell of
            self._watches[folder] = (wd, id_)
            self._folders[wd] = folder

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
        for folder in [each for each in self._watches if each == top or each.startswith(f"{top}/")]:
            wd, id_ = self._watches.pop(folder)
            self._folders.pop(wd, None)
            self._reader.remove_callbacks([(wd, id_)])


class _Reader(InotifyFD):
    """watchdog's reader, which also tells when it has handled all that was there to read."""

    def __init__(self, drained: Callable[[], None]) -> None:
        super().__init__()
        self.name = "reactor-inotify"
        self._drained = drained

    def run(self) -> None:
        while self.should_keep_running():
            for event in self.read_events():
                self.handle_event(event)
            self._drained()
