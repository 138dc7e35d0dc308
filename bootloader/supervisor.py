"""Owns what runs: the warm parent, the applications, and the change from one generation to the next.

Everything here happens on one thread (``turns``); other threads call the public methods. A change of generation is a
:class:`Transition`: applications stop, the live tree is switched, applications start, and it is over when they are
healthy or one has failed. What rung it takes is decided in ``ladder``, what states mean in ``lifecycle``.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .application import Application
from .journal import Journal
from .ladder import NOTHING, Decision
from .lifecycle import ALIVE, WELL, State
from .process import Child, WarmParent
from .turns import Turns
from .wire.errors import Fault, Refused
from .wire.launch import Application as Spec
from .wire.launch import Launch
from .wire.messages import Body

_CHECK_S = 120.0
_CHANGE_S = 70.0
_WARM_LATER_S = 0.1
"""So that warming another parent does not take the processor from the application that is just starting."""
_MODULES = 2000
_WARM_TRIES = 8


@dataclass
class Transition:
    """A change under way. ``decide`` gets the names of what runs; ``switch`` makes the new tree live and returns its
    generation's number; ``check`` lists the Python files of the folder ``tree`` that must compile first.
    """

    launch: Launch
    decide: Callable[[tuple[str, ...]], Decision]
    switch: Callable[[Decision], int]
    began: float
    stages_ms: dict[str, float] = field(default_factory=dict)
    tree: Path = Path()
    check: tuple[str, ...] = ()
    decision: Decision = NOTHING
    switched: Future[int] = field(default_factory=Future)
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
        self._warm: WarmParent | None = None
        self._next_warm: WarmParent | None = None
        self._warm_tries = 0
        self._standby: Child | None = None
        self._checks: dict[int, Future[dict[str, Any]]] = {}
        self._modules, self._cold = self._remembered()

    def start(self) -> None:
        """Begin; the warm parent imports what the applications of the last time imported."""
        self._turns.start()
        self._turns.call(self._start_warm, 30)

    # what other threads ask

    def running(self) -> tuple[str, ...]:
        """The names of the applications that have a process."""
        return self._turns.call(self._running, 30)

    def _running(self) -> tuple[str, ...]:
        return tuple(name for name, app in self._applications.items() if app.state in ALIVE)

    def change(self, transition: Transition) -> int:
        """Check, stop, switch, start as ``transition`` says; the generation's number once the new processes have their
        orders. One way in and one way out, because each hop between threads is felt at every save. What does not
        compile is :class:`Refused`, and nothing has been stopped.
        """
        self._turns.soon(lambda: self._receive(transition))
        graces = (app.grace_s for app in transition.launch.applications)
        longest_s = max(graces, default=0) + _CHANGE_S + (_CHECK_S if transition.check else 0)
        try:
            return transition.switched.result(longest_s)
        except TimeoutError:
            raise Refused("busy", "the change took too long", do="look at `reactor status`, then try again") from None

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
        warm = self._warm
        return {"ready": warm is not None and warm.ready, "modules": len(warm.modules) if warm is not None else 0}

    def close(self, grace_s: float) -> None:
        """Stop everything, each application within ``grace_s``, and end."""
        done: Future[None] = Future()

        def begin() -> None:
            self._closing = done
            for app in self._applications.values():
                app.stop("the bootloader ends", min(grace_s, app.spec.grace_s))
            self._proceed()

        self._turns.soon(begin)
        try:
            done.result(grace_s + 5)
        except TimeoutError:
            self._journal.add("notice", {"code": "slow-end", "text": "applications were still there at the end"})
        for warm in (self._warm, self._next_warm):
            if warm is not None:
                self._turns.call(warm.close, 10)
        self._turns.close(5)

    # the change of a generation

    def _receive(self, transition: Transition) -> None:
        if self._transition is not None and not self._transition.switched.done():
            transition.switched.set_exception(Refused("busy", "another change is under way", do="try again"))
            return
        if not transition.check:
            self._begin(transition)
            return
        checked: Future[dict[str, Any]] = Future()
        checked.add_done_callback(lambda future: self._checked(transition, future.result()))
        self._check(checked, transition.tree, transition.check)

    def _checked(self, transition: Transition, problem: dict[str, Any]) -> None:
        transition.stage("check")
        if problem:
            transition.switched.set_exception(Refused.from_fields(problem))
        else:
            self._begin(transition)

    def _begin(self, transition: Transition) -> None:
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

    def _proceed(self) -> None:
        """Whatever can go on now, goes on: called after every change of an application's state."""
        if self._closing is not None:
            if all(app.gone for app in self._applications.values()) and not self._closing.done():
                self._closing.set_result(None)
            return
        transition = self._transition
        if transition is None:
            return
        if not transition.switched.done():
            if all(self._applications[name].gone for name in transition.decision.stop if name in self._applications):
                self._switch(transition)
            return
        self._judge(transition)

    def _switch(self, transition: Transition) -> None:
        transition.stage("stop")
        try:
            transition.generation = transition.switch(transition.decision)
        except BaseException as error:  # noqa: BLE001 - handed to the thread that asked for the change
            self._transition = None
            transition.switched.set_exception(error)
            return
        transition.stage("switch")
        launch = self._launch = transition.launch
        for name in [name for name in self._applications if name not in {app.name for app in launch.applications}]:
            del self._applications[name]
        transition.switched.set_result(transition.generation)
        for spec in sorted(launch.applications, key=lambda app: not app.init):
            if spec.name in transition.decision.start:
                self._launch_one(spec, launch, transition.generation)

    def _launch_one(self, spec: Spec, launch: Launch, generation: int) -> None:
        app = Application(spec, self._turns, self._journal.add, lambda _app: self._proceed())
        app.on_modules = self._learn
        self._applications[spec.name] = app
        app.start(lambda: self._go(spec, launch, generation), generation)

    def _judge(self, transition: Transition) -> None:
        """Where the applications that this change started have got to."""
        if transition.fate in ("healthy", "failed", "replaced"):
            return
        apps = [self._applications[name] for name in transition.decision.start if name in self._applications]
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
        told = {"change": transition.number, "generation": transition.generation, "state": fate, "why": why}
        self._journal.add("generation", {**told, "stages_ms": transition.stages_ms})
        if fate != "running":
            self._on_fate(transition.generation, fate, why)

    # processes

    def _go(self, spec: Spec, launch: Launch, generation: int) -> Child:
        child, self._standby = self._take_standby(), None
        live = self._folder / "live"
        data = self._folder / "data" / spec.name
        data.mkdir(parents=True, exist_ok=True)
        child.order(
            go={
                "entry": spec.entry,
                "env": {
                    **spec.env,
                    "REACTOR_APPLICATION": spec.name,
                    "REACTOR_GENERATION": str(generation),
                },
                "live": str(live),
                "data": str(data),
                "pycache": str(self._folder / "pycache"),
                "path": [str(live) if part == "." else str(live / part) for part in launch.path],
            }
        )
        self._turns.later(0.05, self._ensure_standby)
        return child

    def _take_standby(self) -> Child:
        if self._standby is None or self._standby.ended:
            if self._warm is None or self._warm.dead:
                self._start_warm()
            assert self._warm is not None
            self._standby = self._warm.fork()
            self._standby.on_line = self._standby_line
            self._standby.on_end = self._standby_end
        return self._standby

    def _ensure_standby(self) -> None:
        if self._closing is None and self._warm is not None and not self._warm.dead:
            self._take_standby()

    def _check(self, future: Future[dict[str, Any]], tree: Path, paths: tuple[str, ...]) -> None:
        child = self._take_standby()
        self._checks[id(future)] = future
        live, pycache = self._folder / "live", self._folder / "pycache"
        child.order(check=paths, tree=str(tree), live=str(live), pycache=str(pycache), id=id(future))

    def _standby_line(self, kind: str, text: str) -> None:
        if kind == "n":
            note = json.loads(text)
            future = self._checks.pop(note.get("checked", 0), None)
            if future is not None:
                future.set_result(note["problem"])
        else:
            self._journal.add("notice", {"code": "standby", "text": text})

    def _standby_end(self, status: int) -> None:
        for future in self._checks.values():
            what = f"the process that compiles what changed ended with status {status}"
            future.set_result({"code": "check-failed", "what": what})
        self._checks.clear()
        self._standby = None

    def _drop_standby(self) -> None:
        if self._standby is not None and not self._standby.ended and not self._checks:
            self._standby.on_end = lambda _status: None
            self._standby.signal_group(9)
            self._standby = None

    # warmth

    def _warm_file(self) -> Path:
        return self._folder / "warm.json"

    def _remembered(self) -> tuple[list[str], set[str]]:
        """The modules that applications imported the last time; losing them costs warmth and nothing else."""
        try:
            kept = json.loads(self._warm_file().read_bytes())
            return [str(name) for name in kept["modules"]][:_MODULES], {str(name) for name in kept["cold"]}
        except FileNotFoundError:
            return [], set()
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._journal.add("notice", {"code": "warmth-lost", "text": f"{self._warm_file().name}: {error}"})
            return [], set()

    def _learn(self, app: Application) -> None:
        """An application imported modules that the warm parent does not have: warm another parent, aside."""
        new = [name for name in app.modules if name not in self._modules and name not in self._cold]
        if not new:
            return
        self._modules = (self._modules + new)[:_MODULES]
        self._turns.later(_WARM_LATER_S, self._warm_another)

    def _warm_another(self) -> None:
        if self._closing is not None or self._next_warm is not None:
            return
        if self._warm is not None and set(self._modules) <= set(self._warm.modules) | self._cold:
            return
        self._next_warm = self._make_warm(self._replace_warm)

    def _replace_warm(self, note: Body) -> None:
        """The parent that warmed aside is ready. The old one keeps its children until they are gone."""
        self._note_warm(note)
        old, self._warm, self._next_warm = self._warm, self._next_warm, None
        self._drop_standby()
        self._ensure_standby()
        if old is not None:
            old.retire()
        self._warm_another()

    def _start_warm(self) -> None:
        self._warm = self._make_warm(self._note_warm)
        self._turns.later(0, self._ensure_standby)

    def _make_warm(self, on_ready: Callable[[dict[str, Any]], None]) -> WarmParent:
        modules = [name for name in self._modules if name not in self._cold] if self._warm_tries < _WARM_TRIES else []
        env = next((app.env for app in self._launch.applications if not app.init), {}) if self._launch else {}
        warm = WarmParent(modules, env, self._turns.selector, self._lock)
        warm.on_ready = on_ready
        warm.on_dead = lambda cold: self._warm_died(warm, cold)
        return warm

    def _note_warm(self, note: Body) -> None:
        self._warm_tries = 0
        failed = note.get("failed") or {}
        self._modules = [name for name in self._modules if name not in failed]
        for name, why in failed.items():
            self._journal.add("notice", {"code": "not-warm", "text": f"{name} could not be imported ahead: {why}"})
        aside = self._warm_file().with_suffix(".new")
        aside.write_text(json.dumps({"modules": self._modules, "cold": sorted(self._cold)}))
        os.replace(aside, self._warm_file())  # noqa: PTH105 - one rename

    def _warm_died(self, warm: WarmParent, cold: str | None) -> None:
        """A parent died: its applications died with it, and have said so. The next one starts without ``cold``."""
        self._warm_tries += 1
        if cold is not None:
            self._cold.add(cold)
            text = f"{cold} starts a thread when it is imported, so it is imported at each start"
            self._journal.add("notice", {"code": "left-cold", "text": text})
        else:
            self._journal.add("notice", {"code": "warm-parent-died", "text": "the warm parent ended and is replaced"})
        if warm is self._next_warm:
            self._next_warm = None
            if cold is not None:
                self._warm_another()
        elif warm is self._warm:
            self._standby = None
            self._turns.later(0 if self._warm_tries < _WARM_TRIES else 1.0, self._revive_warm)

    def _revive_warm(self) -> None:
        if self._closing is None and (self._warm is None or self._warm.dead):
            self._start_warm()

    def _fault(self, error: BaseException) -> None:
        what = str(error) if isinstance(error, Fault) else f"{type(error).__name__}: {error}"
        self._journal.add("notice", {"code": "internal-error", "text": f"the supervisor met a fault: {what}"})
