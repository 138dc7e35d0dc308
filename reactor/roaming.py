"""Hints that a device, or this host itself, is somewhere else by now: what the network announces, what the system says.

Owns a browser, a watch on this host's interfaces, and the threads that follow them. A hint may come from anybody, so it
says no more than that a look is worth it, and comes seldom. Where the network can't be searched, the system's word has
to do, and where that is none, links that are silent are found out as ever.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import closing, suppress

from bootloader.wire.errors import Fault
from bootloader.wire.interfaces import Interfaces
from bootloader.wire.presence import server

from .discovery import Discovery

EVERY_S = 0.25
"""How long after a hint no other one is given; then the last one is."""

_TURN_S = 3600.0
_END_S = 1.0

Hint = Callable[[], None]


class Roaming:
    """``devices``: by their fingerprints, who is given the hints; those must not wait. From :meth:`start` on."""

    def __init__(self, devices: Mapping[str, Hint]) -> None:
        self._devices = {server(fingerprint): hint for fingerprint, hint in devices.items()}
        self._changed = threading.Condition()
        self._ending = self._moved = False
        self._told: set[str] = set()
        self._interfaces: Interfaces | None = None
        self._threads = [
            threading.Thread(target=self._watch, name="roaming watch", daemon=True),
            threading.Thread(target=self._run, name="roaming", daemon=True),
        ]

    def start(self) -> None:
        """Begin, on threads of its own."""
        for thread in self._threads if self._devices else ():
            thread.start()

    def close(self) -> None:
        """Give no more hints."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
            if self._interfaces is not None:
                self._interfaces.wake()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_END_S)

    def _watch(self) -> None:
        """This host's own network."""
        with closing(Interfaces()) as interfaces:
            with self._changed:
                self._interfaces = interfaces
            while not self._ending:
                if interfaces.wait(_TURN_S).any:
                    with self._changed:
                        self._moved = True
                        self._changed.notify_all()
            with self._changed:
                self._interfaces = None

    def _heard(self, name: str) -> None:
        """From a thread of zeroconf's: ``name`` announces an address."""
        if name in self._devices:
            with self._changed:
                self._told.add(name)
                self._changed.notify_all()

    def _run(self) -> None:
        try:
            discovery = Discovery(on_address=self._heard)
        except Fault:  # `reactor devices` tells of it
            discovery = None
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._moved or self._told or self._ending)
                moved, told, self._moved, self._told = self._moved, self._told, False, set()
            if self._ending:
                break
            for name in self._devices if moved else told:
                self._devices[name]()
            if moved and discovery is not None:
                with suppress(Fault):  # there may be no network now; the next change says more
                    discovery.refresh()
            with self._changed:
                self._changed.wait_for(lambda: self._ending, EVERY_S)
        if discovery is not None:
            discovery.close()
