"""The application stack: the applications of the live generation, who of them is to start, and who waits for whom.

Owns the applications, the pauses after deaths, and the socket on which they say that they are ready. Starts whatever
may start (``plan``); what is to stop, and what follows an end, is decided elsewhere. Lives in the supervisor's turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from ..journal import Journal
from ..wire.launch import Application as Spec
from ..wire.launch import Launch, prerequisites
from . import plan
from .application import Application, End
from .child import Child
from .handover import Handover
from .lifecycle import ALIVE, State
from .orders import Orders
from .readiness import VARIABLE as NOTIFY
from .readiness import Readiness
from .turns import Timer, Turns
from .warmth import Warmth


class Stack:
    """``changed`` is called after everything that happens to an application, and when one's pause is over.

    ``root_of`` tells a generation's root. ``cut_off``: what ran last here did not end in order, nor did the bootloader.
    """

    def __init__(
        self,
        folder: Path,
        journal: Journal,
        turns: Turns,
        warmth: Warmth,
        changed: Callable[[], None],
        root_of: Callable[[int], str],
        *,
        cut_off: bool,
    ) -> None:
        self.launch = Launch(())
        """What the applications are told."""
        self._folder = folder
        self._journal = journal
        self._turns = turns
        self._warmth = warmth
        self._changed = changed
        self._cut_off = cut_off
        self._applications: dict[str, Application] = {}
        self._waiting: set[str] = set()
        self._pauses: dict[str, tuple[Timer, float]] = {}
        """The timer of each pause, and when it is due on the monotonic clock."""
        self._readiness: Readiness | None = None
        self._handover = Handover(journal, turns, root_of)

    def __iter__(self) -> Iterator[Application]:
        """Those that there are now, in the order in which they start."""
        return iter(tuple(self._applications.values()))

    def __getitem__(self, name: str) -> Application:
        return self._applications[name]

    def holds(self, app: Application) -> bool:
        """Whether ``app`` is still one of them."""
        return self._applications.get(app.spec.name) is app

    @property
    def running(self) -> tuple[str, ...]:
        """The names of those that have a process, and were not asked to stop."""
        return tuple(app.spec.name for app in self if app.state in ALIVE - {State.STOPPING})

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all."""
        return tuple(self._applications)

    def renew(self, launch: Launch, start: Collection[str], generation: int) -> None:
        """Take over another generation; those that are to ``start`` begin anew, the others go on as they are.

        How the last ones ended says nothing about those that start.
        """
        before, self._applications, self.launch = self._applications, {}, launch
        for spec in plan.order(launch.applications):
            kept = before.get(spec.name) if spec.name not in start else None
            self._applications[spec.name] = kept or self._new(spec, generation)
            if kept is None:
                self.want(spec.name)
        self._waiting &= self._applications.keys()
        self._handover.keep(self._applications)
        self._cut_off = False

    def _new(self, spec: Spec, generation: int) -> Application:
        app = Application(spec, generation, self._turns, self._journal, self._go, self._changed, self._handover)
        if self._cut_off:
            app.end = End("the bootloader was cut off")  # and so was whatever ran then
        app.on_modules = self._warmth.learn
        app.is_alone = lambda: all(one is app or one.state not in ALIVE for one in self)
        return app

    def want(self, name: str) -> None:
        """Start it as soon as it may; a pause is over with that."""
        pause = self._pauses.pop(name, None)
        if pause is not None:
            pause[0].cancel()
        app = self._applications.get(name)
        if app is not None and app.state not in ALIVE - {State.STOPPING}:
            app.wanted_at = time.monotonic()
            self._waiting.add(name)

    def want_later(self, name: str, pause_s: float) -> None:
        """Start it after a pause."""

        def over() -> None:
            self.want(name)
            self._changed()

        self._pauses[name] = (self._turns.later(pause_s, over), time.monotonic() + pause_s)

    def start_due(self, rests: Callable[[Application], bool]) -> None:
        """Start those that may start now, if nothing is left of their last process: they ``rest``."""
        if not self._waiting:
            return
        pending = [app.spec.name for app in self if app.is_pending]
        for name in plan.due(self.launch.applications, self._waiting, pending):
            app = self._applications[name]
            if name in self._waiting and rests(app):  # a start comes back here
                self._waiting.discard(name)
                app.start()

    def stop(self, why: str, most_s: float | None = None) -> None:
        """Stop them all, each within ``most_s`` at most, and start none again."""
        for timer, _ in self._pauses.values():
            timer.cancel()
        self._pauses.clear()
        self._waiting.clear()
        for app in self:
            app.stop(why, app.spec.grace_s if most_s is None else min(most_s, app.spec.grace_s))

    def told(self) -> list[dict[str, Any]]:
        """All of them, for ``status``."""
        now, ahead = time.monotonic(), prerequisites(self.launch.applications)
        pending = {app.spec.name for app in self if app.is_pending} | self._waiting
        rows = []
        for app in self:
            name, after = app.spec.name, [one.spec.name for one in self if one.spec.name in ahead[app.spec.name]]
            rows.append(
                {
                    **app.told(),
                    "after": after,
                    "waits_for": [one for one in after if one in pending] if name in self._waiting else [],
                    "restart_in_s": round(max(0.0, self._pauses[name][1] - now), 2) if name in self._pauses else None,
                }
            )
        return rows

    def close(self) -> None:
        """Hear no more of who is ready."""
        if self._readiness is not None:
            self._readiness.close()

    # one application

    def _go(self, app: Application) -> Child:
        orders = Orders(self._folder, self._folder / "live", app.spec, self.launch, app.generation)
        fields = {**orders.fields(app.spec.entry), **self._handover.orders(app.spec)}
        if app.spec.ready == "notify":
            fields["env"] |= self._ear()
        child = self._warmth.take()
        child.order(go={**fields, "limits": child.limit(app.spec.memory_mb, app.spec.processes)})
        return child

    def _ear(self) -> dict[str, str]:
        """The variable that says where an application says that it is ready; none where the system can't hear it."""
        try:
            self._readiness = self._readiness or Readiness(self._turns.selector, self._hear)
        except OSError as error:
            text = f"no application can say that it is ready: {error}"
            self._journal.add("notice", {"code": "no-readiness", "text": text})
            return {}
        return {NOTIFY: self._readiness.address}

    def _hear(self, group: int) -> None:
        """A process of this group said that it is ready."""
        for app in self:
            if app.state in ALIVE and app.pid == group:
                app.says_ready()
