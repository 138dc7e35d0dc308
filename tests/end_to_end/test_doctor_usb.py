"""What the doctor finds of a host's own side of USB: the command sees a ``/sys`` and a ``/dev`` as a kernel shows them.

Its ``/proc`` is the real one, of a network namespace that it has to itself, and so are the processes in it.
"""

from __future__ import annotations

import grp
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .conftest import Bench
from .test_console_usb import DEV, has_namespaces

pytestmark = pytest.mark.skipif(
    not has_namespaces() or None in map(shutil.which, ("ip", "nsenter", "setpriv")),
    reason="takes root, mount and network namespaces, iproute2, nsenter and setpriv",
)

NCM, ECM, ACM, FTDI, KEYS = ("02", "0d"), ("02", "06"), ("02", "02"), ("ff", "ff"), ("03", "01")
OURS = ("1d6b", "0104")
DOWN, UP = "0x1002", "0x1003"
GROUP = grp.getgrgid(20).gr_name
MODEM_MANAGER = """
import sys
with open("/proc/self/comm", "w") as name:
    name.write("ModemManager")
with open("/dev/ttyACM1"):
    print("so", flush=True)
    sys.stdin.read()
"""
INSIDE = """
mount --bind sys /sys
ip link add cellar0 type veth peer name other
ip address add 169.254.3.4/16 dev cellar0
ip link set cellar0 up
ip link set other up
shift
exec "$@"
"""
WRONG = {
    "porch0 (cdc_ncm) has no carrier: nothing speaks at its other end": "have the gadget use ECM",
    "shed0 (cdc_ncm) is down": "sudo ip link set shed0 up",
    "barn0 (cdc_ncm) has no address, not even a link-local one": "nmcli connection modify barn0",
    "attic: nothing here speaks its network function (NCM)": "sudo modprobe cdc_ncm",
    f"/dev/ttyACM0 may be opened by the group {GROUP} alone": f"sudo usermod -aG {GROUP} root",
    "/dev/ttyACM1 is in use by ModemManager (process 1)": "end that before you use it",
    "ModemManager runs, and talks to whatever is plugged in as /dev/ttyACM0, /dev/ttyACM1": "a udev rule",
}
"""What is found, and how what to do begins or ends."""


def link(path: Path, to: Path) -> None:
    """As the kernel's are: relative."""
    path.symlink_to(os.path.relpath(to, path.parent))


class Machine:
    """One with devices on its USB, in ``/sys`` and ``/dev`` folders of its own, with the links that lead to each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._bus = folder / "sys" / "bus" / "usb"
        self._classes = folder / "sys" / "class"
        for path in (folder / "dev/pts", self._bus / "devices", self._classes / "net", self._classes / "tty"):
            path.mkdir(parents=True)

    def plug(self, socket: str, product: str, ids: tuple[str, str] = OURS) -> Path:
        device = self.folder / "sys/devices/pci0000:00/0000:00:14.0/usb1" / socket
        device.mkdir(parents=True)
        says = {"idVendor": ids[0], "idProduct": ids[1], "product": product, "bNumInterfaces": "4"}
        for name, text in says.items():
            (device / name).write_text(f"{text}\n")
        link(self._bus / "devices" / socket, device)
        return device

    def function(self, device: Path, number: int, kind: tuple[str, str], driver: str = "") -> Path:
        path = device / f"{device.name}:1.{number}"
        path.mkdir()
        for name, text in zip(("bInterfaceClass", "bInterfaceSubClass"), kind, strict=True):
            (path / name).write_text(f"{text}\n")
        link(path / "subsystem", self._bus)
        if driver:
            (self._bus / "drivers" / driver).mkdir(parents=True, exist_ok=True)
            link(path / "driver", self._bus / "drivers" / driver)
        link(self._bus / "devices" / path.name, path)
        return path

    def interface(self, name: str, function: Path, flags: str, carrier: str = "") -> None:
        """``carrier``: empty for one that is down, of which a kernel tells none."""
        net = self._shown("net", name, function)
        for file, text in {"type": "1", "flags": flags, **({"carrier": carrier} if carrier else {})}.items():
            (net / file).write_text(f"{text}\n")

    def port(self, name: str, function: Path, mode: int = 0o666) -> None:
        self._shown("tty", name, function)
        path = self.folder / "dev" / name
        path.touch()
        os.chown(path, 65534, 20)
        path.chmod(mode)

    @contextmanager
    def on(self) -> Iterator[int]:
        """Namespaces in which it is all there is, with ModemManager, which has a port open; the id of that process."""
        words = ["unshare", "-m", "-n", "sh", "-ec", DEV + INSIDE, "sh", str(self.folder)]
        words += [sys.executable, "-c", MODEM_MANAGER]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == b"so\n"
            yield process.pid
            process.stdin.close()

    def _shown(self, kind: str, name: str, function: Path) -> Path:
        path = function / kind / name
        path.mkdir(parents=True)
        link(path / "device", function)
        link(self._classes / kind / name, path)
        return path


def test_what_is_wrong_with_this_hosts_side_of_usb_is_found_where_the_kernel_shows_it(bench: Bench) -> None:
    machine = Machine(bench.folder / "machine")
    porch = machine.plug("1-1", "porch")
    machine.interface("porch0", machine.function(porch, 0, NCM, "cdc_ncm"), UP, carrier="0")
    machine.port("ttyACM0", machine.function(porch, 2, ACM, "cdc_acm"), 0o660)
    attic = machine.plug("1-2", "attic")
    machine.function(attic, 0, NCM)
    machine.port("ttyACM1", machine.function(attic, 2, ACM, "cdc_acm"))
    cellar = machine.plug("1-3", "cellar")
    machine.interface("cellar0", machine.function(cellar, 0, ECM, "cdc_ether"), UP, carrier="1")
    shed = machine.plug("1-4", "shed")
    machine.interface("shed0", machine.function(shed, 0, NCM, "cdc_ncm"), DOWN)
    barn = machine.plug("1-5", "barn")
    machine.interface("barn0", machine.function(barn, 0, NCM, "cdc_ncm"), UP, carrier="1")
    machine.port("ttyUSB0", machine.function(machine.plug("1-6", "a cable", ("0403", "6001")), 0, FTDI, "ftdi_sio"))
    machine.function(machine.plug("1-7", "a keyboard", ("046d", "c31c")), 0, KEYS)  # which is no matter of ours

    with machine.on() as pid:
        user = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")  # root, whom permissions hold
        bench.inside = ("nsenter", "-t", str(pid), "-m", "-n", *user)
        code, told = bench.run("doctor")
    assert code == 1
    told = [{**one, "message": one["message"].replace(f"process {pid}", "process 1")} for one in told]
    found = {one["message"]: one["hint"] for one in told if one["state"] != "well"}
    assert found.keys() == WRONG.keys()
    assert [do for what, do in WRONG.items() if do not in found[what]] == []
    well = {one["message"].partition(", fe80")[0] for one in told if one["state"] == "well"}
    assert {"cellar0 (cdc_ether) is up, at 169.254.3.4/16", "cellar: network function (ECM) by cdc_ether"} <= well
    assert {"porch: serial function (ACM) by cdc_acm", "/dev/ttyUSB0 is free"} <= well
    assert "keyboard" not in str(told)
