"""Finds the devices that announce themselves on the network: multicast DNS.

Owns a browser, and what zeroconf starts below it. Whatever is heard here, anybody may have said: it is bounded,
cleaned, and a hint where to call, no more. Where zeroconf can't work, nothing is found, and :class:`Fault` says why.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from bootloader.wire.errors import Fault
from bootloader.wire.presence import SERVICE, Presence
from bootloader.wire.stream import shown

from .report import clean

if TYPE_CHECKING:
    from zeroconf import RecordUpdateListener, ServiceBrowser, ServiceStateChange, Zeroconf

MOST_DEVICES = 256
MOST_ADDRESSES = 16
_ADDRESS_TYPES = (1, 28)
"""A and AAAA."""


@dataclass(frozen=True, slots=True)
class Found:
    """What somebody announces: the ``addresses`` are ``HOST:PORT``, link-local ones with their scope."""

    presence: Presence
    addresses: tuple[str, ...]


class Discovery:
    """Looks around from construction until :meth:`close`. Thread-safe."""

    def __init__(
        self,
        on_change: Callable[[], None] = lambda: None,
        wanted: Collection[str] = (),
        on_address: Callable[[str], None] | None = None,
    ) -> None:
        """From a thread of zeroconf's, ``on_change`` is called whenever :attr:`found` has changed, and ``on_address``
        with the name on the network of whoever announces an address, be it news or not.

        ``wanted``: the keys of devices that thousands of others are not to crowd out.
        """
        logging.getLogger("zeroconf").disabled = True
        self._on_change = on_change
        self._wanted = frozenset(wanted)
        self._on_address = on_address
        self._lock = threading.Lock()
        self._found: dict[str, Found] = {}
        self._own = _own()
        self._zeroconf, self._browser = self._listen()

    @property
    def found(self) -> list[Found]:
        """Who announces itself now, in the order of names."""
        with self._lock:
            return sorted(self._found.values(), key=lambda one: (one.presence.name, one.presence.id))

    def refresh(self) -> None:
        """Follow this host's own network, and leave out what is not told any more. To be called now and then, by the
        thread that closes.
        """
        before, self._own = self._own, _own()
        if before != self._own:
            self.close()
            self._zeroconf, self._browser = self._listen()
        with self._lock:
            names = list(self._found)
        for name in names:
            self._hear(self._zeroconf, name, gone=False)

    def close(self) -> None:
        """Look no more."""
        from zeroconf import Error

        with suppress(Error, OSError, RuntimeError):  # nothing is left to be done about it
            self._browser.cancel()
            self._zeroconf.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _listen(self) -> tuple[Zeroconf, ServiceBrowser]:
        from zeroconf import Error, ServiceBrowser

        try:
            zeroconf = _zeroconf()
            if self._on_address is not None:
                zeroconf.add_listener(_listener(self._on_address), None)
            return zeroconf, ServiceBrowser(zeroconf, SERVICE, handlers=[self._changed])
        except (Error, OSError, RuntimeError) as error:
            do = "name devices by their address"
            raise Fault("no-discovery", f"the network can't be searched for devices ({error})", do=do) from error

    def _changed(self, zeroconf: Zeroconf, name: str, state_change: ServiceStateChange, **_: object) -> None:
        from zeroconf import ServiceStateChange

        self._hear(zeroconf, name, gone=state_change is ServiceStateChange.Removed)

    def _hear(self, zeroconf: Zeroconf, name: str, *, gone: bool) -> None:
        found = None if gone else _read(zeroconf, name)
        with self._lock:
            before = self._found.pop(name, None)
            if found is not None and has_room(self._found.values(), found, self._wanted):
                self._found[name] = found
            changed = before != self._found.get(name)
        if changed:
            self._on_change()


def has_room(kept: Iterable[Found], one: Found, wanted: Collection[str]) -> bool:
    """Whether ``one`` is kept as well: those that are wanted take no room from others, nor the other way round."""
    is_wanted = one.presence.id in wanted
    return sum((each.presence.id in wanted) == is_wanted for each in kept) < MOST_DEVICES


def _listener(on_address: Callable[[str], None]) -> RecordUpdateListener:
    from zeroconf import RecordUpdate, RecordUpdateListener

    class Addresses(RecordUpdateListener):
        """The browser tells of no address that it has still in mind: of none, where a device comes back to it."""

        def __init__(self) -> None:
            self._names: set[str] = set()

        def async_update_records(self, _zeroconf: Zeroconf, _now: float, records: list[RecordUpdate]) -> None:
            self._names |= {one.new.name for one in records if one.new.type in _ADDRESS_TYPES}

        def async_update_records_complete(self) -> None:
            names, self._names = self._names, set()
            for name in names:
                on_address(name)

    return Addresses()


def _zeroconf() -> Zeroconf:
    from zeroconf import IPVersion, Zeroconf

    try:
        return Zeroconf(ip_version=IPVersion.All)
    except OSError:  # a system without IPv6
        return Zeroconf(ip_version=IPVersion.V4Only)


def own_addresses() -> list[tuple[str, str]]:
    """Of each of this host's addresses its interface, and itself with the length of its network's prefix."""
    import ifaddr

    found = []
    for adapter in ifaddr.get_adapters():
        for one in adapter.ips:
            host = one.ip if isinstance(one.ip, str) else one.ip[0]
            found.append((adapter.nice_name, f"{host}/{one.network_prefix}"))
    return found


def _own() -> set[str]:
    """This host's addresses."""
    return {f"{address}%{name}" for name, address in own_addresses()}


def _read(zeroconf: Zeroconf, name: str) -> Found | None:
    """What was told of ``name`` so far; None where that makes no sense, or not yet: the browser tells of more."""
    from zeroconf import ServiceInfo

    info = ServiceInfo(SERVICE, name)
    info.load_from_cache(zeroconf)
    presence = Presence.read(info.properties)
    if presence is None or not info.port:
        return None
    hosts = [host for address in info.parsed_scoped_addresses()[:MOST_ADDRESSES] for host in _scoped(address)]
    told = Presence(**{key: _word(text) for key, text in presence.told().items()})
    return Found(told, tuple(shown((host, info.port)) for host in hosts[:MOST_ADDRESSES])) if hosts else None


def _word(text: str) -> str:
    """In one line, and nothing that can't be seen."""
    return "".join(one if one.isprintable() else "\ufffd" for one in clean(text))


def _scoped(address: str) -> list[str]:
    """A link-local address is one of a link: the one that it was heard on, or else any of this host's."""
    host, _, scope = address.partition("%")
    try:
        if not ipaddress.ip_address(host).is_link_local or ":" not in host:
            return [host]
        links = [(int(scope), socket.if_indextoname(int(scope)))] if scope else socket.if_nameindex()
    except (ValueError, OSError):  # no address, or a link that is gone
        return []
    return [f"{host}%{link}" for _, link in links if link != "lo"]
