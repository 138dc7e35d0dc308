"""One application as the supervisor runs it: its state, its process, its timers, its words.

Performs what ``lifecycle`` decides. Lives on the supervisor's thread. Knows nothing of overlays and generations but
the number that its events carry.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .lifecycle import ALIVE, Action, Event, State, step
from .orders import NAME
from .process import Child, signal_name
from .turns import Timer, Turns
from .wire.launch import Application as Spec
from .wire.messages import Body
from .wire.records import NOTE, stream_of

_SWEEP_S = 0.01
_KILLED_S = 2.0

Tell = Callable[[str, Body], object]


@dataclass(frozen=True, slots=True)
class End:
    """How a process ended. ``code``: its exit status, ``signal``: what killed it; None where that is not how."""

    why: str
    code: int | None = None
    signal: str | None = None

    @property
    def clean(self) -> bool:
        """Whether it has cleaned up after itself, as far as can be known."""
        return self.code == 0


class Application:
    """``tell(event, fields)`` journals; ``changed`` is called after every change of state, and when it is swept."""

    def __init__(self, spec: Spec, turns: Turns, tell: Tell, changed: Callable[[Application], None]) -> None:
        self.spec = spec
        self.generation = 0
        self.state = State.STOPPED
        self.why = ""
        self.is_alone: Callable[[], bool] = lambda: True
        """Whether no other application has a process."""
        self.on_modules: Callable[[list[str]], None] = lambda _names: None
        self._turns = turns
        self._tell = tell
        self._changed = changed
        self._child: Child | None = None
        self._go: Callable[[], Child] | None = None
        self._timer: Timer | None = None
        self._sweep: Timer | None = None
        self._sweep_left_s = 0.0

    @property
    def pid(self) -> int | None:
        """The process id, while there is a process."""
        return self._child.pid if self._child is not None else None

    @property
    def gone(self) -> bool:
        """Whether no process of its group is left."""
        return self.state not in ALIVE and self._sweep is None

    def start(self, go: Callable[[], Child], generation: int) -> None:
        """Start with the process that ``go`` gives its orders to."""
        self._go = go
        self.generation = generation
        self._sweep_left_s = self.spec.grace_s
        self._event(Event.GO, "")

    def stop(self, why: str, grace_s: float | None = None) -> None:
        """Ask it to stop: SIGTERM to the group, the grace time, then SIGKILL to the group."""
        left_s = self.spec.grace_s if grace_s is None else grace_s
        if self.state is State.STOPPING and left_s < self._sweep_left_s:
            self._disarm()
            self._timer = self._turns.later(left_s, lambda: self._event(Event.GRACE_OVER, ""))
        self._sweep_left_s = left_s
        self._event(Event.STOP, why)

    def _event(self, event: Event, why: str, **more: Any) -> None:
        before = self.state
        self.state, actions = step(before, event)
        if self.state is not before:
            self.why = why
            self._disarm()
        for action in actions:
            self._perform(action)
        if self.state is not before:
            fields = {
                "application": self.spec.name,
                "state": str(self.state),
                "why": why,
                "generation": self.generation,
            }
            self._tell("state", {**fields, **more})
            self._changed(self)

    def _perform(self, action: Action) -> None:
        match action:
            case Action.SPAWN:
                assert self._go is not None
                try:
                    self._child = self._go()
                except OSError as error:
                    why = f"its process could not be started: {error}"
                    self._turns.soon(lambda: self._event(Event.DIED, why))
                    return
                self._child.on_line = self._line
                self._child.on_end = self._ended
            case Action.ARM_SETTLE:
                settle_s = self.spec.settle_s
                self._timer = self._turns.later(settle_s, lambda: self._event(Event.SETTLED, f"up for {settle_s:g} s"))
            case Action.TERMINATE:
                self._signal(signal.SIGTERM)
                self._timer = self._turns.later(self._sweep_left_s, lambda: self._event(Event.GRACE_OVER, ""))
            case Action.KILL:
                self._signal(signal.SIGKILL)
                text = f"{self.spec.name} did not stop within its grace time and was killed"
                self._tell("notice", {"code": "killed", "text": text, "application": self.spec.name})
            case Action.SWEEP:
                self._begin_sweep()

    def _signal(self, number: int) -> None:
        """To the group. A process so new that its id is not known yet gets it at the next turn."""
        child = self._child
        if child is not None and child.pid is None and not child.ended:
            self._turns.later(_SWEEP_S, lambda: self._signal(number) if child is self._child else None)
        elif child is not None:
            child.signal_group(number)

    def _begin_sweep(self) -> None:
        """The leader is gone. What is left of its group has been asked to stop, or is asked now."""
        if self._child is None or not self._child.signal_group(signal.SIGTERM):
            self._swept()
            return
        self._sweep = self._turns.later(_SWEEP_S, lambda: self._sweep_on(self._sweep_left_s, killed=False))

    def _sweep_on(self, left_s: float, *, killed: bool) -> None:
        child = self._child
        if child is not None and child.signal_group(0) and not (killed and left_s <= 0):
            if left_s <= 0:
                child.signal_group(signal.SIGKILL)
                left_s, killed = _KILLED_S, True
            self._sweep = self._turns.later(_SWEEP_S, lambda: self._sweep_on(left_s - _SWEEP_S, killed=killed))
            return
        self._sweep = None
        self._swept()
        self._changed(self)

    def _swept(self) -> None:
        if self._child is not None:
            self._child.close()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ended(self, status: int) -> None:
        if self._child is not None:
            self._child.claim_strays(NAME, self.spec.name, alone=self.is_alone())
        if status == 0:
            why = "asked to" if self.state is State.STOPPING else "its entry point returned"
            self._event(Event.ENDED, why, code=0)
        elif status > 0:
            self._event(Event.DIED, f"exited with status {status}", code=status)
        else:
            name = signal_name(-status)
            self._event(Event.DIED, f"killed by {name}", signal=name)

    def _line(self, kind: str, text: str) -> None:
        if kind == NOTE:
            self._note(text)
            return
        self._tell("log", {"application": self.spec.name, **stream_of(kind), "text": text})

    def _note(self, text: str) -> None:
        """What the process says. It shares the pipe with user code, so it is believed about itself alone."""
        try:
            note = json.loads(text)
        except ValueError:
            return self._line("o", text)
        if not isinstance(note, dict):
            return self._line("o", text)
        if "running" in note:
            self._event(Event.ENTERED, "")
        if "modules" in note and isinstance(note["modules"], list):
            self.on_modules([name for name in note["modules"] if isinstance(name, str)])
        if "died" in note:
            what = f"{note['died']}: {note.get('message', '')}".removesuffix(": ")
            fields = {key: note[key] for key in PROBLEM_KEYS if key in note}
            problem = {"code": "application-died", "application": self.spec.name, "generation": self.generation}
            self._tell("problem", {**problem, "what": what, **fields})
        return None


PROBLEM_KEYS = ("frames", "traceback", "syntax", "missing_module", "missing_file")
