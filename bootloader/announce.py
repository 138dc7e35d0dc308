"""Announces this device on the network, so that hosts find it: multicast DNS, on every interface.

Owns a thread, and what zeroconf starts below it. zeroconf is optional: without it, or where it can't work, the device
is reached by its address all the same, and a notice says why it is not found. What is announced is public, and proves
nothing: a host believes the key alone.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from os import uname
from time import monotonic
from typing import TYPE_CHECKING

from . import __version__
from .wire.interfaces import Interfaces, addresses
from .wire.limits import PROTOCOL
from .wire.presence import NAME_CHARS, SERVICE, Presence, server

if TYPE_CHECKING:
    from zeroconf import ServiceInfo, Zeroconf

_ROOT_EVERY_S = 2.0
"""How often what runs is looked at, and told of at most."""

_AGAIN_S = 30.0
_END_S = 3.0
_LABEL_CHARS = 40


class Announcement:
    """This device's presence on the network, from :meth:`start` to :meth:`close`.

    ``root``: what runs, and ``pairing``: the port of a window that is open, or 0, asked again and again; ``notice`` is
    told why nothing is announced. None of them may wait.
    """

    def __init__(
        self,
        name: str,
        root: Callable[[], str],
        notice: Callable[[str, str], None],
        pairing: Callable[[], int] = lambda: 0,
    ) -> None:
        self._name = name
        self._root = root
        self._notice = notice
        self._pairing = pairing
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._interfaces: Interfaces | None = None
        self._thread: threading.Thread | None = None
        self._said = ""
        self.is_told = False
        """Whether the network is told, or about to be."""

    def start(self, address: tuple[str, int], fingerprint: str) -> None:
        """Begin, on a thread of its own: there is a device with the key ``fingerprint`` that listens at ``address``.

        Nothing is announced of what listens on loopback alone: nobody else could reach it.
        """
        host, port = address
        if ipaddress.ip_address(host.partition("%")[0]).is_loopback:
            return
        self.is_told = True
        run = threading.Thread(target=self._run, args=(host, port, fingerprint), name="announce", daemon=True)
        self._thread = run
        run.start()

    def close(self) -> None:
        """Say that it goes, and be silent."""
        self._ending.set()
        with self._lock:
            if self._interfaces is not None:
                self._interfaces.wake()
        if self._thread is not None:
            self._thread.join(_END_S)

    def _run(self, host: str, port: int, fingerprint: str) -> None:
        try:
            import zeroconf
        except Exception as error:  # noqa: BLE001 - a damaged one may raise anything
            why = "hosts do not find this device by themselves, its address will do: zeroconf can't be used here"
            self.is_told = False
            self._notice("not-announced", f"{why} ({error})")
            return
        logging.getLogger(zeroconf.__name__).disabled = True  # what matters is raised, and told as a notice
        with closing(Interfaces()) as interfaces:
            with self._lock:
                self._interfaces = interfaces
            while not self._ending.is_set():
                try:
                    with closing(_speaker()) as speaker:
                        self._announce(speaker, interfaces, host, port, fingerprint)
                except Exception as error:  # noqa: BLE001 - networks fail in many ways, and the device goes on
                    text = str(error) or type(error).__name__
                    if text != self._said:
                        self._notice("not-announced", f"hosts may not find this device by themselves: {text}")
                    self._said, self.is_told = text, False
                    interfaces.wait(_AGAIN_S)
            with self._lock:
                self._interfaces = None

    def _announce(self, speaker: Zeroconf, interfaces: Interfaces, host: str, port: int, fingerprint: str) -> None:
        """Until the end, or until sockets have to be made anew as the addresses they are on went and came back."""
        were, now = reachable(host), (self._root(), self._pairing())
        speaker.register_service(self._told(were, port, fingerprint, *now), cooperating_responders=True)
        last, self.is_told = monotonic(), True
        while not self._ending.is_set():
            change = interfaces.wait(_ROOT_EVERY_S)
            are, new = reachable(host), (self._root(), self._pairing())
            if change.removed and are == were:
                return
            if change.any or are != were:
                speaker.update_interfaces()
            elif new == now or monotonic() < last + _ROOT_EVERY_S:
                continue
            were, now, last = are, new, monotonic()
            speaker.update_service(self._told(were, port, fingerprint, *now))

    def _told(self, where: list[str], port: int, fingerprint: str, root: str, pairing: int) -> ServiceInfo:
        from zeroconf import ServiceInfo

        plain = re.sub(r"[^A-Za-z0-9-]", "-", self._name)[:_LABEL_CHARS]
        python, machine = ".".join(map(str, sys.version_info[:3])), uname().machine
        said = (fingerprint, self._name[:NAME_CHARS], str(PROTOCOL), __version__, python, machine, root)
        presence = Presence(*said, pairing=str(pairing or ""))
        return ServiceInfo(
            SERVICE,
            f"{plain}-{fingerprint[:8]}.{SERVICE}",
            port,
            properties=presence.told(),
            server=server(fingerprint),
            parsed_addresses=where,
        )


def reachable(host: str) -> list[str]:
    """The addresses at which others reach what listens on ``host``."""
    if host == "0.0.0.0":
        return [one for one in addresses() if ":" not in one]
    return addresses() if host == "::" else [host.partition("%")[0]]


def _speaker() -> Zeroconf:
    from zeroconf import IPVersion, Zeroconf

    try:
        return Zeroconf(ip_version=IPVersion.All)
    except OSError:  # a system without IPv6
        return Zeroconf(ip_version=IPVersion.V4Only)
