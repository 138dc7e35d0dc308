"""Serial consoles beside something else, which none of them ends: each is told by a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from bootloader.wire.errors import Fault

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

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._consoles)

    def send(self, words: str) -> None:
        """Type ``words`` and the return key; of several consoles, the first word names the one that is meant."""
        console, text = self._meant(words)
        self._send(console, f"{text}\r".encode())

    def send_break(self, words: str) -> None:
        """Send a break; of several consoles, ``words`` names the one that is meant."""
        self._send(self._meant(words)[0], None)

    def _meant(self, words: str) -> tuple[Console, str]:
        named = {target or console.name: console for console, target in self._consoles.items()}
        if len(named) == 1:
            return next(iter(self._consoles)), words
        name, _, text = words.partition(" ")
        if name not in named:
            raise Fault("several-ports", "there are several consoles", do=f"first say which: {', '.join(named)}")
        return named[name], text

    def _send(self, console: Console, data: bytes | None) -> None:
        if not console.send(data):
            raise Fault("no-port", "nothing was sent: the port is not there, or takes no more", to=console.name)

    def _tell(self, console: Console, target: str, tell: Callable[[dict[str, Any]], None]) -> None:
        for event in told(console, self._clock, target):
            tell(event)
