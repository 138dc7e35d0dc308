"""A board on USB, without any: its network is a cable between namespaces, and the system's folders are made by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.cable import Cable as Line
from bootloader.wire.cable import Cable
from reactor.trust import make_identity, remember
from tests.reactor.test_gadgets import plug

from .conftest import WAIT_S, Bench, until
from .network import Network, Plugged, address_file, networked

PORCH, ATTIC = Cable.of("the porch's board"), Cable.of("the attic's board")
ELSEWHERE = "10.77.0.9:7717"
GIVE = "import sys; from bootloader.gadget.address import give; from bootloader.wire.cable import Cable; "
GIVE += "cable = Cable(sys.argv[1]); [give('cable', cable.ipv4, cable.ipv6) for _ in range(2)]"
ADDRESSES = "from bootloader.gadget.address import given; print(*given('cable'))"


@pytest.fixture
def network(bench: Bench) -> Iterator[Network]:
    """A cable to the porch's board; at the host's end of it are the commands, which see both boards on USB."""
    sys_folder = bench.folder / "sys"
    plug(sys_folder, "1-1", "cable", serial=PORCH.serial)
    plug(sys_folder, "1-2", "another", serial=ATTIC.serial)
    with networked(ipv4=False) as made:
        mounted = f"mount --bind '{sys_folder}/bus' /sys/bus && exec \"$@\""
        bench.inside = ("ip", "netns", "exec", made.host, "sh", "-c", mounted, "sh")
        inside(made, GIVE, PORCH.serial)
        until(lambda: not made.is_tentative(made.device))
        yield made


def inside(network: Network, code: str, *words: str) -> str:
    """What ``code`` prints at the device's end."""
    command = ["ip", "netns", "exec", network.device, sys.executable, "-c", code, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=WAIT_S).stdout


def plug_in(network: Network) -> None:
    """As if the cable was plugged in now: the host's own address on it is not to be used for a second."""
    for state in ("down", "up"):
        network.ip("link", "set", "cable", state, at=network.host)


@pytest.fixture
def line(bench: Bench) -> Iterator[Line]:
    """The cable's serial port, where the system's folders say that it is."""
    with Line() as made:
        port = Path("/dev", f"ttyACM-{bench.folder.name}-{os.getpid()}")
        port.symlink_to(made.host)
        (bench.folder / "sys/bus/usb/devices/1-1/1-1:1.2/tty" / port.name).mkdir(parents=True)
        yield made
        port.unlink()


def test_a_board_on_usb_is_paired_with_and_reached_by_its_serial_number_and_by_its_name(
    bench: Bench, network: Network, line: Line
) -> None:
    given = inside(network, ADDRESSES).split()
    assert given[0] == str(PORCH.ipv4)
    assert str(PORCH.ipv6) in given
    porch = Plugged(bench, network, "porch", ELSEWHERE)
    usb = f"usb:{PORCH.serial}"
    try:
        porch.on("--no-announce", "--rescue", line.device)
        code, (problem,) = bench.run("status", "-t", usb)
        assert (code, problem["code"]) == (1, "unknown-device")
        assert f"reactor pair {usb}" in problem["message"]
        pairing = porch.state / "run" / "pairing"
        until(lambda: pairing.exists() and len(pairing.read_text().split()) == 3)
        plug_in(network)
        code, (paired,) = bench.run("pair", usb, "--code", pairing.read_text().split()[0])
        assert (code, paired["target"]) == (0, "porch"), paired
        known = address_file(bench, "porch")
        here = f"[{PORCH.ipv6}%cable]:7717"
        known.write_text(ELSEWHERE)  # as if it had been met on a network, and nowhere else
        assert bench.run("status", "-t", "porch")[0] == 0
        assert known.read_text().startswith(here)
        known.write_text(ELSEWHERE)
        remember(bench.home, "card", make_identity("card").cert_pem, here)  # which was in that board before
        plug_in(network)
        code, (status,) = bench.run("status", "-t", usb)
        assert (code, status["target"]) == (0, "porch")
        assert not any(line.count_bytes.values())
        assert known.read_text().startswith(here)
        code, (problem,) = bench.run("status", "-t", f"usb:{ATTIC.serial}")
        assert (code, problem["code"]) == (1, "link-down")
        assert "bootloader run --listen" in problem["message"]
        network.ip("link", "set", "cable", "down")
        assert bench.run("status", "-t", usb)[0] == 0  # over the other half of its cable
        assert min(line.count_bytes.values()) > 0
    finally:
        porch.off()
