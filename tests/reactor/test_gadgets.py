"""Boards on this host's USB, by the system's own folders: which are ours, which is meant, where it is called."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from bootloader.wire.cable import Cable
from bootloader.wire.errors import Fault
from reactor.console.choice import Found
from reactor.gadgets import Gadget, found, only

ONE, TWO = Cable.of("board one"), Cable.of("board two")
OURS = {"idVendor": "1d6b", "idProduct": "0104", "manufacturer": "live-reactor", "product": "porch"}


def plug(sys: Path, socket: str, interface: str = "", tty: str = "", carrier: str = "1", **says: str) -> Path:
    """A device in a socket of this machine, as the system's folders show it."""
    device = sys / "bus" / "usb" / "devices" / socket
    device.mkdir(parents=True)
    for name, text in {**OURS, **says}.items():
        (device / name).write_text(f"{text}\n")
    if interface:
        net = device / f"{socket}:1.0" / "net" / interface
        net.mkdir(parents=True)
        (net / "carrier").write_text(f"{carrier}\n")
    if tty:
        (device / f"{socket}:1.2" / "tty" / tty).mkdir(parents=True)
    return device


def test_a_board_is_found_with_its_network_and_its_serial_port(tmp_path: Path) -> None:
    plug(tmp_path, "1-1", "enx1", "ttyACM0", serial=ONE.serial)
    assert found(tmp_path) == [Gadget(ONE, "porch", "enx1", True, "/dev/ttyACM0")]
    assert found(tmp_path)[0].addresses == [f"[{ONE.ipv6}%enx1]:7717", f"{ONE.ipv4}:7717"]


@pytest.mark.parametrize(
    "says",
    [
        {"idVendor": "0525"},
        {"idProduct": "0002"},
        {"manufacturer": "Linux 6.1 with dwc2"},
        {"serial": ""},
        {"serial": "0123456789"},
        {"serial": "../../../etc"},
        {"serial": "01ab10fe0004"},
        {"serial": "\x1b[2J" + ONE.serial},
    ],
)
def test_what_is_none_of_ours_is_not_listed(says: dict[str, str], tmp_path: Path) -> None:
    plug(tmp_path, "1-1", **{"serial": ONE.serial, **says})
    assert [one for one in found(tmp_path) if one.cable.serial != ONE.serial] == []
    assert found(tmp_path) == [] or says.get("serial", "").endswith(ONE.serial)


def test_what_a_device_calls_itself_moves_no_cursor(tmp_path: Path) -> None:
    plug(tmp_path, "1-1", serial=ONE.serial, product="\x1b[2J\x07porch\n" + "x" * 10_000)
    assert all(each.isprintable() or each == "\ufffd" for each in str(found(tmp_path)[0]))
    assert len(str(found(tmp_path)[0])) < 600


def test_a_device_that_goes_while_it_is_read_is_as_far_as_it_was_read(tmp_path: Path) -> None:
    device = plug(tmp_path, "1-1", "enx1", serial=ONE.serial)
    (device / "1-1:1.0" / "net" / "enx1" / "carrier").unlink()
    (device / "product").unlink()
    assert found(tmp_path) == [Gadget(ONE, "", "enx1", False)]


def test_an_interface_is_read_whatever_it_is_called(tmp_path: Path) -> None:
    plug(tmp_path, "1-1", "usb[0]", serial=ONE.serial)
    plug(tmp_path, "1-2", "enx2", serial=TWO.serial)
    assert {(one.interface, one.has_carrier) for one in found(tmp_path)} == {("usb[0]", True), ("enx2", True)}


def test_two_boards_are_told_apart_by_serial_number(tmp_path: Path) -> None:
    plug(tmp_path, "1-1", "enx1", serial=ONE.serial)
    plug(tmp_path, "1-2", "enx2", serial=TWO.serial)
    both = found(tmp_path)
    assert [one.cable for one in both] == sorted([ONE, TWO], key=lambda cable: cable.serial)
    with pytest.raises(Fault, match=f"{ONE.serial}.*{TWO.serial}|{TWO.serial}.*{ONE.serial}") as several:
        only(both, "usb")
    assert several.value.code == "several-devices"
    assert only(both, f"usb:{TWO.serial[:6]}").interface == "enx2"
    assert only(both, f"usb:{ONE.serial.upper()}").interface == "enx1"
    with pytest.raises(Fault, match="no such board") as none:
        only(both, "usb:ffffffffffff")
    assert none.value.code == "no-device"


def test_where_none_is_it_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="bootloader gadget up"):
        only(found(tmp_path, list), "usb")


def test_without_those_folders_serial_ports_tell_of_boards_and_every_interface_may_lead_there(tmp_path: Path) -> None:
    ports = [
        Found("/dev/cu.usbmodem1", (0x1D6B, 0x0104), ONE.serial.upper(), "1-1", "porch"),
        Found("/dev/cu.usbmodem2", (0x0403, 0x6001), TWO.serial),
        Found("/dev/cu.Bluetooth"),
    ]
    (one,) = found(tmp_path / "none", lambda: ports)
    assert (one.cable, one.port) == (ONE, "/dev/cu.usbmodem1")
    links = [link for _, link in socket.if_nameindex() if link != "lo"]
    assert one.addresses == [*(f"[{ONE.ipv6}%{link}]:7717" for link in links), f"{ONE.ipv4}:7717"]
