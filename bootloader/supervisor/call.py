"""One callable of an application's code, called in a process of its own: told to go, listened to, ended, told of.

Owns the process from its fork to the end of its group, and the time that it may take. What it prints is journaled as
its application's. Lives in the supervisor's turns. Knows nothing of what the answer is for.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from ..journal import Journal
from ..wire.records import NOTE, STDOUT
from .child import Child, signal_name
from .orders import NAME, Orders
from .turns import Timer, Turns

_BEGIN_S = (2.0, 10.0)
"""How long its process may take to begin: a fork is a moment; the second try may have to start an interpreter first."""
_KILLED_S = 2.0
_SWEEP_S = 0.01
_AGAIN_S = 0.05

ANSWERED, RAISED, TIMED_OUT, DIED, MISSING = "answered", "raised", "timed-out", "died", "missing"


@dataclass(frozen=True, slots=True)
class Task:
    """What to call: ``entry`` is ``module:callable``, ``arguments`` are plain JSON; it is over in ``limit_s``."""

    orders: Orders
    entry: str
    arguments: tuple[object, ...]
    limit_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it. ``answer``: plain JSON, where ``kind`` is :data:`ANSWERED`; ``problem``: where it is RAISED."""

    kind: str
    why: str
    ms: float
    answer: object = None
    problem: Mapping[str, Any] = field(default_factory=dict)


class Call:
    """A task under way. ``fork`` gives a process that has no orders yet, and is told whether it is asked ``again``, as
    the first one came to nothing; ``on_outcome`` is called exactly once.
    """

    def __init__(
        self,
        task: Task,
        turns: Turns,
        journal: Journal,
        fork: Callable[[bool], Child],
        on_outcome: Callable[[Outcome], None],
    ) -> None:
        self._task = task
        self._turns = turns
        self._journal = journal
        self._fork = fork
        self._on_outcome = on_outcome
        self._start = time.monotonic()
        self._tries = 0
        self._begun = False
        self._found: Outcome | None = None
        self._child: Child | None = None
        self._timer: Timer | None = None

    def begin(self) -> None:
        """Fork, and send the orders."""
        self._tries += 1
        try:
            self._begin()
        except Exception as error:  # noqa: BLE001 - whatever kept it from being called is what comes of it
            why = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            self._outcome(DIED, f"no process could be started: {why}")
            self._turns.soon(self._over)

    def _begin(self) -> None:
        fields = self._task.orders.fields(self._task.entry)
        child = self._child = self._fork(self._tries > 1)
        child.on_lines = self._lines
        child.on_end = self._ended
        spec = self._task.orders.spec
        limits = child.limit(spec.memory_mb, spec.processes)
        child.order(call={**fields, "limits": limits, "arguments": self._task.arguments})
        self._arm(_BEGIN_S[self._tries - 1], self._late)

    def _lines(self, lines: Sequence[tuple[str, str]]) -> None:
        name = self._task.orders.spec.name
        for are_notes, some in groupby(lines, key=lambda line: line[0] == NOTE):
            said = list(some)
            if are_notes:
                said = [(STDOUT, text) for _, text in said if not self._note(text)]
            self._journal.add_lines(name, said)

    def _note(self, text: str) -> bool:
        """What the process says, which counts once; False for what it can't have said: user code has the pipe too."""
        try:
            note = json.loads(text)
        except (ValueError, RecursionError):
            return False
        if not isinstance(note, dict):
            return False
        if "begun" in note and not self._begun:
            self._begun = True
            self._arm(self._task.limit_s, self._late)
        elif "answered" in note:
            self._outcome(ANSWERED, "", answer=note["answered"])
        elif "missing" in note:
            self._outcome(MISSING, str(note["missing"]))
        elif "died" in note:
            self._outcome(RAISED, f"{note['died']}: {note.get('message', '')}".removesuffix(": "), problem=note)
        return True

    def _late(self) -> None:
        """It has had its time. One that has answered, and does not come to its end, has answered."""
        if self._child is not None:
            self._child.kill()
        if self._may_try_again:
            return self._again()
        why = f"not done within {self._task.limit_s:g} s, and killed" if self._begun else "its process never came to be"
        self._outcome(TIMED_OUT, why)
        self._arm(_KILLED_S, self._over)
        return None

    @property
    def _may_try_again(self) -> bool:
        return self._found is None and not self._begun and self._tries < len(_BEGIN_S)

    def _again(self) -> None:
        """None of its code has run. The parent of its process died, or hangs, most likely with the application."""
        self._close()
        self._arm(_AGAIN_S, self.begin)

    def _ended(self, status: int) -> None:
        if self._may_try_again:
            return self._again()
        self._outcome(DIED, f"killed by {signal_name(-status)}" if status < 0 else f"exited with status {status}")
        if self._child is not None:
            self._child.claim_strays(NAME, self._task.orders.spec.name, alone=False)
        self._over()
        return None

    def _outcome(self, kind: str, why: str, **more: Any) -> None:
        if self._found is None:
            self._found = Outcome(kind, why[:1000], round((time.monotonic() - self._start) * 1000, 1), **more)

    def _over(self) -> None:
        """Its process is gone, or can't be ended. What it left behind goes, before anybody is told."""
        self._sweep(round(_KILLED_S / _SWEEP_S))

    def _sweep(self, tries: int) -> None:
        child = self._child
        if child is not None and tries and child.signal_group(signal.SIGKILL):
            self._arm(_SWEEP_S, lambda: self._sweep(tries - 1))
            return
        self._close()
        assert self._found is not None
        self._on_outcome(self._found)

    def _close(self) -> None:
        self._arm(0, None)
        child, self._child = self._child, None
        if child is not None:
            child.on_end = lambda _status: None
            child.close()

    def _arm(self, delay_s: float, call: Callable[[], None] | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._turns.later(delay_s, call) if call is not None else None
