"""The files of a project, watched: batches of changed paths come out.

Owns the threads and the fall-backs. A source (:mod:`.inotify` on Linux, :mod:`.observer` elsewhere) tells of single
events, :mod:`reactor.gather` says when they make a batch, and a consumer takes it. Where events get lost, or can't be
had, the batch says to look at everything, and a notice says why. watchdog is known in this folder only.

Threads: a source has its own and calls in; ``reactor-watch`` waits for what is due later and performs the
fall-backs; consumers call :meth:`Watcher.get` from any.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..gather import MOST_PATHS, Due, Gather, Kind
from ..project import Project
from .mounts import without_events

if sys.platform == "linux":
    from .inotify import Inotify as Events
else:
    from .observer import Observed as Events

__all__ = ["Batch", "Events", "Source", "Watcher"]

TICK_S = 1.0
"""How often a poll looks at everything, and how often it is made sure that the source is alive."""

CLOSE_S = 2.0

Notice = Callable[[str, str], None]
"""Told (code, text) of what the user should know; from any thread."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What changed. ``rescan``: look at everything. ``at``: when the first of it happened, on the monotonic clock."""

    paths: frozenset[Path]
    rescan: bool
    at: float


class Source(Protocol):
    """What tells of events. It begins when it is made, and raises :class:`OSError` where it can't."""

    writing_s: float
    """How long a file that is written to may be quiet before it is taken for whole."""

    def alive(self) -> bool:
        """Whether it still tells of events."""
        ...

    def close(self) -> None:
        """End its threads; it tells nothing more."""
        ...


class Watcher:
    """Watches all roots of a project from when it is made until :meth:`close`."""

    events: Callable[[Project, Watcher], Source] = Events
    """Where events come from."""

    def __init__(self, project: Project, on_notice: Notice, at_once: Callable[[], None] = lambda: None) -> None:
        """``at_once`` is called where a source has told enough for a batch, on its thread, to :meth:`get` it there: a
        hand-over less. What it leaves is for whoever waits.
        """
        self._project = project
        self._on_notice = on_notice
        self._at_once = at_once
        self._lock = threading.Lock()
        self._sleeper = threading.Condition(self._lock)
        self._consumers = threading.Condition(self._lock)
        self._gather = Gather()
        self._armed = 0.0
        self._trouble: str | OSError | None = None
        self._next: Project | None = None
        self._closing = False
        self._out: Batch | None = None
        self._gone = False
        self._source = self._start()
        self._thread = threading.Thread(target=self._run, name="reactor-watch", daemon=True)
        self._thread.start()

    def get(self, timeout_s: float) -> Batch | None:
        """The next batch: all that is due and was not taken yet, in one. None after ``timeout_s``, or when closed."""
        with self._lock:
            self._consumers.wait_for(lambda: self._out is not None or self._closing, timeout_s)
            batch, self._out = self._out, None
            return batch

    def follow(self, project: Project) -> None:
        """Watch ``project``, whose settings or ignore files changed, from now on. A rescan batch follows."""
        with self._lock:
            self._next = project
            self._sleeper.notify()

    def close(self) -> None:
        """Stop watching. Bounded by ``CLOSE_S`` for each thread."""
        with self._lock:
            self._closing = True
            self._sleeper.notify()
            self._consumers.notify_all()
        self._thread.join(CLOSE_S)

    # What a source tells, from its own thread.

    def change(self, path: str, kind: Kind) -> None:
        """``kind`` happened to ``path``, which is relevant."""
        with self._lock:
            self._gather.add(path, kind, time.monotonic())

    def move(self, source: str, path: str) -> None:
        """``source`` became ``path``; both are relevant."""
        with self._lock:
            self._gather.move(source, path, time.monotonic())

    def git(self, locked: bool) -> None:
        """Git took, or gave back, the lock of an index."""
        with self._lock:
            if locked:
                self._gather.lock(time.monotonic())
            else:
                self._gather.unlock(time.monotonic())

    def drained(self) -> None:
        """No more events for the moment: let out what is due."""
        with self._lock:
            is_due = self._let_out()
            deadline = self._gather.next_deadline()
            if deadline is not None and deadline < self._armed:
                self._sleeper.notify()
        if is_due:
            self._at_once()
            with self._lock:
                if self._out is not None:
                    self._consumers.notify()

    def trouble(self, what: str | OSError) -> None:
        """Events were lost (``"overflow"``), a root is ``"gone"``, or something can't be watched."""
        with self._lock:
            self._trouble = what
            self._sleeper.notify()

    # The thread.

    def _run(self) -> None:
        tick_at = time.monotonic() + TICK_S
        while True:
            with self._lock:
                if self._let_out():
                    self._consumers.notify()
                deadline = self._gather.next_deadline()
                self._armed = min(tick_at, deadline) if deadline is not None else tick_at
                if not (self._closing or self._trouble or self._next):
                    self._sleeper.wait(max(0.0, self._armed - time.monotonic()))
                if self._closing:
                    break
                trouble, self._trouble = self._trouble, None
                project, self._next = self._next, None
            if project is not None:
                self._project = project
                self._restart()
            elif trouble is not None:
                self._overcome(trouble)
            if time.monotonic() >= tick_at:
                self._tick()
                tick_at = time.monotonic() + TICK_S
        self._stop()

    def _tick(self) -> None:
        if self._gone:
            if all(Path(root.folder).is_dir() for root in self._project.roots):
                self._gone = False
                self._on_notice("watch-back", f"{self._project.folder} is watched again")
                self._restart()
        elif self._source is None:
            self._everything()
        elif not self._source.alive():
            self._stop()
            self._on_notice("watch-polls", f"the thread that watches died: looking every {TICK_S:g} s from now on")
            self._everything()

    def _overcome(self, trouble: str | OSError) -> None:
        if isinstance(trouble, OSError):
            self._stop()
            self._notice_failure(trouble)
            self._everything()
        elif trouble == "gone":
            self._restart()
        else:
            self._on_notice("watch-overflow", "more changed at once than the system tells: looking at everything")
            self._restart()

    def _start(self) -> Source | None:
        """A source, or None where there are no events to be had."""
        why = without_events([root.folder for root in self._project.roots], os.environ)
        if why:
            self._on_notice("watch-polls", f"{why}: looking every {TICK_S:g} s")
            return None
        try:
            source = type(self).events(self._project, self)
        except OSError as error:
            self._notice_failure(error)
            return None
        with self._lock:
            self._gather = Gather(source.writing_s)
        return source

    def _stop(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None

    def _restart(self) -> None:
        self._stop()
        gone = [root.folder for root in self._project.roots if not Path(root.folder).is_dir()]
        if gone:
            self._on_notice("watch-gone", f"{gone[0]} is gone: waiting for it to come back")
            self._gone = True
        else:
            self._source = self._start()
            self._everything()

    def _notice_failure(self, error: OSError) -> None:
        limit = {errno.ENOSPC: "max_user_watches=524288", errno.EMFILE: "max_user_instances=1024"}.get(error.errno or 0)
        hint = f" (to raise the limit: sudo sysctl fs.inotify.{limit})" if limit else ""
        self._on_notice("watch-polls", f"can't watch: {error.strerror}: looking every {TICK_S:g} s{hint}")

    def _everything(self) -> None:
        with self._lock:
            self._put(Due(frozenset(), time.monotonic(), everything=True))
            self._consumers.notify()

    def _let_out(self) -> bool:
        """Whether anything was due."""
        due = self._gather.due(time.monotonic())
        if due is not None:
            self._put(due)
        return due is not None

    def _put(self, due: Due) -> None:
        """Add to the batch that waits to be taken. There is one at most, and it is bounded."""
        paths, rescan, at = frozenset(map(Path, due.paths)), due.everything, due.at
        if self._out is not None:
            paths, rescan, at = paths | self._out.paths, rescan or self._out.rescan, min(at, self._out.at)
        if rescan or len(paths) > MOST_PATHS:
            paths, rescan = frozenset(), True
        self._out = Batch(paths, rescan, at)
