"""Systemd and the hardware hear that the device is well while it is, and only then."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from bootloader.keeper.watchdogs import Hardware, Systemd
from tests.bootloader.target import SOON_S, Target

UNIT = Path(__file__).parents[3] / "bootloader" / "bootloader.service"


class Manager:
    """What systemd is to a service: a datagram socket, and what came there."""

    def __init__(self, folder: Path) -> None:
        self.where = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.where))
        self._socket.settimeout(SOON_S)

    def heard(self) -> list[str]:
        """The words of the next datagram."""
        return self._socket.recv(4096).decode().split("\n")

    def empty(self) -> None:
        """Forget what has come so far."""
        while select.select([self._socket], [], [], 0)[0]:
            self.heard()

    def silent(self, wait_s: float) -> bool:
        return not select.select([self._socket], [], [], wait_s)[0]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    yield made
    made.close()


@pytest.fixture
def managed(tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    """A target that systemd has started."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(manager.where))
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    made = Target(tmp_path)
    yield made
    made.close()


def test_systemd_is_told_of_the_start_of_each_beat_and_of_the_end(managed: Target, manager: Manager) -> None:
    assert manager.heard() == ["READY=1", "WATCHDOG=1"]
    assert "WATCHDOG=1" in manager.heard()
    managed.end()
    while (words := manager.heard()) != ["STOPPING=1"]:
        assert "WATCHDOG=1" in words
    assert manager.silent(0.1)


def test_a_start_that_took_too_long_has_twice_as_long_the_next_time(
    tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a slow board with much to compare would never come up."""
    target = Target(tmp_path)
    target.end()
    monkeypatch.setenv("NOTIFY_SOCKET", str(manager.where))
    hurry = "from bootloader.keeper import keeper\nkeeper.START_S = 0.05\nfrom bootloader.__main__ import main\nmain()"
    target.program = (sys.executable, "-c", hurry)
    target.process = target.spawn()
    assert manager.heard()[0] == "READY=1"
    assert target.process.stdout is not None
    target.listening = json.loads(target.process.stdout.readline())
    target.again()
    keeper = target.call("status").child("keeper")
    assert keeper.text("why") == "did not come up in time"
    assert keeper.integer("restarts") > 1
    assert target.end() == 0


def test_systemd_hears_nothing_while_the_bootloader_hangs(managed: Target, manager: Manager) -> None:
    manager.heard()
    os.kill(managed.pid, signal.SIGSTOP)
    manager.empty()
    assert manager.silent(5.0), "longer than between two beats"
    os.kill(managed.pid, signal.SIGCONT)
    assert "WATCHDOG=1" in manager.heard()


def test_the_socket_of_systemd_is_for_the_keeper_alone(managed: Target) -> None:
    for pid in (managed.pid, *managed.processes()):
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"NOTIFY_SOCKET" not in environment
        assert b"WATCHDOG" not in environment


def test_an_abstract_socket_is_found() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0watchdogs-{os.getpid()}")
        sock.settimeout(SOON_S)
        Systemd({"NOTIFY_SOCKET": f"@watchdogs-{os.getpid()}"}).tell("READY=1", "STATUS=fine")
        assert sock.recv(100) == b"READY=1\nSTATUS=fine"


def test_without_systemd_or_where_it_is_gone_nothing_is_said(tmp_path: Path) -> None:
    Systemd({}).tell("READY=1")
    Systemd({"NOTIFY_SOCKET": str(tmp_path / "gone")}).tell("READY=1")


@pytest.fixture
def device(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """Where a watchdog would be, and what reads its food."""
    path = tmp_path / "watchdog"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield path, reader
    os.close(reader)


def test_the_hardware_is_fed_while_the_keeper_lives_and_let_go_at_an_orderly_end(
    tmp_path: Path, device: tuple[Path, int]
) -> None:
    path, reader = device
    target = Target(tmp_path, "--watchdog", str(path))
    assert food(reader) == b"\0"
    assert food(reader) == b"\0", "and again"
    assert target.end() == 0
    assert rest(reader).endswith(b"V")


def test_the_hardware_is_not_let_go_where_the_keeper_is_killed(tmp_path: Path, device: tuple[Path, int]) -> None:
    path, reader = device
    target = Target(tmp_path, "--watchdog", str(path))
    food(reader)
    target.end(signal.SIGKILL)
    assert b"V" not in rest(reader)


def test_the_hardware_is_no_longer_fed_where_no_bootloader_is_well(tmp_path: Path, device: tuple[Path, int]) -> None:
    path, reader = device
    target = Impatient(tmp_path, "--watchdog", str(path))
    os.kill(target.pid, signal.SIGSTOP)
    deadline = monotonic() + SOON_S
    while select.select([reader], [], [], 4.5)[0]:  # longer than between two rounds of the keeper
        assert monotonic() < deadline
        os.read(reader, 100)
    os.kill(target.pid, signal.SIGCONT)
    assert food(reader) == b"\0"
    target.close()


class Impatient(Target):
    """A target whose keeper lets the hardware go hungry soon."""

    program = (
        sys.executable,
        "-c",
        "from bootloader.keeper import keeper\nkeeper.RESET_S = 4.0\nfrom bootloader.__main__ import main\nmain()",
    )


def test_a_watchdog_that_is_not_there_is_told_and_stops_nothing(tmp_path: Path) -> None:
    target = Target(tmp_path, "--watchdog", str(tmp_path / "none"))
    assert "No such file" in target.notice("no-watchdog")["text"]
    assert target.end() == 0
    Hardware("").feed()


def food(reader: int) -> bytes:
    """The next that the device is given."""
    assert select.select([reader], [], [], SOON_S)[0]
    return os.read(reader, 1)


def rest(reader: int) -> bytes:
    """What the device is given until it is closed."""
    given = b""
    while select.select([reader], [], [], SOON_S)[0] and (more := os.read(reader, 100)):
        given += more
    return given


# the unit


def test_the_unit_is_the_documented_one() -> None:
    assert f"```ini\n{UNIT.read_text()}```\n" in (UNIT.parents[1] / "docs" / "targets.md").read_text()


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd is not installed here")
    text = UNIT.read_text().replace("/home/pi/bootloader/bin/bootloader", sys.executable).replace("User=pi\n", "")
    unit = tmp_path / "bootloader.service"
    unit.write_text(text)
    found = subprocess.run([program, "verify", str(unit)], capture_output=True, text=True, timeout=SOON_S, check=False)
    assert (found.returncode, found.stdout + found.stderr) == (0, "")
