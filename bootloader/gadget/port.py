"""The gadget's serial port: who has it open, and a login on it.

The kernel takes such a port away only once nobody has it open, and waits for that without an end. So whoever has it is
hung up on first, and if somebody stays all the same, it is told who.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic

from ..wire.errors import Fault
from .command import run

_HANG_UP = 0x5437
"""TIOCVHANGUP: all who have it open have it no more."""

FREE_S = 3.0
_LOOK_S = 0.02
PROC = Path("/proc")


def log_in(port: Path) -> None:
    """Start a login there, systemd's own for serial ports. A :class:`Fault` where that can't be."""
    why = run("systemctl", "start", _login(port))
    if why:
        raise Fault("no-login", f"no login was started ({why})", to=str(port), do="start a getty there in your own way")


def free(port: Path, pause: Callable[[float], object], wait_s: float = FREE_S, proc: Path = PROC) -> None:
    """Have nobody hold it, in bounded time. A :class:`Fault` names who does."""
    held_by = holders(port, proc)
    if held_by:
        run("systemctl", "stop", _login(port))  # where it was a login, another one would come
    deadline = monotonic() + wait_s
    while held_by:
        with suppress(OSError):  # nothing is connected to it, or it has gone
            _hang_up(port)
        pause(_LOOK_S)
        held_by = holders(port, proc)
        if held_by and monotonic() > deadline:
            who = ", ".join(held_by)
            raise Fault("port-held", f"{who} has it open", to=str(port), do="end that, and do it again")


def holders(port: Path, proc: Path = PROC) -> list[str]:
    """The programs that have it open, with their process ids."""
    found = []
    for process in proc.glob("[0-9]*"):
        with suppress(OSError):  # a process may end meanwhile
            if any(_is(one, port) for one in (process / "fd").iterdir()):
                found.append(f"{process.joinpath('comm').read_text().strip()} ({process.name})")
    return sorted(found)


def _is(descriptor: Path, port: Path) -> bool:
    try:
        return descriptor.readlink() == port
    except OSError:  # it has been closed, which says nothing of the others
        return False


def _hang_up(port: Path) -> None:
    end = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        fcntl.ioctl(end, _HANG_UP)
    finally:
        os.close(end)


def _login(port: Path) -> str:
    """systemd's name for a login there."""
    return f"serial-getty@{port.name}.service"
