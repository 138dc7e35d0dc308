"""A device on a USB cable: who it is there, and under which addresses both ends have it. Pure.

All of it follows from the device's serial number on USB, which is its own network address on that cable without the
colons. So a host that sees the serial number knows where to call, with nothing heard and nothing configured. Like all
that a device says on USB, anybody can say it: the key alone proves who a device is.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

VENDOR, PRODUCT = 0x1D6B, 0x0104
"""The Linux Foundation's composite gadget: anybody's, so the manufacturer is what tells ours."""

MANUFACTURER = "live-reactor"

_SERIAL = re.compile(r"[0-9a-f]{12}")
_MAC_BYTES = 6
_LOCAL, _MULTICAST = 0x02, 0x01
_HOST = 0x01
"""What the host's address has more than the device's, in its last byte."""


@dataclass(frozen=True, slots=True)
class Cable:
    """One device on USB, by its ``serial`` number."""

    serial: str

    @classmethod
    def of(cls, board: str) -> Cable:
        """That of the board with this id, which can't be told from it: an id may be a secret, as `machine-id` is."""
        first, *between, last = hashlib.sha256(f"live-reactor usb {board}".encode()).digest()[:_MAC_BYTES]
        return cls(bytes([(first | _LOCAL) & ~_MULTICAST, *between, last & ~_HOST]).hex())

    @classmethod
    def read(cls, serial: str) -> Cable | None:
        """What a device says; None where no device of ours says that."""
        if not _SERIAL.fullmatch(serial):
            return None
        first, *_, last = bytes.fromhex(serial)
        return cls(serial) if first & (_LOCAL | _MULTICAST) == _LOCAL and not last & _HOST else None

    @property
    def device_mac(self) -> str:
        """The address of the device's end, as Ethernet has it."""
        return bytes.fromhex(self.serial).hex(":")

    @property
    def host_mac(self) -> str:
        """That of the host's end."""
        *more, last = bytes.fromhex(self.serial)
        return bytes([*more, last | _HOST]).hex(":")

    @property
    def ipv6(self) -> IPv6Address:
        """The device's address on this link, as RFC 4291 makes it of the other one."""
        mac = bytes.fromhex(self.serial)
        end = bytes([mac[0] ^ _LOCAL, mac[1], mac[2], 0xFF, 0xFE, *mac[3:]])
        return IPv6Address(b"\xfe\x80" + bytes(6) + end)

    @property
    def ipv4(self) -> IPv4Address:
        """One of RFC 3927's for the device; it is not asked for, as a cable has but two ends."""
        *_, third, last = bytes.fromhex(self.serial)
        return IPv4Address(bytes([169, 254, 1 + third % 254, last or 2]))
