"""Serial consoles beside something else, which none of them ends: each is told by a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from . import END, Console
from .stamp import Clock
from .told import told

_END_S = 1.0


class Beside:
    """Consoles, each with the target that it is of; empty where that is not known."""

    def __init__(self, consoles: dict[Console, str], clock: Clock) -> None:
        self._consoles = consoles
        self._clock = clock
        self._threads: list[threading.Thread] = []

    def start(self, tell: Callable[[dict[str, Any]], None]) -> None:
        """Begin. A port that is not there is waited for."""
        for console, target in self._consoles.items():
            told_by = threading.Thread(
                target=self._tell, args=(console, target, tell), name=f"console {console.name} told", daemon=True
            )
            self._threads.append(told_by)
            told_by.start()
            console.start(wait=True)

    def close(self) -> None:
        """End them; what they said until now is told."""
        for console in self._consoles:
            console.close()
            console.put(END)
        for thread in self._threads:
            thread.join(_END_S)

    def _tell(self, console: Console, target: str, tell: Callable[[dict[str, Any]], None]) -> None:
        for event in told(console, self._clock, target):
            tell(event)
