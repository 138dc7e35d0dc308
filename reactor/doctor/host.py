"""This host's side, looked up: interfaces, routes, USB functions, serial ports, keys, and whether multicast leaves it.

Linux tells all of it in files; elsewhere what can't be looked up is left out. Judges nothing.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from bootloader.wire.errors import Fault

from ..console.choice import GADGETS
from ..console.holders import holders
from ..console.port import found as serial_ports
from ..discovery import Discovery, own_addresses
from ..report import clean
from .checks import UNHEARD, Function, Interface, Key, Route, SerialPort

_GROUP, _PORT = "224.0.0.251", 5353
_BACK_S = 1.0
_MOST_BYTES = 9000
_TUNNEL_TYPES = frozenset({65534, 512, 768, 776, 778})
"""Of /sys/class/net/…/type: no link layer at all (TUN, WireGuard), PPP, and tunnels of IP in IP."""

_KINDS = {
    (0x02, 0x06): ("network function (ECM)", "cdc_ether"),
    (0x02, 0x0D): ("network function (NCM)", "cdc_ncm"),
    (0x02, 0x02): ("serial function (ACM)", "cdc_acm"),
    (0xE0, 0x01): ("network function (RNDIS)", "rndis_host"),
}
"""By a USB function's class and subclass."""


def interfaces(system: Path = Path("/sys")) -> list[Interface]:
    """This host's, but for loopback."""
    by_name: dict[str, list[str]] = {}
    for name, address in own_addresses():
        by_name.setdefault(name, []).append(address)
    folder = system / "class" / "net"
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        kind, flags = int(_text(path / "type") or 0), int(_text(path / "flags") or "0", 16)
        if path.name == "lo":
            continue
        carrier = _text(path / "carrier")
        where = str((path / "device").resolve()) if (path / "device").exists() else ""
        driver = (path / "device" / "driver").resolve().name if (path / "device" / "driver").exists() else ""
        is_tunnel = kind in _TUNNEL_TYPES or (path / "tun_flags").exists()
        addresses = tuple(by_name.get(path.name, ()))
        has_carrier = None if carrier == "" else carrier == "1"
        found.append(Interface(path.name, bool(flags & 1), has_carrier, addresses, driver, "/usb" in where, is_tunnel))
    return found


def routes(folder: Path = Path("/proc/net")) -> list[Route]:
    """The routes of IPv4 and IPv6, as the kernel lists them."""
    found = []
    for line in _text(folder / "route").splitlines()[1:]:
        words = line.split()
        if len(words) >= 8 and int(words[3], 16) & 1:
            address = ipaddress.IPv4Address(int.from_bytes(bytes.fromhex(words[1]), "little"))
            length = int.from_bytes(bytes.fromhex(words[7]), "little").bit_count()
            found.append(Route(f"{address}/{length}", words[0], int(words[6])))
    for line in _text(folder / "ipv6_route").splitlines():
        words = line.split()
        if len(words) >= 10 and int(words[8], 16) & 1 and words[9] != "lo":
            address6 = ipaddress.IPv6Address(bytes.fromhex(words[0]))
            found.append(Route(f"{address6}/{int(words[1], 16)}", words[9], int(words[5], 16)))
    return found


def functions(system: Path = Path("/sys")) -> Iterator[Function]:
    """Those of Linux gadgets that are plugged in here, which this host has to have a driver for."""
    devices = system / "bus" / "usb" / "devices"
    for path in sorted(devices.glob("*:*")):
        owner = devices / path.name.partition(":")[0]
        ids = tuple(int(_text(owner / name) or "0", 16) for name in ("idVendor", "idProduct"))
        kind = tuple(int(_text(path / name) or "0", 16) for name in ("bInterfaceClass", "bInterfaceSubClass"))
        if ids in GADGETS and kind in _KINDS:
            what, needs = _KINDS[kind]
            device = clean(_text(owner / "product")) or f"USB device {owner.name}"
            driver = (path / "driver").resolve().name if (path / "driver").exists() else ""
            yield Function(device, what, needs, driver)


def ports() -> list[SerialPort]:
    """The serial ports on USB."""
    found = []
    for port in sorted((port for port in serial_ports() if port.usb is not None), key=lambda port: port.path):
        is_ours = os.access(port.path, os.R_OK | os.W_OK)
        found.append(SerialPort(port.path, is_ours, _group(port.path), holders(port.path)))
    return found


def modem_manager(processes: Path = Path("/proc")) -> bool:
    """Whether it runs here."""
    return any(_text(path / "comm") == "ModemManager" for path in processes.glob("[0-9]*"))


def keys(home: Path) -> list[Key]:
    """This host's private files, as far as there are any."""
    found = []
    for path in (home / "identity", home / "identity" / "host.key"):
        with suppress(OSError):
            found.append(Key(str(path), path.stat().st_mode & 0o777))
    return found


def multicast() -> tuple[list[tuple[str, str]], str]:
    """What becomes of what is sent to devices from each of this host's addresses: why it does not leave, or whether it
    comes back to who listens here, as it does where no firewall drops it; and what is wrong with looking.
    """
    outcomes: dict[str, str] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        hosts = [host for host in (one.partition("/")[0] for _, one in own_addresses()) if ":" not in host]
        own = [host for host in hosts if not ipaddress.ip_address(host).is_loopback]
        is_listening = _listen(ear, own)
        for host in own:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                try:
                    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(host))
                    sock.bind((host, 0))
                    sock.sendto(_QUESTION, (_GROUP, _PORT))
                except OSError as error:
                    no_route = error.errno == errno.ENETUNREACH
                    outcomes[host] = "the system has no route for it" if no_route else str(error.strerror)
                else:
                    outcomes[host] = UNHEARD if is_listening and not _comes_back(ear, sock.getsockname()) else ""
    try:
        with Discovery():
            return list(outcomes.items()), ""
    except Fault as fault:
        return list(outcomes.items()), fault.what


def _listen(ear: socket.socket, hosts: list[str]) -> bool:
    """Whether ``ear`` hears what is sent to devices, from each of these addresses of this host, too."""
    try:
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        ear.bind(("", _PORT))
        for host in hosts:
            group = socket.inet_aton(_GROUP) + socket.inet_aton(host)
            ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    except OSError:  # somebody has the port alone, or there is no multicast at all
        return False
    return True


def _comes_back(ear: socket.socket, sender: tuple[str, int]) -> bool:
    """Whether it hears ``sender``, in bounded time."""
    deadline = time.monotonic() + _BACK_S
    while (left_s := deadline - time.monotonic()) > 0:
        ear.settimeout(left_s)
        with suppress(OSError):
            if ear.recvfrom(_MOST_BYTES)[1] == sender:
                return True
    return False


_QUESTION = b"\0\0\0\0\0\1\0\0\0\0\0\0\x0d_live-reactor\x04_tcp\x05local\0\0\x0c\0\1"
"""Who is there? In the words of multicast DNS."""


def _group(path: str) -> str:
    try:
        return Path(path).group()
    except (OSError, KeyError):
        return "dialout"


def _text(path: Path) -> str:
    """What a file of the system says; nothing where it says nothing, or is gone."""
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
