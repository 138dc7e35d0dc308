"""Who watches the keeper: systemd, by its notify protocol, and the watchdog of the hardware, by its device.

Owns the socket of the one and the device of the other. Feeds what it is told to feed, and decides nothing. Either may
be absent; neither can fail the keeper.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress


class Systemd:
    """The service manager that started us, if one did (sd_notify(3))."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        """Takes its variables out of ``environment``: they are for this process alone."""
        where = environment.pop("NOTIFY_SOCKET", "")
        for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
            environment.pop(name, None)
        self._where = "\0" + where[1:] if where.startswith("@") else where

    def tell(self, *words: str) -> None:
        """Such as ``READY=1``. A manager that does not listen, or has no room, is told the next time."""
        if self._where:
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto("\n".join(words).encode(), self._where)


class Hardware:
    """The watchdog device of Linux: once opened, the machine is reset unless it is fed, or closed in order."""

    def __init__(self, path: str) -> None:
        """Open ``path``, or none where it is empty. ``problem`` says why that did not work, if it did not."""
        self.problem = ""
        self._device: int | None = None
        if path:
            try:
                self._device = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            except OSError as error:
                self.problem = f"{path}: the watchdog can't be used ({error.strerror})"

    def feed(self) -> None:
        """Not yet."""
        self._write(b"\0")

    def close(self) -> None:
        """Have it watch no more: without the letter, the next thing it does is a reset."""
        self._write(b"V")
        if self._device is not None:
            os.close(self._device)
            self._device = None

    def _write(self, data: bytes) -> None:
        if self._device is not None:
            with suppress(OSError):  # it resets the machine then, which is what it is for
                os.write(self._device, data)
