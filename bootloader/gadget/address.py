"""Addresses of a network interface of this device, by the kernel's own calls: no command is needed for it.

Knows nothing of gadgets. An address that somebody else has given is left alone.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from contextlib import closing
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

_GET_FLAGS, _SET_FLAGS = 0x8913, 0x8914
_GET_ADDRESS, _SET_ADDRESS, _SET_MASK = 0x8915, 0x8916, 0x891C
"""SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCGIFADDR, SIOCSIFADDR, SIOCSIFNETMASK."""

_UP = 0x1
_FLAGS = struct.Struct("16sh22x")
_ADDRESS = struct.Struct("16sHH4s16x")
_ADDRESS6 = struct.Struct("=16sIi")
_LINK_LOCAL_BITS = 64
_MASK = IPv4Address("255.255.0.0")
_NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EACCES, errno.EOPNOTSUPP, errno.ENODEV}
_IPV6 = Path("/proc/net/if_inet6")


def give(interface: str, ipv4: IPv4Address, ipv6: IPv6Address) -> None:
    """Have the interface up, with these addresses of its link: the first where it has none of its kind, the other
    where this system has IPv6. ``OSError`` where the interface is gone.
    """
    name = interface.encode()
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        if not _flags(sock, name) & _UP:
            _set_up(sock, name, is_up=True)
        if _ipv4(sock, name) is None:
            for call, address in ((_SET_ADDRESS, ipv4), (_SET_MASK, _MASK)):
                fcntl.ioctl(sock, call, _ADDRESS.pack(name, socket.AF_INET, 0, address.packed))
    if str(ipv6) not in given(interface):
        try:
            with closing(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)) as sock:
                index = socket.if_nametoindex(interface)
                fcntl.ioctl(sock, _SET_ADDRESS, _ADDRESS6.pack(ipv6.packed, _LINK_LOCAL_BITS, index))
        except OSError as error:
            if error.errno not in _NO_IPV6 | {errno.EEXIST}:
                raise


def again(interface: str) -> None:
    """Down and up: what is at the other end is told of the link anew."""
    name = interface.encode()
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        _set_up(sock, name, is_up=False)
        _set_up(sock, name, is_up=True)


def given(interface: str) -> list[str]:
    """The interface's addresses, that of IPv4 first; none where it is gone."""
    try:
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
            first = _ipv4(sock, interface.encode())
    except OSError:
        return []
    found = [] if first is None else [str(first)]
    lines = _IPV6.read_text("ascii").splitlines() if _IPV6.exists() else []
    words = [line.split() for line in lines]
    return [*found, *(str(IPv6Address(bytes.fromhex(each[0]))) for each in words if each[-1] == interface)]


def _flags(sock: socket.socket, name: bytes) -> int:
    return int(_FLAGS.unpack(fcntl.ioctl(sock, _GET_FLAGS, _FLAGS.pack(name, 0)))[1])


def _set_up(sock: socket.socket, name: bytes, *, is_up: bool) -> None:
    flags = _flags(sock, name)
    fcntl.ioctl(sock, _SET_FLAGS, _FLAGS.pack(name, flags | _UP if is_up else flags & ~_UP))


def _ipv4(sock: socket.socket, name: bytes) -> IPv4Address | None:
    try:
        told = fcntl.ioctl(sock, _GET_ADDRESS, _ADDRESS.pack(name, socket.AF_INET, 0, bytes(4)))
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            return None
        raise
    return IPv4Address(_ADDRESS.unpack(told)[3])
