"""Reloaders of this machine's processes: one command each, which starts and restarts the application itself.

They have no board to reach: no copy, no connection, no trust. They are here as the fastest that people know.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from benchmarks.processes import Program
from benchmarks.projects import WAYS, Project

RUN = (sys.executable, "-m", "station.main")


class Local:
    """A contestant that is one command, run in the project's folder."""

    def __init__(self, name: str, package: str, command: tuple[str, ...], ways: tuple[str, ...] = WAYS) -> None:
        self.name = name
        self.ways = ways
        self._package = package
        self._command = command
        self._program: Program | None = None

    def absent(self) -> str:
        """The package must be importable by the Python that runs the benchmark."""
        return "" if importlib.util.find_spec(self._package) else f"{self._package} is not installed"

    def setup(self, project: Project, scratch: Path) -> None:
        """Starts the command."""
        self._program = Program(self._command, cwd=project.folder, log=scratch / "log")

    def settle(self) -> None:
        """A command that ended reloads nothing more."""
        if self._program and self._program.process.poll() is not None:
            raise self._program.fault("it ended")

    def teardown(self) -> None:
        """Ends the command's whole group."""
        if self._program:
            self._program.end()
