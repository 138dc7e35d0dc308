"""A kernel's gadgets in a plain folder: what configfs, a controller and a network interface do, and refuse."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from bootloader.gadget.configfs import Configfs
from bootloader.gadget.design import Link, Make, Remove, Step, Unlink, Write

UDC = "dummy_udc.0"
INTERFACE = "usb0"
_OWN = ("idVendor", "idProduct", "bcdDevice", "bcdUSB", "bDeviceClass", "bDeviceSubClass", "bDeviceProtocol", "UDC")
_FILES = {
    "": _OWN,
    "strings": ("serialnumber", "manufacturer", "product"),
    "configs": ("MaxPower", "bmAttributes"),
    "ncm": ("dev_addr", "host_addr", "ifname"),
    "ecm": ("dev_addr", "host_addr", "ifname"),
    "acm": ("port_num",),
}


def refuse(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class Kernel(Configfs):
    """One with a controller. ``calls``: the steps that it has carried out; ``most``: how many, before it is cut off."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "config")
        self.gadget = self.root / "usb_gadget" / "live-reactor"
        self.gadget.parent.mkdir(parents=True)
        self.sys, self.dev = folder / "sys", folder / "dev"
        self.controller = self.sys / "class" / "udc" / UDC
        self.controller.mkdir(parents=True)
        self.attach("not attached")
        self.interface = self.sys / "class" / "net" / INTERFACE
        self.dev.mkdir()
        self.calls: list[Step] = []
        self.most = 1000

    def attach(self, state: str) -> None:
        """A host sets it up, or goes."""
        (self.controller / "state").write_text(f"{state}\n")

    def hear(self, packets: int) -> None:
        """So many packets came."""
        (self.interface / "statistics" / "rx_packets").write_text(f"{packets}\n")

    @property
    def bound(self) -> str:
        return (self.gadget / "UDC").read_text().strip() if self.gadget.exists() else ""

    def do(self, step: Step, path: Path) -> None:
        if len(self.calls) >= self.most:
            raise refuse(errno.EIO)
        match step:
            case Make(name):
                self._make(name, path)
            case Write(name, text):
                self._write(name, text, path)
            case Link(_, to):
                if self.bound:
                    raise refuse(errno.EINVAL)
                assert (self.gadget / to).is_dir()
                path.symlink_to(Path("../../../../usb_gadget/live-reactor", to))
            case Unlink():
                if self.bound:
                    raise refuse(errno.EBUSY)
                path.unlink()
            case Remove(name):
                self._remove(name, path)
        self.calls.append(step)

    def _make(self, name: str, path: Path) -> None:
        path.mkdir()
        kind = path.name.partition(".")[0] if name.startswith("functions/") else ""
        files = _FILES[kind or ("strings" if "strings" in name else name.partition("/")[0])]
        for file in files:
            text = "0" if file == "port_num" else "(unnamed net_device)" if file == "ifname" else ""
            (path / file).write_text(f"{text}\n")
        for each in ("configs", "functions", "strings", "os_desc", "webusb") if not name else ():
            (path / each).mkdir()
        if kind == "acm":
            (self.dev / "ttyGS0").touch()
        if name.startswith("configs/") and "strings" not in name:
            (path / "strings").mkdir()
        if "strings" in name and name.startswith("configs/"):
            (path / "configuration").touch()

    def _write(self, name: str, text: str, path: Path) -> None:
        if not path.exists():
            raise refuse(errno.ENOENT)
        links = [one.name for one in self.gadget.glob("configs/*/*") if one.is_symlink()]
        if name.startswith("functions/") and path.parent.name in links:
            raise refuse(errno.EBUSY)
        if name == "UDC":
            if bool(text) == bool(self.bound):
                raise refuse(errno.EBUSY if text else errno.ENODEV)
            if text and any(f"{text}\n" == one.read_text() for one in self.gadget.parent.glob("*/UDC")):
                raise refuse(errno.EBUSY)
            if text and (text != UDC or not links):
                raise refuse(errno.ENODEV)
            if text:
                ether = next(one for one in links if not one.startswith("acm"))
                (self.gadget / "functions" / ether / "ifname").write_text(f"{INTERFACE}\n")
                (self.interface / "statistics").mkdir(parents=True, exist_ok=True)
                self.hear(0)
        path.write_text(f"{text}\0\n" if path.name.endswith("_addr") else f"{text}\n")  # as Linux 6.1 tells them

    def _remove(self, name: str, path: Path) -> None:
        held = [one for one in path.rglob("*") if one.is_symlink()]
        made = [one for one in path.glob("strings/*") if one.is_dir()]
        made += [one for kind in ("configs", "functions") for one in (path.glob(f"{kind}/*") if not name else ())]
        users = [one for one in self.gadget.glob("configs/*/*") if one.is_symlink() and one.name == path.name]
        if held or made or users or self.bound:
            raise refuse(errno.EBUSY if users else errno.ENOTEMPTY)
        shutil.rmtree(path)
        if name.startswith("functions/acm"):
            (self.dev / "ttyGS0").unlink()
        elif name.startswith("functions/"):
            shutil.rmtree(self.interface, ignore_errors=True)
