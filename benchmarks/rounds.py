"""Every contestant in every cell set up on a project of its own, then saved to in turns.

In turns, so that the machine's noise hits all alike; the first of a round changes, so that nobody always follows the
same neighbour. A contestant that fails is out, with its reason, and what it did not answer counts as missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bootloader.wire.errors import Fault

from .answers import Answers
from .contestants import Contestant
from .measure import Cell, Row
from .projects import Project, make

ANSWER_S = 15.0
WARM_S, WARM_TRIES, WARM_ANSWERS = 5.0, 8, 2
"""Saves that are not counted: not every watcher tells when it is up, so two in a row must be answered first."""
PACE_S = 1.1
"""Between two saves of one contestant: Python's bytecode cache can't tell two of one second and one size apart."""
REST_S = 0.15
"""Before each save, for what the contestant before still does after its answer."""
MISSING_IN_A_ROW = 4


@dataclass(frozen=True, slots=True)
class Save:
    """One measured save; ``ms`` is None where its version did not run in time."""

    contestant: str
    cell: Cell
    number: int
    way: str
    ms: float | None


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a contestant is out."""

    contestant: str
    cell: Cell
    message: str


@dataclass(slots=True)
class Turn:
    """One contestant in one cell, and how it fares."""

    contestant: Contestant
    cell: Cell
    project: Project
    version: int = 0
    saved_s: float = 0.0
    in_a_row: int = 0
    times_ms: list[float] = field(default_factory=list)
    out: bool = False

    def save(self, answers: Answers, timeout_s: float) -> tuple[str, float | None]:
        """Saves the next version, in the next way, when it is time; the way, and the ms to the answer."""
        self.version += 1
        way = self.contestant.ways[self.version % len(self.contestant.ways)]
        time.sleep(max(REST_S, self.saved_s + PACE_S - time.monotonic()))
        self.saved_s = time.monotonic()
        began_ns = self.project.save(self.version, way)
        return way, answers.wait(self.project.name, self.version, began_ns, timeout_s)

    def warm(self, answers: Answers) -> None:
        """Saves until enough of them in a row were answered; a fault where that does not come."""
        answered = 0
        for _ in range(WARM_TRIES):
            _, ms = self.save(answers, WARM_S)
            if ms is not None:
                self.contestant.settle()
            answered = answered + 1 if ms is not None else 0
            if answered == WARM_ANSWERS:
                return
        raise Fault("contestant-failed", f"no {WARM_ANSWERS} saves in a row were answered")


@dataclass(slots=True)
class Rounds:
    """The turns of some cells, while they are measured."""

    scratch: Path
    answers: Answers
    told: Callable[[Save | Problem | str], None]
    turns: list[Turn] = field(default_factory=list)

    def run(self, taking_part: Sequence[tuple[Contestant, Cell]], saves: int, warmed: Callable[[], None]) -> list[Row]:
        """Measures ``saves`` saves of each contestant; calls ``warmed`` when the measured ones begin."""
        with ExitStack() as running:
            for contestant, cell in taking_part:
                self._enter(contestant, cell, running)
            self.answers.forget()
            warmed()
            for number in range(saves):
                self.told(f"round {number + 1} of {saves}")
                first = number % len(self.turns)
                for turn in self.turns[first:] + self.turns[:first]:
                    if not turn.out:
                        self._measure(turn, number)
        return [self._row(turn, saves) for turn in self.turns]

    def _enter(self, contestant: Contestant, cell: Cell, running: ExitStack) -> None:
        self.told(f"starting {contestant.name}: {cell}")
        label = f"{contestant.name}-{cell.files}"
        folder = self.scratch / label
        (folder / "run").mkdir(parents=True)
        project = make(
            folder / "project", label, port=self.answers.port, application=cell.application, files=cell.files
        )
        turn = Turn(contestant, cell, project)
        running.callback(self._leave, turn)
        try:
            contestant.setup(project, folder / "run")
            turn.warm(self.answers)
        except Fault as fault:
            self._out(turn, fault)
        self.turns.append(turn)

    def _leave(self, turn: Turn) -> None:
        """What can't be ended here is the guard's; the figures are there all the same."""
        try:
            turn.contestant.teardown()
        except Fault as fault:
            self.told(Problem(turn.contestant.name, turn.cell, f"at its end: {fault}"))

    def _measure(self, turn: Turn, number: int) -> None:
        way, ms = turn.save(self.answers, ANSWER_S)
        self.told(Save(turn.contestant.name, turn.cell, number, way, ms))
        try:
            if ms is None:
                turn.in_a_row += 1
                if turn.in_a_row == MISSING_IN_A_ROW:
                    raise Fault("contestant-failed", f"missed {MISSING_IN_A_ROW} saves in a row")
            else:
                turn.in_a_row = 0
                turn.times_ms.append(ms)
                turn.contestant.settle()
        except Fault as fault:
            self._out(turn, fault)

    def _out(self, turn: Turn, fault: Fault) -> None:
        self.told(Problem(turn.contestant.name, turn.cell, str(fault)))
        turn.out = True

    def _row(self, turn: Turn, saves: int) -> Row:
        label, times_ms = turn.project.name, tuple(turn.times_ms)
        wrong = (saves - len(times_ms), self.answers.stale[label], self.answers.again[label])
        return Row(turn.contestant.name, turn.cell, times_ms, *wrong)
