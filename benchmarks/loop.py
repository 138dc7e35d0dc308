"""``python -m benchmarks.loop``: from a save to the new code running, for reactor, its peers and a floor.

All contestants run at once, each with a project of its own, and are saved to in turns. Prints tables, or with
``--json`` one object a line; progress goes to stderr. Linux only: inotify and /proc.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bootloader.wire.errors import Fault

from . import machine, report, sync
from .answers import Answers
from .contestants import Contestant, hupper, patchers, rsync, watchfiles, watchmedo
from .contestants.floor import Floor, LinkedFloor, PatchedFloor
from .contestants.reactor import Reactor
from .guard import guarded
from .measure import Cell, Ratios, Row, Sync, aims, stage_medians
from .projects import HEAVY, LARGE_FILES, LIGHT, PATCHED, SMALL_FILES, make
from .rounds import Problem, Rounds, Save

Contestants = dict[str, Callable[[], Contestant]]

RESTARTERS: Contestants = {
    "floor": Floor,
    "reactor": Reactor,
    "hupper-tuned": hupper.tuned,
    "hupper": hupper.default,
    "watchmedo": watchmedo.auto_restart,
    "watchfiles": watchfiles.command_line,
    "rsync-kept": rsync.kept,
    "rsync-naive": rsync.naive,
}
PATCHERS: Contestants = {
    "floor": PatchedFloor,
    "way": LinkedFloor,
    "reactor": Reactor,
    "jurigged-tuned": patchers.jurigged_tuned,
    "jurigged": patchers.jurigged,
    "autoreload": patchers.autoreload,
}
CONTESTANTS: dict[str, Contestants] = {LIGHT: RESTARTERS, HEAVY: RESTARTERS, PATCHED: PATCHERS}
"""Who takes part with which application, and makes it: some start it again, some patch it while it runs."""
KINDS = tuple(CONTESTANTS)
NAMES = tuple(dict.fromkeys([*RESTARTERS, *PATCHERS]))

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
    present = _present(options, output)
    if not any(present.values()):
        return 1
    rows = _saves(options, present, scratch, output)
    if not options.quick and LIGHT in present:
        _whole_trees(present[LIGHT], scratch, output)
    if output.notes:
        output.text("\n".join(["## Out, or skipped", "", *(f"- {note}" for note in output.notes)]))
    found = aims(Ratios(rows))
    for aim in found:
        output.event("aim", text=aim.text, worst=aim.worst, verdict=aim.verdict)
    output.text(report.aims(found))
    return 0 if any(row.times_ms for row in rows) else 1


def _present(options: argparse.Namespace, output: Output) -> dict[str, Contestants]:
    """Who takes part here, by application."""
    skipped: dict[str, str] = {}
    present = {}
    for application in options.application:
        wanted = {name: make for name, make in CONTESTANTS[application].items() if name in options.only}
        skipped.update((name, reason) for name, make in wanted.items() if (reason := make().absent()))
        present[application] = {name: make for name, make in wanted.items() if name not in skipped}
    for name, reason in skipped.items():
        output.problem(name, f"skipped, {reason}")
    return present


def _saves(options: argparse.Namespace, present: Mapping[str, Contestants], scratch: Path, output: Output) -> list[Row]:
    """The cells of one application at once, so that the sizes are compared under the same noise."""
    sizes = [SMALL_FILES] if options.quick else [SMALL_FILES, LARGE_FILES]
    rows: list[Row] = []
    results: dict[Cell, list[Mapping[str, Any]]] = {}
    with closing(Answers()) as answers:
        for application, contestants in present.items():
            cells = [Cell(application, files) for files in sizes]
            taking_part = [(make_one(), cell) for make_one in contestants.values() for cell in cells]
            ours = {cell: contestant for contestant, cell in taking_part if isinstance(contestant, Reactor)}

            def warmed(ours: Mapping[Cell, Reactor] = ours) -> None:
                for reactor in ours.values():
                    reactor.forget()

            rows += Rounds(scratch / application, answers, output.told).run(taking_part, options.saves, warmed)
            results.update((cell, reactor.results) for cell, reactor in ours.items())
            shutil.rmtree(scratch / application)
    _tell(rows, results, output)
    return rows


def _tell(rows: list[Row], results: Mapping[Cell, list[Mapping[str, Any]]], output: Output) -> None:
    found = Ratios(rows)
    for row in rows:
        output.event("row", **row.summary())
    for kind, ratio in found.items():
        output.event("ratio", kind=kind, **ratio.summary())
    patched = [row for row in rows if row.cell.application == PATCHED]
    restarted = [row for row in rows if row not in patched]
    output.text(*(report.saves(part) for part in (restarted, patched) if part), *report.ratios(found))
    if results:
        stages = {cell: stage_medians(own) for cell, own in results.items()}
        rungs = Counter(f"{result.get('rung')} ({cell.application})" for cell, own in results.items() for result in own)
        for cell, medians_ms in stages.items():
            output.event("stages", **asdict(cell), median_ms=medians_ms)
        output.text(report.stages(stages), f"Rungs: {', '.join(f'{count} {name}' for name, count in rungs.items())}.")


def _whole_trees(names: Collection[str], scratch: Path, output: Output) -> None:
    """First sync and no-op, for those that know one. Its applications' answers go to nobody's port."""
    found: list[Sync] = []
    for files in (SMALL_FILES, LARGE_FILES):
        project = make(scratch / f"tree-{files}", "tree", port=9, application=LIGHT, files=files)
        for name in sync.KINDS:
            if name in names:
                output.progress(f"whole tree: {name}, {files:,} files")
                try:
                    found.append(sync.measure(name, project.folder, files, scratch / "sync"))
                except Fault as fault:
                    output.problem(name, f"whole tree of {files:,} files: {fault}")
                else:
                    output.event("sync", **asdict(found[-1]))
    if found:
        output.text(report.syncs(found))


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loop", description=(__doc__ or "").partition("\n")[2])
    parser.add_argument("--json", action="store_true", help="one JSON object a line in place of tables")
    parser.add_argument("--saves", type=int, metavar="N", help=f"saves a contestant and cell, {SAVES} if not given")
    parser.add_argument(
        "--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=f"of {', '.join(NAMES)}"
    )
    parser.add_argument(
        "--application",
        nargs="+",
        choices=CONTESTANTS,
        default=CONTESTANTS,
        metavar="NAME",
        help=", ".join(CONTESTANTS),
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"a look: {QUICK_SAVES} saves, the small project, no syncs"
    )
    options = parser.parse_args(arguments)
    if options.saves is None:
        options.saves = QUICK_SAVES if options.quick else SAVES
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
