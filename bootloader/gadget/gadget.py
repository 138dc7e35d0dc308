"""The gadget that a user asks for: up, down, how it is, and what is done for it while it is up.

Owns no state but the kernel's: `up` twice is as once, one that was made halfway is mended, and whoever comes after a
crash finds what is there. Performs what ``design`` and ``watch`` decide.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from time import monotonic

from ..wire.cable import Cable
from ..wire.errors import Fault
from . import address, port
from .configfs import Configfs, text
from .design import ACM, ECM, NCM, NETWORKS, UDC, Remove, Write, function, is_as, lowering, raising
from .watch import Act, Look, Watched, after

SYS = Path("/sys")
DEV = Path("/dev")
LOOK_S = 1.0
_APPEAR_S = 5.0
_PAUSE_S = 0.02
CONFIGURED, ASLEEP = "configured", "suspended"

Pause = Callable[[float], object]
"""Waits so many seconds; true where it was told to end."""

Give = Callable[[str, IPv4Address, IPv6Address], None]


@dataclass(frozen=True, slots=True)
class Status:
    """How it is. ``state``: what the controller says of the host, such as ``configured``, or ``not attached``."""

    serial: str
    controller: str
    state: str
    network: str
    interface: str
    addresses: tuple[str, ...]
    packets: int
    port: str

    @property
    def is_configured(self) -> bool:
        """Whether a host has set it up."""
        return self.state == CONFIGURED


class Gadget:
    """That of the board on this ``cable``. For one thread."""

    def __init__(
        self,
        cable: Cable,
        pause: Pause,
        *,
        config: Configfs | None = None,
        sys: Path = SYS,
        dev: Path = DEV,
        give: Give = address.give,
    ) -> None:
        """``sys`` and ``dev`` are where the kernel shows its devices; ``give`` gives an interface its addresses."""
        self._cable = cable
        self._pause = pause
        self._config = config or Configfs()
        self._controllers = sys / "class" / "udc"
        self._networks = sys / "class" / "net"
        self._dev = dev
        self._give = give

    def up(self, name: str, network: str = "", controller: str = "") -> bool:
        """Have it be there, as ``name``; whether anything had to be done for that. :class:`Fault` where it can't be.

        ``network``: its kind; where none is said, it stays what it is, and is NCM at first. ``controller``: which of
        several.
        """
        self._config.prepare()
        controller = controller or self._controller()
        there = self._config.there()
        steps = raising(self._cable, name, network or there.network or NCM, controller)
        changed = not is_as(there, steps)
        if changed:
            self.down()
            self._config.perform(steps)
        self.give()
        return changed

    def down(self) -> bool:
        """Take it apart, whatever of it is there; whether there was any. :class:`Fault` where it can't be."""
        there = self._config.there()
        end = self._port()
        for step in lowering(there):
            if end.name and step in (Write(UDC, ""), Remove(function(ACM))):
                port.free(end, self._pause)  # first, so that the cable works on if it can't be, and as late as can be
            self._config.perform((step,))
        return there.is_any

    def login(self) -> None:
        """Have a login on its serial port."""
        port.log_in(self._port())

    def give(self) -> None:
        """Have its interface up, with its addresses: again, where somebody took one away."""
        deadline = monotonic() + _APPEAR_S
        while not self._networks.joinpath((interface := self._network()[1]) or "?").exists():
            if monotonic() > deadline:
                raise Fault("no-interface", "the kernel has made no network interface", do="its log says more: dmesg")
            self._pause(_PAUSE_S)
        try:
            self._give(interface, self._cable.ipv4, self._cable.ipv6)
        except OSError as error:
            what = f"its addresses can't be set ({error.strerror})"
            raise Fault("not-addressed", what, to=interface, do="be root") from error

    def status(self) -> Status:
        """How it is now. :class:`Fault` where there is none."""
        there = self._config.there()
        if not there.controller:
            what = "is half made" if there.is_any else "this device is no USB gadget"
            raise Fault("no-gadget", what, do="bootloader gadget up")
        _, interface = self._network()
        state = text(self._controllers / there.controller / "state")
        packets = text(self._networks / interface / "statistics" / "rx_packets")
        addresses = tuple(address.given(interface))
        counted = int(packets) if packets.isdecimal() else 0
        serial = there.files.get("strings/0x409/serialnumber", "")
        where = str(self._port()) if self._port().name else ""
        return Status(serial, there.controller, state, there.network, interface, addresses, counted, where)

    def watch(self, name: str, say: Callable[[str], None], *, login: bool = False) -> None:
        """See to it until told to end, or until it is taken down; what is done is said. ``login``: one is there."""
        watched = Watched()
        while not self._pause(LOOK_S):
            if not (controller := self._config.read(UDC)):  # by `down`
                return
            kind, interface = self._network()
            watched, act = after(watched, self._look(controller, kind, interface))
            match act:
                case Act.AGAIN:
                    say("the host says nothing: the link is told of anew")
                    with suppress(OSError):
                        address.again(interface)
                case Act.OTHER:
                    say(f"the host says nothing over {kind}: {ECM} now")
                    self.up(name, ECM, controller)
                    if login:
                        self.login()
            try:
                self.give()
            except Fault:
                if self._config.read(UDC):
                    raise

    def _look(self, controller: str, kind: str, interface: str) -> Look:
        """As little as it takes: a small board does this each second, for as long as it is up."""
        state = text(self._controllers / controller / "state")
        packets, links = (
            int(said) if (said := text(self._networks / interface / file)).isdecimal() else 0
            for file in ("statistics/rx_packets", "carrier_changes")
        )
        return Look(monotonic(), state == CONFIGURED, packets, kind, is_asleep=state == ASLEEP, links=links)

    def _controller(self) -> str:
        there = sorted(path.name for path in self._controllers.glob("*"))
        if not there:
            do = "on a Raspberry Pi: dtoverlay=dwc2,dr_mode=peripheral in /boot/firmware/config.txt, and restart it"
            raise Fault("no-udc", "this device has no USB port that can be a device's", do=do)
        return there[0]

    def _network(self) -> tuple[str, str]:
        """Of which kind its network is, and its name here; both empty before the kernel has made it."""
        names = {kind: self._config.read(f"{function(kind)}/ifname") for kind in NETWORKS}
        made = (each for each in names.items() if each[1] and "(" not in each[1] and "%" not in each[1])
        return next(made, ("", ""))

    def _port(self) -> Path:
        """The serial port; without a name where there is none."""
        number = self._config.read(f"{function(ACM)}/port_num")
        return self._dev / f"ttyGS{number}" if number.isdecimal() else Path()
