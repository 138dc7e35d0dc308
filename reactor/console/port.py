"""A serial port, by pyserial, which lives here alone: a device of this machine, ``socket://`` or ``rfc2217://``.

A port is read by one thread and written by another. Every call takes bounded time. What goes wrong is a ``Fault`` with
a code of its own while it is opened, and :class:`Gone` afterwards. A device of this machine is this program's alone
while it is open: ``flock``, which programs of good will ask, and ``TIOCEXCL``, which the system holds up to all others.
"""

from __future__ import annotations

import errno
import os
import queue
import re
import select
import sys
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import serial
from serial import rfc2217
from serial.tools import list_ports

from bootloader.wire.errors import Fault

from ..report import clean
from ..settings import USB
from .choice import Found
from .holders import holders
from .telnet import Negotiation, Telnet

try:
    import fcntl
    import termios
except ImportError:  # Windows: the system itself opens a port but once
    fcntl = termios = None  # type: ignore[assignment]

READ_BYTES = 16 * 1024
TURN_S = 0.2
BAUD = 115200
PARITIES = {"none": "N", "even": "E", "odd": "O", "mark": "M", "space": "S"}
FLOWS = ("none", "rtscts", "xonxoff")

_TERMIOS: tuple[type[Exception], ...] = (termios.error,) if termios is not None else ()
_ERRORS: tuple[type[Exception], ...] = (OSError, ValueError, TypeError, OverflowError, *_TERMIOS)
"""What pyserial raises; all but the first where a port has been closed, or a setting is refused."""

_QUEUED = 256
_TIOCGEXCL = 0x80045440
_URL = re.compile(r"(socket|rfc2217)://(?:\[[0-9A-Fa-f:.%]+\]|[^\s/:?#@\[\]]+):\d{1,5}/?(\?[\w&=]*)?")
_OPTIONS = {"ign_set_control", "poll_modem"}


class Gone(Exception):
    """The port is no longer there; the text says how that showed."""


@dataclass(frozen=True, slots=True)
class Line:
    """How bits become bytes on the line."""

    baud: int = BAUD
    bits: int = 8
    parity: str = "none"
    stop: int = 1
    flow: str = "none"

    def __str__(self) -> str:
        flow = "" if self.flow == "none" else f" {self.flow}"
        return f"{self.baud} {self.bits}{PARITIES[self.parity]}{self.stop}{flow}"


def is_remote(port: str) -> bool:
    """Whether it is a URL."""
    return "://" in port


def is_url(port: str) -> bool:
    """Whether it is one of the two URLs, whole."""
    return _URL.fullmatch(port) is not None


def checked(port: str) -> str:
    """``port`` as it can be opened: a device's path, or one of the two URLs. ``bad-port`` where it is neither."""
    if is_remote(port):
        match = _URL.fullmatch(port)
        options = (match[2] or "?")[1:].split("&") if match else []
        if match is None or {option.partition("=")[0] for option in options if option} - _OPTIONS:
            do = "write socket://HOST:PORT or rfc2217://HOST:PORT"
            raise Fault("bad-port", "not a port that can be opened", to=clean(port), do=do)
        return port
    if not port or "\0" in port:
        raise Fault("bad-port", "not a port that can be opened", to=clean(port), do="name a device, or leave it off")
    if "/" in port or port == USB or sys.platform == "win32" or os.path.exists(port):  # noqa: PTH110 - it is a name, not a path yet
        return port
    return f"/dev/{port}"


def found() -> list[Found]:
    """The serial ports of this machine."""
    return [
        Found(
            port.device,
            (port.vid, port.pid) if port.vid is not None and port.pid is not None else None,
            clean(port.serial_number or ""),
            clean(port.location or ""),
            clean(port.product or ""),
        )
        for port in list_ports.comports()
    ]


class Port:
    """A port that is open."""

    def __init__(self, name: str, line: Line) -> None:
        """Open it, or raise a :class:`Fault`: ``no-port``, ``port-denied``, ``port-held``, ``port-failed``."""
        self.shared_with = ""
        """Who else has it open and reads along, where that is known."""
        self._is_remote = is_remote(name)
        self._name = name
        self._serial = _opened(name, line)
        self._fd = None
        with suppress(OSError, AttributeError):  # neither rfc2217:// nor Windows has one
            self._fd = self._serial.fileno()
        if not self._is_remote and fcntl is not None:
            self._take()

    def _take(self) -> None:
        assert self._fd is not None
        try:
            word = bytearray(4)
            with suppress(OSError):
                fcntl.ioctl(self._fd, _TIOCGEXCL, word)
            if any(word) and holders(self._name):  # root is let in where nobody else is, and sees who it is
                raise _held(self._name)
            fcntl.ioctl(self._fd, termios.TIOCEXCL)
        except OSError as error:
            self.close()
            raise Fault("port-failed", f"can't be had alone: {error.strerror}", to=self._name) from None
        except Fault:
            self._serial.close()
            raise
        self.shared_with = holders(self._name)

    def fileno(self) -> int:
        """The descriptor to poll, read and write, without blocking. A Fault where there is none: ``bad-port``."""
        if self._fd is None:
            do = "name a device of this machine, or socket://HOST:PORT"
            raise Fault("bad-port", "can't be used for this", to=self._name, do=do)
        os.set_blocking(self._fd, False)
        return int(self._fd)

    def read(self) -> bytes:
        """What has come, at most ``READ_BYTES``; nothing where nothing came for ``TURN_S``. :class:`Gone`."""
        try:
            if self._fd is None:
                first: bytes = self._serial.read(1)
                return first and first + self._serial.read(min(self._serial.in_waiting, READ_BYTES - 1))
            if not select.select([self._fd], [], [], TURN_S)[0]:
                return b""
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return b""
        except _ERRORS as error:
            raise Gone(_why(error)) from None
        if not data:
            raise Gone("it hung up")
        return data

    def write(self, data: bytes) -> int:
        """Send of ``data`` what there is room for within ``TURN_S``; how much. :class:`Gone`."""
        try:
            if self._fd is None:
                return int(self._serial.write(data[:_QUEUED]) or 0)
            if not select.select([], [self._fd], [], TURN_S)[1]:
                return 0
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except _ERRORS as error:
            raise Gone(_why(error)) from None

    def send_break(self) -> None:
        """Hold the line for a quarter of a second. A Fault where it can't be: ``break-failed``."""
        if self._name.startswith("socket:"):
            raise Fault("break-failed", "socket:// has no way to send a break", to=self._name, do="use rfc2217://")
        try:
            self._serial.send_break()
        except _ERRORS as error:
            raise Fault("break-failed", f"no break was sent: {_why(error)}", to=self._name) from None

    def close(self) -> None:
        """Give it back."""
        if not self._is_remote and self._fd is not None and termios is not None:
            with suppress(OSError, termios.error):
                fcntl.ioctl(self._fd, termios.TIOCNXCL)
        with suppress(OSError):
            self._serial.close()


def _opened(name: str, line: Line) -> Any:
    kind: Any = {"socket": serial.serial_for_url, "rfc2217": _Rfc2217}.get(name.partition("://")[0], serial.Serial)
    more: dict[str, Any] = {} if is_remote(name) or fcntl is None else {"exclusive": True}
    if not is_remote(name) and Path(name).exists() and not Path(name).is_char_device():
        raise _not_serial(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # pyserial names its thread as Python 2 had it
            return kind(
                name,
                line.baud,
                line.bits,
                PARITIES[line.parity],
                line.stop,
                timeout=TURN_S,
                xonxoff=line.flow == "xonxoff",
                rtscts=line.flow == "rtscts",
                **more,
            )
    except _ERRORS as error:
        raise _fault(name, line, error) from None


def _fault(name: str, line: Line, error: Exception) -> Fault:
    """Why a port can't be opened, in words of ours."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (inner := re.search(r"\((\d+), '", str(error))):
        number = int(inner[1])
    if number in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        return Fault("no-port", "there is no such port", to=name, do="plug it in, or name another")
    if number in (errno.EACCES, errno.EPERM):
        do = "join the group that may, mostly: sudo usermod -aG dialout $USER, then log in again"
        return Fault("port-denied", "this user may not open it", to=name, do=do)
    if number in (errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK):
        return _held(name)
    if number == errno.ENOTTY:
        return _not_serial(name)
    how = "" if name.startswith("socket:") else f" with {line}"
    return Fault("port-failed", f"can't be opened{how}: {_why(error)}", to=name)


def _not_serial(name: str) -> Fault:
    return Fault("bad-port", "is no serial port", to=name, do="name a device such as /dev/ttyACM0")


def _held(name: str) -> Fault:
    who = holders(name)
    do = "end that first" if who else "end what uses it first; root can see who that is"
    return Fault("port-held", f"is in use by {who or 'another program'}", to=name, do=do)


def _why(error: Exception) -> str:
    inner = re.search(r"\[Errno \d+\] ([^:']+)", str(error))
    return clean(inner[1] if inner else str(error) or type(error).__name__)


class _Rfc2217(rfc2217.Serial):  # type: ignore[misc]
    """pyserial's client with a reader that holds a bounded amount, and that nothing it reads can end."""

    in_waiting = 0  # what has come is read as it came

    def open(self) -> None:
        """Open it. What comes before all is agreed upon is not kept: the answers behind it have to be read."""
        self._is_agreed = False
        super().open()
        self._is_agreed = True

    def _telnet_read_loop(self) -> None:
        read: queue.Queue[bytes] = queue.Queue(_QUEUED)
        self._read_buffer = read
        telnet, connection = Telnet(), self._socket
        with suppress(OSError):
            while self.is_open:
                try:
                    data = connection.recv(READ_BYTES)
                except TimeoutError:
                    continue
                if not data:
                    break
                for part in telnet.feed(data):
                    if isinstance(part, bytes):
                        self._keep(part)
                    elif isinstance(part, Negotiation):
                        self._telnet_negotiate_option(part.command, part.option)
                    else:
                        self._telnet_process_subnegotiation(part.content)
        with suppress(queue.Full):
            read.put_nowait(b"")

    def _keep(self, part: bytes) -> None:
        while self.is_open and self._is_agreed:
            with suppress(queue.Full):
                self._read_buffer.put(part, timeout=TURN_S)
                return

    def read(self, size: int = 1) -> bytes:
        """What has come next, in whatever size it came; nothing within ``TURN_S`` where nothing did."""
        if not size:
            return b""
        with suppress(queue.Empty):
            data: bytes = self._read_buffer.get(timeout=TURN_S)
            if data:
                return data
        if self._thread is None or not self._thread.is_alive():
            raise serial.SerialException("the connection ended")
        return b""
