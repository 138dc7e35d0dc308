"""When this machine's network addresses change, and what they are.

On Linux the kernel says so at once, on a netlink socket; elsewhere they are compared every few seconds. Owns that
socket. Knows nothing of what the addresses are for.
"""

from __future__ import annotations

import ipaddress
import select
import socket
import struct
from time import monotonic
from typing import NamedTuple

POLL_S = 3.0
MOST_ADDRESSES = 32
_QUIET_S = 0.05
"""Changes come together: one cable is a dozen of them. So long without one is their end."""

_LONGEST_S = 1.0
_GROUPS = 0x1 | 0x10 | 0x100
"""RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR."""

_HEAD = struct.Struct("=IHHII")
_REMOVED = (17, 21)
"""RTM_DELLINK, RTM_DELADDR."""


class Change(NamedTuple):
    """What :meth:`Interfaces.wait` has seen. ``removed``: something went, even if the same came back since."""

    any: bool
    removed: bool


class Interfaces:
    """The network interfaces, watched from construction on, by one thread."""

    def __init__(self) -> None:
        """Needs ``ifaddr``, which comes with zeroconf."""
        self._netlink = _netlink()
        self._seen = addresses()
        self._wake, self._waker = socket.socketpair()

    def wait(self, timeout_s: float) -> Change:
        """What changed since the last call; waits for it up to ``timeout_s``, or until :meth:`wake`."""
        if self._netlink is None:
            self._ready(min(timeout_s, POLL_S))
            before, self._seen = self._seen, addresses()
            return Change(before != self._seen, not set(before) <= set(self._seen))
        changed = removed = False
        deadline, longest = monotonic() + timeout_s, 0.0
        while self._ready(deadline - monotonic()):
            removed |= _removed(self._netlink)
            longest = longest if changed else monotonic() + _LONGEST_S
            deadline, changed = min(longest, monotonic() + _QUIET_S), True
        return Change(changed, removed)

    def wake(self) -> None:
        """Have whoever waits go on, now and from now on. From any thread."""
        self._waker.close()

    def close(self) -> None:
        """Watch no more."""
        for sock in (self._netlink, self._wake, self._waker):
            if sock is not None:
                sock.close()

    def _ready(self, timeout_s: float) -> bool:
        """Whether the kernel has something to tell within that time. Once :meth:`wake` was called, it is not waited."""
        poll = select.poll()
        for sock in (self._wake, self._netlink):
            if sock is not None:
                poll.register(sock, select.POLLIN)
        ready = [descriptor for descriptor, _ in poll.poll(max(0.0, timeout_s) * 1000)]
        return self._netlink is not None and ready == [self._netlink.fileno()]


def addresses() -> list[str]:
    """This device's own addresses that others may reach, IPv4 first; those that IPv6 has for one link without scope."""
    import ifaddr

    found: dict[str, None] = {}
    for adapter in ifaddr.get_adapters():
        for one in adapter.ips:
            text = one.ip if isinstance(one.ip, str) else one.ip[0]
            if not ipaddress.ip_address(text.partition("%")[0]).is_loopback:
                found[text.partition("%")[0]] = None
    return sorted(found, key=lambda text: ":" in text)[:MOST_ADDRESSES]


def _netlink() -> socket.socket | None:
    """The kernel's own word on links and addresses; None where there is none."""
    family = getattr(socket, "AF_NETLINK", None)
    if family is None:
        return None
    try:
        sock = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    except OSError:
        return None  # not in this container
    try:
        sock.bind((0, _GROUPS))
    except OSError:
        sock.close()
        return None
    return sock


def _removed(netlink: socket.socket) -> bool:
    """Read all that is there; whether a link or an address went, or may have, as some of it was lost."""
    removed = False
    while True:
        try:
            data = netlink.recv(64 * 1024)
        except BlockingIOError:
            return removed
        except OSError:  # ENOBUFS: more than the socket holds
            removed = True
            continue
        while len(data) >= _HEAD.size:
            size, kind, *_ = _HEAD.unpack_from(data)
            removed |= kind in _REMOVED
            data = data[max(_HEAD.size, (size + 3) & ~3) :]
