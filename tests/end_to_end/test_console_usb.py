"""Serial ports on USB: the command sees a ``/dev`` and a ``/sys/class/tty`` that hold what a kernel would show."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from .conftest import WAIT_S, Bench
from .serial_device import Device
from .user_terminal import UserTerminal


def has_namespaces() -> bool:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not has_namespaces(), reason="takes root, and mount namespaces")

GADGET = {"idVendor": "0525", "idProduct": "a4a7", "product": "Gadget Serial v2.4", "bNumInterfaces": "1"}
CABLE = {"idVendor": "0403", "idProduct": "6001", "product": "FT232R USB UART", "bNumInterfaces": "1"}
DEV = """
cd "$1"
mount --bind /dev/pts dev/pts
for name in null zero urandom; do touch dev/$name; mount --bind /dev/$name dev/$name; done
mount --rbind dev /dev
"""
SYSTEM = f"""{DEV}
mount --bind sys /sys/class/tty
cd "$2"
shift 2
exec "$@"
"""


class Usb:
    """A machine's USB: what is plugged into which of its sockets."""

    def __init__(self, bench: Bench) -> None:
        self._folder = bench.folder / "machine"
        self._bench = bench
        for name in ("dev/pts", "sys", "usb/bus/usb"):
            (self._folder / name).mkdir(parents=True)

    def plug(self, name: str, socket: str, says: dict[str, str]) -> Device:
        interface = self._folder / "usb" / socket / f"{socket}:1.0"
        interface.mkdir(parents=True)
        for key, value in says.items():
            (interface.parent / key).write_text(f"{value}\n")
        (interface / "subsystem").symlink_to(self._folder / "usb" / "bus" / "usb")
        (self._folder / "sys" / name).mkdir()
        (self._folder / "sys" / name / "device").symlink_to(interface)
        return Device(self._folder / "dev" / name)

    def unplug(self, device: Device, socket: str) -> None:
        device.unplug()
        shutil.rmtree(self._folder / "usb" / socket)
        shutil.rmtree(self._folder / "sys" / device.path.name)

    def command(self, *arguments: str) -> list[str]:
        """``reactor console`` on that machine."""
        system = ["unshare", "-m", "sh", "-ec", SYSTEM, "sh", str(self._folder), str(self._bench.folder)]
        return [*system, sys.executable, "-m", "reactor", "console", *arguments]

    def terminal(self, *arguments: str) -> UserTerminal:
        return UserTerminal(self.command(*arguments), self._bench.env, self._bench.folder)


@pytest.fixture
def usb(bench: Bench) -> Usb:
    return Usb(bench)


def test_the_board_comes_before_the_cable(usb: Usb) -> None:
    with usb.plug("ttyACM0", "1-1.4", GADGET), usb.plug("ttyUSB0", "1-1.2", CABLE), usb.terminal() as terminal:
        terminal.wait_line("/dev/ttyACM0 is open: 115200 8N1")
        terminal.press(b"\x1d.")
        assert terminal.finish() == 0


def test_of_several_a_terminal_asks_and_a_pipe_lists_them(usb: Usb, bench: Bench) -> None:
    first, second = ({**CABLE, "serial": number} for number in ("A1", "B2"))
    with usb.plug("ttyUSB0", "1-1.2", first), usb.plug("ttyUSB1", "1-1.3", second):
        with usb.terminal() as terminal:
            terminal.wait(lambda it: b"which, 1 to 2? " in it.shown)
            assert terminal.lines()[:2] == [
                "1  /dev/ttyUSB0 (FTDI FT232, serial number A1, at 1-1.2)",
                "2  /dev/ttyUSB1 (FTDI FT232, serial number B2, at 1-1.3)",
            ]
            terminal.press(b"3\n")
            terminal.wait(lambda it: it.shown.count(b"which, 1 to 2? ") == 2)
            terminal.press(b"2\n")
            terminal.wait_line("/dev/ttyUSB1 is open: 115200 8N1")
            terminal.press(b"\x1d.")
            assert terminal.finish() == 0
        done = subprocess.run(usb.command(), env=bench.env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=WAIT_S, check=False)  # fmt: skip
        assert done.returncode == 1
        assert "several serial ports (name one: /dev/ttyUSB0 (FTDI FT232, serial number A1" in done.stdout


@pytest.mark.parametrize(
    ("says", "name", "socket"),
    [
        pytest.param({**GADGET, "serial": "c0ffee"}, "ttyACM3", "3-2", id="by its serial number, wherever it is"),
        pytest.param(GADGET, "ttyACM1", "1-1.4", id="by its socket, under whatever name"),
    ],
)
def test_a_board_that_comes_back_is_known(usb: Usb, says: dict[str, str], name: str, socket: str) -> None:
    board = usb.plug("ttyACM0", "1-1.4", says)
    with usb.terminal("--wait") as terminal:
        terminal.wait_line("/dev/ttyACM0 is open: 115200 8N1")
        usb.unplug(board, "1-1.4")
        terminal.wait(lambda it: b"is gone" in it.shown)
        with usb.plug("ttyACM0", "1-1.1", {**CABLE, "serial": "other"}), usb.plug(name, socket, says) as again:
            terminal.wait_line(f"/dev/ttyACM0 is open: back, as /dev/{name}")
            again.say(b"hello\r\n")
            terminal.wait_line("hello")
            terminal.press(b"\x1d.")
            assert terminal.finish() == 0


def test_a_board_is_waited_for_before_it_is_plugged_in(usb: Usb) -> None:
    with usb.terminal("--wait") as terminal:
        terminal.wait(lambda it: b"no serial port is on USB here" in it.shown)
        with usb.plug("ttyACM0", "1-1.4", GADGET):
            terminal.wait_line("/dev/ttyACM0 is open: 115200 8N1")
            terminal.press(b"\x1d.")
            assert terminal.finish() == 0
