"""The screen: events as lines for people (rich), or as JSON lines for programs. The only place that prints.

Thread-safe: sessions tell their events from their own threads. A pipe gets no colour and no progress bar.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import IO, Any, Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

from bootloader.wire.errors import Fault

from . import report

_PIPE_WIDTH = 200

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


class Terminal:
    """Where events go. ``as_json``: one JSON object a line on standard output."""

    def __init__(
        self, *, as_json: bool, verbose: bool = False, many: bool = False, output: IO[str] | None = None
    ) -> None:
        self._json = as_json
        self._verbose = verbose
        self._many = many
        self._lock = threading.Lock()
        self._output = output or sys.stdout
        self._console = Console(
            theme=THEME,
            file=self._output,
            width=None if self._output.isatty() else _PIPE_WIDTH,
            highlight=False,
            soft_wrap=True,
            emoji=False,
            markup=False,
        )
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
                for line in report.lines(event, verbose=self._verbose, many=self._many):
                    self._console.print(Text.assemble(*line))

    def fault(self, fault: Fault, target: str = "") -> None:
        """Show a fault as a problem."""
        told = {"event": "problem", "target": target, "code": fault.code, "message": report.clean(str(fault))}
        self.tell({**told, **{key: value for key, value in fault.fields.items() if key in ("file", "line", "column")}})

    def notice(self, code: str, text: str) -> None:
        """Show a remark of this host's own."""
        self.tell({"event": "notice", "target": "", "code": code, "text": text})

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Show rows under headings; not for ``--json``, whose callers tell each row as an event."""
        table = Table(*columns, box=None, pad_edge=False, header_style="strong")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        with self._lock:
            self._console.print(table)

    def line(self, text: str) -> None:
        """Show one plain line; not for ``--json``."""
        with self._lock:
            self._console.print(Text(text))

    @property
    def as_json(self) -> bool:
        """Whether events are shown as JSON."""
        return self._json

    def _show_progress(self, event: Mapping[str, Any]) -> None:
        """A bar for what takes long, gone when it is done. A pipe gets none."""
        if not self._console.is_terminal:
            return
        if self._progress is None:
            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
            self._progress = Progress(*columns, console=self._console, transient=True)
            self._progress.start()
        target, done, total = event["target"], event["done_bytes"], event["total_bytes"]
        if target not in self._tasks:
            self._tasks[target] = self._progress.add_task(f"shipping to {target}", total=total)
        self._progress.update(self._tasks[target], completed=done)
        if done >= total:
            self._progress.remove_task(self._tasks.pop(target))
        if not self._tasks:
            self._end_progress()

    def _end_progress(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._tasks.clear()
            self._end_progress()
