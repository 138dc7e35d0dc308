"""What is shown: events as lines for people (rich), or as JSON lines for programs. The only place that prints.

Thread-safe: sessions tell their events from their own threads. A pipe gets no colour, no progress bar and no links, and
its problems begin as editors read them; so does a terminal that can do nothing.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, Any, Self

from rich.cells import cell_len
from rich.console import COLOR_SYSTEMS, Console, ConsoleOptions, RenderableType, RenderResult
from rich.constrain import Constrain
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text
from rich.theme import Theme

from bootloader.wire.errors import Fault

from . import hyperlinks, report
from .filters import Filter

_PIPE_WIDTH = 200
_LOCK_S = 1.0
_LINES_AT_ONCE = 200
_ENDS = ("ready", "result", "problem", "link")
"""Events after which nothing is under way on a target that could have a bar."""

_PLACES = ("place", "frame")
"""Styles of what names a file of the project."""

THEME = Theme(
    {
        "good": "green",
        "bad": "red",
        "warn": "yellow",
        "strong": "bold",
        "place": "bold",
        "frame": "dim",
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
        self.filter = Filter()
        """Which lines of output are shown. Whoever sets another has it at the next line."""
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
        self._smart = self._console.is_terminal and not self._console.is_dumb_terminal
        self._links = hyperlinks.form(os.environ) if self._smart else ""
        self._host = socket.gethostname()
        self._folders: Sequence[str] = ()
        self._near = ""
        self._codes: dict[str, tuple[str, str]] = {}
        self._write: Callable[[str], None] = self._write_out
        self._is_echoing = self._console.is_terminal and not self._json
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    @property
    def is_interactive(self) -> bool:
        """Whether a person sits there, with a terminal that moves its cursor."""
        return self._smart and not self._json

    def columns(self) -> int:
        """How many a line of it has now."""
        return shutil.get_terminal_size().columns

    def belongs_to(self, folders: Sequence[str]) -> None:
        """Say which project this is about: its folder, and those of its siblings. Files are named relative to it."""
        self._folders = folders
        self._near = os.path.relpath(folders[0])

    @contextmanager
    def through(self, write: Callable[[str], None]) -> Iterator[None]:
        """Until this is left, ``write`` gets what is shown, and shows itself what is under way."""
        with self._lock:
            self._tasks.clear()
            self._end_progress()
            self._write = write
            self._is_echoing = False
        try:
            yield
        finally:
            with self._lock:
                self._write = self._write_out

    def tell(self, event: Mapping[str, Any]) -> None:
        """Show one event."""
        self.tell_all([event])

    def tell_all(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Show events that came together. A screen gets no more lines of output at once than can be looked at."""
        events = self.filter.through(events)
        with self._lock:
            if self._json:
                at = datetime.now(UTC).astimezone().isoformat(timespec="milliseconds")
                heads = ({"event": event["event"], "target": event.get("target", ""), "at": at} for event in events)
                made = (json.dumps({**head, **event}) + "\n" for head, event in zip(heads, events, strict=True))
                self._output.write("".join(made))
                self._output.flush()
                return
            lines: list[report.Line] = []
            near = None if self._smart else self._near
            for event in report.fitting(events, _LINES_AT_ONCE) if self._console.is_terminal else events:
                if event["event"] == "progress":
                    self._show_progress(event)
                    continue
                if event["event"] in _ENDS:
                    self._end_task(event.get("target", ""))
                lines += report.lines(event, verbose=self._verbose, many=self.many, folder=near)
            self._print(lines)

    def fault(self, fault: Fault, target: str = "") -> None:
        """Show a fault as a problem."""
        self.tell({"target": target, **report.problem(fault)})

    def notice(self, code: str, text: str) -> None:
        """Show a remark of this host's own."""
        self.tell({"event": "notice", "target": "", "code": code, "text": text})

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Show rows under headings; not for ``--json``, whose callers tell each row as an event."""
        cells = [list(columns), *([report.cell(one) for one in row] for row in rows)]
        widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
        made: list[report.Line] = []
        for row in cells:
            padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
            made.append([(report.apart("  ".join(padded).rstrip()), "strong" if row is cells[0] else "")])
        with self._lock:
            self._print(made)

    def line(self, text: str) -> None:
        """Show one plain line; not for ``--json``."""
        with self._lock:
            self._print([[(report.indented(text), "")]])

    def interrupted(self) -> None:
        """End the line on which the terminal has shown the keys that were pressed, if it does so itself."""
        if self._is_echoing and self._lock.acquire(timeout=_LOCK_S):
            self._tasks.clear()
            self._end_progress()
            self._console.print()
            self._lock.release()

    @property
    def as_json(self) -> bool:
        """Whether events are shown as JSON."""
        return self._json

    def styled(self, line: report.Line) -> str:
        """``line`` as this terminal takes it, in colour where it has some."""
        return "".join(self._styled(text, style) for text, style in line)

    def _styled(self, text: str, style: str) -> str:
        codes = self._codes.get(style)
        if codes is None:  # by rich, which knows what the terminal can; once a style, as lines come by the thousand
            found = self._console.get_style(style or "default")
            found = found.without_color if self._console.no_color else found
            system = COLOR_SYSTEMS.get(self._console.color_system or "")
            before, _, after = found.render("\0", color_system=system).partition("\0")
            codes = self._codes[style] = (before, after)
        shown = f"{codes[0]}{text}{codes[1]}"
        link = hyperlinks.address(text, self._folders, self._host, self._links) if style in _PLACES else ""
        return f"\x1b]8;;{link}\x1b\\{shown}\x1b]8;;\x1b\\" if link else shown

    def _print(self, lines: Iterable[report.Line]) -> None:
        text = "".join(f"{self.styled(line)}\n" for line in lines)
        if not text:
            return
        if self._progress is not None:
            self._console.print(Text.from_ansi(text[:-1]))  # above the bars
        else:
            self._write(text)

    def _write_out(self, text: str) -> None:
        self._output.write(text)
        self._output.flush()

    def _show_progress(self, event: Mapping[str, Any]) -> None:
        """A bar for what takes long, gone when it is done. A pipe gets none."""
        if not self._console.is_terminal or self._write != self._write_out:
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
