"""The device on this host's USB: found by what the system tells of it there, known by its key like any other.

From then on it is a :class:`Linked` under its own name, to be found on another cable or on the network as well, and,
where the cable's network leads nowhere, over the cable's serial port.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from bootloader.wire.errors import Fault, LinkDown

from .. import gadgets, trust
from ..link import Link
from .linked import Linked, Race, split
from .wired import SCHEME, Wire, linked

_CONNECT_S = 3.0
_LOOK_S = 0.1


def plugged(name: str, sys: Path = gadgets.SYS) -> Linked:
    """The one that ``name`` means, ``usb`` or ``usb:SERIAL``.

    It is asked who it is: its address is the board's, and the key that it is known by may have moved to another board
    with the card. Where it does not answer, it is taken for one that was there before.
    """
    gadget = gadgets.only(gadgets.found(sys), name)
    addresses = gadget.addresses
    home = trust.default_home()
    devices = trust.known(home)
    here = split(addresses[0])[0].partition("%")[0]
    known = [one.name for one in devices for where in one.addresses if split(where)[0].partition("%")[0] == here]
    wire = f"{SCHEME}{gadget.port}" if gadget.port else ""
    asked: trust.Device | None
    try:
        asked = _ask(addresses, devices, name)
    except LinkDown:
        asked = _ask_over(wire, devices, name) if wire else None
        if asked is None and not known:
            raise
    if asked is not None:
        if asked.name not in known:
            trust.saw(home, asked.name, addresses[0])
        known = [asked.name]
    return Linked(known[0], addresses[0], more=[*addresses[1:], *filter(None, [wire])])


def _ask(addresses: Sequence[str], devices: Sequence[trust.Device], name: str) -> trust.Device:
    """Which of ``devices`` is at one of ``addresses``."""
    do = f"pair with it by the code that it shows: `reactor pair {name}`"
    if not devices:
        raise Fault("unknown-device", "this host does not know the key of any device", to=name, do=do)
    identity, until = trust.host_identity(trust.default_home()), time.monotonic() + gadgets.ADDRESS_S

    def connect(address: str) -> Link:
        try:
            sock = socket.create_connection(split(address), _CONNECT_S)
        except OSError as error:
            raise LinkDown(f"no connection ({error.strerror or error})", to=address) from error
        return Link.over(sock, address, identity, devices, _CONNECT_S, f"{name} who")

    with Race(lambda address: gadgets.once_there(address, partial(connect, address), until)) as race:
        for address in addresses:
            race.enter(address)
        while race.won is None and race.running:
            race.wait(_LOOK_S)
        if race.won is None:
            faults = [one for one in race.faults.values() if not isinstance(one, LinkDown)]
            if faults:
                raise Fault(faults[0].code, "this host does not know its key", to=name, do=do)
            run = "have `bootloader run --listen '[::]'` there"
            raise LinkDown(f"is plugged in, and not reached at {', '.join(race.faults)}", to=name, do=run)
        with closing(race.won[1]) as link:
            return next(one for one in devices if one.fingerprint == link.fingerprint)


def _ask_over(wire: str, devices: Sequence[trust.Device], name: str) -> trust.Device | None:
    """Which of them is at the other end of its serial port; None where nobody answers there, or somebody has it."""
    identity = trust.host_identity(trust.default_home())
    try:
        with closing(Wire(wire)) as port, linked(port, identity, devices, f"{name} who") as link:
            return next(one for one in devices if one.fingerprint == link.fingerprint)
    except Fault:  # what is told is why its network leads nowhere
        return None
