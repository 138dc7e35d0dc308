"""Changes of what runs: a push, a start, a rollback, a fall, a boot. The store and the supervisor, in their order.

Owns that order, which keeps a refusal from changing anything, and the thread that makes durable, later, what was
switched. One change at a time. Knows nothing of links.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from .journal import Journal
from .ladder import RESTART, ROLLBACK, Decision, decide, fall
from .store.objects import sync
from .store.staged import Staged
from .store.store import Store
from .store.triage import BOOTLOADER, STEADY_S, worn
from .supervisor.supervisor import Supervisor
from .supervisor.transition import Transition
from .wire.errors import Fault, Refused
from .wire.launch import PATH as LAUNCH
from .wire.messages import Body
from .wire.overlay import Overlay

T = TypeVar("T")

_LOCK_S = 90.0
_CHORES = 64
_SETTLE_S = 1.0
_END_S = 10.0


class Changes:
    """``who``: the host that asks for a change, by name. What is answered goes to that host as it is."""

    def __init__(self, store: Store, supervisor: Supervisor, journal: Journal) -> None:
        self._store = store
        self._supervisor = supervisor
        self._journal = journal
        self._chores: queue.Queue[Callable[[], None] | None] = queue.Queue(_CHORES)
        self._settling = False
        self._fallen: set[str] = set()
        """Roots that were given up since a host last changed anything."""
        self._steady: threading.Timer | None = None
        """Runs while what was started at boot may still be cut off soon."""
        self._worker = threading.Thread(target=self._work, name="settler", daemon=True)
        self._worker.start()

    def boot(self, *, start: bool, in_order: bool) -> None:
        """Make the best that the disk has live, and start it; without ``start``, a host will say when.

        ``in_order``: the last bootloader ended as it was asked to, whatever it ran.
        """
        try:
            with self.locked():
                if in_order:
                    self._forgive()
                before = self._store.ledger.last()
                rung = self._store.recover()
                if before is not None and (last := self._store.ledger.last()) not in (None, before):
                    self._journal.lose("went-back", f"at boot, {last.why}")
                    self._fallen.add(before.root)
                if (launch := self._store.launch()) is not None and not start:
                    self._supervisor.expect(launch)
                if rung is not None and start:
                    self._start_live(BOOTLOADER, at_boot=True)
                elif rung is None and self._store.ledger.last() is not None:  # else it is new, and that is no news
                    self._journal.add("notice", {"code": "nothing-to-run", "text": "no generation is left to start"})
        finally:
            self._settle_soon(None)

    def fared(self, number: int, fate: str, why: str) -> None:
        """A generation is healthy, or failed, or was replaced. In a turn of the supervisor's."""
        self._store.ledger.mark(number, fate, why)
        if fate in ("healthy", "failed"):
            self._settle_soon(None)  # the tree of the last healthy generation is free for the next, or has to stay

    def fell(self, number: int, why: str) -> None:
        """A generation is given up. In a turn of the supervisor's."""
        self._chore(lambda: self._fall(number, why))

    def close(self) -> None:
        """Finish the chores and end."""
        if self._steady is not None:
            self._steady.cancel()
        with suppress(queue.Full):
            self._chores.put(None, timeout=_END_S)
        self._worker.join(_END_S)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nothing changes on the disk meanwhile."""
        if not self._store.lock.acquire(timeout=_LOCK_S):
            raise Refused("busy", "another change is under way", do="try again")
        try:
            yield
        finally:
            self._store.lock.release()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """What may go is gone, and nothing that runs takes the room that this makes. For who holds the lock."""
        with self._supervisor.confinement.still(), self._store.space.alone():
            yield

    def upload(self, name: str, offset: int, size_bytes: int, content: bytes) -> None:
        """Keep a blob, or a part of one, ahead of the overlay that needs it."""
        with self.locked():
            self._fit(lambda: self._store.upload(name, offset, size_bytes, content))

    def apply(self, overlay: Overlay, who: str, began: float, *, restart: bool = False) -> Body:
        """An overlay that came ``began`` this time becomes what runs; not as a patch, where it is to ``restart``."""
        with self.locked():
            staged = self._fit(lambda: self._store.stage(overlay))
            self._fallen.clear()
            return self._take(staged, who, began, reload=RESTART if restart else staged.launch.reload)

    def start(self, who: str) -> Body:
        """Start what is live and does not run."""
        with self.locked():
            self._fallen.clear()
            self._forgive()
            return self._start_live(who)

    def restart(self, who: str) -> Body:
        """Stop what runs, and start what is live."""
        with self.locked():
            self._fallen.clear()
            self._forgive()
            return self._start_live(who, again=True)

    def roll_back(self, number: int, who: str) -> Body:
        """Back to the generation of that number; 0 is the last healthy one of another tree."""
        with self.locked():
            ledger = self._store.ledger
            current = ledger.last()
            if number:
                wanted = ledger.get(number)
                if wanted is None:
                    raise Refused("unknown-generation", "this target has no such generation", to=str(number))
            else:
                others = {self._store.manifest.root, *worn(ledger.newest_first())}
                healthy = (one for one in ledger.newest_first() if one.was_healthy and one.root not in others)
                wanted = next(healthy, None)
                if wanted is None:
                    raise Refused("no-generation", "no other generation was healthy", do="name one: `reactor history`")
            self._fallen.clear()
            why = f"asked to, from generation {current.number}" if current is not None else "asked to"
            return self._go_back(wanted.root, f"generation {wanted.number}", who, why)

    def _fit(self, act: Callable[[], T]) -> T:
        """``act``, which writes. Where the disk is full it is done again, with what may go gone, and while nothing that
        runs takes the room that this makes."""
        try:
            return act()
        except Refused as refused:
            if refused.code != "disk-full":
                raise
        with self.alone():
            return act()

    def _take(
        self, staged: Staged, who: str, began: float, rung: str = "", why: str = "", *, reload: str = RESTART
    ) -> Body:
        """What is staged becomes what runs, if it compiles. The way back is a restart: it is for what failed."""
        before, after = staged.launch_before, staged.launch
        written = {path for path, entry in staged.edits.items() if entry is not None and path.endswith(".py")}
        was = self._store.live
        transition = Transition(
            after,
            lambda running, unpatchable: decide(
                before, after, staged.edits, running, reload=reload, unpatchable=unpatchable
            ),
            lambda: self._store.switch(staged),
            lambda decision: self._store.record(staged, who, rung or decision.rung, why or decision.why).number,
            began,
            proven=self._store.ledger.has_been_healthy(staged.manifest.root),
            before=was.folder if was is not None else Path(),
            paths=tuple(path for path in staged.edits if path != LAUNCH),
            programs=staged.programs,
            unchecked=written,
            build=lambda: self._fit(lambda: self._store.build(staged)),
            note=lambda: self._fit(lambda: self._store.note(staged)),
        )
        number = self._supervisor.change(transition)
        took, reason = rung or transition.decision.rung, why or transition.decision.why
        if transition.patch is not None:
            self._store.ledger.explain(number, took, reason)  # how it went was not known at the switch
        self._settle_soon(transition.told)
        return {
            "change": transition.number,
            "generation": number,
            "root": staged.manifest.root,
            "rung": took,
            "why": reason,
            "patch": transition.reports,
            "stages_ms": dict(transition.stages_ms),
        }

    def _start_live(self, who: str, *, again: bool = False, at_boot: bool = False) -> Body:
        """Start what is live and does not run; ``again``: and what runs, too, once it has stopped."""
        launch, root, last = self._store.launch(), self._store.manifest.root, self._store.ledger.last()
        if launch is None:
            raise Refused("nothing-live", "this target has no application yet", do="push one")
        if last is None or last.root != root:  # the ledger lost its end
            last = self._store.ledger.add(root, who, RESTART, "found live, and not in the ledger", 0)
        if at_boot:
            self._store.ledger.count_boot(last.number)
            self._steady = threading.Timer(STEADY_S, self._store.ledger.forgive, [last.number])
            self._steady.name, self._steady.daemon = "steady", True
            self._steady.start()

        def decided(running: tuple[str, ...], _unpatchable: str = "") -> Decision:
            stop = running if again else ()
            start = tuple(app.name for app in launch.applications if app.name in stop or app.name not in running)
            return Decision(RESTART, f"started by {who}", stop, start)

        number = last.number
        change, started = self._supervisor.changes, decided(self._supervisor.running()).start
        if started:
            began, proven = time.monotonic(), self._store.ledger.has_been_healthy(root)
            transition = Transition(launch, decided, lambda: None, lambda _decision: number, began, proven)
            self._supervisor.change(transition)
            change, started = transition.number, transition.decision.start
        return {"change": change, "generation": number, "root": root, "started": list(started)}

    def _go_back(self, root: str, name: str, who: str, why: str) -> Body:
        began = time.monotonic()
        staged = self._fit(lambda: self._store.stage_root(root))
        return self._take(staged, who, began, ROLLBACK, f"to {name}: {why}")

    def _fall(self, number: int, why: str) -> None:
        """What was there before takes the place of a generation that was given up, unless it has been replaced."""
        with self.locked():
            current = self._store.ledger.last()
            if current is None or current.number != number:
                return
            names: dict[str, str] = {}
            newest_first = self._store.ledger.newest_first()
            tired = worn(newest_first)
            for one in newest_first:
                if one.was_healthy and one.root not in tired:
                    names.setdefault(one.root, f"generation {one.number}")
            base = self._store.base_root if self._store.base_root not in tired else ""
            for root in fall(current.root, list(names), base, self._fallen):
                try:
                    why_back = f"generation {number} failed: {why}"
                    self._go_back(root, names.get(root, "the base"), BOOTLOADER, why_back)
                except Refused as refused:
                    text = f"{names.get(root, 'the base')} can't be gone back to: {refused}"
                    self._journal.add("notice", {"code": "rollback-failed", "text": text})
                else:
                    self._fallen.add(current.root)
                    return
            text = f"{why}; there is nothing else to go back to: what failed stays down until the next push or rollback"
            self._journal.add("notice", {"code": "stays-down", "text": text})

    def _forgive(self) -> None:
        """What is live may be started as often as anything new."""
        if (last := self._store.ledger.last()) is not None:
            self._store.ledger.forgive(last.number)

    def _settle_soon(self, told: threading.Event | None) -> None:
        if not self._settling:  # else the one that waits settles this one too
            self._settling = True
            self._chore(lambda: self._settle(told))

    def _settle(self, told: threading.Event | None) -> None:
        """Once the application runs, make the switch durable; only then is the other tree touched."""
        if told is not None:
            told.wait(_SETTLE_S)
        self._settling = False
        with self.locked():
            paths = self._store.settle()
        sync(paths)
        with self.locked():
            self._store.catch_up()
            paths = self._store.settle()
        sync(paths)

    def _chore(self, chore: Callable[[], None]) -> None:
        try:
            self._chores.put_nowait(chore)
        except queue.Full:
            self._journal.add("notice", {"code": "chores-late", "text": "the disk is slower than the saves"})

    def _work(self) -> None:
        while (chore := self._chores.get()) is not None:
            try:
                chore()
            except Exception as error:  # noqa: BLE001 - the settler outlives any one chore; the fault becomes an event
                text = str(error) if isinstance(error, (Fault, OSError)) else f"{type(error).__name__}: {error}"
                self._journal.add("notice", {"code": "chore-failed", "text": text})
