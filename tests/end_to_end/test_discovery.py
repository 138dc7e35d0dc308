"""Devices on a network of their own: announced, listed, moved to another address, and reached by their key.

With ``REACTOR_LONG=1`` a link is down until the session has told of it; without, for a moment.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reactor.discovery import MOST_DEVICES

from .conftest import WAIT_S, Bench, benched, save, until
from .network import DEVICE, HOST, MOVED, PORT, Network, Plugged, address_file, networked

SETTINGS = 'entry = "main:main"\nsettle_s = 0.1\ngrace_s = 0.5'
IS_LONG = "REACTOR_LONG" in os.environ
LOOP = """\
import itertools, time

def main():
    for number in itertools.count():
        print("version 1", number, flush=True)
        time.sleep(0.05)
"""

HOSTILE = r"""
import sys
from zeroconf import ServiceInfo, Zeroconf
from bootloader.wire.presence import SERVICE
zeroconf = Zeroconf()
evil = {"id": "f" * 64, "name": "\x1b]0;owned\x07\nporch", "protocol": "\x1b[2J", "version": "9" * 200, "root": ""}
for number, told in enumerate((evil, {**evil, "id": "../../etc/passwd"}, {**evil, "root": "\x1b[31m"}, {})):
    where = dict(properties=told, server=f"evil{number}.local.", parsed_addresses=["10.77.0.2"])
    info = ServiceInfo(SERVICE, f"evil{number}.{SERVICE}", 1, **where)
    zeroconf.register_service(info, cooperating_responders=True)
print("announced", flush=True)
sys.stdin.read()
zeroconf.close()
"""

THOUSANDS = r"""
import socket, sys, threading
from zeroconf import ServiceInfo
from zeroconf._protocol.outgoing import DNSOutgoing
from bootloader.wire.presence import SERVICE, Presence
stolen = sys.argv[1]

def packets():
    for number in range(3000):
        key = stolen if number % 100 == 0 else f"{number:064x}"
        told = Presence(key, "porch", "1", "x", "x", "x", "").told()
        where = dict(properties=told, server=f"evil{number}.local.", parsed_addresses=["10.77.0.2"])
        info = ServiceInfo(SERVICE, f"evil{number}.{SERVICE}", 1, **where)
        out = DNSOutgoing(0x8400)
        for record in (info.dns_pointer(), info.dns_service(), info.dns_text(), *info.dns_addresses()):
            out.add_answer_at_time(record, 0)
        yield from out.packets()

sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
sock.bind((sys.argv[2], 5353))
sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(sys.argv[2]))
made = list(packets())
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
print("announced", flush=True)
while not over.is_set():
    for packet in made:
        sock.sendto(packet, ("224.0.0.251", 5353))
    over.wait(0.5)
"""

DEAF = r"""
import socket, sys
from zeroconf import ServiceInfo, Zeroconf
from bootloader.wire.presence import SERVICE, Presence
deaf = socket.create_server(("", 7718))
zeroconf = Zeroconf()
where = dict(properties=Presence(sys.argv[1], "porch", "1", "x", "x", "x", "").told(), server="deaf.local.")
zeroconf.register_service(ServiceInfo(SERVICE, f"deaf.{SERVICE}", 7718, **where, parsed_addresses=[sys.argv[2]]))
print("announced", flush=True)
sys.stdin.read()
zeroconf.close()
"""

Make = Callable[..., Plugged]


@pytest.fixture
def network(bench: Bench) -> Iterator[Network]:
    """A cable, and commands at the host's end of it."""
    with networked() as made:
        bench.inside = ("ip", "netns", "exec", made.host)
        yield made


@pytest.fixture
def plug(bench: Bench, network: Network) -> Iterator[Make]:
    """Makes devices, trusted if nothing else is said, and on."""
    made: list[Plugged] = []

    def plug(name: str, *more: str, address: str = DEVICE, trusted: bool = True, **how: Any) -> Plugged:
        made.append(Plugged(bench, network, name, address))
        made[-1].trust(env={} if trusted else {"REACTOR_HOME": str(bench.folder / "another home")})
        made[-1].on(*more, **how)
        return made[-1]

    yield plug
    for one in made:
        one.off()


def devices(bench: Bench) -> list[dict[str, Any]]:
    code, told = bench.run("devices")
    assert code == 0
    return told


def announced(bench: Bench, count: int = 1) -> list[dict[str, Any]]:
    """The devices, once so many of them are announced: a bootloader is reachable a moment before that."""
    rows: list[dict[str, Any]] = []

    def found() -> bool:
        rows[:] = devices(bench)
        return [row["announced"] for row in rows].count(True) == count

    until(found)
    return rows


def trusted(bench: Bench) -> dict[str, Any]:
    """The only device, once it has answered in time for the list."""
    rows: list[dict[str, Any]] = []

    def has_answered() -> bool:
        rows[:] = devices(bench)
        return bool(rows[0]["trust"] == "trusted")

    until(has_answered)
    return rows[0]


def shown(bench: Bench, words: str) -> list[str]:
    """The lines for people, once these ``words`` are there."""
    lines: list[str] = []

    def found() -> bool:
        lines[:] = bench.plain("devices").stdout.splitlines()
        return any(words in line for line in lines)

    until(found)
    return lines


def test_a_device_is_listed_with_what_it_runs_who_has_its_lease_and_whether_it_is_trusted(
    bench: Bench, plug: Make
) -> None:
    plug("porch")
    plug("attic", listen=f"0.0.0.0:{PORT + 1}", trusted=False)
    project = bench.project({"main.py": LOOP}, SETTINGS)
    dev = bench.dev(project, "-t", "porch")
    dev.wait("result", healthy=True)
    attic, porch = announced(bench, 2)
    assert (porch["target"], porch["name"], porch["trust"]) == ("porch", "porch", "trusted")
    assert (porch["generation"], porch["fate"], len(porch["root"])) == (1, "healthy", 64)
    assert f"{DEVICE}:{PORT}" in porch["addresses"]
    assert any(where.startswith("[fe80::") and where.endswith(f"%cable]:{PORT}") for where in porch["addresses"])
    assert (attic["target"], attic["name"], attic["trust"]) == ("", "attic", "unknown")
    assert attic["addresses"] == [f"{DEVICE}:{PORT + 1}"]
    lines = shown(bench, "attic")
    assert [line.split()[0] for line in lines] == ["device", "attic", "porch"]
    assert "generation 1 (healthy)" in lines[2]
    holder = porch["lease"]["holder"]
    assert (porch["lease"], attic["lease"]) == ({"holder": holder, "doing": "dev", "yours": True}, None)
    assert f"{holder} (dev)" in lines[2]
    dev.end()


def test_a_new_device_is_paired_with_by_its_id_or_as_the_only_one_that_waits(bench: Bench, network: Network) -> None:
    """One calls itself ``local``, which is none of a device's: it is shown and known by its id."""
    porch, other = Plugged(bench, network, "porch", DEVICE), Plugged(bench, network, "other", DEVICE)
    try:
        porch.on()
        other.on(listen=f"[::]:{PORT + 10}", called="local")
        codes = {}
        for one in (porch, other):
            file = one.state / "run" / "pairing"
            until(lambda file=file: file.exists() and len(file.read_text().split()) == 3)  # type: ignore[misc]
            codes[one.name] = file.read_text().split()[0]
        code, (problem,) = bench.run("pair", "--code", codes["porch"])
        assert (code, problem["code"]) == (1, "several-devices")
        (key,) = [row["id"] for row in announced(bench, 2) if row["name"] == "local"]
        shown(bench, f"{key[:8]} (local)")
        code, (paired,) = bench.run("pair", key[:8], "--code", codes["other"])
        assert (code, paired["target"]) == (0, f"local-{key[:8]}")
        assert bench.run("status", "-t", f"local-{key[:8]}")[0] == 0
        assert bench.run("status", "-t", "local")[1][0]["code"] == "not-a-project", "it is a project's own"
        until(
            lambda: bench.run("pair", "--code", codes["porch"])[0] == 0
        )  # once the other one has told that it is done
        assert bench.run("status", "-t", "porch")[0] == 0
    finally:
        porch.off()
        other.off()


def test_two_devices_of_one_name_are_told_apart_by_their_keys(bench: Bench, plug: Make) -> None:
    plug("porch")
    plug("other", listen=f"[::]:{PORT + 1}", called="porch", trusted=False)
    first, second = announced(bench, 2)
    assert (first["name"], second["name"]) == ("porch", "porch")
    assert first["id"] != second["id"]
    assert {first["trust"], second["trust"]} == {"trusted", "unknown"}


def test_what_is_not_announced_is_listed_where_it_is_known_and_reached_by_its_address(bench: Bench, plug: Make) -> None:
    plug("porch", "--no-announce")
    row = trusted(bench)
    assert (row["announced"], row["addresses"]) == (False, [DEVICE])


def test_who_is_announced_and_says_nothing_is_listed_before_that_is_waited_out(bench: Bench, network: Network) -> None:
    Plugged(bench, network, "porch", f"{DEVICE}:7718").trust()
    (known,) = bench.run("trust", "list")[1]
    command = ["ip", "netns", "exec", network.device, sys.executable, "-c", DEAF, known["fingerprint"], DEVICE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=bench.env) as deaf:
        assert deaf.stdout is not None
        assert deaf.stdout.readline() == b"announced\n"
        (row,) = announced(bench)
        assert (row["target"], row["trust"]) == ("porch", "no-answer-yet")
        deaf.communicate(timeout=WAIT_S)


def test_where_the_network_cannot_be_searched_that_is_said_and_known_devices_are_listed_all_the_same(
    bench: Bench, network: Network, plug: Make
) -> None:
    for link in ("lo", "cable"):
        network.ip("address", "flush", "dev", link, at=network.host)
    code, (problem,) = bench.run("devices")
    assert (code, problem["code"]) == (1, "no-discovery"), "nothing is known, so there is nothing to list"
    plug("porch")
    code, (notice, row) = bench.run("devices")
    assert (code, notice["code"], row["target"], row["addresses"]) == (0, "no-discovery", "porch", [DEVICE])
    watch = bench.start("devices", "--watch")
    watch.wait("device", announced=False)
    network.ip("address", "add", f"{HOST}/24", "dev", "cable", at=network.host)
    watch.wait("device", announced=True, trust="trusted")
    assert [one["code"] for one in watch.events if one["event"] == "notice"] == ["no-discovery"]
    watch.end()


def test_a_bootloader_without_zeroconf_boots_and_answers_by_its_address(bench: Bench, plug: Make) -> None:
    without = bench.folder / "without"
    save(without / "zeroconf.py", 'raise ImportError("no zeroconf")\n')
    plug("porch", env={"PYTHONPATH": f"{without}:{Path(__file__).parents[2]}"})
    project = bench.project({"main.py": LOOP}, SETTINGS)
    assert bench.run("push", str(project), "-t", "porch")[0] == 0
    row = trusted(bench)
    assert (row["announced"], row["generation"]) == (False, 1)
    lost = bench.run("status", "-t", "porch")[1][0]["lost"]
    assert [one["code"] for one in lost] == ["not-announced"]


def test_nothing_that_is_announced_reaches_the_terminal_raw_or_without_a_bound(bench: Bench, network: Network) -> None:
    command = ["ip", "netns", "exec", network.device, sys.executable, "-c", HOSTILE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=bench.env) as hostile:
        assert hostile.stdout is not None
        assert hostile.stdout.readline() == b"announced\n"
        (row,) = announced(bench)
        shown = bench.plain("devices").stdout
        hostile.communicate(timeout=WAIT_S)
    assert row["id"] == "f" * 64
    assert row["name"].endswith("porch")
    assert len(row["version"]) == 64
    assert all(text.isprintable() for text in row.values() if isinstance(text, str))
    assert shown.replace("\n", "").isprintable()
    assert len(shown.splitlines()) == 2


def test_thousands_that_announce_themselves_are_listed_within_bounds_and_none_is_believed(
    bench: Bench, network: Network, plug: Make
) -> None:
    plug("porch")
    (known,) = bench.run("trust", "list")[1]
    key = known["fingerprint"]
    command = ["ip", "netns", "exec", network.device, sys.executable, "-c", THOUSANDS, key, DEVICE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=bench.env) as hostile:
        assert hostile.stdout is not None
        assert hostile.stdout.readline() == b"announced\n"
        rows = devices(bench)
        assert [one["id"] for one in rows if one["target"]] == [key]
        assert [one["id"] for one in rows if one["trust"] == "trusted"] in ([], [key]), "nor is who says to be it"
        assert len(rows) <= 1 + MOST_DEVICES
        assert bench.run("status", "-t", "porch")[0] == 0
        hostile.communicate(timeout=WAIT_S)


def test_a_device_that_moved_is_reached_by_its_key_and_its_new_address_is_remembered(
    bench: Bench, network: Network, plug: Make
) -> None:
    plug("porch")
    assert bench.run("status", "-t", "porch.local")[1][0]["target"] == "porch"
    network.ip("link", "set", "cable", "down")
    network.moved()
    network.ip("link", "set", "cable", "up")
    until(lambda: bench.run("status", "-t", "porch")[0] == 0)
    where = address_file(bench, "porch").read_text().split()
    assert where[0] != DEVICE
    assert DEVICE in where


def test_a_device_is_found_although_another_one_has_its_address_now(bench: Bench, plug: Make) -> None:
    plug("attic", listen=f"[::]:{PORT + 1}", trusted=False)
    plug("porch", address=f"{DEVICE}:{PORT + 1}")
    until(lambda: bench.run("status", "-t", "porch")[0] == 0)
    assert f"{DEVICE}:{PORT + 1}" in address_file(bench, "porch").read_text().split()[1:]


def test_a_device_is_reached_where_no_interface_has_more_than_a_link_local_address(
    bench: Bench, network: Network, plug: Make
) -> None:
    plug("porch")
    network.ip("address", "flush", "dev", "cable", "scope", "global")
    until(lambda: bench.run("status", "-t", "porch")[0] == 0)
    assert address_file(bench, "porch").read_text().startswith("[fe80::")


def test_a_watch_follows_a_device_to_another_address_and_tells_when_it_goes(
    bench: Bench, network: Network, plug: Make
) -> None:
    device = plug("porch", trusted=False)
    watch = bench.start("devices", "--watch")

    def told(address: str, since: int) -> bool:
        return any(address in one["addresses"] for one in watch.events[since:] if one["event"] == "device")

    until(lambda: told(f"{DEVICE}:{PORT}", 0))
    before = watch.mark()
    network.moved()
    until(lambda: told(f"{MOVED}:{PORT}", before))
    device.off()
    assert watch.wait("device", gone=True)["name"] == "porch"
    watch.end()


def test_what_is_announced_follows_what_runs(bench: Bench, plug: Make) -> None:
    plug("porch")
    stranger = bench.start("devices", "--watch", env={"REACTOR_HOME": str(bench.folder / "another home")})
    first = stranger.wait("device")["root"]
    project = bench.project({"main.py": LOOP}, SETTINGS)
    assert bench.run("push", str(project), "-t", "porch")[0] == 0
    root = bench.run("status", "-t", "porch")[1][0]["root"]
    assert root != first
    assert stranger.wait("device", root=root)["trust"] == "unknown"
    stranger.end()


@pytest.mark.parametrize("what", ["address", "link", "cable"])
def test_a_device_is_found_again_after_its_network_was_gone_for_a_moment(
    bench: Bench, network: Network, plug: Make, what: str
) -> None:
    plug("porch", trusted=False, listen="0.0.0.0")
    announced(bench)
    match what:
        case "address":
            network.at_once(*(f"address {do} {DEVICE}/24 dev cable" for do in ("del", "add")))
        case "link":
            network.at_once(*(f"link set cable {state}" for state in ("down", "up")))
        case "cable":
            network.replugged()
    for at in (network.host, network.device):  # so that multicast of IPv6 can't stand in for that of IPv4
        network.ip("-6", "address", "flush", "dev", "cable", at=at)
    (row,) = announced(bench)
    assert row["addresses"] == [f"{DEVICE}:{PORT}"]


class Followed:
    """A session with a device that prints all the time. Several tests in a row happen to its network."""

    def __init__(self, bench: Bench, network: Network) -> None:
        self.network, self.device = network, Plugged(bench, network, "porch", DEVICE)
        self.device.trust()
        self.device.on()
        self.project = bench.project({"main.py": LOOP}, SETTINGS)
        self.dev = bench.dev(self.project, "-t", "porch")
        self.version = 1

    def save(self) -> None:
        """Another version of the program."""
        self.version += 1
        save(self.project / "main.py", LOOP.replace("version 1", f"version {self.version}"))

    def printed(self, version: int) -> list[int]:
        """The numbers that this version has printed, as they came."""
        said = [text.split() for text in self.dev.texts() if text.startswith(f"version {version} ")]
        return [int(words[2]) for words in said]


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Followed]:
    with benched(tmp_path_factory.mktemp("followed")) as bench, networked() as network:
        bench.inside = ("ip", "netns", "exec", network.host)
        made = Followed(bench, network)
        yield made
        made.dev.end()
        made.device.off()


@pytest.mark.parametrize("what", ["address", "link", "both", "cable"])
def test_a_session_goes_on_through_a_change_of_its_network_without_a_gap_and_ships_the_newest_save(
    followed: Followed, what: str
) -> None:
    """Its address changes; the link goes down and up; that, and with another address; another cable takes over."""
    network, dev, before = followed.network, followed.dev, followed.version
    until(lambda: bool(followed.printed(before)))
    mark = dev.mark()
    match what:
        case "address":
            network.moved()
        case "link" | "both":
            network.ip("link", "set", "cable", "down")
        case "cable":
            network.another()
            network.ip("link", "set", "cable", "down")
    followed.save()
    if what in ("link", "both") and IS_LONG:
        assert "no answer in" in dev.wait("link", since=mark)["why"]
    if what == "both":
        network.moved_back()
    if what in ("link", "both"):
        network.ip("link", "set", "cable", "up")
    else:  # nobody waits for silence
        assert "the network has changed" in dev.wait("link", since=mark, state="down")["why"]
    until(lambda: bool(followed.printed(before + 1)), 2 * WAIT_S)
    printed = followed.printed(before)
    assert printed == list(range(len(printed)))
