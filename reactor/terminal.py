"""The screen: events as lines for people (rich), or as JSON lines for programs. The only place that prints.

Thread-safe: sessions tell their events from their own threads. A pipe gets no colour and no progress bar.
"""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import IO, Any, Self

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.constrain import Constrain
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text
from rich.theme import Theme

from bootloader.wire.errors import Fault

from . import report

_PIPE_WIDTH = 200
_LOCK_S = 1.0
_ENDS = ("ready", "result", "problem", "link")
"""Events after which nothing is under way on a target that could have a bar."""

THEME = Theme(
    {
        "good": "green",
        "bad": "red",
        "warn": "yellow",
        "strong": "bold",
        "target": "cyan",
        "log": "default",
    }
)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Nobody reads any more: said to the caller, where rich would end the thread that happened to print."""
        raise BrokenPipeError


class _Progress(Progress):
    """Not up to the last column: the ``^C`` that a terminal shows would begin another line, which stays."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield _Narrow(self.make_tasks_table(self.tasks))


class _Narrow:
    def __init__(self, inner: RenderableType) -> None:
        self._inner = inner

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        yield Constrain(self._inner, options.max_width - len("^C"))


class Terminal:
    """Where events go. ``as_json``: one JSON object a line on standard output."""

    def __init__(
        self, *, as_json: bool, verbose: bool = False, many: bool = False, output: IO[str] | None = None
    ) -> None:
        self.many = many
        """Whether there are several targets, so that each line names its own."""
        self._json = as_json
        self._verbose = verbose
        self._lock = threading.Lock()
        self._output = output or sys.stdout
        self._console = _Console(
            theme=THEME,
            file=self._output,
            width=None if self._output.isatty() else _PIPE_WIDTH,
            highlight=False,
            soft_wrap=True,
            emoji=False,
            markup=False,
        )
        if isinstance(self._output, io.TextIOWrapper):
            self._output.reconfigure(errors="replace")  # no screen is so poor that it ends the loop
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def tell(self, event: Mapping[str, Any]) -> None:
        """Show one event."""
        with self._lock:
            if self._json:
                at = datetime.now(UTC).astimezone().isoformat(timespec="milliseconds")
                head = {"event": event["event"], "target": event.get("target", ""), "at": at}
                self._output.write(json.dumps({**head, **event}) + "\n")
                self._output.flush()
            elif event["event"] == "progress":
                self._show_progress(event)
            else:
                if event["event"] in _ENDS:
                    self._end_task(event.get("target", ""))
                for line in report.lines(event, verbose=self._verbose, many=self.many):
                    self._console.print(Text.assemble(*line))

    def fault(self, fault: Fault, target: str = "") -> None:
        """Show a fault as a problem."""
        self.tell({"target": target, **report.problem(fault)})

    def notice(self, code: str, text: str) -> None:
        """Show a remark of this host's own."""
        self.tell({"event": "notice", "target": "", "code": code, "text": text})

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Show rows under headings; not for ``--json``, whose callers tell each row as an event."""
        cells = [list(columns), *map(list, rows)]
        widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
        with self._lock:
            for row in cells:
                padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
                self._console.print(Text("  ".join(padded).rstrip(), "strong" if row is cells[0] else ""))

    def line(self, text: str) -> None:
        """Show one plain line; not for ``--json``."""
        with self._lock:
            self._console.print(Text(report.indented(text)))

    def interrupted(self) -> None:
        """End the line on which the terminal has shown the keys that were pressed."""
        if self._console.is_terminal and not self._json and self._lock.acquire(timeout=_LOCK_S):
            self._tasks.clear()
            self._end_progress()
            self._console.print()
            self._lock.release()

    @property
    def as_json(self) -> bool:
        """Whether events are shown as JSON."""
        return self._json

    def _show_progress(self, event: Mapping[str, Any]) -> None:
        """A bar for what takes long, gone when it is done. A pipe gets none."""
        if not self._console.is_terminal:
            return
        target, (done, total, text) = event["target"], report.progress(event)
        if done == total:
            self._end_task(target)
            return
        if self._progress is None:
            columns = (TextColumn("{task.description}"), BarColumn())
            self._progress = _Progress(*columns, console=self._console, transient=True, redirect_stdout=False)
            self._progress.start()
        if target not in self._tasks:
            self._tasks[target] = self._progress.add_task(text, total=total)
        self._progress.update(self._tasks[target], description=text, completed=done, total=total)

    def _end_task(self, target: str) -> None:
        task = self._tasks.pop(target, None)
        if self._progress is not None and task is not None:
            self._progress.remove_task(task)
            if not self._tasks:
                self._end_progress()

    def _end_progress(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock.acquire(timeout=_LOCK_S):  # else somebody who shows a line waits for a reader that reads no more
            self._tasks.clear()
            self._end_progress()
            self._lock.release()
