"""Events where there is no inotify: what watchdog's observer for this system tells."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from watchdog.events import (
    DirModifiedEvent,
    FileClosedEvent,
    FileClosedNoWriteEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileOpenedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
    FileSystemMovedEvent,
)
from watchdog.observers import Observer

from ..gather import Kind
from ..project import Project

if TYPE_CHECKING:
    from . import Watcher

CLOSE_S = 2.0

_KINDS: dict[type[FileSystemEvent], Kind] = {
    FileClosedEvent: "closed",
    FileCreatedEvent: "created",
    FileDeletedEvent: "gone",
    FileModifiedEvent: "modified",
}


class Observed(FileSystemEventHandler):
    """A source of events for a :class:`~reactor.watch.Watcher`."""

    writing_s = 0.03
    """Short: most of these systems do not tell when a file is closed."""

    def __init__(self, project: Project, watcher: Watcher) -> None:
        self._project = project
        self._watcher = watcher
        self._locks = {f"{root.git}/index.lock" for root in project.roots if root.git}
        self._observer = Observer()
        for root in project.roots:
            self._observer.schedule(self, root.folder, recursive=True)
        for git in {root.git for root in project.roots if root.git and project.root_of(root.git) is None}:
            self._observer.schedule(self, git)
        self._observer.start()

    def alive(self) -> bool:
        """Whether it still tells of events."""
        return self._observer.is_alive() and all(emitter.is_alive() for emitter in self._observer.emitters)

    def close(self) -> None:
        """End the threads; nothing more is told."""
        self._observer.stop()
        self._observer.join(CLOSE_S)

    def dispatch(self, event: FileSystemEvent) -> None:
        """One event, in the observer's thread."""
        if isinstance(event, FileOpenedEvent | FileClosedNoWriteEvent | DirModifiedEvent):
            return
        source, target = os.fsdecode(event.src_path), os.fsdecode(event.dest_path)
        if source in self._locks:
            if event.event_type in ("created", "deleted", "moved"):
                self._watcher.git(locked=event.event_type == "created")
        elif event.event_type == "deleted" and any(source == root.folder for root in self._project.roots):
            self._watcher.trouble("gone")
        elif isinstance(event, FileSystemMovedEvent):
            ends = [path for path in (source, target) if self._relevant(path, event.is_directory)]
            if len(ends) == 2:
                self._watcher.move(source, target)
            elif ends:
                self._watcher.change(ends[0], "arrived" if ends[0] == target else "gone")
        elif self._relevant(source, event.is_directory):
            whole: Kind = "gone" if event.event_type == "deleted" else "arrived"
            self._watcher.change(source, whole if event.is_directory else _KINDS.get(type(event), "touched"))
        self._watcher.drained()

    def _relevant(self, path: str, is_folder: bool) -> bool:
        found = self._project.root_of(path)
        if found is None or not found[1]:
            return False
        root, within = found
        if is_folder:
            root.rules.forget(within)
        return root.relevant(within, is_folder)
