"""The loop of ``reactor dev`` and the one turn of ``reactor push``: from a change on disk to sessions that ship it.

Owns the scanner and the watcher. A project whose settings became wrong, or that holds a file that can't be shipped,
is told and waited out: what runs goes on running, and the next save is looked at again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from bootloader.wire.errors import Fault
from bootloader.wire.manifest import EMPTY

from .project import Project
from .report import clean
from .scan import Change, Scanner
from .session import Save, Session
from .targets import Target
from .watch import Batch, Watcher

_TURN_S = 0.5

Tell = Callable[[dict[str, Any]], None]


class Loop:
    """One project and its targets. ``tell`` gets every event."""

    def __init__(self, project: Project, targets: Sequence[Target], tell: Tell, *, watching: bool) -> None:
        self._tell = tell
        self._scanner = Scanner(project, targets[0].name)
        self._sessions = [Session(target, self._scanner, tell, watching=watching) for target in targets]
        self._watcher: Watcher | None = None
        for note in project.settings.notes:
            self._notice("no-effect", note)

    def _notice(self, code: str, text: str) -> None:
        self._tell({"event": "notice", "target": "", "code": code, "text": clean(text)})

    @property
    def sessions(self) -> Sequence[Session]:
        """The sessions, a target each."""
        return self._sessions

    def watch(self) -> None:
        """Watch from now on, so that no save between the first scan and the first wait is missed."""
        self._watcher = Watcher(self._scanner.project, self._notice)

    def first(self) -> None:
        """Scan everything and ship what the targets lack. A fault of the project is raised."""
        for session in self._sessions:
            session.start()
        began = time.monotonic()
        manifest = self._scanner.full()
        took_ms = round((time.monotonic() - began) * 1000, 3)
        for session in self._sessions:
            tree = manifest if session is self._sessions[0] else self._scanner.tree(session.target.name)
            session.submit(Save(tree, EMPTY, EMPTY.edits_to(tree), began, {"hash": took_ms}))

    def run(self) -> None:
        """Ship each save, until interrupted, or until no target is left to ship to."""
        while any(session.fatal is None for session in self._sessions):
            assert self._watcher is not None
            batch = self._watcher.get(_TURN_S)
            if batch is not None:
                self._turn(batch)

    def _turn(self, batch: Batch) -> None:
        found = time.monotonic()
        try:
            change = self._scanner.rescan() if batch.rescan else self._scanner.update(batch.paths)
        except Fault as fault:
            told = {"event": "problem", "target": "", "code": fault.code, "message": clean(str(fault))}
            self._tell({**told, **fault.fields})
            return
        if change.settings_changed and self._watcher is not None:
            self._watcher.follow(self._scanner.project)
            for note in self._scanner.project.settings.notes:
                self._notice("no-effect", note)
        if change.edits:
            stages = {"watch": _ms(batch.at, found), "hash": _ms(found, time.monotonic())}
            self._submit(change, batch.at, stages)

    def _submit(self, change: Change, at: float, stages: dict[str, float]) -> None:
        first, *others = self._sessions
        first.submit(Save(change.manifest, change.previous, change.edits, at, dict(stages)))
        for session in others:
            tree = self._scanner.tree(session.target.name)
            session.submit(Save(tree, EMPTY, EMPTY.edits_to(tree), at, dict(stages)))

    def close(self) -> None:
        """End the watcher, the sessions, and the targets that were started for them."""
        if self._watcher is not None:
            self._watcher.close()
        for session in self._sessions:
            session.close()
        for session in self._sessions:
            session.target.close()


def _ms(start: float, end: float) -> float:
    return round(max(0.0, end - start) * 1000, 3)
