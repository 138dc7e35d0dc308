"""What became of each save on one target: results that are waited for, matched with the target's events.

The events of a change may come before the call that made it has returned, because they travel on another link; both
orders end in one result. A change whose call was cut is known by its generation alone. Pure but for the lock: times
are given.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from bootloader.wire.errors import Malformed
from bootloader.wire.messages import Fields

from .report import clean, whole

RUNNING, HEALTHY, REPLACED = "running", "healthy", "replaced"
FATES = (RUNNING, HEALTHY, "failed", REPLACED)
STAGES = ("store", "check", "prepare", "stop", "switch", "patch", "start")
"""The stages of a change that a target measures."""

NEVER_TOLD = "what became of it was never told"

_MOST_MS = 1e8
_EARLY = 64
_NAMES = 1000
_WAITING = 64


@dataclass(eq=False)
class Outcome:
    """One save, or one start: ``saved_at`` and what follows are seconds of the host's monotonic clock.

    ``change`` is the target's number of it, 0 where it is not known and ``generation`` has to do.
    """

    change: int
    generation: int
    root: str
    files: tuple[str, ...]
    rung: str
    reason: str
    saved_at: float
    stages_ms: dict[str, float] = field(default_factory=dict)
    running_at: float | None = None
    patched: tuple[str, ...] = ()
    """What was replaced in what runs, where it was."""
    old: tuple[str, ...] = ()
    """What still runs its old body there."""

    def result(self, *, healthy: bool, why: str = "", replaced: bool = False) -> dict[str, Any]:
        """The ``result`` event. ``replaced``: by the next change, before it was known whether it is healthy."""
        told: dict[str, Any] = {
            "event": "result",
            "root": self.root,
            "generation": self.generation,
            "files": list(self.files),
            "rung": self.rung,
            "reason": self.reason if healthy or not why else f"{self.reason}; {why}",
            "healthy": healthy,
        }
        if replaced:
            told["replaced"] = True
        if self.rung == "patch":
            told |= {"patched": list(self.patched), "old": list(self.old)}
        stages = dict(self.stages_ms)
        if self.running_at is not None:
            took = round((self.running_at - self.saved_at) * 1000, 2)
            told["save_to_running_ms"] = took
            stages["tell"] = round(max(0.0, took - sum(stages.values())), 3)
        return {**told, "stages_ms": stages}

    def concerns(self, fate: Fate) -> bool:
        """Whether ``fate`` is this change's."""
        return fate.change == self.change if self.change else fate.generation == self.generation

    def overtaken(self, fate: Fate) -> bool:
        """Whether ``fate`` is of a later change, so that no more will be told of this one."""
        return fate.change > self.change if self.change else fate.generation > self.generation


@dataclass(frozen=True, slots=True)
class Fate:
    """A change's event, heard ``at`` a time of the host's monotonic clock."""

    change: int
    generation: int
    state: str
    why: str
    at: float
    stages_ms: dict[str, float]

    @classmethod
    def read(cls, event: Fields, at: float) -> Fate:
        """The fate that a target's ``generation`` event tells; :class:`Malformed` where it makes no sense."""
        state = event.text("state", "")
        if state not in FATES:
            raise Malformed("not a generation's fate", to=clean(state[:40]))
        change, generation = whole(event.integer("change")), whole(event.integer("generation", 0))
        return cls(change, generation, state, clean(event.text("why", "")), at, stages_of(event))


def stages_of(fields: Fields) -> dict[str, float]:
    """The stages that a target measured, in milliseconds, as far as they can be times."""
    told = fields.child("stages_ms")
    times = {name: told.number(name) for name in STAGES if name in told}
    return {name: value for name, value in times.items() if 0 <= value <= _MOST_MS}


def patch_of(answer: Fields) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What an answer says was replaced, and what of it still runs its old body."""
    reports = [answer.child("patch").child(name) for name in answer.child("patch").plain()]
    patched = [
        clean(name) for report in reports for key in ("patched", "added", "removed") for name in report.texts(key)
    ]
    old = [clean(row.text("name")) for report in reports for row in report.objects("old")]
    return tuple(patched[:_NAMES]), tuple(old[:_NAMES])


class Outcomes:
    """The results that one target owes. What is asked and what happens are told in any order, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Outcome] = []
        self._early: deque[Fate] = deque(maxlen=_EARLY)
        self._last: Fate | None = None

    def expect(self, outcome: Outcome) -> list[dict[str, Any]]:
        """Wait for what becomes of ``outcome``; the results that are known already."""
        with self._lock:
            self._waiting.append(outcome)
            results: list[dict[str, Any]] = []
            early, self._early = self._early, deque(maxlen=_EARLY)
            for fate in early:
                results += self._take(fate)
            if self._last is not None:
                results += self._overtaken(self._last)
            while len(self._waiting) > _WAITING:
                results.append(self._waiting.pop(0).result(healthy=False, why=NEVER_TOLD))
            return results

    def happened(self, fate: Fate) -> list[dict[str, Any]]:
        """Take note of a change's event; the results that it completes."""
        with self._lock:
            self._last = fate
            return self._overtaken(fate) + self._take(fate)

    def give_up(self, why: str) -> list[dict[str, Any]]:
        """Nobody can tell any more what becomes of what is waited for: its results say so. Numbers begin anew."""
        with self._lock:
            results = [outcome.result(healthy=False, why=why) for outcome in self._waiting]
            self._waiting.clear()
            self._early.clear()
            self._last = None
            return results

    def _overtaken(self, last: Fate) -> list[dict[str, Any]]:
        """A target tells of its changes in order, so what is older than ``last`` has had its chance."""
        gone = [outcome for outcome in self._waiting if outcome.overtaken(last)]
        self._waiting = [outcome for outcome in self._waiting if outcome not in gone]
        return [outcome.result(healthy=False, why=NEVER_TOLD) for outcome in gone]

    def _take(self, fate: Fate) -> list[dict[str, Any]]:
        outcome = next((one for one in self._waiting if one.concerns(fate)), None)
        if outcome is None:
            self._early.append(fate)
            return []
        outcome.change = fate.change
        if fate.state == RUNNING or outcome.running_at is None:
            outcome.stages_ms.update(fate.stages_ms)
        if fate.state == RUNNING:
            outcome.running_at = fate.at
            return []
        self._waiting.remove(outcome)
        healthy = fate.state == HEALTHY
        if healthy and outcome.running_at is None:
            outcome.running_at = fate.at
        return [outcome.result(healthy=healthy, why=fate.why, replaced=fate.state == REPLACED)]
