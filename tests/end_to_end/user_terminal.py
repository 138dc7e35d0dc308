"""A user's terminal: a pseudo-terminal in which a command runs, with its screen as a person sees it."""

from __future__ import annotations

import os
import subprocess
import termios
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pyte

from .conftest import WAIT_S

COLUMNS, LINES = 100, 30


class UserTerminal:
    """``command`` in a terminal. Nothing that it shows goes unread."""

    def __init__(
        self, command: Sequence[str | Path], env: Mapping[str, str], cwd: Path, *, screen: bool = True
    ) -> None:
        self.screen = pyte.Screen(COLUMNS, LINES)
        self.shown = bytearray()
        """Every byte that the terminal got."""
        self._stream = pyte.ByteStream(self.screen) if screen else None
        self._main, self._user = os.openpty()
        self.mode = self.current_mode()
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.process = subprocess.Popen(
            list(map(str, command)),
            stdin=self._user,
            stdout=self._user,
            stderr=self._user,
            env={**env, "TERM": "xterm-256color"},
            cwd=cwd,
            start_new_session=True,
        )

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._main, 65536)
            except OSError:
                return
            with self._more:
                self.shown += data
                if self._stream is not None:
                    self._stream.feed(data)
                self._more.notify_all()

    def current_mode(self) -> list[Any]:
        return termios.tcgetattr(self._user)

    def press(self, keys: bytes) -> None:
        os.write(self._main, keys)

    def lines(self) -> list[str]:
        """What is on the screen, without the empty rest."""
        with self._more:
            return "\n".join(line.rstrip() for line in self.screen.display).rstrip("\n").split("\n")

    def wait(self, condition: Callable[[Self], bool]) -> None:
        with self._more:
            fine = self._more.wait_for(lambda: condition(self), WAIT_S)
        assert fine, "\n".join(self.lines()) + f"\n{self.shown[-500:]!r}"

    def wait_line(self, line: str) -> None:
        """Until the screen holds ``line``."""
        self.wait(lambda it: line in it.lines())

    def finish(self) -> int:
        """Its exit code, once it has ended and everything is shown."""
        code = self.process.wait(WAIT_S)
        os.write(self._user, b"(end)")
        self.wait(lambda it: it.shown.endswith(b"(end)"))
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(WAIT_S)
        os.close(self._user)
        self._reader.join(WAIT_S)
        os.close(self._main)
