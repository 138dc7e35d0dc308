"""A device at the other end of a serial line: a pseudo-terminal, whose path goes when it is unplugged."""

from __future__ import annotations

import os
import select
import tty
from pathlib import Path
from typing import Self

WAIT_S = 20.0


class Device:
    """What is plugged in at ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._main = -1
        self.plug()

    def plug(self) -> None:
        """Be there: another pseudo-terminal, under the same path."""
        self._main, port = os.openpty()
        tty.setraw(port)
        aside = self.path.with_name(f"{self.path.name}.new")
        aside.symlink_to(os.ttyname(port))
        aside.replace(self.path)
        os.close(port)

    def unplug(self) -> None:
        """Be gone."""
        self.path.unlink()
        os.close(self._main)
        self._main = -1

    def say(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._main, data) :]

    def hear(self, end: bytes) -> bytes:
        """What is sent to it, up to ``end``."""
        heard = b""
        while end not in heard:
            assert select.select([self._main], [], [], WAIT_S)[0], f"no {end!r} in {heard!r}"
            try:
                heard += os.read(self._main, 4096)
            except OSError:  # nobody has it open yet
                select.select([], [], [], 0.02)
        return heard

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._main >= 0:
            self.unplug()
