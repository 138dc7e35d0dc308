"""Which serial port is meant, of those that there are; and which is the one that was unplugged. Pure.

Owns the table of USB ids. Knows nothing of how ports are found or opened: a port is the plain values that the system
tells of it. A device chooses these itself, so they are cleaned before they get here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bootloader.wire.errors import Fault

Id = tuple[int, int]

GADGETS: dict[Id, str] = {
    (0x0525, 0xA4A6): "Linux USB gadget, serial",
    (0x0525, 0xA4A7): "Linux USB gadget, serial (CDC ACM)",
    (0x0525, 0xA4AA): "Linux USB gadget, Ethernet and serial",
    (0x1D6B, 0x0104): "Linux USB gadget, composite",
    (0x1D6B, 0x0106): "Linux USB gadget, serial and storage",
}
"""Boards that are the USB device themselves. Their own console, so they come before what is a mere cable."""

CABLES: dict[Id, str] = {
    (0x2E8A, 0x000C): "Raspberry Pi Debug Probe",
    (0x2E8A, 0x0004): "Raspberry Pi Picoprobe",
    (0x0403, 0x6001): "FTDI FT232",
    (0x0403, 0x6010): "FTDI FT2232",
    (0x0403, 0x6011): "FTDI FT4232",
    (0x0403, 0x6014): "FTDI FT232H",
    (0x0403, 0x6015): "FTDI FT231X",
    (0x10C4, 0xEA60): "Silicon Labs CP210x",
    (0x10C4, 0xEA70): "Silicon Labs CP2105",
    (0x1A86, 0x7523): "WCH CH340",
    (0x1A86, 0x55D4): "WCH CH9102",
    (0x067B, 0x2303): "Prolific PL2303",
}
"""Names for what says none of its own, or says it badly."""


@dataclass(frozen=True, slots=True)
class Found:
    """A port of this machine: its path, and what it says of itself on USB. ``location`` is the socket that it is in."""

    path: str
    usb: Id | None = None
    serial: str = ""
    location: str = ""
    product: str = ""

    def __str__(self) -> str:
        """The port in one line, for people."""
        known = (GADGETS.get(self.usb) or CABLES.get(self.usb)) if self.usb else None
        name = known or self.product or ("USB" if self.usb else "")
        more = [name, f"serial number {self.serial}" if self.serial else "", self.location and f"at {self.location}"]
        said = ", ".join(part for part in more if part)
        return f"{self.path} ({said})" if said else self.path


def candidates(found: Sequence[Found]) -> list[Found]:
    """Those that a user who names none can mean: the gadgets, else all on USB. Never those soldered to this machine."""
    ports = sorted(found, key=lambda port: port.path)
    return [port for port in ports if port.usb in GADGETS] or [port for port in ports if port.usb is not None]


def only(there: Sequence[Found]) -> Found:
    """The one port that a user who names none can mean. A Fault where there is none, or several."""
    ports = candidates(there)
    if not ports:
        others = f"; there is {', '.join(map(str, there))}" if there else ""
        raise Fault("no-port", "no serial port is on USB here", do=f"plug it in, or name one{others}")
    if len(ports) > 1:
        raise Fault("several-ports", "there are several serial ports", do=f"name one: {', '.join(map(str, ports))}")
    return ports[0]


def again(before: Found, found: Sequence[Found]) -> Found | None:
    """The port that ``before`` is now, in whatever path: by its serial number, else by the socket that it was in.

    A serial number that two devices share tells nothing, where one of them is in that socket. A port that is not on USB
    is its path.
    """
    if before.usb is None:
        return next((port for port in found if port.path == before.path), None)
    own = [port for port in found if before.serial and _identity(port) == _identity(before)]
    here = [port for port in found if before.location and port.location == before.location]
    return next(iter([port for port in own if port in here] or own or here), None)


def _identity(port: Found) -> tuple[Id | None, str, str]:
    """Which device it is of, and which interface of that: a device may have several ports."""
    return port.usb, port.serial, port.location.partition(":")[2]
