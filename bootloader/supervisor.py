"""Owns what runs: the applications, and the change from one generation to the next.

Everything here happens on one thread (``turns``); other threads call the public methods. A change of generation is a
:class:`Transition`: applications stop, the live tree is switched, applications start, and it is over when they are
healthy or one has failed. What rung it takes is decided in ``ladder``, what states mean in ``lifecycle``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from .application import Application
from .journal import Journal
from .ladder import NOTHING, Decision
from .lifecycle import ALIVE, WELL, State
from .orders import Orders
from .process import Child
from .turns import Turns
from .warmth import Warmth
from .wire.errors import Fault, Refused
from .wire.launch import Application as Spec
from .wire.launch import Launch

_CHECK_S = 120.0
_CHANGE_S = 70.0
_AGAIN_S = 0.01


@dataclass
class Transition:
    """A change under way. ``decide`` gets the names of what runs; ``switch`` makes the new tree live and returns its
    generation's number; ``check`` lists the Python files of the folder ``tree`` that must compile first. ``note`` is
    called on the thread that asks, while those are compiled and applications stop, and is done before the switch.
    """

    launch: Launch
    decide: Callable[[tuple[str, ...]], Decision]
    switch: Callable[[Decision], int]
    began: float
    stages_ms: dict[str, float] = field(default_factory=dict)
    tree: Path = Path()
    check: tuple[str, ...] = ()
    note: Callable[[], None] = lambda: None
    noted: bool = False
    decision: Decision = NOTHING
    switched: Future[int] = field(default_factory=Future)
    told: threading.Event = field(default_factory=threading.Event)
    """Set as soon as it is known how the change fares: its applications run, or one has failed."""
    number: int = 0
    """Counts the changes of this start of the bootloader; its events carry it as ``change``."""
    generation: int = 0
    fate: str = ""

    def stage(self, name: str) -> None:
        """The time since the last stage ended belongs to ``name``."""
        now = time.monotonic()
        self.stages_ms[name] = round((now - self.began) * 1000, 3)
        self.began = now


class Supervisor:
    """``on_fate(generation, fate, why)`` is told on the supervisor's thread when a generation is healthy or failed."""

    def __init__(self, folder: Path, journal: Journal, lock: int, on_fate: Callable[[int, str, str], None]) -> None:
        self._folder = folder
        self._journal = journal
        self._lock = lock
        self._on_fate = on_fate
        self._turns = Turns("supervisor", self._fault)
        self._applications: dict[str, Application] = {}
        self._launch: Launch | None = None
        self._transition: Transition | None = None
        self._changes = 0
        self._closing: Future[None] | None = None
        self._warmth = Warmth(folder, journal, lock, self._turns)

    def start(self) -> None:
        """Begin; the warm parent imports what the applications of the last time imported."""
        self._turns.start()
        self._turns.soon(self._warmth.start)

    # what other threads ask

    def running(self) -> tuple[str, ...]:
        """The names of the applications that have a process."""
        return self._turns.call(self._running, 30)

    def _running(self) -> tuple[str, ...]:
        return tuple(name for name, app in self._applications.items() if app.state in ALIVE)

    @property
    def changes(self) -> int:
        """The number of the last change."""
        return self._changes

    def change(self, transition: Transition) -> int:
        """Check, stop, switch, start as ``transition`` says; the generation's number once the new processes have their
        orders. One way in and one way out, because each hop between threads is felt at every save. What does not
        compile is :class:`Refused`, and nothing has been stopped.
        """
        self._turns.soon(lambda: self._receive(transition))
        try:
            transition.note()
        except (Fault, OSError) as error:
            self._turns.soon(partial(self._break_off, transition, error))
        else:
            transition.noted = True
            self._turns.soon(self._proceed)
        graces = (app.grace_s for app in transition.launch.applications)
        longest_s = max(graces, default=0) + _CHANGE_S + (_CHECK_S if transition.check else 0)
        try:
            return self._turns.result(transition.switched, longest_s)
        except TimeoutError:
            late = Refused("busy", "the change took too long", do="look at `reactor status`, then try again")
            self._turns.call(lambda: self._break_off(transition, late), 30)
            return transition.switched.result(0)  # it may have come about at the last moment

    def states(self) -> list[dict[str, Any]]:
        """The applications, their states, and why, for ``status``."""
        return self._turns.call(
            lambda: [
                {
                    "application": name,
                    "state": str(app.state),
                    "why": app.why,
                    "pid": app.pid if app.state in ALIVE else None,
                    "generation": app.generation,
                    "init": app.spec.init,
                }
                for name, app in self._applications.items()
            ],
            30,
        )

    def warmth(self) -> dict[str, Any]:
        """The warm parent, for ``status``."""
        return self._warmth.told()

    def close(self, grace_s: float) -> None:
        """Stop everything, each application within ``grace_s``, and end."""
        done: Future[None] = Future()

        def begin() -> None:
            self._closing = done
            if self._transition is not None:
                self._transition.told.set()  # no more will be
                if not self._transition.switched.done():
                    self._transition.switched.set_exception(_ending())
            for app in self._applications.values():
                app.stop("the bootloader ends", min(grace_s, app.spec.grace_s))
            self._proceed()

        self._turns.soon(begin)
        try:
            self._turns.result(done, grace_s + 5)
        except TimeoutError:
            self._journal.add("notice", {"code": "slow-end", "text": "applications were still there at the end"})
        self._turns.call(self._warmth.close, 10)
        self._turns.close(5)

    # the change of a generation

    def _receive(self, transition: Transition) -> None:
        try:
            if self._closing is not None:
                raise _ending()
            if self._transition is not None and not self._transition.switched.done():
                raise Refused("busy", "another change is under way", do="try again")
            if transition.check:
                self._warmth.check(transition.tree, transition.check, partial(self._checked, transition))
            else:
                self._begin(transition)
        except Exception as error:  # noqa: BLE001 - handed to the thread that asked for the change
            self._break_off(transition, error)

    def _checked(self, transition: Transition, problem: dict[str, Any]) -> None:
        transition.stage("check")
        try:
            if self._closing is not None:
                raise _ending()
            if problem:
                raise Refused.from_fields(problem)
            self._begin(transition)
        except Exception as error:  # noqa: BLE001 - handed to the thread that asked for the change
            self._break_off(transition, error)

    def _begin(self, transition: Transition) -> None:
        if transition.switched.done():
            return  # too late: nobody waits for it any more
        if self._transition is not None and self._transition.fate in ("", "running"):
            self._fate(self._transition, "replaced", "the next one came before it was healthy")
        self._transition = transition
        self._changes += 1
        transition.number = self._changes
        transition.decision = transition.decide(self._running())
        for name in transition.decision.stop:
            if name in self._applications:
                self._applications[name].stop("a new generation")
        self._proceed()

    def _break_off(self, transition: Transition, error: Exception) -> None:
        """The change does not come about. What was stopped for it starts again, as nothing else has changed."""
        if transition.switched.done():
            return
        transition.switched.set_exception(error)
        if self._transition is transition:
            self._transition = None
            for name in transition.decision.stop:
                app = self._applications.get(name)
                if app is not None and self._launch is not None and self._closing is None:
                    self._when_gone(app, partial(self._launch_one, app.spec, self._launch, app.generation))

    def _when_gone(self, app: Application, then: Callable[[], None]) -> None:
        if self._applications.get(app.spec.name) is app and self._closing is None and self._transition is None:
            if app.gone:
                then()
            else:
                self._turns.later(_AGAIN_S, lambda: self._when_gone(app, then))

    def _proceed(self) -> None:
        """Whatever can go on now, goes on: called after every change of an application's state."""
        if self._closing is not None:
            if all(app.gone for app in self._applications.values()) and not self._closing.done():
                self._closing.set_result(None)
            return
        transition = self._transition
        if transition is None:
            return
        if transition.switched.done():
            self._judge(transition)
        elif transition.noted and not any(self._holds_up(transition, app) for app in self._applications.values()):
            self._switch(transition)

    @staticmethod
    def _holds_up(transition: Transition, app: Application) -> bool:
        """Whether ``app`` is to be gone first: it was asked to stop, or it ended and left children behind."""
        return not app.gone and (app.spec.name in transition.decision.stop or app.state not in ALIVE)

    def _switch(self, transition: Transition) -> None:
        transition.stage("stop")
        try:
            transition.generation = transition.switch(transition.decision)
        except Exception as error:  # noqa: BLE001 - handed to the thread that asked for the change
            self._break_off(transition, error)
            return
        transition.stage("switch")
        launch = self._launch = transition.launch
        self._warmth.fit(next((app.env for app in launch.applications if not app.init), {}))
        for name in [name for name in self._applications if name not in {app.name for app in launch.applications}]:
            del self._applications[name]
        transition.switched.set_result(transition.generation)
        specs = [spec for spec in launch.applications if spec.name in transition.decision.start]
        for spec in specs:
            self._applications.pop(spec.name, None)  # how the last one ended says nothing about this generation
        for spec in sorted(specs, key=lambda app: not app.init):
            self._launch_one(spec, launch, transition.generation)
        self._judge(transition)

    def _launch_one(self, spec: Spec, launch: Launch, generation: int) -> None:
        app = Application(spec, self._turns, self._journal.add, lambda _app: self._proceed())
        app.on_modules = self._warmth.learn
        app.is_alone = lambda: all(one is app or one.state not in ALIVE for one in self._applications.values())
        self._applications[spec.name] = app
        app.start(lambda: self._go(spec, launch, generation), generation)

    def _judge(self, transition: Transition) -> None:
        """Where the applications that this change started have got to."""
        if transition.fate in ("healthy", "failed", "replaced"):
            return
        if not self._applications.keys() >= set(transition.decision.start):
            return  # they are being started
        apps = [self._applications[name] for name in transition.decision.start]
        failed = next((app for app in apps if app.state is State.FAILED), None)
        if failed is not None:
            self._fate(transition, "failed", f"{failed.spec.name} {failed.why}")
            return
        if not transition.fate and all(app.state in WELL or app.state is State.RUNNING for app in apps):
            transition.stage("start")
            self._fate(transition, "running", "")
        if all(app.state in WELL for app in apps):
            self._fate(transition, "healthy", ", ".join(app.why for app in apps if app.why))

    def _fate(self, transition: Transition, fate: str, why: str) -> None:
        transition.fate = fate
        transition.told.set()
        told = {"change": transition.number, "generation": transition.generation, "state": fate, "why": why}
        self._journal.add("generation", {**told, "stages_ms": transition.stages_ms})
        if fate != "running":
            self._on_fate(transition.generation, fate, why)

    # processes

    def _go(self, spec: Spec, launch: Launch, generation: int) -> Child:
        orders = Orders(self._folder, self._folder / "live", spec, launch, generation).fields(spec.entry)
        child = self._warmth.take()
        child.order(go=orders)
        return child

    def _fault(self, error: BaseException) -> None:
        what = str(error) if isinstance(error, Fault) else f"{type(error).__name__}: {error}"
        self._journal.add("notice", {"code": "internal-error", "text": f"the supervisor met a fault: {what}"})


def _ending() -> Refused:
    return Refused("ending", "the bootloader ends", do="try again when it runs again")
