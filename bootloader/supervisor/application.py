"""One application as the supervisor runs it: its state, its process, its timers, its words.

Performs what ``lifecycle`` decides. Lives in the supervisor's turns. Knows nothing of overlays and generations but
the number that its events carry.
"""

from __future__ import annotations

import json
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

from ..dump import Dump
from ..journal import Journal
from ..wire.launch import Application as Spec
from ..wire.records import NOTE, PROBLEM_KEYS, STDOUT
from .child import Child, signal_name
from .handover import Handover
from .lifecycle import ALIVE, WELL, Action, Event, State, step
from .orders import NAME
from .turns import Timer, Turns

_SWEEP_S = 0.01
_KILLED_S = 2.0
_DEAF_S = 0.1
"""So long its end may be told after the end of its orders: then that is why."""

Answer = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class End:
    """How a process ended. ``code``: its exit status, ``signal``: what killed it; None where that is not how."""

    why: str
    code: int | None = None
    signal: str | None = None
    clean: bool = False
    """Whether it has cleaned up after itself: it came to its end by itself, as Python programs do, and it was well."""


class Application:
    """``go`` gives a process its orders; ``handover`` holds what its last start gave.

    ``changed`` is called after every change of state, when its group is gone, and when it is late to be ready.
    """

    def __init__(
        self,
        spec: Spec,
        generation: int,
        turns: Turns,
        journal: Journal,
        go: Callable[[Application], Child],
        changed: Callable[[], None],
        handover: Handover,
    ) -> None:
        self.spec = spec
        self.generation = generation
        self.state = State.STOPPED
        self.why = ""
        self.end: End | None = None
        """How its last process ended, until somebody has seen to that."""
        self.is_late = False
        """Whether it was not ready within ``ready_s``."""
        self.missed: set[str] = set()
        """What has changed in the tree, and not in its process: it was not concerned."""
        self.wanted_at = time.monotonic()
        """Since when it is to run, on the monotonic clock."""
        self.is_alone: Callable[[], bool] = lambda: True
        """Whether no other application has a process."""
        self.on_modules: Callable[[list[str]], None] = lambda _names: None
        self._turns = turns
        self._journal = journal
        self._tell = journal.add
        self._go = go
        self._changed = changed
        self._handover = handover
        self._child: Child | None = None
        self._started_at: float | None = None
        self._ready_at: float | None = None
        self._timer: Timer | None = None
        self._late: Timer | None = None
        self._sweep: Timer | None = None
        self._sweep_left_s = 0.0
        self._asked: dict[str, tuple[Answer, Timer]] = {}
        """By the token of the order, which nobody can know but who was given it."""
        self._left = False
        """Whether its process has said that it has been through all that Python does at the end of a program."""
        self._is_spoilt = False
        """Whether its process ended over the state that was handed to it: another one starts, and nothing has died."""

    @property
    def pid(self) -> int | None:
        """The process id, while there is a process."""
        return self._child.pid if self._child is not None else None

    def pids(self) -> Iterator[int]:
        """The processes that it is now: its own, and all that it has started."""
        return self._child.pids() if self._child is not None and not self._child.closed else iter(())

    @property
    def dump(self) -> Dump | None:
        """Where its process leaves its stacks when it can't be asked for them, while there is a process."""
        return self._child.dump if self._child is not None and not self._child.closed else None

    @property
    def gone(self) -> bool:
        """Whether no process of its group is left."""
        return self.state not in ALIVE and self._sweep is None

    @property
    def is_pending(self) -> bool:
        """Whether it may still become ready in time."""
        return self.state in (State.STARTING, State.RUNNING) and not self.is_late

    @property
    def has_failed(self) -> bool:
        """Whether it died, or did not say in time that it is ready."""
        mute = self.is_late and self.spec.ready == "notify" and self.state in (State.STARTING, State.RUNNING)
        return mute or self.state is State.FAILED

    def start(self) -> None:
        """Start it, for the first time or again."""
        self._child = None
        self.missed.clear()
        self._sweep_left_s = self.spec.grace_s
        self._left = False
        self._started_at, self._ready_at, self.is_late = time.monotonic(), None, False
        self._event(Event.GO, "")

    def says_ready(self) -> None:
        """A process of its group said that it is ready."""
        if self.spec.ready == "notify":
            self._event(Event.READY, "it said that it is ready")

    def patched(self) -> None:
        """Its code is that of its generation now: it has to stay up for its settle time once more.

        One that is to say itself that it is ready, and has not yet, is still to do so.
        """
        if self._ready_at is not None:
            self.is_late = False
        if self._ready_at is not None or self.spec.ready == "settle":
            self._event(Event.PATCHED, "patched")

    def ask(self, do: str, within_s: float, on_answer: Answer, **fields: Any) -> None:
        """Order something of the running application. ``on_answer`` is called once, at a later turn: with what it
        answers, or with why there is no answer, as ``unanswered``.
        """
        token = secrets.token_hex(8)
        late = partial(self._answer, token, {"unanswered": f"did not answer within {within_s:g} s"})
        self._asked[token] = on_answer, self._turns.later(within_s, late)
        child = self._child
        if child is None or self.state not in (State.RUNNING, State.HEALTHY):
            self._turns.soon(partial(self._give_up_asking, f"is {self.state}"))
        elif child.deaf:
            self._turns.soon(partial(self._grow_deaf, child))
        else:
            child.order(order=token, do=do, **fields)

    def tell_raised(self, answer: Mapping[str, Any]) -> None:
        """What was ordered ended with an exception of the application's code, if ``answer`` says so."""
        problem = answer.get("problem")
        if isinstance(problem, dict):
            fields = {key: problem[key] for key in PROBLEM_KEYS if key in problem}
            about = {"code": "call-raised", "application": self.spec.name, "generation": self.generation}
            self._tell("problem", {**about, "what": str(answer.get("refused", ""))[:1000], **fields})

    def _answer(self, token: str, answer: Mapping[str, Any]) -> None:
        on_answer, timer = self._asked.pop(token, (None, None))
        if on_answer is not None and timer is not None:
            timer.cancel()
            on_answer(answer)

    def _give_up_asking(self, why: str) -> None:
        for token in list(self._asked):
            self._answer(token, {"unanswered": why})

    def _grow_deaf(self, child: Child) -> None:
        if child is self._child:
            self._give_up_asking("takes no orders any more")

    def told(self) -> dict[str, Any]:
        """Itself, for ``status``. ``waited_ms``: before its start, for others; ``ready_ms``: after it, until ready."""
        return {
            "application": self.spec.name,
            "state": str(self.state),
            "why": self.why,
            "pid": self.pid if self.state in ALIVE else None,
            "up_s": self._up_s(),
            "generation": self.generation,
            "init": self.spec.init,
            "ready": self.spec.ready,
            "late": self.is_late,
            "waited_ms": _ms(self.wanted_at, self._started_at),
            "ready_ms": _ms(self._started_at, self._ready_at),
        }

    def _up_s(self) -> float | None:
        if self._started_at is None or self.state not in ALIVE:
            return None
        return round(time.monotonic() - self._started_at, 1)

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
            if self.state in WELL and self._ready_at is None:
                self._ready_at = time.monotonic()
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
            self._changed()

    def _perform(self, action: Action) -> None:
        match action:
            case Action.SPAWN:
                try:
                    self._child = self._go(self)
                except OSError as error:
                    self._turns.soon(partial(self._over, End(f"its process could not be started: {error}")))
                    return
                self._child.on_lines = self._lines
                self._child.on_end = self._ended
                deaf = partial(self._grow_deaf, self._child)
                self._child.on_deaf = lambda: self._turns.later(_DEAF_S, deaf)
                self._late = self._late or self._turns.later(self.spec.ready_s, self._grow_late)
            case Action.ARM_SETTLE if self.spec.ready == "settle":
                self._arm_settle("up")
            case Action.PROVE:
                self._disarm()
                self._arm_settle("patched, and up")
            case Action.TERMINATE:
                self._signal(signal.SIGTERM)
                self._timer = self._turns.later(self._sweep_left_s, lambda: self._event(Event.GRACE_OVER, ""))
            case Action.KILL:
                self._signal(signal.SIGKILL)
                text = f"{self.spec.name} did not stop within its grace time and was killed"
                self._tell("notice", {"code": "killed", "text": text, "application": self.spec.name})
            case Action.SWEEP:
                self._begin_sweep()

    def _arm_settle(self, what: str) -> None:
        settle_s = self.spec.settle_s
        over = partial(self._event, Event.SETTLED, f"{what} for {settle_s:g} s")
        self._timer = self._turns.later(settle_s, over)

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
        number = signal.SIGKILL if killed else 0  # again: what it has started shows only once it is gone itself
        if child is not None and child.signal_group(number) and not (killed and left_s <= 0):
            if left_s <= 0:
                child.signal_group(signal.SIGKILL)
                left_s, killed = _KILLED_S, True
            self._sweep = self._turns.later(_SWEEP_S, lambda: self._sweep_on(left_s - _SWEEP_S, killed=killed))
            return
        self._sweep = None
        self._swept()
        self._changed()

    def _swept(self) -> None:
        if self._child is not None:
            self._child.close()
        if self._is_spoilt:
            self._is_spoilt = False
            if self.state is State.STARTING:
                self._perform(Action.SPAWN)
            else:  # asked to stop since
                self._child = None
                self._event(Event.ENDED, "asked to")

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._late is not None and self.state not in (State.STARTING, State.RUNNING):
            self._late.cancel()
            self._late = None

    def _grow_late(self) -> None:
        self.is_late = True
        if self.spec.ready == "notify":
            self.why = f"did not say within {self.spec.ready_s:g} s that it is ready"
            text = f"{self.spec.name} {self.why}"
            self._tell("notice", {"code": "not-ready", "text": text, "application": self.spec.name})
        self._changed()

    def _ended(self, status: int) -> None:
        if self._child is not None:
            self._child.claim_strays(NAME, self.spec.name, alone=self.is_alone())
        asked = self.state is State.STOPPING
        spoilt = self._handover.ended(self.spec.name, _how(status), asked=asked)
        if spoilt and self.state is State.STARTING:
            self._is_spoilt = True
            self._begin_sweep()
            return
        if status == 0:
            itself = "its entry point returned" if self._left else "exited with status 0, and without cleanup"
            self._over(End("asked to" if asked else itself, code=0, clean=self._left))
        elif status > 0:
            self._over(End(_how(status), code=status))
        else:
            why = self._child.why_killed if self._child is not None else ""
            self._over(End(f"{_how(status)}: {why}".removesuffix(": "), signal=signal_name(-status)))

    def _over(self, end: End) -> None:
        self.end = end
        how = {"code": end.code, "signal": end.signal}
        more = {key: value for key, value in how.items() if value is not None}
        self._event(Event.ENDED if end.code == 0 else Event.DIED, end.why, **more)
        self._give_up_asking(f"ended: {end.why}")

    def _lines(self, lines: Sequence[tuple[str, str]]) -> None:
        for are_notes, some in groupby(lines, key=lambda line: line[0] == NOTE):
            if are_notes:
                for _, text in some:
                    self._note(text)
            else:
                self._journal.add_lines(self.spec.name, list(some))

    def _note(self, text: str) -> None:
        """What the process says. It shares the pipe with user code, so it is believed about itself alone."""
        try:
            note = json.loads(text)
        except (ValueError, RecursionError):
            return self._lines([(STDOUT, text)])
        if not isinstance(note, dict):
            return self._lines([(STDOUT, text)])
        if isinstance(note.get("order"), str):
            self._answer(note["order"], note)
        if self._child is not None:
            self._handover.hear(self.spec, self.generation, note, self._child.kill)
        if "left" in note:
            self._left = True
        if "running" in note:
            self._event(Event.ENTERED, "")
        if "modules" in note and isinstance(note["modules"], list):
            self.on_modules([name for name in note["modules"] if isinstance(name, str)])
        if "died" in note:
            if self.state is State.RUNNING:
                self._disarm()  # on its way out, which may take longer than to settle
            what = f"{note['died']}: {note.get('message', '')}".removesuffix(": ")
            fields = {key: note[key] for key in PROBLEM_KEYS if key in note}
            problem = {"code": "application-died", "application": self.spec.name, "generation": self.generation}
            self._tell("problem", {**problem, "what": what, **fields})
        return None


def _how(status: int) -> str:
    return f"exited with status {status}" if status >= 0 else f"killed by {signal_name(-status)}"


def _ms(since: float | None, until: float | None) -> float | None:
    """From one moment to another, where both have been."""
    return None if since is None or until is None else round(max(0.0, until - since) * 1000, 1)
