"""Who takes part: one file a contestant, each behind the small protocol below.

A contestant gets a project of its own, runs its application, and has to notice a save by itself. When the new
version runs is told by the application, the same way for all: see :mod:`benchmarks.answers`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from benchmarks.projects import Project


class Contestant(Protocol):
    """One way from a save to the new code running. Errors of :meth:`setup` and :meth:`settle` are faults."""

    name: str
    ways: tuple[str, ...]
    """How its project is saved to, in turns: every way that it notices."""

    def absent(self) -> str:
        """Why it can't take part here; empty where it can."""
        ...

    def setup(self, project: Project, scratch: Path) -> None:
        """Starts it on ``project``; ``scratch`` is an empty folder of its own. Returns when it was started."""
        ...

    def settle(self) -> None:
        """Waits, with a bound, until it has finished with the last save."""
        ...

    def teardown(self) -> None:
        """Ends everything that :meth:`setup` started, also where it failed half-way."""
        ...
