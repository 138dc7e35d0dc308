"""`reactor provision` and `unprovision` at the end of a serial line: a real getty, login and shell."""

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
from .serial_board import NAME, PASSWORD, SerialBoard, lacking
from .ssh_board import NEEDED, unavailable, wheels
from .test_provision import CODE, steps, texts

pytestmark = pytest.mark.timeout(600)

whole = pytest.mark.skipif(not os.environ.get("REACTOR_DEVICE"), reason="takes a minute: REACTOR_DEVICE=1 runs it")

PATIENT_S = 280.0
LEFT = f"find {CODE} /usr/local/bin/bootloader /var/lib/bootloader 2>/dev/null; true"


class Porch:
    """A board that this host reaches by a serial line alone, and how it is provisioned."""

    def __init__(self, bench: Bench, board: SerialBoard) -> None:
        self.bench, self.board = bench, board
        self.secret = bench.folder / "password"
        self.secret.write_text(f"{PASSWORD}\n")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    def run(self, command: str, *more: str, code: int = 0) -> list[dict[str, Any]]:
        """Run ``reactor provision`` or ``unprovision``; its events."""
        python = os.path.realpath(sys.executable)
        words = [f"{NAME}@serial:{self.board.cable.host}", "--password-file", str(self.secret)]
        got, events = self.bench.run(
            command, *words, "--python", python, "--port", str(self.port), *more, wait_s=PATIENT_S
        )
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


def test_a_real_login_lets_this_host_in_and_who_looked_is_logged_out(porch: Porch) -> None:
    assert steps(porch.run("unprovision", "--dry-run"), "planned") == ["none"]
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
