"""What became of each save on one target: results that are waited for, matched with the target's events.

The events of a change may come before the call that made it has returned, because they travel on another link; both
orders end in one result. Pure but for the lock: times are given.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

FATES = ("running", "healthy", "failed", "replaced")
_KEPT = 64


@dataclass
class Outcome:
    """One save, or one start: ``saved_at`` and what follows are seconds of the host's monotonic clock."""

    change: int
    generation: int
    root: str
    files: tuple[str, ...]
    rung: str
    reason: str
    saved_at: float
    stages_ms: dict[str, float] = field(default_factory=dict)
    running_at: float | None = None

    def result(self, *, healthy: bool, why: str = "") -> dict[str, Any]:
        """The ``result`` event."""
        told: dict[str, Any] = {
            "event": "result",
            "root": self.root,
            "generation": self.generation,
            "files": list(self.files),
            "rung": self.rung,
            "reason": self.reason if healthy or not why else f"{self.reason}; {why}",
            "healthy": healthy,
        }
        if self.running_at is not None:
            took = round((self.running_at - self.saved_at) * 1000, 2)
            told["save_to_running_ms"] = took
            known = sum(self.stages_ms.values())
            self.stages_ms["tell"] = round(max(0.0, took - known), 3)
        return {**told, "stages_ms": self.stages_ms}


@dataclass(frozen=True)
class _Fate:
    fate: str
    why: str
    at: float
    stages_ms: dict[str, float]


class Outcomes:
    """The results that one target owes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, Outcome] = {}
        self._early: OrderedDict[int, list[_Fate]] = OrderedDict()

    def expect(self, outcome: Outcome) -> list[dict[str, Any]]:
        """Wait for what becomes of ``outcome``; the results that are known already."""
        with self._lock:
            self._waiting[outcome.change] = outcome
            results = []
            for fate in self._early.pop(outcome.change, []):
                results += self._take(outcome.change, fate)
            return results

    def happened(
        self, change: int, fate: str, why: str, at: float, stages_ms: dict[str, float]
    ) -> list[dict[str, Any]]:
        """A change's event, as it came at the host's time ``at``; the results that it completes."""
        with self._lock:
            told = _Fate(fate, why, at, stages_ms)
            if change in self._waiting:
                return self._take(change, told)
            self._early.setdefault(change, []).append(told)
            while len(self._early) > _KEPT:
                self._early.popitem(last=False)
            return []

    def _take(self, change: int, fate: _Fate) -> list[dict[str, Any]]:
        outcome = self._waiting[change]
        if fate.fate == "running" or outcome.running_at is None:
            outcome.stages_ms.update(fate.stages_ms)
        if fate.fate == "running":
            outcome.running_at = fate.at
            return []
        del self._waiting[change]
        if fate.fate == "healthy":
            outcome.running_at = outcome.running_at or fate.at
            return [outcome.result(healthy=True)]
        return [outcome.result(healthy=False, why=fate.why)]

    def give_up(self, why: str) -> list[dict[str, Any]]:
        """Nobody can tell any more what became of what is waited for: its results say so."""
        with self._lock:
            results = [outcome.result(healthy=False, why=why) for outcome in self._waiting.values()]
            self._waiting.clear()
            self._early.clear()
            return results
