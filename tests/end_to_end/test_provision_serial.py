"""`reactor provision` and `unprovision` at the end of a serial line: a real getty, login, shell and sudo."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from benchmarks.cable import Way
from tests.bootloader.wire.test_line import KERNEL

from .conftest import Bench, benched, until
from .exporter import exporter
from .serial_board import HOME, NAME, PASSWORD, SerialBoard, lacking
from .ssh_board import NEEDED, unavailable, wheels
from .test_provision import CODE, steps, texts

pytestmark = pytest.mark.timeout(600)

whole = pytest.mark.skipif(not os.environ.get("REACTOR_DEVICE"), reason="takes a minute: REACTOR_DEVICE=1 runs it")

PATIENT_S = 280.0
LEFT = f"find {CODE} /usr/local/bin/bootloader {HOME}/.local 2>/dev/null; true"


class Porch:
    """A board that this host reaches by a serial line alone, and how it is provisioned."""

    def __init__(self, bench: Bench, board: SerialBoard) -> None:
        self.bench, self.board = bench, board
        self.secret = bench.folder / "password"
        self.secret.touch(0o600)
        self.secret.write_text(f"{PASSWORD}\n")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    def run(self, command: str, *more: str, line: str = "", code: int = 0) -> list[dict[str, Any]]:
        """Run ``reactor provision`` or ``unprovision``; its events."""
        words = [f"{NAME}@serial:{line or self.board.cable.host}", "--password-file", str(self.secret)]
        words += ["--python", os.path.realpath(sys.executable), "--port", str(self.port)]
        got, events = self.bench.run(command, *words, *more, wait_s=PATIENT_S)
        assert got == code, events
        return events

    def listed(self) -> list[str]:
        """The programs at the board's end of the line."""
        line = self.board.cable.device.removeprefix("/dev/")
        return subprocess.run(["ps", "-t", line, "-o", "comm="], capture_output=True, text=True).stdout.split()


@pytest.fixture(scope="module")
def porch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Porch]:
    if why := unavailable():
        pytest.skip(why)
    if missing := lacking():
        pytest.skip(f"not installed here: {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("serial")
    wheels(folder / "index", NEEDED)
    with benched(folder) as bench, SerialBoard(folder / "board") as board:
        bench.env |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder / "index"), "PIP_CONFIG_FILE": "/dev/null"}
        yield Porch(bench, board)


def spoil() -> Callable[[Way, bytes], bytes]:
    """A line that loses a byte now and then, and on which the kernel talks."""
    random = Random(7)

    def spoilt(way: Way, data: bytes) -> bytes:
        if way == "back" and random.random() < 0.01:
            return KERNEL + data
        return data[1:] if random.random() < 0.002 else data

    return spoilt


def test_a_password_that_others_may_read_or_that_can_t_be_read_is_refused_at_once(bench: Bench) -> None:
    secret = bench.folder / "password"
    secret.write_text(f"{PASSWORD}\n")
    secret.chmod(0o604)
    for expected in ("exposed-key", "no-password"):
        code, (problem,) = bench.run("unprovision", "serial:/dev/nowhere", "--password-file", str(secret))
        assert (code, problem["code"]) == (1, expected)
        assert str(secret) in problem["message"]
        secret.unlink(missing_ok=True)


def test_a_real_login_and_its_sudo_take_the_password_over_an_exported_port_and_who_was_let_in_is_logged_out(
    porch: Porch,
) -> None:
    porch.board.run(f"mkdir -p {CODE}/left; touch {CODE}/left/SHA256SUMS")
    with exporter(porch.board.cable.host) as (_, line):
        done = porch.run("unprovision", line=line)
    assert steps(done, "done") == ["code"]
    assert any("the password and the keys" in one["text"] for one in done if one["event"] == "notice")
    assert porch.board.run(LEFT) == ""
    until(lambda: porch.listed() == ["agetty"])


@whole
def test_a_real_login_refuses_another_password_after_one_try(porch: Porch) -> None:
    porch.secret.write_text("another\n")
    assert porch.run("unprovision", "--dry-run", code=1)[-1]["code"] == "login-failed"
    porch.secret.write_text(f"{PASSWORD}\n")


@whole
def test_a_board_without_a_network_becomes_a_target_over_a_bad_line_and_runs_what_is_pushed(porch: Porch) -> None:
    porch.board.cable.spoil = spoil()
    where = f"127.0.0.1:{porch.port}"
    words = ("provision", "--name", "porch", "--listen", "127.0.0.1")
    planned = porch.run(*words, "--dry-run")
    assert porch.board.run(LEFT) == ""
    done = porch.run(*words, "--address", where)
    porch.board.cable.spoil = lambda _way, data: data
    assert texts(done) == texts(planned)
    assert steps(done, "done") == ["code", "trust", "service", "start"]
    (ready,) = [one for one in done if one["event"] == "provisioned"]
    assert (ready["target"], ready["address"]) == ("porch", where)
    project = porch.bench.project({"main.py": "def main():\n    print('here', flush=True)\n"})
    code, events = porch.bench.run("push", str(project), "-t", "porch", wait_s=PATIENT_S)
    assert (code, events[-1]["healthy"]) == (0, True)
    assert steps(porch.run(*words), "planned") == ["none"]


@whole
def test_unprovision_leaves_nothing_behind(porch: Porch) -> None:
    assert steps(porch.run("unprovision"), "done") == ["stop", "code", "state"]
    assert porch.board.run(LEFT) == ""
    until(lambda: porch.listed() == ["agetty"])
