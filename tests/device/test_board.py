"""A whole machine as the board: a stock Debian, provisioned by the real command, its power cut while saves arrive.

    REACTOR_DEVICE=1 ./bootstrap pytest -n0 -s tests/device

Some minutes; 1 GB of memory, 2 GB of disk. What it lacks of Debian is said; to build the image, it has to be root.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from bootloader.wire.cable import Cable as Serial
from tests.end_to_end.conftest import Bench, benched, save, until

from .cable import Cable
from .machine import Machine, Unavailable

pytestmark = pytest.mark.timeout(3600)

WAIT_S = 600.0
FILES = (
    "find / -xdev -not -path '/proc/*' -not -path '/var/log/*' -not -path '/var/cache/*'"
    " -not -path '/var/lib/systemd/*' -not -path '/var/lib/apt/*' -not -path '/var/backups/*'"
    " -not -path '/tmp/*' -not -path '/var/tmp/*' -not -path '*/__pycache__*' | sort"
)
MOMENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "before it is sent": ("save", {}),
    "while it is shipped": ("progress", {"what": "ship"}),
    "while it is applied": ("progress", {"what": "apply", "done_files": 0}),
    "as it runs, and is not durable yet": ("log", {"text": "version 4"}),
}
"""When the power is cut, after a save: at which event."""

CONFIG = "/boot/firmware/config.txt"
MODULES = "/etc/modules-load.d/port.conf"
"""What stands in for a Raspberry Pi's firmware: from the next start on, there is a USB port that can be a device's."""

ASSET_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Porch:
    """The machine, how this host reaches it, and which files it had before."""

    machine: Machine
    bench: Bench
    before: str

    def run(self, command: str, *more: str) -> list[dict[str, Any]]:
        """Run ``reactor provision`` or ``unprovision``, which has to go well; its events."""
        code, events = self.bench.run(
            command, "pi@board", "--ssh", f"ssh -F {self.machine.config}", *more, wait_s=WAIT_S
        )
        assert code == 0, events[-1].get("message", events[-3:])
        return events


@pytest.fixture(scope="module")
def porch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Porch]:
    if not os.environ.get("REACTOR_DEVICE"):
        pytest.skip("a whole machine takes minutes: REACTOR_DEVICE=1 runs it")
    folder = tmp_path_factory.mktemp("machine")
    try:
        with Machine.booted(folder) as machine, benched(tmp_path_factory.mktemp("bench")) as bench:
            machine.ssh(f"mkdir -p $(dirname {CONFIG}); echo '[cm5]' >{CONFIG}; echo dummy_hcd >{MODULES}; sync")
            yield Porch(machine, bench, machine.ssh(FILES))
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def provisioned(porch: Porch) -> list[dict[str, Any]]:
    return porch.run("provision", "--name", "porch", "--address", f"127.0.0.1:{porch.machine.port}")


def program(version: int) -> str:
    return f"import signal\n\ndef main():\n    print('version', {version}, flush=True)\n    signal.pause()\n"


def test_a_stock_debian_is_provisioned_and_again_changes_nothing(
    porch: Porch, provisioned: list[dict[str, Any]]
) -> None:
    assert provisioned[-1]["event"] == "provisioned"
    again = porch.run("provision", "--address", f"127.0.0.1:{porch.machine.port}")
    assert [one["step"] for one in again if one.get("state") == "planned"] == ["none"]
    assert porch.machine.ssh("systemctl is-active bootloader; systemctl is-enabled bootloader").split() == [
        "active",
        "enabled",
    ]


def test_power_cuts_while_saves_arrive_cost_nothing_and_the_loop_goes_on_by_itself(
    porch: Porch, provisioned: list[dict[str, Any]]
) -> None:
    project = porch.bench.project({"main.py": program(0)})
    running = porch.bench.start("dev", str(project), "-t", "porch")
    running.wait("result", wait_s=WAIT_S, healthy=True)
    for version, (moment, (event, fields)) in enumerate(MOMENTS.items(), 1):
        since = running.mark()
        if event == "progress":
            save(project / "asset", os.urandom(ASSET_BYTES))
        save(project / "main.py", program(version))
        running.wait(event, since, WAIT_S, **fields)
        porch.machine.cut()
        since = running.mark()
        took_s = porch.machine.boot()
        running.wait("log", since, WAIT_S, text=f"version {version}")
        running.wait("state", since, WAIT_S, application="app", state="healthy")
        print(f"cut {moment}: ssh after {took_s:.0f} s, and version {version} runs")
    assert running.end() == 0
    assert status(porch.bench.run("status", "-t", "porch", wait_s=WAIT_S)) == "healthy"
    assert not [line for line in porch.machine.ssh("dmesg").splitlines() if "EXT4-fs error" in line]


def ill(porch: Porch) -> dict[str, dict[str, Any]]:
    """What `reactor doctor` finds by ssh."""
    words = ("doctor", "pi@board", "--ssh", f"ssh -F {porch.machine.config}")
    _, told = porch.bench.run(*words, wait_s=WAIT_S)
    told = [one for one in told if one["target"] == "pi@board" and one["state"] != "well" and one["check"] != "lost"]
    return {one["check"]: one for one in reversed(told)}  # the first of each


def test_what_a_first_hour_meets_is_found_by_ssh_with_the_command_that_mends_it(
    porch: Porch, provisioned: list[dict[str, Any]]
) -> None:
    ssh = porch.machine.ssh
    assert ill(porch) == {}
    left = "$(( $(df --output=avail -B1 / | tail -n 1) - 30000000 ))"
    ssh(f"systemctl disable --now bootloader; fallocate -l {left} /full; date -s '@86400'")
    found = ill(porch)
    assert set(found) == {"bootloader", "unit", "disk", "clock"}
    assert "behind this host's" in found["clock"]["message"]
    ssh(f"rm /full; date -s '@{time.time():.0f}'; {hint(found['unit'])}; {hint(found['bootloader'])}")
    assert ill(porch) == {}
    ssh("systemctl stop bootloader; rm -r /home/pi/.local/state/bootloader/trust; systemctl start bootloader")
    assert "reactor trust remove porch" in ill(porch)["trust"]["hint"]  # as if it was set up anew, under its name
    ssh("rm /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl restart ssh")
    assert "ssh-keygen -R board" in ill(porch)["login"]["hint"]
    (porch.machine.folder / "known_hosts").unlink()
    assert porch.bench.run("trust", "remove", "porch")[0] == 0
    porch.run("provision", "--name", "porch", "--address", f"127.0.0.1:{porch.machine.port}")
    assert ill(porch) == {}


def hint(finding: dict[str, Any]) -> str:
    """The command that is named for it."""
    text: str = finding["hint"]
    return text.removeprefix("on it: ").partition(";")[0]


def test_one_orderly_restart_after_one_command_makes_it_a_gadget_and_what_ran_runs_again(
    porch: Porch, provisioned: list[dict[str, Any]]
) -> None:
    machine, bench = porch.machine, porch.bench
    app, there = bench.project({"main.py": program(10)}, name="orderly"), f"127.0.0.1:{machine.port}"
    running = bench.start("dev", str(app), "-t", "porch")
    running.wait("log", 0, WAIT_S, text="version 10")
    running.wait("result", 0, WAIT_S, healthy=True)
    machine.ssh("modprobe -r dummy_hcd || true")
    told = porch.run("provision", "--gadget", "--address", there)
    assert [one["step"] for one in told if one.get("state") == "planned"] == ["service", "gadget", "boot", "start"]
    assert any(one["text"].endswith("restart it once: sudo reboot") for one in told if one["event"] == "notice")
    assert gadget_is(machine) == ["inactive", "enabled"]
    since = running.mark()
    print(f"restarted in order: ssh after {machine.restart():.0f} s")
    running.wait("log", since, WAIT_S, text="version 10")
    running.wait("state", since, WAIT_S, application="orderly", state="healthy")
    assert running.end() == 0
    assert status(bench.run("status", "-t", "porch", wait_s=WAIT_S)) == "healthy"
    until(lambda: gadget_is(machine) == ["active", "enabled"], WAIT_S)
    again = porch.run("provision", "--address", there)
    assert [one["step"] for one in again if one.get("state") == "planned"] == ["none"]
    assert not [one for one in again if one["event"] == "notice"]


def test_a_host_at_the_other_end_of_its_cable_finds_it_and_reaches_it_over_both_halves(
    porch: Porch, provisioned: list[dict[str, Any]]
) -> None:
    machine = porch.machine
    machine.ssh("modprobe dummy_hcd")
    porch.run("provision", "--gadget", "--address", f"127.0.0.1:{machine.port}")
    until(lambda: machine.ssh("cat /sys/class/net/usb0/statistics/rx_packets || true").strip() not in ("", "0"), WAIT_S)
    app = porch.bench.project({"main.py": program(20)}, name="cable")
    cable = Cable(machine, porch.bench, app)
    until(lambda: bool(cable.plug()) and cable.run("status", "-t", "usb")[0] == 0, WAIT_S)
    serial = Serial.read(machine.ssh("cat /sys/bus/usb/devices/1-1/serial").strip())
    assert serial is not None
    here = f"[{serial.ipv6}%{cable.interface}]:7717"
    until(lambda: here in announced(cable), WAIT_S)
    cable.cut_network()
    code, events = cable.run("push", app.name, "-t", "usb")
    assert (code, events[-1]["healthy"]) == (0, True), events[-4:]
    assert status(cable.run("status", "-t", f"usb:{serial.serial}")) == "healthy"


def gadget_is(machine: Machine) -> list[str]:
    """Whether the gadget's service runs, and at each boot."""
    return machine.ssh("for each in active enabled; do systemctl is-$each bootloader-gadget || true; done").split()


def announced(cable: Cable) -> list[str]:
    """Where a device says to be that this host hears at its end of the cable."""
    _, devices = cable.run("devices", "--watch", most_s=20.0)  # as it hears for a moment only, else
    return [address for one in devices if one["announced"] for address in one["addresses"]]


def status(ran: tuple[int, list[dict[str, Any]]]) -> str:
    """The state of the one application, as `reactor status` told."""
    code, told = ran
    assert code == 0, told
    (one,) = [each for each in told if each["event"] == "status"]
    state: str = one["applications"][0]["state"]
    return state


def test_unprovision_leaves_the_machine_as_it_was(porch: Porch, provisioned: list[dict[str, Any]]) -> None:
    porch.run("unprovision")
    assert porch.machine.ssh(f"cat {CONFIG}") == "[cm5]\n"
    assert porch.machine.ssh(FILES).splitlines() == porch.before.splitlines()
    assert porch.machine.ssh("systemctl list-unit-files 'bootloader*' --no-legend; true") == ""
    assert porch.machine.ssh("grep -al 'bootloade[r]' /proc/[0-9]*/cmdline; true") == ""
