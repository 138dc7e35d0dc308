"""A target's side, looked up: whether its addresses answer, whether it and this host know each other, how it is.

Owns no connection longer than one look. What a target says is read with distrust. Judges nothing.
"""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing

from bootloader.wire.errors import Fault
from bootloader.wire.messages import Fields
from bootloader.wire.stream import shown

from ..discovery import Discovery
from ..link import Link
from ..report import clean, whole
from ..targets import Target
from ..targets.linked import split
from ..targets.wired import is_wired
from .checks import ANSWERS, FORBIDDEN, REFUSED, SILENT, UNKNOWN_NAME, UNREACHABLE, Attempt, Health

_CONNECT_S = 3.0
_HEARD_S = 5.0
"""How long a search lasts, which asks at once, after a second, and after three."""

_LOSSES = 16
_OUTCOMES = {
    errno.ECONNREFUSED: REFUSED,
    errno.EHOSTUNREACH: UNREACHABLE,
    errno.ENETUNREACH: UNREACHABLE,
    errno.EADDRNOTAVAIL: UNREACHABLE,
    errno.ENODEV: UNREACHABLE,
    errno.EACCES: FORBIDDEN,
    errno.EPERM: FORBIDDEN,
}


def attempts(addresses: Sequence[str]) -> Iterator[Attempt]:
    """What comes of a connection to each, without a word said over it."""
    for address in addresses:
        if is_wired(address):
            continue  # what it says itself is better
        where = split(address)
        try:
            socket.create_connection(where, _CONNECT_S).close()
        except TimeoutError:
            yield Attempt(shown(where), SILENT)
        except (socket.gaierror, UnicodeError):
            yield Attempt(shown(where), UNKNOWN_NAME)
        except OSError as error:
            yield Attempt(shown(where), _OUTCOMES.get(error.errno or 0, error.strerror or str(error)))
        else:
            yield Attempt(shown(where), ANSWERS)


def is_heard(fingerprint: str) -> bool | None:
    """Whether the device of that key announces itself to this host, within the time for it; None where none can be."""
    news = threading.Event()
    deadline = time.monotonic() + _HEARD_S
    try:
        with Discovery(news.set, [fingerprint]) as discovery:
            while not any(one.presence.id == fingerprint for one in discovery.found):
                if not news.wait(deadline - time.monotonic()):
                    return False
                news.clear()
            return True
    except Fault:
        return None


def asked(target: Target) -> tuple[Fault | None, Health | None]:
    """Why it can't be asked; or what it says of itself."""
    try:
        with closing(target.connect("doctor")) as link:
            return None, _health(link)
    except Fault as fault:
        return fault, None


def _health(link: Link) -> Health:
    hello, _ = link.call("hello", {})
    began = time.time()
    told, _ = link.call("events", {"cursor": -1, "max_events": 1, "max_bytes": 1024})
    here = (began + time.time()) / 2
    status, _ = link.call("status", {})
    unit = status.child("unit") if "unit" in status else None
    return Health(
        clean(status.text("version", "")),
        tuple(whole(one) for one in hello.integers("python")[:3]),
        told.number("now", here) - here,
        whole(status.integer("disk_free_bytes", 0)),
        whole(status.integer("disk_bytes", 0)),
        None if unit is None else clean(unit.text("name", "")),
        unit is not None and unit.flag("enabled", False),
        tuple(map(_loss, (status.objects("lost") if "lost" in status else [])[:_LOSSES])),
        status.flag("announced") if "announced" in status else None,
    )


def _loss(one: Fields) -> tuple[str, str]:
    return clean(one.text("code")), clean(one.text("text"))
