"""`reactor provision` and `unprovision` over a real ssh, against a real sshd: a board without systemd."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from .conftest import Bench, benched, save
from .ssh_board import SshBoard, unavailable, wheels

pytestmark = pytest.mark.timeout(300)

TOP = Path(__file__).parents[2]
CODE = "/opt/live-reactor"
LEFT = f"find {CODE} /usr/local/bin/bootloader /var/lib/bootloader /run 2>/dev/null; true"
WAIT_S = 60.0


class Provisioning:
    """A board, and how this host's commands reach it."""

    def __init__(self, bench: Bench, board: SshBoard) -> None:
        self.bench, self.board = bench, board
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    def run(self, command: str, *more: str, code: int = 0, **env: str) -> list[dict[str, Any]]:
        """Run ``reactor provision`` or ``unprovision``; its events."""
        python = os.path.realpath(sys.executable)
        words = ["root@board", "--ssh", self.board.ssh, "--python", python, "--port", str(self.port), *more]
        if command == "provision":
            words += ["--listen", "127.0.0.1"]
        got, events = self.bench.run(command, *words, wait_s=WAIT_S, env=env)
        assert got == code, events
        return events


def steps(events: Sequence[dict[str, Any]], state: str) -> list[str]:
    return [one["step"] for one in events if one["event"] == "step" and one["state"] == state and one["step"] != "look"]


def texts(events: Sequence[dict[str, Any]]) -> list[str]:
    return [one["text"] for one in events if one.get("state") == "planned"]


@pytest.fixture(scope="module")
def porch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provisioning]:
    if why := unavailable():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("provision")
    wheels(folder / "index")
    with benched(folder) as bench:
        bench.env |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder / "index"), "PIP_CONFIG_FILE": "/dev/null"}
        board = SshBoard(folder / "board")
        try:
            board.run("true")
        except AssertionError as error:
            board.close()
            pytest.skip(f"no such board can be had here: {error}")
        try:
            yield Provisioning(bench, board)
        finally:
            board.close()


def ill(porch: Provisioning, *more: str) -> dict[str, dict[str, Any]]:
    """What `reactor doctor` finds wrong with the board by ssh; that its exit code says so."""
    words = ("doctor", "root@board", "--ssh", porch.board.ssh, "--port", str(porch.port), *more)
    code, told = porch.bench.run(*words, wait_s=WAIT_S)
    found = {one["check"]: one for one in told if one["target"] == "root@board" and one["state"] != "well"}
    assert code == any(one["state"] == "wrong" for one in told)
    assert all(one["hint"] for one in found.values())
    return found


@pytest.fixture(scope="module")
def provisioned(porch: Provisioning) -> list[dict[str, Any]]:
    """What a dry run and then the real one told of a board that had nothing of us."""
    before = porch.board.run(LEFT)
    planned = porch.run("provision", "--name", "porch", "--dry-run")
    assert porch.board.run(LEFT) == before
    assert steps(planned, "planned") == ["code", "trust", "service", "start"]
    assert steps(planned, "done") == []
    done = porch.run("provision", "--name", "porch")
    assert texts(done) == texts(planned)
    return done


def test_it_does_what_it_said_and_the_device_runs_what_is_pushed(
    porch: Provisioning, provisioned: list[dict[str, Any]]
) -> None:
    assert steps(provisioned, "done") == ["code", "trust", "service", "start"]
    (ready,) = [one for one in provisioned if one["event"] == "provisioned"]
    assert (ready["target"], ready["address"]) == ("porch", f"127.0.0.1:{porch.port}")
    project = porch.bench.project({"main.py": "def main():\n    print('here', flush=True)\n"})
    code, events = porch.bench.run("push", str(project), "-t", "porch")
    assert (code, events[-1]["healthy"]) == (0, True)


def test_doing_it_again_does_what_is_missing_and_a_newer_version_upgrades(
    porch: Provisioning, provisioned: list[dict[str, Any]]
) -> None:
    again = porch.run("provision")
    assert steps(again, "planned") == ["none"]
    assert again[-1] | {"at": "", "took_s": 0} == provisioned[-1] | {"at": "", "took_s": 0, "sent_bytes": 0}
    porch.board.run(f"echo >>{CODE}/*/bootloader/ladder.py; rm /usr/local/bin/bootloader; {CODE}/start stop")
    assert steps(porch.run("provision"), "done") == ["code", "service", "start"]
    newer = porch.bench.folder / "newer"
    for package in ("bootloader", "reactor"):
        shutil.copytree(TOP / package, newer / package, ignore=shutil.ignore_patterns("__pycache__"))
    save(newer / "bootloader" / "ladder.py", (newer / "bootloader" / "ladder.py").read_text() + "# newer\n")
    events = porch.run("provision", PYTHONPATH=str(newer))
    assert steps(events, "done") == ["code", "service", "start"]
    assert porch.board.run(f"ls {CODE}; tail -n 1 {CODE}/*/bootloader/ladder.py").splitlines() == [
        *sorted([events[-1]["release"], "start"]),
        "# newer",
    ]
    assert events[-1]["fingerprint"] == provisioned[-1]["fingerprint"]


def test_a_second_host_is_obeyed_beside_the_first_and_nothing_is_stopped_for_it(
    porch: Provisioning, provisioned: list[dict[str, Any]]
) -> None:
    porch.run("provision")
    other = str(porch.bench.home / "second")
    assert steps(porch.run("provision", REACTOR_HOME=other), "done") == ["trust"]
    code, told = porch.bench.run("trust", "list", "-t", "porch", env={"REACTOR_HOME": other})
    assert (code, len(told)) == (0, 2)


def test_a_board_that_can_t_be_reached_or_will_not_do_is_told_and_nothing_is_changed(porch: Provisioning) -> None:
    config = porch.board.folder / "nowhere"
    config.write_text("Host board\n  HostName 127.0.0.1\n  Port 1\n")
    code, events = porch.bench.run("provision", "root@board", "--ssh", f"ssh -F {config}")
    assert (code, events[-1]["code"]) == (1, "ssh-failed")
    before = porch.board.run(LEFT)
    assert porch.run("provision", "--python", "/bin/false", code=1)[-1]["code"] == "old-python"
    assert porch.run("provision", "--gadget", code=1)[-1]["code"] == "no-gadgets"  # there is no systemd
    assert porch.board.run(LEFT) == before


def test_the_doctor_looks_at_a_board_by_ssh(porch: Provisioning, provisioned: list[dict[str, Any]]) -> None:
    on_this_machine = {"clock", "disk", "unit"}  # the board has its clock and disk, and no systemd
    assert set(ill(porch)) <= on_this_machine
    porch.board.run(f"{CODE}/start stop")
    stopped = ill(porch)
    assert set(stopped) - on_this_machine == {"bootloader"}
    assert f"sudo {CODE}/start" in stopped["bootloader"]["hint"]
    known, another = porch.board.folder / "known", (porch.board.folder / "user.pub").read_text()
    before = known.read_text()
    known.write_text(" ".join([before.split()[0], *another.split()[:2]]) + "\n")
    flashed = ill(porch)
    known.write_text(before)
    assert "ssh-keygen -R board" in flashed["login"]["hint"]


def test_unprovision_leaves_nothing_behind(porch: Provisioning, provisioned: list[dict[str, Any]]) -> None:
    events = porch.run("unprovision")
    assert steps(events, "planned") == steps(events, "done") == ["stop", "code", "state"]
    assert porch.board.run(LEFT).split() == ["/run", "/run/sshd"]
    code, events = porch.bench.run("trust", "list")
    assert (code, events) == (0, [])


def test_a_board_for_which_nobody_has_a_wheel_of_blake3_is_told_so_before_and_runs_what_is_pushed(
    porch: Provisioning,
) -> None:
    (wheel,) = (porch.bench.folder / "index").glob("blake3-*")
    aside = wheel.rename(porch.bench.folder / wheel.name)
    try:
        told = porch.run("provision", "--name", "attic", "--fresh")
    finally:
        aside.rename(wheel)
    (lacks,) = (one for one in told if one["event"] == "notice" and "there is no wheel of it" in one["text"])
    assert lacks["text"].startswith("it hashes slowly, in Python alone")
    assert "(blake3" in lacks["text"]
    assert told.index(lacks) < next(n for n, one in enumerate(told) if one.get("state") == "planned")
    project = porch.bench.project({"main.py": "def main():\n    print('here', flush=True)\n"}, name="slow")
    code, events = porch.bench.run("push", str(project), "-t", "attic", wait_s=WAIT_S)
    assert (code, events[-1]["healthy"]) == (0, True)
    code, (status,) = porch.bench.run("status", "-t", "attic")
    assert code == 0
    assert any("'blake3' is Python alone" in one["text"] for one in status["lost"]), status["lost"]
    porch.run("unprovision")
