"""Owns what runs: the warm parent, the applications, and the change from one generation to the next.

Everything here happens on one thread (``turns``); other threads call the public methods. A change of generation is a
:class:`Transition`: applications stop, the live tree is switched, applications start, and it is over when they are
healthy or one has failed. What rung it takes is decided in ``ladder``, what states mean in ``lifecycle``.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
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
_AGAIN_S = 0.01


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
        self._env: Mapping[str, str] = {}
        self._modules: list[str] = []
        self._cold: set[str] = set()
        self._remember()

    def start(self) -> None:
        """Begin; the warm parent imports what the applications of the last time imported."""
        self._turns.start()
        self._turns.soon(self._start_warm)

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
        warm = self._warm
        return {"ready": warm is not None and warm.ready, "modules": len(warm.modules) if warm is not None else 0}

    def close(self, grace_s: float) -> None:
        """Stop everything, each application within ``grace_s``, and end."""
        done: Future[None] = Future()

        def begin() -> None:
            self._closing = done
            if self._transition is not None and not self._transition.switched.done():
                self._transition.switched.set_exception(_ending())
            for app in self._applications.values():
                app.stop("the bootloader ends", min(grace_s, app.spec.grace_s))
            self._proceed()

        self._turns.soon(begin)
        try:
            self._turns.result(done, grace_s + 5)
        except TimeoutError:
            self._journal.add("notice", {"code": "slow-end", "text": "applications were still there at the end"})
        self._turns.call(self._end_warm, 10)
        self._turns.close(5)

    # the change of a generation

    def _receive(self, transition: Transition) -> None:
        try:
            if self._closing is not None:
                raise _ending()
            if self._transition is not None and not self._transition.switched.done():
                raise Refused("busy", "another change is under way", do="try again")
            if transition.check:
                checked: Future[dict[str, Any]] = Future()
                checked.add_done_callback(lambda future: self._checked(transition, future.result()))
                self._check(checked, transition.tree, transition.check)
            else:
                self._begin(transition)
        except Exception as error:  # noqa: BLE001 - handed to the thread that asked for the change
            self._break_off(transition, error)

    def _checked(self, transition: Transition, problem: dict[str, Any]) -> None:
        transition.stage("check")
        try:
            if problem:
                raise Refused.from_fields(problem)
            if self._closing is not None:
                raise _ending()
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
        elif all(app.gone for name, app in self._applications.items() if self._must_go(name, app, transition)):
            self._switch(transition)

    @staticmethod
    def _must_go(name: str, app: Application, transition: Transition) -> bool:
        """Whether ``app`` is to be gone first: it was asked to stop, or it ended and left children behind."""
        return name in transition.decision.stop or app.state not in ALIVE

    def _switch(self, transition: Transition) -> None:
        transition.stage("stop")
        try:
            transition.generation = transition.switch(transition.decision)
        except Exception as error:  # noqa: BLE001 - handed to the thread that asked for the change
            self._break_off(transition, error)
            return
        transition.stage("switch")
        launch = self._launch = transition.launch
        self._fit_warm(launch)
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
        app.on_modules = self._learn
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
        told = {"change": transition.number, "generation": transition.generation, "state": fate, "why": why}
        self._journal.add("generation", {**told, "stages_ms": transition.stages_ms})
        if fate != "running":
            self._on_fate(transition.generation, fate, why)

    # processes

    def _go(self, spec: Spec, launch: Launch, generation: int) -> Child:
        live, pycache = self._folder / "live", str(self._folder / "pycache")
        data = self._folder / "data" / spec.name
        data.mkdir(parents=True, exist_ok=True)
        child, self._standby = self._take_standby(), None
        child.order(
            go={
                "entry": spec.entry,
                "env": {
                    **os.environ,
                    "PYTHONPYCACHEPREFIX": pycache,  # its own Python processes keep no bytecode in the tree either
                    **spec.env,
                    "REACTOR_APPLICATION": spec.name,
                    "REACTOR_GENERATION": str(generation),
                },
                "live": str(live),
                "data": str(data),
                "pycache": pycache,
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
            child = self._standby = self._warm.fork()
            child.on_line = self._standby_line
            child.on_end = lambda status: self._standby_end(child, status)
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

    def _standby_end(self, child: Child, status: int) -> None:
        child.close()
        if child is not self._standby:
            return  # it was dropped
        self._standby = None
        checks, self._checks = self._checks, {}
        for future in checks.values():
            what = f"the process that compiles what changed ended with status {status}"
            future.set_result({"code": "check-failed", "what": what})

    def _drop_standby(self) -> None:
        """It belongs to a parent that is replaced; the end of its orders ends it."""
        if self._standby is not None and not self._checks:
            child, self._standby = self._standby, None
            child.close()

    # warmth

    def _warm_file(self) -> Path:
        return self._folder / "warm.json"

    def _remember(self) -> None:
        """What applications imported the last time, and with which environment; losing it costs warmth alone."""
        try:
            kept = json.loads(self._warm_file().read_bytes())
            env = {str(name): str(value) for name, value in kept["env"].items()}
            modules, cold = [str(name) for name in kept["modules"]], {str(name) for name in kept["cold"]}
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self._journal.add("notice", {"code": "warmth-lost", "text": f"{self._warm_file().name}: {error}"})
            return
        self._env, self._modules, self._cold = env, modules[:_MODULES], cold

    def _keep_warmth(self) -> None:
        aside = self._warm_file().with_suffix(".new")
        try:
            text = json.dumps({"modules": self._modules, "cold": sorted(self._cold), "env": dict(self._env)})
            aside.write_text(text)
            aside.replace(self._warm_file())
        except OSError as error:
            self._journal.add("notice", {"code": "warmth-lost", "text": f"it is not kept for the next start: {error}"})

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
        if old is not None:
            old.retire()
        self._ensure_standby()
        self._warm_another()

    def _fit_warm(self, launch: Launch) -> None:
        """Modules read the environment when they are imported, so another one needs another parent, and now."""
        self._env = next((app.env for app in launch.applications if not app.init), {})
        if self._next_warm is not None and self._next_warm.env != self._env:
            self._next_warm.close()
            self._next_warm = None
        if self._warm is not None and self._warm.env != self._env:
            old = self._warm
            self._drop_standby()
            self._start_warm()
            old.retire()

    def _end_warm(self) -> None:
        for warm in (self._warm, self._next_warm):
            if warm is not None:
                warm.close()

    def _start_warm(self) -> None:
        self._warm = self._make_warm(self._note_warm)
        self._turns.later(0, self._ensure_standby)

    def _make_warm(self, on_ready: Callable[[dict[str, Any]], None]) -> WarmParent:
        modules = [name for name in self._modules if name not in self._cold] if self._warm_tries < _WARM_TRIES else []
        warm = WarmParent(modules, self._env, self._turns.selector, self._lock)
        warm.on_ready = on_ready
        warm.on_dead = lambda cold: self._warm_died(warm, cold)
        return warm

    def _note_warm(self, note: Body) -> None:
        self._warm_tries = 0
        failed = note.get("failed") or {}
        self._modules = [name for name in self._modules if name not in failed]
        self._cold |= failed.keys()
        for name, why in failed.items():
            self._journal.add("notice", {"code": "not-warm", "text": f"{name} could not be imported ahead: {why}"})
        self._keep_warmth()

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


def _ending() -> Refused:
    return Refused("ending", "the bootloader ends", do="try again when it runs again")
