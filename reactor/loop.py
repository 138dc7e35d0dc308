"""The loop of ``reactor dev`` and the one turn of ``reactor push``: from a change on disk to sessions that ship it.

Owns the scanner and the watcher. A project whose settings became wrong, or that holds a file that can't be shipped,
is told and waited out: what runs goes on running, and the next save is looked at again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from bootloader.wire import launch
from bootloader.wire.errors import Fault
from bootloader.wire.manifest import EMPTY

from .follow import shown
from .outcomes import Outcome
from .pace import Pace
from .project import Project
from .report import clean, problem
from .roaming import Roaming
from .scan import Change, Scanner
from .session import CLOSE_S, Save, Session, TellMany
from .survey import Progress
from .targets import Target
from .targets.linked import Linked
from .watch import Batch, Watcher

_TURN_S = 0.5
_ONE_SAVE_S = 1.0
_AHEAD_S = 0.0005
"""So much sooner than it is told, a save is on its way: who ships it has the interpreter to itself."""

Tell = Callable[[dict[str, Any]], None]


class Loop:
    """One project and its targets. ``tell`` gets every event, from several threads; ``tell_many`` what comes together.

    ``fresh``: what is required is looked for anew. What ``tell`` raises ends the sessions, and is raised by
    :meth:`run`, in the thread of whoever shows the events.
    """

    def __init__(
        self,
        project: Project,
        targets: Sequence[Target],
        tell: Tell,
        *,
        watching: bool,
        take: bool = False,
        tell_many: TellMany | None = None,
        fresh: bool = False,
    ) -> None:
        """``take``: the targets' leases, from whoever has them."""
        self._show = tell
        self._show_many = tell_many or (lambda events: list(map(tell, events)))
        self._unshown: Exception | None = None
        self._showing = threading.RLock()
        self._scanning = threading.RLock()  # scanning, and handing over what was found, in that order
        self._scanner = Scanner(project, targets[0].name)
        self._broken: tuple[dict[str, Any], float] | None = None  # why nothing can be shipped, and when that was told
        self._watcher: Watcher | None = None
        self._is_running = False
        self._sessions: list[Session] = []
        for target in targets:
            again, many = self._look_again, self._tell_many
            how = {"watching": watching, "take": take, "fresh": fresh}
            session = Session(target, self._scanner, self._tell, again, tell_many=many, **how)
            self._sessions.append(session)
        linked = {session.target: session for session in self._sessions if isinstance(session.target, Linked)}
        self._roaming = Roaming({one.fingerprint: session.suspect for one, session in linked.items() if one.roams})
        self._trees = dict.fromkeys(self._sessions, EMPTY)

    @property
    def sessions(self) -> Sequence[Session]:
        """The sessions, a target each."""
        return self._sessions

    def watch(self) -> None:
        """Watch from now on, so that no save between the first scan and the first wait is missed."""
        self._watcher = Watcher(self._scanner.project, self._notice, self._at_once)
        self._roaming.start()

    def first(self) -> None:
        """Scan everything and ship what the targets lack. A fault of the project is raised."""
        for session in self._sessions:
            session.start()
        with self._scanning:
            began = time.monotonic()
            change = self._scanner.rescan(self._progress(began))
            self._submit(change, began, {"hash": _ms(began, time.monotonic())})

    def run(self) -> None:
        """Ship each save, until interrupted, or until no target is left to ship to."""
        self._is_running = True
        try:
            while any(session.fatal is None for session in self._sessions):
                assert self._watcher is not None
                batch = self._watcher.get(_TURN_S)
                if self._unshown is not None:
                    raise self._unshown
                if batch is not None:
                    self._turn(batch)
        finally:
            self._is_running = False

    def _at_once(self) -> None:
        """A batch is there, on the thread that heard of it: it is looked at there, unless somebody does."""
        if self._watcher is None or not self._is_running or not self._scanning.acquire(blocking=False):
            return
        try:
            if (batch := self._watcher.get(0)) is not None:
                self._turn(batch)
        except Exception as error:  # noqa: BLE001 - raised by `run`; here, it would end the thread that watches
            self._unshown = error
        finally:
            self._scanning.release()

    def restart(self) -> None:
        """Have all targets stop what runs, and start it again."""
        for session in self._sessions:
            session.restart()

    def lease(self, do: str) -> None:
        """``take`` that of each target, whoever has it, and ship what it lacks; or ``give`` it to who saves next."""
        for session in self._sessions:
            session.lease(do)

    def close(self) -> None:
        """End the watcher, the targets that were started here, with their last words told, and the sessions."""
        for session in self._sessions:
            session.stop()
        self._roaming.close()
        if self._watcher is not None:
            self._watcher.close()
        ended = {session: session.target.close() for session in self._sessions}
        deadline = time.monotonic() + CLOSE_S
        for session in self._sessions:
            session.close(max(0.0, deadline - time.monotonic()), ended=ended[session])

    def _look_again(self) -> None:
        """Some file is not what was hashed, which the watcher may not see, or not be there to see."""
        self._turn(Batch(frozenset(), True, time.monotonic()))

    def _turn(self, batch: Batch) -> None:
        with self._scanning:
            found = time.monotonic()
            try:
                change = self._scanner.rescan() if batch.rescan else self._scanner.update(batch.paths)
            except Fault as fault:
                self._refused(problem(fault), found)
                return
            if change.settings_changed and self._watcher is not None:
                self._watcher.follow(self._scanner.project)
            stages_ms = {"watch": _ms(batch.at, found), "hash": _ms(found, time.monotonic())}
            is_submitted = self._submit(change, batch.at, stages_ms, is_save=True)
            if self._broken is not None and not is_submitted:
                self._notice("well-again", "the project can be shipped again, and is what it was before")
            self._broken = None

    def _refused(self, told: dict[str, Any], now: float) -> None:
        """Tell why nothing can be shipped: once a save, though an editor may make several changes of one."""
        if self._broken is None or self._broken[0] != told or now - self._broken[1] > _ONE_SAVE_S:
            files = [str(told["file"])] if "file" in told else []
            self._tell({"event": "save", "target": "", "files": files})
            self._tell({"target": "", **told})
            held = Outcome(0, 0, "", tuple(files), "hold", "it can't be shipped", now).result(healthy=False)
            self._tell({"target": "", **held})
            self._broken = (told, now)

    def _submit(self, change: Change, at: float, stages_ms: dict[str, float], *, is_save: bool = False) -> bool:
        """Hand each session what changed in its own tree: a target's profile makes a launch file of its own.

        Whether there was anything. ``is_save``: it is told, before anything that comes of it, and while that is on its
        way already.
        """
        saves: list[tuple[Session, Save]] = []
        for session in self._sessions:
            previous = self._trees[session]
            own = session is self._sessions[0]
            tree = change.manifest if own else self._scanner.tree(session.target.name)
            paths = (*change.edits, launch.PATH)
            edits = {path: tree.get(path) for path in paths if tree.get(path) != previous.get(path)}
            if edits:
                self._trees[session] = tree
                saves.append((session, Save(tree, previous, edits, at, dict(stages_ms))))
        with self._showing:
            for session, save in saves:
                session.submit(save)
            if saves and is_save:
                time.sleep(_AHEAD_S)
                files = {shown(self._scanner.project, path) for _, save in saves for path in save.edits}
                self._tell({"event": "save", "target": "", "files": sorted(files)})
        return bool(saves)

    def _progress(self, began: float) -> Progress:
        pace = Pace(began)

        def progress(done: int, total: int | None) -> None:
            if pace.due(time.monotonic(), ended=done == total):
                self._tell(
                    {"event": "progress", "target": "", "what": "scan", "done_files": done, "total_files": total}
                )

        return progress

    def _notice(self, code: str, text: str) -> None:
        self._tell({"event": "notice", "target": "", "code": code, "text": clean(text)})

    def tell(self, event: dict[str, Any]) -> None:
        """Show what was told by somebody else who is beside this."""
        self._tell(event)

    def _tell(self, event: dict[str, Any]) -> None:
        self._perform(lambda: self._show(event))

    def _tell_many(self, events: Sequence[dict[str, Any]]) -> None:
        self._perform(lambda: self._show_many(events))

    def _perform(self, show: Callable[[], object]) -> None:
        with self._showing:
            if self._unshown is not None:
                return
            try:
                show()
            except Exception as error:  # noqa: BLE001 - raised by `run`; here, it would end some thread that tells
                self._unshown = error
                for session in self._sessions:
                    session.stop()


def _ms(start: float, end: float) -> float:
    return round(max(0.0, end - start) * 1000, 3)
