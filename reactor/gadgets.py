"""The boards on this host's USB: what the system tells of them, and where each can be called. Hints, from anybody.

On Linux the system's own folders tell all of it; elsewhere serial ports do, less exactly. What a device says of itself
on USB is cleaned and believed as little as an announcement: it is where to call, and the key decides.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import TypeVar

from bootloader.wire.cable import MANUFACTURER, PRODUCT, VENDOR, Cable
from bootloader.wire.errors import Fault, LinkDown
from bootloader.wire.limits import PORT
from bootloader.wire.stream import shown

from .console import port
from .console.choice import Found as Port
from .report import clean
from .settings import USB

ADDRESS_S = 5.0
"""How long this host may take to have an address of its own on a cable that has just been plugged in: its system asks
for a second or two whether anybody else has it.
"""

_AGAIN_S = 0.2
SYS = Path("/sys")
MOST = 64
_NO_WAY = frozenset({errno.ENETUNREACH, errno.EADDRNOTAVAIL})
_MOST_LINKS = 16
_SERIAL = f"{USB}:"
_LONGEST_BYTES = 256

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Gadget:
    """One of them. ``interface``: its network here, ``port``: its serial port; empty where this host has none of it."""

    cable: Cable
    product: str = ""
    interface: str = ""
    has_carrier: bool = False
    port: str = ""

    def __str__(self) -> str:
        more = (self.product, self.interface, self.port)
        return f"{_SERIAL}{self.cable.serial} ({', '.join(filter(None, more))})"

    @property
    def addresses(self) -> list[str]:
        """Where its bootloader is on its cable, by its own port, 7717, as nothing was heard of another one."""
        links = [self.interface] if self.interface else [link for _, link in _links() if link != "lo"][:_MOST_LINKS]
        return [*(shown((f"{self.cable.ipv6}%{link}", PORT)) for link in links), f"{self.cable.ipv4}:{PORT}"]


def has_no_way(fault: LinkDown) -> bool:
    """Whether this host has no address of its own, or not yet, from which a way leads there."""
    return isinstance(fault.__cause__, OSError) and fault.__cause__.errno in _NO_WAY


def once_there(address: str, connect: Callable[[], T], until: float) -> T:
    """What ``connect`` gives: tried again, before the time ``until``, while this host has no address of its own on the
    cable on which ``address`` is.
    """
    while True:
        try:
            return connect()
        except LinkDown as fault:
            if not has_no_way(fault) or "%" not in address or monotonic() > until:
                raise
        sleep(_AGAIN_S)


def is_usb(name: str) -> bool:
    """Whether a target's name means one of them: ``usb``, or ``usb:`` and how its serial number begins."""
    return name == USB or name.startswith(_SERIAL)


def found(sys: Path = SYS, ports: Callable[[], list[Port]] = port.found) -> list[Gadget]:
    """Those that are there, by serial number. ``sys``: where the system shows its devices; without, ``ports`` tell."""
    devices = sys / "bus" / "usb" / "devices"
    seen = map(_read, sorted(devices.iterdir())) if devices.is_dir() else map(_guessed, ports())
    gadgets = {one.cable.serial: one for one in seen if one is not None}
    return [gadgets[serial] for serial in sorted(gadgets)][:MOST]


def only(gadgets: Sequence[Gadget], name: str) -> Gadget:
    """The one that ``name`` means. A :class:`Fault` where none is that, or several are."""
    begin = name.removeprefix(USB).removeprefix(":").lower()
    fit = [one for one in gadgets if one.cable.serial.startswith(begin)]
    if len(fit) == 1:
        return fit[0]
    there = ", ".join(map(str, fit or gadgets))
    if fit:
        raise Fault("several-devices", "several boards are on USB", to=name, do=f"name one: {there}")
    do = f"there is {there}" if there else "plug it in, with `bootloader gadget up` there, into its port for data"
    raise Fault("no-device", "no such board is on USB here", to=name, do=do)


def _read(device: Path) -> Gadget | None:
    """A device of the system's folder; None where it is none of ours."""
    ids = _word(device / "idVendor"), _word(device / "idProduct")
    if ids != (f"{VENDOR:04x}", f"{PRODUCT:04x}") or _word(device / "manufacturer") != MANUFACTURER:
        return None
    cable = Cable.read(_word(device / "serial"))
    if cable is None:
        return None
    net, tty = _first(device, "*:*/net/*"), _first(device, "*:*/tty/*")
    carrier = net is not None and _word(net / "carrier") == "1"
    return Gadget(cable, _word(device / "product"), net.name if net else "", carrier, f"/dev/{tty.name}" if tty else "")


def _first(folder: Path, pattern: str) -> Path | None:
    """The first that fits; none in a folder that has gone."""
    with suppress(OSError):
        return min(folder.glob(pattern), default=None)
    return None


def _guessed(tty: Port) -> Gadget | None:
    """A serial port that may be of one of ours; its network is on any of this host's interfaces."""
    cable = Cable.read(tty.serial.lower()) if tty.usb == (VENDOR, PRODUCT) else None
    return Gadget(cable, tty.product, port=tty.path) if cable else None


def _links() -> list[tuple[int, str]]:
    with suppress(OSError):
        return socket.if_nameindex()
    return []


def _word(path: Path) -> str:
    """What a file of the system's says, in one line; nothing where it says nothing, or has gone."""
    try:
        with path.open("rb") as file:
            lines = clean(file.read(_LONGEST_BYTES).decode(errors="replace")).splitlines()
            return lines[0].replace("\t", " ").strip() if lines else ""
    except OSError:  # an interface that is down tells of no carrier
        return ""
