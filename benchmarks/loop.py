"""``python -m benchmarks.loop``: from a save to the new code running, for reactor, its peers and a floor.

All contestants run at once, each with a project of its own, and are saved to in turns. Prints tables, or with
``--json`` one object a line; progress goes to stderr. Linux only: inotify and /proc.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bootloader.wire.errors import Fault

from . import machine, report, sync
from .answers import Answers
from .contestants import Contestant
from .contestants.floor import FLOOR
from .contestants.hupper import DEFAULT, TUNED
from .contestants.reactor import REACTOR
from .contestants.rsync import KEPT, NAIVE
from .contestants.watchfiles import WATCHFILES
from .contestants.watchmedo import WATCHMEDO
from .guard import guarded
from .measure import APPLICATIONS, Cell, Ratios, Row, Sync, aims, stage_medians
from .projects import LARGE_FILES, SMALL_FILES
from .rounds import Problem, Round, Save

CONTESTANTS: tuple[Contestant, ...] = (FLOOR, REACTOR, TUNED, DEFAULT, WATCHMEDO, WATCHFILES, KEPT, NAIVE)

SAVES, QUICK_SAVES = 30, 6


class Output:
    """Where the figures go, as they come."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self.notes: list[str] = []

    def event(self, name: str, **values: Any) -> None:
        """One object a line, for a program."""
        if self._as_json:
            print(json.dumps({"event": name, **values}), flush=True)

    def text(self, *paragraphs: str) -> None:
        """Paragraphs, for a reader."""
        if not self._as_json:
            print(*paragraphs, sep="\n\n", end="\n\n", flush=True)

    def progress(self, line: str) -> None:
        """A line for the one who waits."""
        print(line, file=sys.stderr, flush=True)

    def problem(self, contestant: str, message: str, cell: Cell | None = None) -> None:
        """A contestant does not take part, or no longer; the tables end with these."""
        line = f"{contestant}{f' ({cell})' if cell else ''}: {message}"
        self.notes.append(line)
        self.progress(line)
        self.event("problem", contestant=contestant, **(asdict(cell) if cell else {}), message=message)

    def told(self, what: Save | Problem | str) -> None:
        """What a round tells while it runs."""
        if isinstance(what, str):
            self.progress(what)
        elif isinstance(what, Problem):
            self.problem(what.contestant, what.message, what.cell)
        else:
            values = asdict(what)
            self.event("save", **values.pop("cell"), **values)


def run(options: argparse.Namespace, scratch: Path) -> int:
    """Measures and prints; 0 where something was measured."""
    output = Output(options.json)
    facts = machine.facts()
    output.event("machine", **facts)
    output.text("# Benchmark of the loop", "\n".join(f"- {name}: {value}" for name, value in facts.items()))
    taking_part = []
    for contestant in CONTESTANTS:
        if options.only and contestant.name not in options.only:
            continue
        if reason := contestant.absent():
            output.problem(contestant.name, f"skipped, {reason}")
        else:
            taking_part.append(contestant)
    rows = _saves(options, taking_part, scratch, output)
    if not options.quick:
        _whole_trees(taking_part, scratch, output)
    if output.notes:
        output.text("\n".join(["## Out, or skipped", "", *(f"- {note}" for note in output.notes)]))
    found = aims(Ratios(rows))
    for aim in found:
        output.event("aim", text=aim.text, worst=aim.worst, verdict=aim.verdict)
    output.text(report.aims(found))
    return 0 if any(row.times_ms for row in rows) else 1


def _saves(options: argparse.Namespace, taking_part: list[Contestant], scratch: Path, output: Output) -> list[Row]:
    """The four cells; what they say together."""
    sizes = [SMALL_FILES] if options.quick else [SMALL_FILES, LARGE_FILES]
    cells = [Cell(application, files) for application in APPLICATIONS for files in sizes]
    rows: list[Row] = []
    stages: dict[Cell, dict[str, float]] = {}
    rungs: Counter[str] = Counter()
    answers = Answers()
    for number, cell in enumerate(cells):
        one = Round(cell, scratch / f"cell-{number}", answers, output.told)
        rows += one.run(taking_part, options.saves, REACTOR.forget)
        if REACTOR in taking_part:
            stages[cell] = stage_medians(REACTOR.results)
            rungs.update(str(result.get("rung")) for result in REACTOR.results)
    answers.close()
    found = Ratios(rows)
    for row in rows:
        output.event("row", **row.summary())
    for kind, ratio in found.items():
        output.event("ratio", kind=kind, **ratio.summary())
    output.text(report.saves(rows), *report.ratios(found))
    for cell, medians_ms in stages.items():
        output.event("stages", **asdict(cell), median_ms=medians_ms)
    if stages:
        output.text(report.stages(stages), f"Rungs: {', '.join(f'{count} {name}' for name, count in rungs.items())}.")
    return rows


def _whole_trees(taking_part: list[Contestant], scratch: Path, output: Output) -> None:
    """First sync and no-op, for those that know one."""
    found: list[Sync] = []
    output.progress("whole trees: first sync, and nothing changed")
    with closing(Answers()) as unheard:
        try:
            for one in sync.measure(scratch / "sync", unheard.port, [contestant.name for contestant in taking_part]):
                found.append(one)
                output.event("sync", **asdict(one))
        except Fault as fault:
            output.problem("whole trees", str(fault))
    if found:
        output.text(report.syncs(found))


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    names = [contestant.name for contestant in CONTESTANTS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loop", description=(__doc__ or "").partition("\n")[2])
    parser.add_argument("--json", action="store_true", help="one JSON object a line in place of tables")
    parser.add_argument("--saves", type=int, metavar="N", help=f"saves a contestant and cell, {SAVES} if not given")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument(
        "--quick", action="store_true", help=f"a look: {QUICK_SAVES} saves, the small project, no syncs"
    )
    options = parser.parse_args(arguments)
    options.saves = options.saves or (QUICK_SAVES if options.quick else SAVES)
    if options.saves < 1:
        parser.error("--saves is 1 or more")
    return options


def main(arguments: list[str] | None = None) -> int:
    """The front door; the exit code."""
    if not sys.platform.startswith("linux"):
        print("the benchmark needs Linux: inotify, /proc, prctl", file=sys.stderr)
        return 2
    options = _arguments(arguments)
    return guarded(lambda scratch: run(options, scratch))


if __name__ == "__main__":
    sys.exit(main())
