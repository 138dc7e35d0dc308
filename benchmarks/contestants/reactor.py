"""``reactor dev`` on the embedded target, as a user starts it: TLS, hashes, two trees, supervision and all.

Reads the command's ``--json`` lines: ``ready`` starts the measurement, ``result`` ends a save and tells its stages.
What it tells of its own speed is shown beside what was measured, not in place of it.
"""

from __future__ import annotations

import importlib.util
import json
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from benchmarks.processes import Program
from benchmarks.projects import WAYS, Project

READY_S = 120.0
RESULT_S = 15.0


class Dev:
    """One running ``reactor dev``. Its state lies in ``state`` and nowhere in the user's home."""

    def __init__(self, project: Path, state: Path, log: Path, *more: str) -> None:
        self.results: list[Mapping[str, Any]] = []
        self.counted = 0
        self._ready = False
        self._ended = False
        self._problem = ""
        self._changed = threading.Condition()
        command = [sys.executable, "-m", "reactor", "dev", str(project), "--json", *more]
        self._program = Program(command, cwd=project, log=log, env={"REACTOR_HOME": str(state)}, pipe=True)
        output = self._program.process.stdout
        assert output is not None
        self._reader = threading.Thread(target=self._read, args=(output,), name="reactor-events")
        self._reader.start()

    def ready(self) -> None:
        """Waits until the link is up, the first sync is done and the project is watched."""
        self._until(lambda: self._ready, "'ready' event", READY_S)

    def result(self, number: int) -> None:
        """Waits until there are ``number`` results."""
        self._until(lambda: self.counted >= number, f"'result' event {number}", RESULT_S)

    def end(self) -> None:
        """Ends the command as Ctrl-C does, and the embedded target with it."""
        self._program.end(signal.SIGINT)
        self._reader.join()

    def _until(self, happened: Callable[[], bool], what: str, timeout_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: happened() or self._ended, timeout_s)
            if not happened():
                short = f"it ended before the {what}" if self._ended else f"no {what} in time"
                raise self._program.fault(f"{short}; its last problem: {self._problem or '(none)'}")

    def _read(self, output: IO[bytes]) -> None:
        for line in output:
            event = json.loads(line)
            with self._changed:
                if event["event"] == "ready":
                    self._ready = True
                elif event["event"] == "result":
                    self.results.append(event)
                    self.counted += 1
                elif event["event"] == "problem":
                    self._problem = str(event.get("message"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class Reactor:
    """The contestant that all this is about."""

    name = "reactor"
    ways: tuple[str, ...] = WAYS

    def __init__(self) -> None:
        self._dev: Dev | None = None
        self._settled = 0

    def absent(self) -> str:
        """Needs the package with its host's requirements."""
        return "" if importlib.util.find_spec("reactor.__main__") else "reactor is not installed"

    def setup(self, project: Project, scratch: Path) -> None:
        """Starts the command, waits for its ``ready`` and for the ``result`` of the first start."""
        self._dev = Dev(project.folder, scratch / "state", scratch / "log")
        self._dev.ready()
        self._dev.result(1)
        self._settled = self._dev.counted

    @property
    def results(self) -> list[Mapping[str, Any]]:
        """The ``result`` events since :meth:`forget`."""
        return self._dev.results if self._dev else []

    def forget(self) -> None:
        """The saves so far were for warming up."""
        self.results.clear()

    def settle(self) -> None:
        """Waits for the save's ``result``: healthy, or not."""
        if self._dev:
            self._dev.result(self._settled + 1)
            self._settled = self._dev.counted

    def teardown(self) -> None:
        """Ends the command."""
        if self._dev:
            self._dev.end()
