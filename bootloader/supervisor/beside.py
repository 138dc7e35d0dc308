"""A process beside an application: with its environment, its path and its limits, and none of its code run.

For a host that wants to look around where the application does not run. Owns the process from its fork to the end of
its group. What it prints is journaled as the application's. Lives in the supervisor's turns.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..journal import Journal
from ..wire.records import NOTE
from .child import Child
from .orders import Orders
from .turns import Turns

_SWEEP_S = 0.02
_SWEEPS = 100


class Beside:
    """Begun by construction. ``fork`` gives a process that has no orders yet."""

    def __init__(
        self, orders: Orders, order: Mapping[str, Any], turns: Turns, journal: Journal, fork: Callable[[], Child]
    ) -> None:
        self._name = orders.spec.name
        self._turns = turns
        self._journal = journal
        self._why = ""
        self._child = child = fork()
        child.on_lines = self._lines
        child.on_end = self._ended
        limits = child.limit(orders.spec.memory_mb, orders.spec.processes)
        child.order(beside={**orders.fields(orders.spec.entry), "limits": limits, "attach": dict(order)})

    @property
    def pid(self) -> int:
        """Its process id; 0 where it is not known yet."""
        return self._child.pid or 0

    @property
    def why(self) -> str:
        """How it ended."""
        return self._why or "the interpreter's process closed it"

    def end(self) -> None:
        """End it, and all that it has started."""
        self._sweep(_SWEEPS)

    def _lines(self, lines: Sequence[tuple[str, str]]) -> None:
        self._journal.add_lines(self._name, [line for line in lines if line[0] != NOTE])

    def _ended(self, status: int) -> None:
        self._why = f"the interpreter's process ended with status {status}"
        self._sweep(_SWEEPS)

    def _sweep(self, tries: int) -> None:
        if self._child.closed:
            return
        if tries and self._child.signal_group(signal.SIGKILL):
            self._turns.later(_SWEEP_S, lambda: self._sweep(tries - 1))
        elif self._child.ended or not tries:
            self._child.close()
