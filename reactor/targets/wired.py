"""The device at the other end of a serial line, for when there is no network: the same link, carried by a ferry.

``serial:/dev/ttyACM0``, with ``:BAUD`` behind it where that is not 115200. The port is this program's alone while any
link over it lasts. Which device is there its key says, as on a network; nothing that comes over the line is believed
before, and what this host says before a device has answered does no harm to whatever else may listen.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import TypeVar

from bootloader.wire.errors import Fault, LinkClosed, LinkDown
from bootloader.wire.ferry import Ferry
from bootloader.wire.line import LINK

from .. import trust
from ..console.port import BAUD, Line, Port, is_url
from ..link import Link
from ..report import clean

T = TypeVar("T")

SCHEME = "serial:"
_ANSWER_S = 3.0
"""How long a device may take to answer the first word."""

_HANDSHAKE_S = 10.0
_BATCH_S = 0.5
"""How long the line may be taken by one batch of events."""

_LEAST_BATCH_BYTES = 1024
_BITS = 10
_TRANSIENT = frozenset({"no-port", "port-failed"})
"""Why a port can't be opened that may be there again soon. Where it was open before, that goes for any reason."""


@dataclass(frozen=True, slots=True)
class Silence:
    """What a host has seen of a line on which no device has answered."""

    noise: bytes
    is_echoed: bool
    baud: int

    def fault(self, to: str) -> LinkDown:
        """Why there may be no answer, and what to do."""
        run = "have `bootloader run --rescue PORT` there"
        printable = sum(32 <= byte < 127 or byte in b"\r\n\t\x1b" for byte in self.noise)
        if self.is_echoed or b"login:" in self.noise:
            do = f"{run}, and no login on that port: systemctl disable --now serial-getty@PORT"
            return LinkDown("a login answers there, and no bootloader", to=to, do=do)
        if self.noise and 2 * printable < len(self.noise):
            do = "name the line's baud rate: serial:PORT:BAUD"
            return LinkDown(f"what comes makes no sense at {self.baud} baud", to=to, do=do)
        if self.noise:
            last = clean(self.noise.decode(errors="replace")).strip().splitlines()[-1:]
            return LinkDown(f"no bootloader answers there; it says {''.join(last)[-80:]!r}", to=to, do=run)
        return LinkDown("nothing answers there", to=to, do=f"check the cable, and {run}")


def is_wired(address: str) -> bool:
    """Whether it names a serial line."""
    return address.startswith(SCHEME)


def split(address: str) -> tuple[str, int]:
    """The port's path and its baud rate."""
    whole = address.removeprefix(SCHEME)
    path, colon, baud = whole.rpartition(":")
    if not colon or not baud.isdecimal() or is_url(whole):
        path, baud = whole, str(BAUD)
    if not path or not 0 < int(baud) < 2**31:
        raise Fault("bad-address", "not serial:PORT or serial:PORT:BAUD", to=address)
    return path if "/" in path else f"/dev/{path}", int(baud)


class Wire:
    """A serial port that is opened when it is needed, and what goes over it. Thread-safe."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._path, self._baud = split(address)
        self._lock = threading.Lock()
        self._port: Port | None = None
        self._ferry: Ferry | None = None
        self._was_up = self._closed = False

    @property
    def batch_bytes(self) -> int:
        """What goes over it in a moment."""
        return max(_LEAST_BATCH_BYTES, int(self._baud / _BITS * _BATCH_S))

    def open(self, service: str) -> socket:
        """A socket that leads to ``service`` of the device there; :class:`LinkDown` where none answers."""
        with self._lock:
            if self._closed:
                raise LinkClosed(to=self.address)
            ferry = self._ferry
            if ferry is None or not ferry.line.is_up:
                self._end()
                ferry = self._begun()
            return ferry.open(service)

    def over(self, service: str, connect: Callable[[socket, str], T]) -> T:
        """What ``connect`` makes of a socket to ``service``, and of what is at its other end."""
        sock = self.open(service)
        try:
            return connect(sock, self.address)
        except BaseException as error:
            sock.close()
            if not isinstance(error, LinkDown):
                raise
            raise LinkDown(self.why or error.what, to=self.address, do=error.do) from error

    @property
    def why(self) -> str:
        """Why nothing comes over it any more, if so."""
        ferry = self._ferry
        return "" if ferry is None else clean(ferry.gone or ferry.line.over or ferry.refusal)

    def close(self) -> None:
        """Hang up, and give the port back; who waits for an answer there does so no more."""
        self._closed = True
        ferry = self._ferry
        if ferry is not None:
            ferry.close()
        with self._lock:
            self._end()

    def _begun(self) -> Ferry:
        try:
            self._port = Port(self._path, Line(self._baud))
        except Fault as fault:
            if self._was_up or fault.code in _TRANSIENT:
                raise LinkDown(fault.what, to=self.address, do=fault.do) from fault
            raise
        name = f"ferry {self._path}"
        self._ferry = ferry = Ferry(self._port.fileno(), is_host=True, baud=self._baud, name=name)
        ferry.start()
        if self._closed:
            raise LinkClosed(to=self.address)
        if not ferry.wait_up(_ANSWER_S):
            silence = Silence(ferry.line.noise, ferry.line.is_echoed, self._baud)
            why = self.why
            self._end()
            raise LinkDown(why, to=self.address) if why else silence.fault(self.address)
        self._was_up = True
        return ferry

    def _end(self) -> None:
        ferry, self._ferry = self._ferry, None
        port, self._port = self._port, None
        if ferry is not None:
            ferry.close()
        if port is not None:
            port.close()


class Wired:
    """Whichever device is at the other end of the line ``address``, if this host knows it."""

    def __init__(self, name: str, address: str) -> None:
        """``name``: what the user calls it; where that is a device's name, no other one is meant."""
        self.name = name
        self._wire = Wire(address)
        self._home = trust.default_home()
        self._devices = devices_of(self._home, name, address)
        self._identity = trust.host_identity(self._home)

    def connect(self, purpose: str) -> Link:
        """A link to the device."""
        return linked(self._wire, self._identity, self._devices, f"{self.name} {purpose}")

    def close(self) -> bool:
        """Hang up; nothing was started here."""
        self._wire.close()
        return False


def devices_of(home: Path, name: str, address: str) -> Sequence[trust.Device]:
    """The devices that can be meant."""
    devices = trust.known(home)
    devices = [one for one in devices if one.name == name] or devices
    if not devices:
        do = f"pair with it by the code that it shows: `reactor pair {address}`"
        raise Fault("unknown-device", "this host does not know the key of any device", to=name, do=do)
    return devices


def linked(wire: Wire, identity: trust.KeyPair, devices: Sequence[trust.Device], name: str) -> Link:
    """A link over the ``wire`` to one of ``devices``."""
    known = identity, devices, _HANDSHAKE_S, name, wire.batch_bytes
    return wire.over(LINK, lambda sock, peer: Link.over(sock, peer, *known))
