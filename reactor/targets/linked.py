"""A device that this host knows the key of, wherever it is.

Its addresses are raced: the one that was given, those at which it was found before, what it announces on the network,
and those of the boards on this host's USB. The first that proves to have the right key wins and is remembered; where a
device has moved to, nobody has to tell. What answers at one of them with another key has lost, and is not spoken to. A
serial line is for when no network has led there.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Self

from bootloader.wire.errors import Fault, LinkClosed, LinkDown
from bootloader.wire.limits import PORT

from .. import gadgets, trust
from ..discovery import Discovery
from ..link import Link
from . import wired
from .wired import Wire, is_wired

_CONNECT_S = 5.0
_HEAD_START_S = 0.3
"""How long an address that was proven a moment ago has before others, and all of them before the network is asked."""

_NETWORK_S = 1.5
"""How long a network has before a serial line is tried, where the one does not say no."""

_SEARCH_S = 1.5
_LOOK_S = 0.1
_HANG_UP_S = 1.0
_MOST_ADDRESSES = 32
_MOST_PLUGGED = 16

Connect = Callable[[str], Link]


class Linked:
    """The device ``name`` at ``address`` (``host``, ``host:port``, ``[ipv6]:port`` or ``serial:port``), or wherever it
    is by now.
    """

    def __init__(
        self, name: str, address: str, *, more: Sequence[str] = (), search: bool = True, wires: bool = True
    ) -> None:
        """``more``: where it may be as well; ``search``: on the network and on USB, where it is at none of these.
        ``wires``: also over serial lines, which are one program's alone meanwhile.
        """
        self.name = name
        where = split(address)
        self._home = trust.default_home()
        devices = trust.known(self._home)
        device = next((one for one in devices if one.name == name), None) or next(
            (one for one in devices if split(one.address) == where), None
        )
        if device is None:
            do = f"pair with it by the code that it shows: `reactor pair {where[0]}`"
            raise Fault("unknown-device", "this host does not know its key", to=name, do=do)
        self._device = device
        self._given = (address, *more)
        self._identity = trust.host_identity(self._home)
        self._search = search
        self._are_wires_tried = wires
        self._last = ""
        self._lock = threading.Lock()
        self._closed = False
        self._discovery: Discovery | None = None
        self._wires: dict[str, Wire] = {}

    @property
    def addresses(self) -> list[str]:
        """Where it may be, without looking for it."""
        return list(dict.fromkeys(filter(None, (*self._given, *self._device.addresses))))

    @property
    def met_at(self) -> str:
        """Where it was met last; empty before that."""
        return self._last

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of its certificate."""
        return self._device.fingerprint

    @property
    def roams(self) -> bool:
        """Whether it may be somewhere else than on this machine."""
        return not all(_is_loopback(one) for one in (*self._given, *self._device.addresses))

    def connect(self, purpose: str) -> Link:
        """A link to the device."""

        def connect(address: str) -> Link:
            host, port = split(address)
            name = f"{self.name} {purpose}"
            if is_wired(address):
                return wired.linked(self._wire(address), self._identity, [self._device], name)
            return Link.connect(host, port, self._identity, self._device.certificate, _CONNECT_S, name=name)

        known = sorted(filter(None, (self._last, *self._given, *self._device.addresses)), key=is_wired)
        if not self._are_wires_tried:
            known = [address for address in known if not is_wired(address)]
        with Race(connect) as race:
            self._run(race, known)
            if race.won is None:
                raise self._lost(race, known)
            address, link = race.won
        self._end_search()
        self._hang_up(but=address)
        if address != self._last:
            self._last = address
            if not is_wired(address):
                trust.saw(self._home, self._device.name, address)
        return link

    def close(self) -> bool:
        """Nothing was started here."""
        with self._lock:
            self._closed = True
        self._end_search()
        for hanging_up in self._hang_up():
            hanging_up.join(_HANG_UP_S)
        return False

    def _run(self, race: Race, known: list[str]) -> None:
        """To its end. Where it was proven a moment ago comes first; who is heard, or on USB, if others don't answer."""
        is_far = self._search and not all(map(_is_loopback, known))
        began = time.monotonic()
        first = [address for address in known if not is_wired(address)] or known
        for address in first[:1] if self._last else first:
            race.enter(address)
        while race.won is None and (race.running or (is_far and time.monotonic() < began + _SEARCH_S)):
            race.wait(_LOOK_S)
            if race.won is None and (not race.running or time.monotonic() > began + _HEAD_START_S):
                is_late = not race.running or time.monotonic() > began + _NETWORK_S
                for address in (*known, *((*self._announced(), *_plugged()) if is_far else ())):
                    if is_late or not is_wired(address):
                        race.enter(address)

    def _announced(self) -> list[str]:
        """Where the device is, in the words of whoever says to be it; the search goes on until it is found."""
        try:
            with self._lock:
                if self._closed:
                    raise LinkClosed(to=self.name)
                if self._discovery is None:
                    self._discovery = Discovery(wanted=[self._device.fingerprint])
                self._discovery.refresh()
                found = self._discovery.found
        except LinkClosed:
            raise
        except Fault:  # it is told by `reactor devices`; here, the known addresses are what there is
            return []
        return [where for one in found if one.presence.id == self._device.fingerprint for where in one.addresses]

    def _wire(self, address: str) -> Wire:
        with self._lock:
            if self._closed:
                raise LinkClosed(to=self.name)
            return self._wires.setdefault(address, Wire(address))

    def _hang_up(self, but: str = "") -> list[threading.Thread]:
        """Give all serial ports back but one; what is being tried there ends first."""
        with self._lock:
            wires = [self._wires.pop(address) for address in list(self._wires) if address != but]
        threads = [threading.Thread(target=wire.close, name=wire.address, daemon=True) for wire in wires]
        for thread in threads:
            thread.start()
        return threads

    def _end_search(self) -> None:
        with self._lock:
            discovery, self._discovery = self._discovery, None
        if discovery is not None:
            threading.Thread(target=discovery.close, name=f"{self.name} search", daemon=True).start()

    def _lost(self, race: Race, known: list[str]) -> Fault:
        """Why nobody won. Who announces itself with a key that it does not have is not worth a word."""
        faults = list(race.faults.values())
        told = [race.faults[address] for address in known if address in race.faults]
        other = next((fault for fault in told if not isinstance(fault, LinkDown)), None)
        if self._last:  # it was there, and what is in the way may go: somebody else at its address, or at a serial port
            other = None
        if other is not None or len(faults) == 1:
            return other or LinkDown(faults[0].what, to=faults[0].to, do=faults[0].do)
        do = "check that the bootloader runs there, and that this host is on its network"
        return LinkDown(f"not reached at {', '.join(race.faults)}", to=self.name, do=do)


class Race:
    """Links under way to several addresses, each on a thread; one is kept. For one thread."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._ends: queue.SimpleQueue[tuple[str, Link | Exception]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._over = False
        self._entered: set[tuple[str, int]] = set()
        self.faults: dict[str, Fault] = {}
        self.won: tuple[str, Link] | None = None

    @property
    def running(self) -> bool:
        """Whether one of them may win yet."""
        return len(self._entered) > len(self.faults)

    def enter(self, address: str) -> None:
        """Try this one as well, if it was not yet."""
        where = split(address)
        if where not in self._entered and len(self._entered) < _MOST_ADDRESSES:
            self._entered.add(where)
            threading.Thread(target=self._run, args=(address,), name=f"link to {address}", daemon=True).start()

    def wait(self, timeout_s: float) -> None:
        """Until one more has ended, which may be the winner."""
        try:
            address, end = self._ends.get(timeout=timeout_s)
        except queue.Empty:
            return
        if isinstance(end, Link):
            self.won = address, end
        elif isinstance(end, Fault):
            self.faults[address] = end
        else:
            raise end

    def _run(self, address: str) -> None:
        try:
            link = self._connect(address)
        except Exception as error:  # noqa: BLE001 - raised in the thread that waits, where it is no fault
            self._ends.put((address, error))
            return
        with self._lock:
            first, self._over = not self._over, True
            if first:
                self._ends.put((address, link))
        if not first:
            link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nobody waits any more: who is still under way has lost."""
        with self._lock:
            self._over = True
        while self.won is None and not self._ends.empty():
            end = self._ends.get()[1]
            if isinstance(end, Link):
                end.close()


def _plugged() -> list[str]:
    """Where the boards on USB are: which of them has its card, nobody but the key can say."""
    return [address for gadget in gadgets.found() for address in gadget.addresses][:_MOST_PLUGGED]


def _is_loopback(address: str) -> bool:
    host = split(address)[0]
    return host == "localhost" or host == "::1" or host.startswith("127.")


def split(address: str, port_if_none: int = PORT) -> tuple[str, int]:
    """Host and port of an address; the port is 7717, or another one, where none is given.

    A serial line's is itself, with port 0.
    """
    if is_wired(address):
        wired.split(address)
        return address, 0
    host, colon, port = address.rpartition(":")
    if not colon or address.endswith("]") or (":" in host and not host.endswith("]")):
        return address.strip("[]"), port_if_none
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise Fault("bad-address", "not HOST, HOST:PORT or [IPV6]:PORT", to=address)
    return host.strip("[]"), int(port)
