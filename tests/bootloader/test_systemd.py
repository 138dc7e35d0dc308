"""The unit under a real systemd: the init of namespaces of its own, with nothing to start but the bootloader."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic

import pytest

from bootloader.wire.errors import Fault
from reactor import trust
from reactor.link import Link
from tests.bootloader.target import SOON_S, descendants, gone, kept_by

UNIT = Path(__file__).parents[2] / "bootloader" / "bootloader.service"
INIT = "/lib/systemd/systemd"
NAMESPACES = """
set -e
mount --make-rprivate /
umount --recursive --lazy /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /etc/systemd/system
cp "$1/bootloader.service" "$1/tests.target" /etc/systemd/system
exec env -i container=tests PATH="$PATH" "$2" --system --unit=tests.target --log-target=console --show-status=no
"""
WATCHDOG_S = 10
"""Longer than between two beats, and shorter than a keeper waits for one."""

TARGET = "[Unit]\nDefaultDependencies=no\nWants=bootloader.service\n"


class Machine:
    """A systemd that runs the bootloader from our unit, which may be less patient here."""

    def __init__(self, folder: Path, group: Path, watchdog_s: int = 120) -> None:
        self._state, self._home = folder / "state", folder / "home"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        trust.issue(self._state, self._home, "device")
        command = f"{sys.executable} -P -m bootloader run --listen 127.0.0.1:{self._port} --state {self._state}"
        lines = [line for line in UNIT.read_text().splitlines() if not line.startswith(("User=", "ExecStart="))]
        lines.insert(lines.index("[Unit]") + 1, "DefaultDependencies=no")
        lines.insert(lines.index("[Service]") + 1, f"ExecStart={command}")
        lines[lines.index("WatchdogSec=120")] = f"WatchdogSec={watchdog_s}"
        (folder / "bootloader.service").write_text("\n".join(lines) + "\n")
        (folder / "tests.target").write_text(TARGET)
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                ["unshare", "-mCpf", "--mount-proc", "bash", "-c", NAMESPACES, "bash", str(folder), INIT],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: (group / "cgroup.procs").write_text("0"),
            )

    def up(self, other_than: str = "") -> str:
        """The start of the bootloader that answers: the first that is not ``other_than``."""
        deadline = monotonic() + SOON_S
        certificate = self._state / "trust" / "device.crt"
        identity = trust.host_identity(self._home)
        while monotonic() < deadline and self._process.poll() is None:
            with suppress(Fault), Link.connect("127.0.0.1", self._port, identity, certificate, 1.0) as link:
                boot = link.call("hello", {}, timeout_s=1.0)[0].text("boot")
                if boot != other_than:
                    return boot
        if self._process.poll() is not None:
            pytest.skip(f"no systemd can be run here: {self.log.read_text()[-200:]}")
        raise AssertionError(self.log.read_text())

    def active(self) -> str:
        """The start of the bootloader that answers, once its heart has beaten."""
        boot, deadline = self.up(), monotonic() + SOON_S
        while self.shows("ActiveState") != "active":
            assert monotonic() < deadline, self.log.read_text()
        return boot

    def keeper(self) -> int:
        """The process id of the keeper, outside of its namespace."""
        init = kept_by(self._process.pid)
        children = map(int, Path(f"/proc/{init}/task/{init}/children").read_text().split())
        return next(pid for pid in children if b"bootloader" in Path(f"/proc/{pid}/cmdline").read_bytes())

    def ask(self, *words: str) -> str:
        """What systemctl says inside."""
        inside = ["nsenter", "-t", str(kept_by(self._process.pid)), "-m", "-p", "systemctl", *words]
        return subprocess.run(inside, capture_output=True, text=True, timeout=SOON_S, check=True).stdout.strip()

    def shows(self, name: str) -> str:
        return self.ask("show", "bootloader", "--value", "-p", name)

    def close(self) -> None:
        started = set(descendants(self._process.pid))
        for pid in started:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(SOON_S)
        gone(started)


@pytest.fixture
def group() -> Iterator[Path]:
    """A cgroup to be the root of what systemd sees."""
    if os.geteuid() != 0 or not Path(INIT).exists() or shutil.which("unshare") is None:
        pytest.skip("systemd is run as root, in namespaces")
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    top = next((Path(one[1]) for one in mounts if one[2] == "cgroup2"), None)
    if top is None:
        pytest.skip("no cgroup2 is mounted here")
    mine = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    made = top / mine[len("0::/") :] / f"tests-{os.getpid()}"
    try:
        made.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    yield made
    for folder in sorted(made.rglob("*/"), reverse=True):
        folder.rmdir()
    made.rmdir()


@pytest.fixture
def machine(tmp_path: Path, group: Path) -> Iterator[Machine]:
    made = Machine(tmp_path, group)
    yield made
    made.close()


@pytest.fixture
def hasty(tmp_path: Path, group: Path) -> Iterator[Machine]:
    made = Machine(tmp_path, group, WATCHDOG_S)
    yield made
    made.close()


def test_systemd_starts_it_again_however_often_its_keeper_is_killed_and_stops_it_whole(machine: Machine) -> None:
    boot = machine.active()
    for _ in range(7):  # more than systemd allows where it is not told otherwise
        os.kill(machine.keeper(), signal.SIGKILL)
        boot = machine.up(other_than=boot)
    assert machine.shows("NRestarts") == "7"
    started = {machine.keeper(), *descendants(machine.keeper())}
    machine.ask("stop", "bootloader")
    gone(started)
    assert machine.shows("Result") == "success"


@pytest.mark.parametrize("who", ["keeper", "bootloader"])
def test_systemd_starts_it_again_once_nobody_feeds_its_watchdog(hasty: Machine, who: str) -> None:
    boot, keeper = hasty.active(), hasty.keeper()
    started = {keeper, *descendants(keeper)}
    os.kill(keeper if who == "keeper" else kept_by(keeper), signal.SIGSTOP)
    hasty.up(other_than=boot)
    assert hasty.shows("NRestarts") != "0"  # a keeper that hears nothing starts the bootloader again by itself, later
    gone(started)
