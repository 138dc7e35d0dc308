"""The way in when the network is gone: a serial port of this device, through which the same service answers.

Owns a thread and the port, which is opened again for as long as it is not there: a gadget's comes and goes with its
cable. What it carries is TLS from end to end, so whoever is at the other end of the cable may do no more than on the
network. It needs nothing but Python's own `termios`; where that is missing, it is told.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from socket import socket
from time import monotonic

from .wire.ferry import Ferry

_AGAIN_S = 1.0
_TELL_EVERY_S = 60.0
_SAID = 7

Admit = Callable[[str, socket, str], str]


class Rescue:
    """Answers on a serial port, from :meth:`start` to :meth:`close`."""

    def __init__(self, path: str, baud: int, admit: Admit, notice: Callable[[str, str], None]) -> None:
        """``admit`` takes a socket for a service, and where it is from, or says why not. ``notice`` is told why the
        port can't be had; each reason once.
        """
        self._path = path
        self._baud = baud
        self._admit = admit
        self._tell = notice
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._ferry: Ferry | None = None
        self._said: dict[str, float] = {}
        self._thread = threading.Thread(target=self._run, name="rescue", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Answer no more, and say so to the host at the other end."""
        self._ending.set()
        with self._lock:
            ferry = self._ferry
        if ferry is not None:
            ferry.close("the bootloader ends")
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                why = self._answer()
            except (OSError, ValueError, ImportError, RuntimeError) as error:  # the last where no thread is to be had
                why = (error.strerror if isinstance(error, OSError) else None) or str(error)
            if why:
                self._notice("no-rescue", f"nobody can come in over {self._path}: {why}; it is tried again")
            self._ending.wait(_AGAIN_S)

    def _answer(self) -> str:
        """Open the port and answer there until it is gone; why it is."""
        fd = _opened(self._path, self._baud)
        try:
            ferry = Ferry(fd, is_host=False, baud=self._baud, name="rescue ferry", admit=self._let_in)
            with self._lock:
                if self._ending.is_set():
                    return ""
                self._ferry = ferry
                ferry.start()
            if self._said:  # that it could not be used, which is over
                self._notice("rescue", f"hosts that this device obeys can come in over {self._path}")
            ferry.join()
            return ferry.gone
        finally:
            with self._lock:
                self._ferry = None
            os.close(fd)

    def _let_in(self, service: str, sock: socket) -> str:
        return self._admit(service, sock, self._path)

    def _notice(self, code: str, text: str) -> None:
        """Each thing once a minute, as a port may come and go all the time."""
        now = monotonic()
        if now > self._said.get(text, now - _TELL_EVERY_S - 1) + _TELL_EVERY_S:
            self._said = {**dict(list(self._said.items())[-_SAID:]), text: now}
            self._tell(code, text)


def _opened(path: str, baud: int) -> int:
    """The port's descriptor: bytes as they are, nobody else's from now on, and no modem to wait for."""
    import termios
    from fcntl import ioctl

    speed = getattr(termios, f"B{baud}", None)
    if speed is None:
        raise ValueError(f"no serial port here has {baud} baud")
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # nothing that is known here lacks it
            ioctl(fd, termios.TIOCEXCL)
        iflag, oflag, cflag, lflag, _, _, chars = termios.tcgetattr(fd)
        iflag, oflag, lflag = termios.IGNBRK | termios.IGNPAR, 0, 0
        cflag &= ~(termios.CSIZE | termios.CSTOPB | termios.PARENB | termios.HUPCL | getattr(termios, "CRTSCTS", 0))
        cflag |= termios.CS8 | termios.CREAD | termios.CLOCAL
        chars[termios.VMIN], chars[termios.VTIME] = 1, 0
        termios.tcsetattr(fd, termios.TCSANOW, [iflag, oflag, cflag, lflag, speed, speed, chars])
        termios.tcflush(fd, termios.TCIOFLUSH)
    except termios.error as error:
        os.close(fd)
        raise ValueError(f"it is no serial port ({error.args[-1]})") from error
    except BaseException:
        os.close(fd)
        raise
    return fd
