"""What the kernel has to be told for a composite USB gadget, and how to take one apart. Pure.

A gadget is a folder of configfs: the kernel makes the files in it, and each step below is one call that it takes. The
order matters: a function refuses to be changed once it is part of a configuration, and all of it once it is bound to a
controller. What is there already is told by :class:`There`; where that is not what is wanted, it is taken apart and
made anew, which is the same whether a start was cut off or the kernel was told something else by hand.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..wire.cable import MANUFACTURER, PRODUCT, VENDOR, Cable

NCM, ECM, ACM = "ncm", "ecm", "acm"
NETWORKS = (NCM, ECM)
GADGET = "live-reactor"
UDC = "UDC"
CONFIGURATION = "configs/c.1"
_INSTANCE = "usb0"
_ENGLISH = "strings/0x409"
_MOST_MA = 250


@dataclass(frozen=True, slots=True)
class Make:
    """A folder, which the kernel fills."""

    path: str


@dataclass(frozen=True, slots=True)
class Write:
    """A word in a file."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Link:
    """A function becomes part of a configuration."""

    path: str
    to: str


@dataclass(frozen=True, slots=True)
class Unlink:
    """It is no part any more."""

    path: str


@dataclass(frozen=True, slots=True)
class Remove:
    """A folder goes, with what the kernel has put in it."""

    path: str


Step = Make | Write | Link | Unlink | Remove


@dataclass(frozen=True, slots=True)
class There:
    """What is in the gadget's folder: folders, links with what they lead to, and files with what they say.

    Paths from the gadget's own folder, which is the empty one and missing where there is no gadget.
    """

    folders: frozenset[str] = frozenset()
    links: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    @property
    def is_any(self) -> bool:
        """Whether there is a gadget at all."""
        return "" in self.folders

    @property
    def functions(self) -> list[str]:
        """Those that are part of the configuration."""
        return sorted(path.rpartition("/")[2] for path in self.links)

    @property
    def network(self) -> str:
        """Which kind of network it is; empty where it is none."""
        kinds = [name.partition(".")[0] for name in self.functions]
        return next((kind for kind in kinds if kind in NETWORKS), "")

    @property
    def controller(self) -> str:
        """What it is bound to; empty where it is not."""
        return self.files.get(UDC, "")


def function(kind: str) -> str:
    """Where a function of that kind lies."""
    return f"functions/{kind}.{_INSTANCE}"


def raising(cable: Cable, name: str, network: str, controller: str) -> tuple[Step, ...]:
    """A gadget where none is: the board's ``name`` on the cable, with that kind of network, on that controller."""
    words = {"serialnumber": cable.serial, "manufacturer": MANUFACTURER, "product": name}
    ether, serial = function(network), function(ACM)
    return (
        Make(""),
        Write("idVendor", f"0x{VENDOR:04x}"),
        Write("idProduct", f"0x{PRODUCT:04x}"),
        Write("bcdDevice", "0x0100"),
        Write("bcdUSB", "0x0200"),
        Write("bDeviceClass", "0xef"),  # several functions, each of which may have several interfaces
        Write("bDeviceSubClass", "0x02"),
        Write("bDeviceProtocol", "0x01"),
        Make(_ENGLISH),
        *(Write(f"{_ENGLISH}/{key}", word) for key, word in words.items()),
        Make(CONFIGURATION),
        Write(f"{CONFIGURATION}/MaxPower", str(_MOST_MA)),
        Make(f"{CONFIGURATION}/{_ENGLISH}"),
        Write(f"{CONFIGURATION}/{_ENGLISH}/configuration", f"{network} and {ACM}"),
        Make(ether),
        Write(f"{ether}/dev_addr", cable.device_mac),
        Write(f"{ether}/host_addr", cable.host_mac),
        Make(serial),
        *(Link(f"{CONFIGURATION}/{path.rpartition('/')[2]}", path) for path in (ether, serial)),
        Write(UDC, controller),
    )


def lowering(there: There) -> tuple[Step, ...]:
    """All that is there, apart: whoever made it, and however far that had come."""
    if not there.is_any:
        return ()
    bound = (Write(UDC, ""),) if there.controller else ()
    links = (Unlink(path) for path in sorted(there.links))
    return (*bound, *links, *map(Remove, _removable(there)))


def is_as(there: There, steps: tuple[Step, ...]) -> bool:
    """Whether what is there is just what ``steps`` make."""
    made = {step.path for step in steps if isinstance(step, Make)}
    links = {step.path: step.to for step in steps if isinstance(step, Link)}
    says = all(there.files.get(step.path) == step.text for step in steps if isinstance(step, Write))
    return says and set(_removable(there)) == made and there.links == links


def _removable(there: There) -> list[str]:
    """The folders that somebody has made, each after those in it, and the functions after what they are part of."""

    def order(path: str) -> tuple[bool, int, str]:
        return path.startswith("functions/"), -path.count("/"), path

    return [*sorted(filter(_is_made, there.folders), key=order), *([""] if there.is_any else [])]


def _is_made(path: str) -> bool:
    """Whether a folder is one that somebody makes: the others come and go with the one they are in."""
    kind, *more = path.split("/")
    match kind, more:
        case (("functions" | "configs" | "strings"), [_]):
            return True
        case "configs", [_, "strings", _]:
            return True
    return False
