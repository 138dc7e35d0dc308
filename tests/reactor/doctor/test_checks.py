"""Each check is a decision over facts: what is found, and that nothing is where all is well."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from reactor.doctor import checks
from reactor.doctor.checks import (
    DOUBTFUL,
    WELL,
    WRONG,
    Attempt,
    Finding,
    Function,
    Health,
    Interface,
    Key,
    Route,
    SerialPort,
)

ETHERNET = Interface("eth0", True, True, ("192.168.1.5/24",))
GADGET = Interface("usb0", True, True, ("169.254.3.4/16", "fe80::1/64"), "cdc_ncm", is_usb=True)
TUNNEL = Interface("tun0", True, True, ("10.8.0.2/24",), is_tunnel=True)
PORT = SerialPort("/dev/ttyACM0", True, "dialout")
FINE = Health("0.1.0", (3, 11, 2), 0.4, 10**10, 3 * 10**10, "bootloader.service", True)


def bad(found: Iterable[Finding]) -> list[tuple[str, str]]:
    """The check and the state of what is not well; each of these says what to do, if it is wrong."""
    findings = list(found)
    assert all(one.do for one in findings if one.state == WRONG)
    return [(one.check, one.state) for one in findings if one.state != WELL]


INTERFACES: dict[str, tuple[list[Interface], list[tuple[str, str]]]] = {
    "all well": ([ETHERNET, GADGET], []),
    "a gadget without carrier": ([ETHERNET, replace(GADGET, carrier=False)], [("interface", WRONG)]),
    "a gadget that is down": ([ETHERNET, replace(GADGET, is_up=False, carrier=None)], [("interface", WRONG)]),
    "a gadget without an address": ([ETHERNET, replace(GADGET, addresses=())], [("interface", WRONG)]),
    "an unplugged port that nobody uses": ([GADGET, replace(ETHERNET, carrier=False)], []),
    "no network at all": ([replace(ETHERNET, carrier=False)], [("network", DOUBTFUL)]),
    "a VPN is no network": ([TUNNEL], [("network", DOUBTFUL)]),
}


@pytest.mark.parametrize("name", INTERFACES)
def test_a_cable_that_leads_nowhere_is_found(name: str) -> None:
    found, wanted = INTERFACES[name]
    assert bad(checks.interfaces(found)) == wanted


LAN = Route("192.168.1.0/24", "eth0", 100)
CABLE = Route("169.254.0.0/16", "usb0", 1000)
HALVES = (Route("0.0.0.0/1", "tun0"), Route("128.0.0.0/1", "tun0"))
DEFAULT = Route("0.0.0.0/0", "eth0", 100)
ROUTES: dict[str, tuple[list[Route], list[Interface], list[str], bool]] = {
    "no VPN": ([LAN, CABLE, DEFAULT], [ETHERNET, GADGET], ["192.168.1.9"], False),
    "a VPN beside local routes": ([LAN, CABLE, *HALVES], [ETHERNET, GADGET, TUNNEL], ["192.168.1.9"], False),
    "a VPN that takes link-local": ([LAN, *HALVES], [ETHERNET, GADGET, TUNNEL], [], True),
    "a VPN that takes the board": (
        [LAN, Route("192.168.1.0/24", "tun0", 5), DEFAULT],
        [ETHERNET, TUNNEL],
        ["192.168.1.9"],
        True,
    ),
    "a board behind the VPN": ([LAN, *HALVES], [ETHERNET, TUNNEL], ["10.20.0.7"], False),
    "the longer prefix wins": ([*HALVES, CABLE], [GADGET, TUNNEL], ["169.254.1.1"], False),
}


@pytest.mark.parametrize("name", ROUTES)
def test_a_vpn_that_takes_what_is_for_a_board_nearby_is_found(name: str) -> None:
    found, links, targets, is_wrong = ROUTES[name]
    assert bad(checks.routes(found, links, targets)) == [("route", WRONG)] * is_wrong


def test_a_usb_function_without_a_driver_is_found() -> None:
    ours = Function("Pi Zero", "network function (NCM)", "cdc_ncm", "cdc_ncm")
    assert bad(checks.drivers([ours])) == []
    (finding,) = checks.drivers([replace(ours, driver="")])
    assert (finding.state, finding.do.split(";")[0]) == (WRONG, "sudo modprobe cdc_ncm")


PORTS: dict[str, tuple[SerialPort, bool, list[tuple[str, str]]]] = {
    "ours": (PORT, False, []),
    "of a group that we are not in": (replace(PORT, is_ours=False), False, [("port", WRONG)]),
    "in use": (replace(PORT, holders="tio (process 7)"), False, [("port", DOUBTFUL)]),
    "with ModemManager": (PORT, True, [("modem-manager", DOUBTFUL)]),
    "a cable that ModemManager leaves alone": (replace(PORT, path="/dev/ttyUSB0"), True, []),
}


@pytest.mark.parametrize("name", PORTS)
def test_a_port_that_this_user_cannot_have_is_found(name: str) -> None:
    port, modem_manager, wanted = PORTS[name]
    assert bad(checks.ports([port], modem_manager=modem_manager, user="pi")) == wanted


def test_multicast_that_does_not_leave_is_found() -> None:
    assert bad(checks.multicast([("192.168.1.5", "")])) == []
    assert bad(checks.multicast([("192.168.1.5", "Operation not permitted")])) == [("discovery", WRONG)]
    assert bad(checks.multicast([("192.168.1.5", checks.UNHEARD)])) == [("discovery", DOUBTFUL)]
    assert bad(checks.multicast([], "no zeroconf")) == [("discovery", WRONG)]


HEARD: dict[str, tuple[str, bool, bool, list[tuple[str, str]]]] = {
    "heard": ("192.168.1.9", True, True, []),
    "not heard, on this host's network": ("192.168.1.9", True, False, [("discovery", WRONG)]),
    "not heard, at the end of a cable": ("fe80::9%usb0", True, False, [("discovery", WRONG)]),
    "elsewhere, where no multicast leads": ("10.1.2.3", True, False, []),
    "it does not announce itself": ("192.168.1.9", False, False, [("discovery", DOUBTFUL)]),
    "on this machine, which it tells nobody": ("127.0.0.1", False, False, []),
}


@pytest.mark.parametrize("name", HEARD)
def test_a_device_that_answers_and_is_not_heard_is_found(name: str) -> None:
    at, announced, is_heard, wanted = HEARD[name]
    assert bad(checks.heard(at, [ETHERNET, GADGET], announced=announced, is_heard=is_heard)) == wanted


@pytest.mark.parametrize(
    ("mode", "state"), [(0o600, WELL), (0o700, WELL), (0o640, WRONG), (0o602, WRONG), (0o604, WRONG)]
)
def test_a_key_that_others_may_read_or_change_is_found(mode: int, state: str) -> None:
    assert [one.state for one in checks.keys([Key("host.key", mode)])] == [state]


OUTCOMES = {
    checks.REFUSED: "systemctl status bootloader",
    checks.SILENT: "ufw allow 7717/tcp",
    checks.UNREACHABLE: "reactor devices",
    checks.UNKNOWN_NAME: "libnss-mdns",
    checks.FORBIDDEN: "TCP port 7717",
    "Is a directory": "bootloader runs there",
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_why_nothing_answers_is_told_apart(outcome: str) -> None:
    (finding,) = checks.reached([Attempt("10.0.0.2:7717", outcome)])
    assert finding.state == WRONG
    assert OUTCOMES[outcome] in finding.do


def test_where_one_address_answers_the_others_are_no_matter() -> None:
    attempts = [Attempt("10.0.0.2:7717", checks.REFUSED), Attempt("10.0.0.3:7717", checks.ANSWERS)]
    assert list(checks.reached(attempts)) == []
    assert bad(checks.reached([])) == [("reach", WRONG)]


def test_a_key_that_changed_is_told_from_a_host_that_is_not_obeyed() -> None:
    assert checks.trusted("porch", "", "", "").state == WELL
    other = "its certificate is not the one that this host knows the device by"
    assert "reactor trust remove porch" in checks.trusted("porch", "untrusted", other, "").do
    assert checks.trusted("porch", "untrusted", "the device does not obey this host", "").do.startswith("reactor pair")
    assert checks.trusted("porch", "port-held", "is in use", "end it").do == "end it"
    apart = checks.trusted("porch", "other-protocol", "the other end speaks protocol 0", "renew it")
    assert (apart.check, apart.do) == ("versions", "renew it")


HEALTH: dict[str, tuple[Health, list[tuple[str, str]]]] = {
    "well": (FINE, []),
    "its clock begins in 1970": (replace(FINE, clock_off_s=-1.8e9), [("clock", DOUBTFUL)]),
    "its clock is ahead": (replace(FINE, clock_off_s=3600.0), [("clock", DOUBTFUL)]),
    "Python is too old": (replace(FINE, python=(3, 9, 2)), [("python", WRONG)]),
    "the disk is full": (replace(FINE, disk_free_bytes=10**6), [("disk", WRONG)]),
    "the unit is not enabled": (replace(FINE, is_enabled=False), [("unit", WRONG)]),
    "nothing starts it": (replace(FINE, unit="", is_enabled=False), [("unit", DOUBTFUL)]),
    "it does not say what starts it": (replace(FINE, unit=None), []),
    "it lost something": (replace(FINE, lost=(("python-lacks", "zlib"),)), [("lost", DOUBTFUL)]),
}


@pytest.mark.parametrize("name", HEALTH)
def test_what_ails_a_target_is_found(name: str) -> None:
    found, wanted = HEALTH[name]
    assert bad(checks.health(found)) == wanted
