"""A real composite gadget in a real kernel: the machine is the board, and in a network namespace of its, also the host.

It needs no network, so it runs with all other tests where the machine's image is there already.

REACTOR_DEVICE=1 ./bootstrap pytest -n0 -s tests/device/test_gadget.py
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .machine import Machine, Unavailable, place

pytestmark = [pytest.mark.timeout(3600), pytest.mark.hostile]

TOP = Path(__file__).parents[2]
WAIT_S = 600.0
PORT = "/sys/bus/usb/devices/1-0:1.0/usb1-port1/disable"
BOUND = "/sys/kernel/config/usb_gadget/live-reactor/UDC"
SOFT = "/sys/class/udc/dummy_udc.0/soft_connect"
REPLUGS = {
    f"echo 1 >{PORT}": f"echo 0 >{PORT}",
    f"echo >{BOUND}": "gadget up",
    f"echo disconnect >{SOFT}": "gadget down; gadget up",  # the kernel's own way back leaves one that answers nothing
}
GONE = "wait_for 'test ! -e /sys/bus/usb/devices/1-1'"
BEGIN = """
set -e
cd /opt/code
gadget() { python3 -m bootloader gadget "$@"; }
wait_for() {
    tries=0
    until eval "$1"; do tries=$((tries + 1)); test $tries -lt 300 || { echo "never: $1" >&2; exit 1; }; sleep 0.2; done
}
links() { ls /sys/bus/usb/devices/1-1/*:*/net 2>/dev/null; }
to_host() { wait_for 'test -n "$(links)"'; ip link set "$(links)" netns host; }
carried() { to_host; ip -n host -o link | sed -n 's/.*\\(enx[0-9a-f]*\\):.*/\\1/p' >/tmp/link; up; }
up() { ip -n host link set "$(cat /tmp/link)" up; }
driver() { basename "$(readlink /sys/bus/usb/devices/1-1/1-1:1.0/driver)"; }
call() { ip netns exec host python3 calls.py "$(cat /sys/bus/usb/devices/1-1/serial)" "$(cat /tmp/link)"; }
alone() { "$@" >/tmp/alone 2>&1 </dev/null & echo $! >/tmp/pid; }
"""
PREPARE = """
printf '[Match]\nName=enx*\n[Link]\nUnmanaged=yes\n' >/run/systemd/network/10-cable.network
networkctl reload
modprobe -a dummy_hcd cdc_ncm cdc_ether cdc_acm
ip netns add host
ip -n host link set lo up
alone python3 answers.py
"""
CALLS = """
import socket, subprocess, sys, time
from bootloader.wire.cable import Cable
address = (str(Cable(sys.argv[1]).ipv6), 7717, 0, socket.if_nametoindex(sys.argv[2]))
end = time.monotonic() + 60
while True:
    try:
        sock = socket.socket(socket.AF_INET6)
        sock.settimeout(5)
        sock.connect(address)
        print(sock.recv(100).decode())
        break
    except OSError:
        if time.monotonic() > end:
            raise
        time.sleep(0.2)
"""
ANSWERS = """
import socket
server = socket.create_server(("::", 7717), family=socket.AF_INET6)
while True:
    with server.accept()[0] as sock:
        sock.sendall(b"hello")
"""
HOLDS = """
import os
end = os.open("/dev/ttyGS0", os.O_RDWR | os.O_NOCTTY)
print("held", flush=True)
os.read(end, 1)
"""
SPEAKS = """
import os, termios, tty
ours, theirs = (os.open(path, os.O_RDWR | os.O_NOCTTY) for path in ("/dev/ttyGS0", "/dev/ttyACM0"))
for end in (ours, theirs):
    tty.setraw(end)
os.write(theirs, b"from the host")
print(os.read(ours, 100).decode())
os.write(ours, b"from the board")
print(os.read(theirs, 100).decode())
"""


class Board:
    """The machine, with this code and nothing else."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            tar.add(TOP / "bootloader", "bootloader", filter=lambda one: None if "__pycache__" in one.name else one)
        machine.ssh("mkdir -p /opt/code && tar xzf - -C /opt/code", stdin=packed.getvalue(), wait_s=WAIT_S)
        for name, text in (("calls", CALLS), ("answers", ANSWERS), ("holds", HOLDS), ("speaks", SPEAKS)):
            machine.ssh(f"cat >/opt/code/{name}.py", stdin=text.encode(), wait_s=WAIT_S)
        self.run(PREPARE)

    def run(self, script: str) -> str:
        """What a script prints there; it has to succeed."""
        return self._machine.ssh(f"{BEGIN}\n{script}", wait_s=WAIT_S)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    if not os.environ.get("REACTOR_DEVICE") and not place().exists():
        pytest.skip("its image takes minutes: REACTOR_DEVICE=1 builds it")
    try:
        with Machine.booted(tmp_path_factory.mktemp("machine")) as machine:
            yield Board(machine)
    except Unavailable as error:
        pytest.skip(str(error))


def test_a_gadget_is_reached_by_its_serial_number_and_says_what_it_hears(board: Board) -> None:
    assert board.run("gadget up; carried; driver").split()[-1] == "cdc_ncm"
    assert board.run("call; python3 speaks.py") == "hello\nfrom the host\nfrom the board\n"


def test_up_once_more_pulls_no_cable(board: Board) -> None:
    number = "cat /sys/bus/usb/devices/1-1/devnum"
    board.run(f"before=$({number}); gadget up; test $before = $({number})")


def test_a_cable_that_is_pulled_and_plugged_in_again_leads_there_again(board: Board) -> None:
    for pull, plug in REPLUGS.items():
        assert board.run(f"{pull}; {GONE}; {plug}; carried; call").splitlines()[-1] == "hello"
    assert board.run("python3 speaks.py") == "from the host\nfrom the board\n"


def test_down_leaves_nothing_though_somebody_has_the_port_open(board: Board) -> None:
    board.run("alone python3 holds.py; wait_for 'grep -q held /tmp/alone'; gadget down; gadget down")
    board.run(GONE)
    names = "ls -A /sys/kernel/config/usb_gadget; ls /dev /sys/class/net | grep -E 'ttyGS|ttyACM|usb|enx' || true"
    assert board.run(names) == ""
    assert "enx" not in board.run("ip -n host -o link")


def test_a_host_that_says_nothing_gets_ecm_and_hears_over_that(board: Board) -> None:
    board.run("alone python3 -m bootloader gadget up --watch; wait_for 'test \"$(driver)\" = cdc_ncm'")
    assert (
        board.run("wait_for 'test \"$(driver)\" = cdc_ether'; carried; call; python3 speaks.py").split()[0] == "hello"
    )
    told = board.run(
        "driver; kill $(cat /tmp/pid); wait_for 'test ! -e /proc/$(cat /tmp/pid)'; cat /tmp/alone; gadget down"
    )
    assert told.startswith("cdc_ether\n")
    assert "the host says nothing over ncm: ecm now" in told
