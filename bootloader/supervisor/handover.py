"""State on its way from one start of an application to the next: what was given, until it is taken.

Owns what has been given, as text that nobody here looks into, and the time that giving and taking may take. Never a
reason to fail a start: a process that can't take its state ends, and another one starts without. Lives in the
supervisor's turns, and in memory alone: an end of the bootloader ends it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ..journal import Journal
from ..wire.launch import Application as Spec
from ..wire.records import PROBLEM_KEYS, STATE_BYTES
from .turns import Timer, Turns

_SLACK_S = 1.0
"""So much later than the process itself, which sees to its limit and says what happened, it is ended from outside."""

GIVE, TAKE = "give", "take"
DONE, DIED, TIMED_OUT = "done", "died", "timed-out"
_SAID = (DONE, "nothing", "unfit", "raised", TIMED_OUT, "missing")
"""What a process may say about its own."""


@dataclass(frozen=True, slots=True)
class _Given:
    text: str
    generation: int


@dataclass(slots=True)
class _Step:
    """A ``give`` or a ``take`` that has begun, and not ended."""

    kind: str
    entry: str
    generation: int
    began: float
    limit: Timer
    over: bool = False
    """Whether its process was ended for it."""


class Handover:
    """``root_of`` tells the root of a generation, or nothing where it is not known any more."""

    def __init__(self, journal: Journal, turns: Turns, root_of: Callable[[int], str]) -> None:
        self._journal = journal
        self._turns = turns
        self._root_of = root_of
        self._given: dict[str, _Given] = {}
        self._steps: dict[str, _Step] = {}
        self._spoilt: set[str] = set()
        """Those whose process could not take its state, and is about to end."""

    def keep(self, names: Collection[str]) -> None:
        """There are no other applications any more that could start."""
        for name in self._given.keys() - set(names):
            del self._given[name]

    def orders(self, spec: Spec) -> dict[str, Any]:
        """What its process is told: what it takes before its entry, and what it is asked for at its end."""
        given = self._given.get(spec.name) if spec.take else None
        take = give = None
        if given is not None:
            version = {"generation": given.generation, "root": self._root_of(given.generation)}
            take = {"entry": spec.take, "state": given.text, "version": version, "limit_s": spec.handover_s}
        if spec.give:
            give = {"entry": spec.give, "limit_s": spec.handover_s, "grace_s": spec.grace_s}
        return {TAKE: take, GIVE: give}

    def hear(self, spec: Spec, generation: int, note: Mapping[str, Any], kill: Callable[[], None]) -> None:
        """A note of its process. ``kill`` ends that, where a step does not come to its end."""
        name, given = spec.name, self._given.get(spec.name)
        if "running" in note:
            self._given.pop(name, None)  # taken, or nobody there who takes it
        elif "taking" in note and given is not None:
            self._begin(spec, TAKE, spec.take, generation, kill)
        elif "giving" in note and spec.give:
            self._begin(spec, GIVE, spec.give, generation, kill)
        elif "took" in note and given is not None and (step := self._end(name, TAKE)):
            if self._tell(name, step, *_said(note["took"])) != DONE:
                del self._given[name]
                self._spoilt.add(name)
        elif "gave" in note and (step := self._end(name, GIVE)):
            text = note.get("state")
            text = text if isinstance(text, str) and len(text) <= STATE_BYTES else ""
            if self._tell(name, step, *_said(note["gave"]), size_bytes=len(text)) == DONE:
                self._given[name] = _Given(text, generation)

    def ended(self, name: str, why: str, *, asked: bool) -> bool:
        """Its process is gone: whether that was over its ``take``, so that it is to start again, without.

        One that was ``asked`` to stop meanwhile leaves the state to the next.
        """
        spoilt = name in self._spoilt
        self._spoilt.discard(name)
        step = self._end(name)
        if step is not None and not (step.kind == TAKE and asked):
            why = "it did not come to its end, and was killed" if step.over else why
            self._tell(name, step, TIMED_OUT if step.over else DIED, why, {})
            if step.kind == TAKE:
                self._given.pop(name, None)
                spoilt = True
        return spoilt and not asked

    def _begin(self, spec: Spec, kind: str, entry: str, generation: int, kill: Callable[[], None]) -> None:
        def late() -> None:
            step.over = True
            kill()

        self._end(spec.name)
        limit = self._turns.later(spec.handover_s + _SLACK_S, late)
        step = self._steps[spec.name] = _Step(kind, entry, generation, time.monotonic(), limit)

    def _end(self, name: str, kind: str = "") -> _Step | None:
        step = self._steps.get(name)
        if step is None or kind not in ("", step.kind):
            return None
        step.limit.cancel()
        return self._steps.pop(name)

    def _tell(
        self, name: str, step: _Step, outcome: str, why: str, problem: Mapping[str, Any], size_bytes: int = 0
    ) -> str:
        """Journal how a step ended; the outcome again."""
        about = {"application": name, "generation": step.generation}
        if problem:
            self._journal.add("problem", {"code": "call-raised", **about, "what": f"{step.entry}: {why}", **problem})
        given = self._given.get(name) if step.kind == TAKE else None
        told = {**about, "step": step.kind, "entry": step.entry, "outcome": outcome, "why": why}
        size = {"size_bytes": len(given.text) if given is not None else size_bytes}
        by = {"given_by": given.generation} if given is not None else {}
        ms = round((time.monotonic() - step.began) * 1000, 1)
        self._journal.add("handover", {**told, **size, **by, "ms": ms})
        return outcome


def _said(told: object) -> tuple[str, str, dict[str, Any]]:
    """What a process says became of a step, why, and the problem, if it was one. User code may have said it."""
    if not isinstance(told, dict) or told.get("outcome") not in _SAID:
        return DIED, "what it said about it makes no sense", {}
    why = str(told.get("why", ""))
    problem = {key: told[key] for key in PROBLEM_KEYS if key in told}
    if problem:
        why = f"{told.get('died')}: {told.get('message', '')}".removesuffix(": ")
    return told["outcome"], why[:1000], problem
