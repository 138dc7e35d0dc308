"""What a device says of itself on the network, to everybody: the text record of its multicast DNS service. Pure.

All of it is public, and anybody can say the same: the key alone proves who a device is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

SERVICE = "_live-reactor._tcp.local."
NAME_CHARS = 63
_VALUE_CHARS = 64
_ID = re.compile(r"[0-9a-f]{64}")
_ROOT = re.compile(r"(?:[0-9a-f]{64})?")
_PORT = re.compile(r"(?:[1-9][0-9]{0,4})?")


@dataclass(frozen=True, slots=True)
class Presence:
    """``id``: the SHA-256 of its certificate; ``root``: of what runs there; ``pairing``: the port of a window that is
    open, or nothing; the others are words for people.
    """

    id: str
    name: str
    protocol: str
    version: str
    python: str
    machine: str
    root: str
    pairing: str = ""

    def told(self) -> dict[str, str]:
        """As it is told."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def read(cls, told: Mapping[bytes, bytes | None]) -> Presence | None:
        """What somebody has told, each part of it cut where it is too long; None where it names no key."""

        def value(name: str) -> str:
            return (told.get(name.encode()) or b"")[: 4 * _VALUE_CHARS].decode(errors="replace")[:_VALUE_CHARS]

        presence = cls(*(value(field.name) for field in fields(cls)))
        if not _PORT.fullmatch(presence.pairing) or int(presence.pairing or 0) > 65535:
            presence = replace(presence, pairing="")
        return presence if _ID.fullmatch(presence.id) and _ROOT.fullmatch(presence.root) else None


def server(fingerprint: str) -> str:
    """The name that the device of that certificate has on the network, whose addresses are announced."""
    return f"live-reactor-{fingerprint[:16]}.local."
