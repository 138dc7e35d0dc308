"""The yardstick: see :mod:`benchmarks.floor`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from benchmarks.processes import REPOSITORY, Program
from benchmarks.projects import WAYS, Project
from reactor.trust import host_identity

START_S = 30.0


class Floor:
    """Two hand-made programs, and a copy of the project for the target's side, whose ``target`` starts it anew."""

    name = "floor"
    ways: tuple[str, ...] = WAYS
    _target = "target"

    def __init__(self) -> None:
        self._programs: list[Program] = []

    def absent(self) -> str:
        """Runs wherever the benchmark does."""
        return ""

    def setup(self, project: Project, scratch: Path) -> None:
        """Starts the target, then the host."""
        tree = scratch / "tree"
        shutil.copytree(project.folder, tree)
        self._begin(project, tree, scratch)

    def _begin(self, project: Project, tree: Path, scratch: Path) -> None:
        port = self._start(scratch / "target.log", self._target, str(tree), *project.outside)
        self._start(scratch / "host.log", "host", str(project.folder), port)

    def settle(self) -> None:
        """Either program's end would be the floor's."""
        for program in self._programs:
            if program.process.poll() is not None:
                raise program.fault("it ended")

    def teardown(self) -> None:
        """Ends both; the target's application falls with the target's group."""
        for program in reversed(self._programs):
            program.end()
        self._programs.clear()

    def _start(self, log: Path, module: str, *arguments: str) -> str:
        """Starts one of the two; the line that it prints when it is there."""
        program = Program([sys.executable, "-m", f"benchmarks.floor.{module}", *arguments], cwd=REPOSITORY, log=log)
        self._programs.append(program)
        program.until(lambda: bool(program.tail()), "first line", START_S)
        return program.tail()


class PatchedFloor(Floor):
    """The same, with a target that executes what arrives in the application that runs."""

    _target = "patched"


class LinkedFloor(Floor):
    """That one, over the product's link and by way of its disk: what the way costs, with nothing decided on it."""

    name = "way"

    def _begin(self, project: Project, tree: Path, scratch: Path) -> None:
        identity = host_identity(scratch).certificate.parent
        port = self._start(scratch / "target.log", "linked", str(tree), str(identity))
        self._start(scratch / "host.log", "linked_host", str(project.folder), port, str(identity))
