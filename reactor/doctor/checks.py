"""What is wrong, and what to do: one small decision a check, over facts that were looked up elsewhere. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..platforms import OLDEST_PYTHON

WELL, DOUBTFUL, WRONG = "well", "doubtful", "wrong"

CLOCK_S = 120.0
"""How far a clock may be off before somebody should know."""

LEAST_FREE_BYTES = 64 * 1024 * 1024
"""What a target should have left: a release, some generations, and room to say what is wrong."""

REFUSED, SILENT, UNREACHABLE, UNKNOWN_NAME, FORBIDDEN, ANSWERS = (
    "refused",
    "silent",
    "unreachable",
    "unknown-name",
    "forbidden",
    "answers",
)
"""What may come of a connection."""

UNHEARD = "unheard"
"""What became of multicast that this host has sent, and that did not come back to itself."""

_OPEN = "let incoming UDP port 5353 pass here: sudo ufw allow 5353/udp, or firewall-cmd --add-service=mdns"


@dataclass(frozen=True, slots=True)
class Finding:
    """``check``: which one; ``state``: one of the three; ``what`` was found, and what to ``do``, if anything."""

    check: str
    state: str
    what: str
    do: str = ""


@dataclass(frozen=True, slots=True)
class Interface:
    """One of this host's. ``carrier``: None where it is down, and can't be asked. ``driver``: of what is plugged in."""

    name: str
    is_up: bool
    carrier: bool | None
    addresses: tuple[str, ...] = ()
    driver: str = ""
    is_usb: bool = False
    is_tunnel: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """Where this host sends what is for ``network``, such as ``10.0.0.0/8``."""

    network: str
    interface: str
    metric: int = 0


@dataclass(frozen=True, slots=True)
class Function:
    """A function of a USB device that is plugged in, which has a driver or not: what it is, and which one it needs."""

    device: str
    kind: str
    needs: str
    driver: str


@dataclass(frozen=True, slots=True)
class SerialPort:
    """A serial port of this host: whether this user may open it, whose group it is, who has it open."""

    path: str
    is_ours: bool
    group: str
    holders: str = ""


@dataclass(frozen=True, slots=True)
class Key:
    """A private file of this user's: its permissions."""

    path: str
    mode: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """A connection that was tried, and what came of it."""

    address: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Health:
    """What a target says of itself. ``clock_off_s``: how far its clock is ahead of this host's; ``unit``: what starts
    it again after a power cut, and whether that is enabled; ``announced``: whether it tells the network that it is
    there. None where it does not say.
    """

    version: str
    python: tuple[int, ...]
    clock_off_s: float
    disk_free_bytes: int
    disk_bytes: int
    unit: str | None
    is_enabled: bool
    lost: tuple[tuple[str, str], ...] = ()
    announced: bool | None = None


def interfaces(found: Sequence[Interface]) -> Iterator[Finding]:
    """Cables that lead nowhere, and gadgets that have come up halfway."""
    for one in (one for one in found if one.is_usb):
        name = f"{one.name} ({one.driver})" if one.driver else one.name
        if not one.is_up:
            do = f"sudo ip link set {one.name} up, or have NetworkManager do it: nmcli device connect {one.name}"
            yield Finding("interface", WRONG, f"{name} is down", do)
        elif one.carrier is False:
            do = "set usb0 up on the board, or replug it; where NCM stays so, have the gadget use ECM"
            yield Finding("interface", WRONG, f"{name} has no carrier: nothing speaks at its other end", do)
        elif not one.addresses:
            do = f"nmcli connection modify {one.name} ipv4.method link-local ipv6.method link-local, or replug it"
            yield Finding("interface", WRONG, f"{name} has no address, not even a link-local one", do)
        else:
            yield Finding("interface", WELL, f"{name} is up, at {', '.join(one.addresses)}")
    others = [one for one in found if not one.is_usb and not one.is_tunnel]
    if not any(one.carrier and one.addresses for one in found if not one.is_tunnel):
        names = ", ".join(one.name for one in others) or "none"
        do = "plug the board's cable in, or join its network"
        yield Finding("network", DOUBTFUL, f"this host is on no network (interfaces: {names})", do)


def routes(found: Sequence[Route], links: Sequence[Interface], targets: Sequence[str] = ()) -> Iterator[Finding]:
    """A tunnel that takes what is for a board on this host's own network, or at the end of its cable."""
    tunnels = {one.name for one in links if one.is_tunnel}
    near = [one for one in links if not one.is_tunnel and one.carrier and one.addresses]
    meant = list(targets) + (["169.254.10.10"] if any(one.is_usb for one in near) else [])
    eaten = {address: _leads(found, address) for address in dict.fromkeys(meant)}
    for address, interface in eaten.items():
        if interface in tunnels and (_is_link_local(address) or any(_is_beside(address, one) for one in near)):
            own = next((one.name for one in near if _is_beside(address, one)), near[0].name)
            do = f"end the VPN, exclude local networks from it, or: sudo ip route add {address} dev {own}"
            yield Finding("route", WRONG, f"{interface} (a VPN) takes what is for {address}", do)


def drivers(functions: Sequence[Function]) -> Iterator[Finding]:
    """USB functions that nothing on this host speaks with."""
    for one in functions:
        if one.driver:
            yield Finding("driver", WELL, f"{one.device}: {one.kind} by {one.driver}")
        else:
            do = f"sudo modprobe {one.needs}; if there is none, this host's kernel was built without it"
            yield Finding("driver", WRONG, f"{one.device}: nothing here speaks its {one.kind}", do)


def ports(found: Sequence[SerialPort], *, modem_manager: bool, user: str) -> Iterator[Finding]:
    """Serial ports that this user can't have."""
    for one in found:
        if not one.is_ours:
            do = f"sudo usermod -aG {one.group} {user}, then log in again"
            yield Finding("port", WRONG, f"{one.path} may be opened by the group {one.group} alone", do)
        elif one.holders:
            yield Finding("port", DOUBTFUL, f"{one.path} is in use by {one.holders}", "end that before you use it")
        else:
            yield Finding("port", WELL, f"{one.path} is free")
    modems = [one.path for one in found if "ACM" in one.path]
    if modem_manager and modems:
        rule = 'a udev rule with ENV{ID_MM_DEVICE_IGNORE}="1", or: sudo systemctl disable --now ModemManager'
        what = f"ModemManager runs, and talks to whatever is plugged in as {', '.join(modems)}"
        yield Finding("modem-manager", DOUBTFUL, what, rule)


def multicast(outcomes: Sequence[tuple[str, str]], trouble: str = "") -> Iterator[Finding]:
    """``outcomes``: of each address of this host, why nothing could be sent to devices from there, or nothing, or that
    what was sent was not heard here, though it comes back to who listens.
    """
    do = "name devices by their address: reactor status -t HOST"
    if trouble:
        yield Finding("discovery", WRONG, f"devices can't be looked for: {trouble}", do)
    for address, why in outcomes:
        if why == UNHEARD:
            what = f"multicast from {address} is not heard here: a firewall of this host seems to drop it"
            yield Finding("discovery", DOUBTFUL, what, f"{_OPEN}; or {do}")
        elif why:
            firewall = "let UDP port 5353 pass to 224.0.0.251 in its firewall; or " if "permitted" in why else ""
            yield Finding("discovery", WRONG, f"multicast does not leave from {address}: {why}", firewall + do)
    if outcomes and not trouble and not any(why for _, why in outcomes):
        yield Finding("discovery", WELL, f"multicast leaves from {', '.join(address for address, _ in outcomes)}")


def heard(at: str, links: Sequence[Interface], *, announced: bool, is_heard: bool) -> Iterator[Finding]:
    """Whether a target is heard that answers at the address ``at``, and says whether it is ``announced``."""
    if ipaddress.ip_address(at.partition("%")[0]).is_loopback:
        return
    if not announced:
        do = "start it without --no-announce, and with zeroconf; or name it by its address"
        yield Finding("discovery", DOUBTFUL, "it does not announce itself, so no search finds it", do)
    elif is_heard:
        yield Finding("discovery", WELL, "it announces itself, and is heard here")
    elif any(_is_beside(at, one) for one in links):
        do = f"{_OPEN}, and on it; a Wi-Fi access point may isolate its clients: end that; or name it by its address"
        yield Finding("discovery", WRONG, f"it answers at {at}, announces itself, and is not heard here", do)


def keys(found: Sequence[Key]) -> Iterator[Finding]:
    """This host's own key: whoever has it may do all that this host may."""
    for one in found:
        if one.mode & 0o077:
            do = f"chmod go-rwx '{one.path}'; if somebody may have read it, remove the folder and pair again"
            yield Finding("key", WRONG, f"others may read or change {one.path}", do)
        else:
            yield Finding("key", WELL, f"{one.path} is this user's alone")


def reached(attempts: Sequence[Attempt]) -> Iterator[Finding]:
    """Why nothing could be said to a target."""
    if any(one.outcome == ANSWERS for one in attempts):
        return
    for one in attempts:
        port = one.address.rpartition(":")[2]
        what, do = {
            REFUSED: (
                "the machine is there, and nothing listens on that port",
                "start it: systemctl status bootloader; if it runs, see that it has --listen 0.0.0.0 and not loopback;"
                " reactor doctor USER@HOST looks at it by ssh",
            ),
            SILENT: (
                "no answer at all: it is off or elsewhere, or a firewall drops what is for that port",
                f"ping it; on the board: sudo ufw allow {port}/tcp; reactor doctor USER@HOST looks at it by ssh",
            ),
            UNREACHABLE: (
                "nobody has that address on this host's network",
                "see `reactor devices`; a board that moved is found by its name",
            ),
            UNKNOWN_NAME: (
                "the name is not known to this host's resolver",
                "install avahi-daemon and libnss-mdns for .local names, or give its address",
            ),
            FORBIDDEN: ("a firewall says no", f"let TCP port {port} pass, here (outgoing) and on the board"),
        }.get(one.outcome, (one.outcome, "see whether the bootloader runs there"))
        yield Finding("reach", WRONG, f"at {one.address}: {what}", do)
    if not attempts:
        do = "plug it in, and see `reactor devices`"
        yield Finding("reach", WRONG, "no address of it is known", do)


def trusted(name: str, code: str, what: str, do: str) -> Finding:
    """What became of the handshake, by the code of its fault; empty where it went well."""
    if not code:
        return Finding("trust", WELL, "it and this host know each other's key")
    if code == "other-protocol":
        return Finding("versions", WRONG, what, do)
    if code == "untrusted" and "certificate" in what:
        do = f"if it was flashed anew: reactor trust remove {name}, then reactor pair {name}; if not, beware"
        return Finding("trust", WRONG, "it has another key than when it was paired with", do)
    if code == "untrusted":
        return Finding("trust", WRONG, "it does not obey this host", f"reactor pair {name}, once it shows a code")
    return Finding("trust", WRONG, what, do)


def health(found: Health) -> Iterator[Finding]:
    """What a target that answers says of itself."""
    yield Finding("versions", WELL, f"it runs bootloader {found.version}, and speaks this host's protocol")
    yield clock(found.clock_off_s)
    if found.python < OLDEST_PYTHON:
        told = ".".join(map(str, found.python))
        needed = ".".join(map(str, OLDEST_PYTHON))
        do = f"install Python {needed} or newer there, then: reactor provision"
        yield Finding("python", WRONG, f"it runs Python {told}, the next bootloader needs {needed}", do)
    if found.disk_bytes:
        yield disk(found.disk_free_bytes)
    if found.unit is not None:
        yield unit(found.unit, is_enabled=found.is_enabled)
    for code, text in found.lost:
        yield Finding("lost", DOUBTFUL, f"{code}: {text}", "")


def clock(off_s: float) -> Finding:
    """``off_s``: how far the target's is ahead of this host's."""
    if abs(off_s) <= CLOCK_S:
        return Finding("clock", WELL, "its clock is right")
    what = f"its clock is {_span(abs(off_s))} {'ahead of' if off_s > 0 else 'behind'} this host's"
    do = "on it: sudo timedatectl set-ntp true. The link does not mind, but what checks certificates does"
    return Finding("clock", DOUBTFUL, what, do)


def disk(free_bytes: int) -> Finding:
    """Whether there is room on the target's."""
    what = f"its disk has {free_bytes // 2**20} MB left"
    if free_bytes >= LEAST_FREE_BYTES:
        return Finding("disk", WELL, what)
    do = "remove what the application wrote (data/ in its state folder), old logs, packages: df -h there"
    return Finding("disk", WRONG, what, do)


def unit(unit: str, *, is_enabled: bool) -> Finding:
    """Whether the target is started again, and by what."""
    if not unit:
        do = "have it started at boot: reactor provision does, or a unit (docs/targets.md)"
        return Finding("unit", DOUBTFUL, "nothing is known to start it again after a power cut", do)
    if not is_enabled:
        do = f"on it: sudo systemctl enable {unit}"
        return Finding("unit", WRONG, f"its unit {unit} is not enabled: it does not come back after a power cut", do)
    return Finding("unit", WELL, f"systemd starts it: {unit}")


def _leads(found: Sequence[Route], address: str) -> str:
    """The interface by which what is for ``address`` leaves; empty where none does."""
    to = ipaddress.ip_address(address.partition("%")[0])
    best: tuple[int, int, str] | None = None
    for one in found:
        network = ipaddress.ip_network(one.network)
        if network.version == to.version and to in network:
            rank = (network.prefixlen, -one.metric, one.interface)
            best = rank if best is None or rank[:2] > best[:2] else best
    return best[2] if best is not None else ""


def _is_link_local(address: str) -> bool:
    to = ipaddress.ip_address(address.partition("%")[0])
    return to.is_link_local


def _is_beside(address: str, interface: Interface) -> bool:
    """Whether an interface of this host is on the network of ``address``."""
    to = ipaddress.ip_address(address.partition("%")[0])
    return any(to in ipaddress.ip_interface(one).network for one in interface.addresses)


def _span(seconds: float) -> str:
    for size, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"
