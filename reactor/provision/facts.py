"""What a board told of itself: the lines of ``look.sh`` as values, read with distrust. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from bootloader.wire.errors import Fault, Malformed
from bootloader.wire.stream import only_certificate

from ..platforms import Platform
from ..report import clean, whole

_LINE = re.compile(r"fact ([a-z_]+)=(.*)")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}")
_USER = re.compile(r"\w[\w.@$\\-]{0,63}")
_NOBODY = "?"
_VERSION = re.compile(r"(\d{1,3})\.(\d{1,3})(?:\.(\d{1,3}))?.*")
_ODD = {"large": "is no small file, as settings are", "read-only": "can't be written"}
_LIBC = re.compile(r"(glibc|musl) (\d{1,3})\.(\d{1,3}).*")


@dataclass(frozen=True, slots=True)
class Python:
    """An interpreter of the board. ``platform``: for which wheels, None where nobody makes any; ``lacks``: of its
    standard library, what a bootloader can't do without.
    """

    path: str
    kind: str
    version: tuple[int, int, int]
    platform: Platform | None
    lacks: tuple[str, ...]

    @property
    def told(self) -> str:
        """The version, as people write it."""
        return ".".join(map(str, self.version))


@dataclass(frozen=True, slots=True)
class Usb:
    """What a USB gadget needs of a board. ``offered``: by its kernel; ``controllers``: ports that can be a device's,
    None where that can't be known; ``config``: a Raspberry Pi's settings, whether they are ``told`` of it by us, and
    ``odd`` why they can't be; ``holds``: what hangs on its own USB port, and would be lost; ``group``: who may open
    serial ports; ``enabled``: whether ours is, at each boot; ``state``: what systemd says of it now.
    """

    offered: bool = False
    controllers: tuple[str, ...] | None = ()
    config: str = ""
    told: bool = False
    odd: str = ""
    holds: str = ""
    group: str = ""
    enabled: bool = False
    state: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """A board. ``root``: how one becomes root there (``root``, ``sudo``, ``password``, ``none``); ``called`` and
    ``runs_as``: its name and user since it was provisioned; ``releases``: those that are whole; ``left``: all of them;
    ``files``: SHA-256 by path; ``device``, ``obeys``: certificates as PEM texts.
    """

    kernel: str
    name: str
    called: str
    user: str
    uid: int
    runs_as: str
    root: str
    init: str
    address: str
    mount: str
    state: str
    clock_s: int
    free_kb: int
    state_free_kb: int
    writable: bool
    tar: bool
    taken: bool
    runs: bool
    enabled: bool
    kept_kb: int
    pythons: tuple[Python, ...]
    releases: frozenset[str]
    left: tuple[str, ...]
    files: dict[str, str]
    obeys: tuple[str, ...]
    device: str
    usb: Usb = Usb()


def read(text: str) -> Facts:
    """The facts in what a board's shell has said, among whatever its logins greet with."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if told := _LINE.fullmatch(line):
            found.setdefault(told[1], []).append(clean(told[2])[:4096])
    if "looked" not in found:
        last = (clean(text).strip().splitlines() or ["nothing"])[-1]
        do = "log in there yourself, and see whether its shell is a POSIX one"
        raise Malformed(f"the board's shell did not answer as expected, but: {last[:200]}", do=do)

    def one(key: str) -> str:
        return found.get(key, [""])[0]

    def number(key: str) -> int:
        return whole(int(one(key))) if re.fullmatch(r"\d{1,18}", one(key)) else 0

    if (user := _user(one("user"))) == _NOBODY:
        do = "log in there yourself, and see what this says: id -un"
        raise Malformed("the board tells a user's name that nobody has", do=do)
    files = [entry.split(" ", 1) for entry in found.get("file", []) if " " in entry]
    return Facts(
        kernel=one("kernel"),
        name=host_name(one("name")),
        called=one("called"),
        user=user,
        uid=number("uid"),
        runs_as=_user(one("runs_as")),
        root=one("root"),
        init=one("init"),
        address=_address(one("address")),
        mount=one("mount"),
        state=one("state"),
        clock_s=number("clock"),
        free_kb=number("free_kb"),
        state_free_kb=number("state_free_kb"),
        writable=one("writable") == "yes",
        tar=one("tar") == "yes",
        taken=one("taken") == "yes",
        runs=one("runs") == "yes",
        enabled=one("enabled") == "yes",
        kept_kb=number("kept"),
        pythons=tuple({each.path: each for each in map(_python, found.get("python", [])[:16]) if each}.values()),
        releases=frozenset(found.get("release", [])),
        left=tuple(found.get("left", [])[:64]),
        files={path: digest for digest, path in files},
        obeys=tuple(map(_pem, found.get("obeys", []))),
        device=certificate(_pem(one("device"))),
        usb=Usb(
            offered=one("gadgets") == "yes",
            controllers=tuple(found.get("controller", [])[:16]),
            config=one("config"),
            told=one("told") == "yes",
            odd=_ODD.get(one("odd"), ""),
            holds=host_name(one("holds")),
            group=one("group"),
            enabled=one("gadget_enabled") == "yes",
            state=one("gadget_state"),
        ),
    )


def _pem(line: str) -> str:
    return line.replace("|", "\n")


def certificate(text: str) -> str:
    """The certificate in ``text``, alone; nothing where it is none."""
    try:
        return only_certificate(text)
    except ValueError:
        return ""


def host_name(text: str) -> str:
    """A board's own name, without its domain; nothing where it is none, as this is shown and made an address of."""
    name = text.strip().split(".")[0]
    return name if _NAME.fullmatch(name) else ""


def _user(text: str) -> str:
    """A user's name, which questions for a password and orders show; ``_NOBODY`` where nobody has it."""
    return text if not text or _USER.fullmatch(text) else _NOBODY


def _address(text: str) -> str:
    """Where a board says to be, if others can be there as well: at no cable's or machine's own end of something."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    is_nearby = address.is_link_local or address.is_loopback
    return "" if is_nearby or address.is_multicast or address.is_unspecified else str(address)


def _python(line: str) -> Python | None:
    match line.split("\t"):
        case [str(path), kind, version, threaded, machine, libc, lacks]:
            told, libc_told = _VERSION.fullmatch(version), _LIBC.fullmatch(libc)
            if told is None or not path.startswith("/"):
                return None
            python = int(told[1]), int(told[2]), int(told[3] or 0)
            platform = None
            if libc_told is not None:
                libc_version = int(libc_told[2]), int(libc_told[3])
                try:
                    platform = Platform(machine, libc_told[1], libc_version, python, threaded == "t")
                except Fault:  # nobody makes wheels for it: the plan says so
                    platform = None
            return Python(path, kind, python, platform, tuple(filter(None, lacks.split(","))))
    return None
