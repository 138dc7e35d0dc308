"""What the doctor finds where it is so: a device and a host in network namespaces, with a cable between."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import WAIT_S, Bench
from .network import DEVICE, HOST, PORT, Network, Plugged, networked
from .test_linked import Board

TOP = Path(__file__).parents[2]


@pytest.fixture
def network(bench: Bench) -> Iterator[Network]:
    """A cable, and commands at the host's end of it."""
    with networked() as made:
        bench.inside = ("ip", "netns", "exec", made.host)
        yield made


@pytest.fixture
def porch(bench: Bench, network: Network) -> Iterator[Plugged]:
    """A device that is trusted and on."""
    made = Plugged(bench, network, "porch", DEVICE)
    made.trust()
    made.on()
    yield made
    made.off()


def doctor(bench: Bench, *words: str) -> dict[str, list[dict[str, Any]]]:
    """What is not well, by check; that the exit code says whether something is wrong."""
    code, told = bench.run("doctor", *words)
    assert {one["event"] for one in told} == {"finding"}
    assert code == any(one["state"] == "wrong" for one in told)
    found: dict[str, list[dict[str, Any]]] = {}
    for one in told:
        if one["state"] != "well":
            found.setdefault(one["check"], []).append(one)
    return found


def test_nothing_is_wrong_where_nothing_is_and_a_board_that_is_down_or_shut_off_is_told_apart(
    bench: Bench, network: Network, porch: Plugged
) -> None:
    assert set(doctor(bench, "-t", "porch")) <= {"unit", "disk", "lost"}  # of the machine that the test runs on
    lines = bench.plain("doctor", "porch").stdout
    assert "✓ this host: multicast leaves from 10.77.0.1\n" in lines
    assert "✓ porch: it and this host know each other's key\n" in lines
    assert "✓ porch: it announces itself, and is heard here\n" in lines
    porch.off()
    (finding,) = doctor(bench, "-t", "porch")["reach"]
    assert f"at {DEVICE}:{PORT}: the machine is there, and nothing listens" in finding["message"]
    network.ip("route", "add", "prohibit", DEVICE, at=network.host)
    (finding,) = doctor(bench, "-t", "porch")["reach"]
    assert "a firewall says no" in finding["message"]


def test_a_device_that_is_not_heard_is_told_with_what_may_be_in_the_way(
    bench: Bench, network: Network, porch: Plugged
) -> None:
    porch.off()
    network.isolated()
    porch.on()
    (finding,) = doctor(bench, "-t", "porch")["discovery"]
    assert (finding["target"], finding["state"]) == ("porch", "wrong")
    assert f"it answers at {DEVICE}, announces itself, and is not heard here" in finding["message"]
    assert "UDP port 5353" in finding["hint"]
    assert "access point" in finding["hint"]
    porch.off()
    porch.on("--no-announce")
    (finding,) = doctor(bench, "-t", "porch")["discovery"]
    assert (finding["state"], "without --no-announce" in finding["hint"]) == ("doubtful", True)


@pytest.mark.skipif(shutil.which("nft") is None, reason="takes nftables, for a firewall")
def test_a_firewall_of_this_host_that_drops_what_devices_say_is_found_without_any(
    bench: Bench, network: Network
) -> None:
    rules = "table inet t { chain in { type filter hook input priority 0; udp dport 5353 drop; }; }"
    command = ["ip", "netns", "exec", network.host, "nft", rules]
    if subprocess.run(command, capture_output=True, timeout=WAIT_S).returncode:
        pytest.skip("no firewall can be made here")
    (finding,) = doctor(bench)["discovery"]
    assert finding["state"] == "doubtful"
    assert finding["message"].startswith(f"multicast from {HOST} is not heard here: a firewall of this host")
    assert "ufw allow 5353/udp" in finding["hint"]


def test_a_flashed_board_an_open_key_and_a_vpn_that_takes_what_is_for_the_board_are_found(
    bench: Bench, network: Network, porch: Plugged
) -> None:
    porch.off()
    shutil.rmtree(porch.state)
    porch.on()  # as flashed anew: another key
    found = doctor(bench, "-t", "porch")
    assert "reactor trust remove porch" in found["trust"][0]["hint"]

    key = bench.home / "identity" / "host.key"
    key.chmod(0o644)
    found = doctor(bench)
    assert str(key) in found["key"][0]["message"]
    assert found["key"][0]["hint"].startswith("chmod go-rwx")
    key.chmod(0o600)

    words = ("ip", "-n", network.host, "tuntap", "add", "tun0", "mode", "tun")
    if subprocess.run(words, capture_output=True, timeout=WAIT_S).returncode:
        pytest.skip("no tunnel can be made here")
    network.ip("link", "set", "tun0", "up", at=network.host)
    network.ip("address", "add", "10.8.0.2/24", "dev", "tun0", at=network.host)
    network.ip("route", "add", f"{DEVICE}/32", "dev", "tun0", at=network.host)
    network.ip("rule", "add", "to", DEVICE, "prohibit", at=network.host)  # so that nobody waits for what it swallows
    found = doctor(bench, "-t", "porch")
    assert found["route"][0]["message"] == f"tun0 (a VPN) takes what is for {DEVICE}"


def test_versions_that_do_not_speak_to_each_other_name_the_command_that_mends_it(bench: Bench) -> None:
    other = bench.folder / "other"
    shutil.copytree(TOP / "bootloader", other / "bootloader", ignore=shutil.ignore_patterns("__pycache__"))
    limits = other / "bootloader" / "wire" / "limits.py"
    limits.write_text(limits.read_text().replace("PROTOCOL = 1\n", "PROTOCOL = 2\n"))
    board = Board(bench, "porch")
    board.trust()
    bench.env["PYTHONPATH"] = str(other)
    board.on()
    del bench.env["PYTHONPATH"]
    try:
        (finding,) = doctor(bench, "porch")["versions"]
        assert "the other end speaks protocol 2, this end speaks 1" in finding["message"]
        assert finding["hint"].startswith("in a newer clone")
        code, (problem,) = bench.run("status", "-t", "porch")
        assert (code, problem["code"]) == (1, "other-protocol")
    finally:
        board.off(signal.SIGTERM)
