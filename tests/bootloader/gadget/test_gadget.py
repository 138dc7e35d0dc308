"""A gadget comes up whole from wherever it was, and goes without a trace: on a kernel's folders, with its refusals."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from bootloader.gadget import port
from bootloader.gadget.board import board_id
from bootloader.gadget.design import ACM, CONFIGURATION, Remove, Step, Unlink, function
from bootloader.gadget.gadget import Gadget
from bootloader.wire.cable import Cable
from bootloader.wire.errors import Fault
from tests.bootloader.gadget.kernel import INTERFACE, UDC, Kernel

CABLE = Cable.of("10000000abcdef12")
LONGEST_S = 20


class Board:
    """A gadget on a kernel; which interface was given which addresses."""

    def __init__(self, folder: Path) -> None:
        self.kernel = Kernel(folder)
        self.given: list[tuple[str, IPv4Address, IPv6Address]] = []
        self.turn: Callable[[], bool] = lambda: True
        give = lambda *words: self.given.append(words)  # noqa: E731
        self.gadget = Gadget(
            CABLE, lambda _: self.turn(), config=self.kernel, sys=self.kernel.sys, dev=self.kernel.dev, give=give
        )


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def test_it_is_a_network_and_a_serial_port_of_this_board(board: Board) -> None:
    assert board.gadget.up("porch")
    there = board.kernel.there()
    assert there.functions == ["acm.usb0", "ncm.usb0"]
    assert there.files["functions/ncm.usb0/dev_addr"] == CABLE.device_mac
    assert there.files["functions/ncm.usb0/host_addr"] == CABLE.host_mac
    assert board.given[-1] == (INTERFACE, CABLE.ipv4, CABLE.ipv6)
    status = board.gadget.status()
    assert (status.serial, status.controller, status.network) == (CABLE.serial, UDC, "ncm")
    assert (status.interface, status.port) == (INTERFACE, str(board.kernel.dev / "ttyGS0"))
    assert not status.is_configured


def test_up_twice_is_as_once(board: Board) -> None:
    board.gadget.up("porch")
    calls = list(board.kernel.calls)
    assert not board.gadget.up("porch")
    assert board.kernel.calls == calls


def test_one_that_was_made_halfway_is_mended_and_goes_without_a_trace(tmp_path: Path) -> None:
    whole = Board(tmp_path / "whole")
    whole.gadget.up("porch")
    wanted = whole.kernel.there()
    for most in range(len(whole.kernel.calls)):
        for does in ("up", "down")[: 2 if most % 4 == 0 else 1]:
            board = Board(tmp_path / f"{most} {does}")
            board.kernel.most = most
            with pytest.raises(Fault) as cut:
                board.gadget.up("porch")
            assert cut.value.code == "gadget-refused"
            board.kernel.most = 1000
            if does == "up":
                assert board.gadget.up("porch")
                assert board.kernel.there() == wanted
            board.gadget.down()
            assert not board.kernel.gadget.exists(), most


def test_going_can_be_cut_anywhere_and_goes_on(tmp_path: Path) -> None:
    for more in range(12):
        board = Board(tmp_path / str(more))
        board.gadget.up("porch")
        board.kernel.most = len(board.kernel.calls) + more
        try:
            board.gadget.down()
        except Fault:
            board.kernel.most = 1000
            assert board.gadget.down()
        assert not board.kernel.gadget.exists()
    assert not board.gadget.down()


def test_what_somebody_has_changed_is_made_anew(board: Board) -> None:
    board.gadget.up("porch")
    (board.kernel.gadget / "strings" / "0x409" / "serialnumber").write_text("0123456789\n")
    assert board.gadget.up("porch")
    assert board.kernel.there().files["strings/0x409/serialnumber"] == CABLE.serial


def test_the_kind_of_network_stays_what_it_is_until_another_is_named(board: Board) -> None:
    board.gadget.up("porch", "ecm")
    assert not board.gadget.up("porch")
    assert board.kernel.there().network == "ecm"
    assert board.gadget.up("porch", "ncm")
    assert board.kernel.there().functions == ["acm.usb0", "ncm.usb0"]


def test_a_controller_that_another_gadget_has_is_named_with_that(board: Board) -> None:
    other = board.kernel.root / "usb_gadget" / "g1"
    other.mkdir()
    (other / "UDC").write_text(f"{UDC}\n")
    with pytest.raises(Fault, match="is the gadget 'g1' already") as busy:
        board.gadget.up("porch")
    assert busy.value.code == "udc-busy"


def test_without_a_controller_it_says_what_a_raspberry_pi_needs(board: Board) -> None:
    for file in board.kernel.controller.iterdir():
        file.unlink()
    board.kernel.controller.rmdir()
    with pytest.raises(Fault, match="dtoverlay=dwc2") as none:
        board.gadget.up("porch")
    assert none.value.code == "no-udc"
    assert not board.kernel.calls


def test_a_status_of_none_is_a_fault_that_says_how_to_have_one(board: Board) -> None:
    with pytest.raises(Fault, match="bootloader gadget up"):
        board.gadget.status()


def test_a_silent_host_gets_the_older_network_with_a_login_and_one_that_speaks_keeps_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, systemctl = tmp_path / "asked", tmp_path / "systemctl"
    asked.touch()
    systemctl.write_text(f"#!/bin/sh\necho \"$@\" >>'{asked}'\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for packets, network in ((0, "ecm"), (1, "ncm")):
        board = Board(tmp_path / network)
        board.gadget.up("porch")
        board.kernel.attach("configured")
        now = iter(range(0, 1000, 2))
        monkeypatch.setattr("bootloader.gadget.gadget.monotonic", lambda now=now: float(next(now)))
        monkeypatch.setattr("bootloader.gadget.address.again", lambda _: None)
        looks = iter(range(LONGEST_S))

        def turn(board: Board = board, looks: object = looks, packets: int = packets) -> bool:
            look = next(looks, None)  # type: ignore[call-overload]
            if look == 1:
                board.kernel.hear(packets)
            return look is None

        board.turn = turn
        said: list[str] = []
        board.gadget.watch("porch", said.append, login=True)
        assert board.kernel.there().network == network
        assert bool(said) == (network == "ecm")
        assert asked.read_text() == ("start serial-getty@ttyGS0.service\n" if said else "")
        asked.write_text("")


def test_a_host_that_sleeps_finds_what_it_left(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    board.gadget.up("porch")
    seen = iter([("configured", 0), ("configured", 1), *[("suspended", 1)] * 15, *[("configured", 1)] * 15])
    now = iter(range(1000))
    monkeypatch.setattr("bootloader.gadget.gadget.monotonic", lambda: float(next(now)))

    def turn() -> bool:
        state, packets = next(seen, ("", 0))
        board.kernel.attach(state)
        board.kernel.hear(packets)
        return not state

    board.turn = turn
    before = list(board.kernel.calls)
    board.gadget.watch("porch", pytest.fail)
    assert board.kernel.calls == before


def test_a_watch_ends_when_the_gadget_is_taken_down(board: Board) -> None:
    board.gadget.up("porch")

    def turn() -> bool:
        board.turn = lambda: False
        board.gadget.down()
        return False

    board.turn = turn
    board.gadget.watch("porch", pytest.fail)


# whose port it is

HOLD = "import os, sys; end = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY); print('open', flush=True); os.read(end, 1)"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may hang up on others")
def test_who_has_the_port_open_is_hung_up_on() -> None:
    ours, theirs = pty.openpty()
    path = Path(os.ttyname(theirs))
    os.close(theirs)
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as one:
        assert one.stdout is not None
        assert one.stdout.readline() == b"open\n"
        assert [str(one.pid) in name for name in port.holders(path)] == [True]
        port.free(path, lambda _: None, LONGEST_S)
        assert port.holders(path) == []
    os.close(ours)


def test_who_keeps_it_open_is_named(tmp_path: Path) -> None:
    held = tmp_path / "ttyGS0"
    with held.open("w"), pytest.raises(Fault, match=rf"\({os.getpid()}\) has it open") as named:
        port.free(held, lambda _: None, 0.0)
    assert named.value.code == "port-held"


def test_a_port_that_can_not_be_had_leaves_the_cable_as_it_is(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    board.gadget.up("porch")
    before = board.kernel.there()
    monkeypatch.setattr(port, "monotonic", iter(range(0, 1000, 10)).__next__)
    with (board.kernel.dev / "ttyGS0").open(), pytest.raises(Fault, match="has it open"):
        board.gadget.down()
    assert board.kernel.there() == before
    assert board.kernel.bound == UDC


def test_a_port_that_somebody_opens_meanwhile_is_looked_at_again_before_the_kernel_would_wait(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.gadget.up("porch")
    do, before = board.kernel.do, len(board.kernel.calls)
    with ExitStack() as held:

        def opened_again(step: Step, path: Path) -> None:
            do(step, path)
            if isinstance(step, Unlink):
                held.enter_context((board.kernel.dev / "ttyGS0").open())

        monkeypatch.setattr(board.kernel, "do", opened_again)
        monkeypatch.setattr(port, "monotonic", iter(range(0, 1000, 10)).__next__)
        with pytest.raises(Fault, match="has it open"):
            board.gadget.down()
    assert Remove(CONFIGURATION) in board.kernel.calls[before:]
    assert Remove(function(ACM)) not in board.kernel.calls[before:]
    assert board.gadget.down()
    assert not board.kernel.gadget.exists()


def test_a_descriptor_that_closes_during_the_look_hides_no_other(tmp_path: Path) -> None:
    """As one that is no link any more."""
    descriptors = tmp_path / "12" / "fd"
    descriptors.mkdir(parents=True)
    (tmp_path / "12" / "comm").write_text("cat\n")
    for number in range(20):
        (descriptors / f"{number}").touch()
    (descriptors / "20").symlink_to("/dev/ttyGS0")
    assert port.holders(Path("/dev/ttyGS0"), tmp_path) == ["cat (12)"]


# which board it is


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"proc/device-tree/serial-number": "10000000abcdef12\0", "etc/machine-id": "ab" * 16}, "10000000abcdef12"),
        ({"proc/device-tree/serial-number": "0000000000000000\0", "etc/machine-id": "ab" * 16}, "ab" * 16),
        ({"sys/class/dmi/id/product_uuid": "0000-0000-0000", "etc/machine-id": "cd" * 16}, "cd" * 16),
        ({"sys/devices/soc0/serial_number": "0a1b2c3d4e5f\n"}, "0a1b2c3d4e5f"),
    ],
)  # fmt: skip
def test_a_board_is_what_is_burnt_into_it_before_what_is_on_its_card(
    files: dict[str, str], told: str, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert board_id(tmp_path) == told


def test_a_board_without_any_says_how_to_have_one(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "machine-id").write_text("uninitialized\n")  # an image that has never started
    with pytest.raises(Fault, match="systemd-machine-id-setup"):
        board_id(tmp_path)
