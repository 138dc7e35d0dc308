"""What a board's shell told is judged: what keeps it from being a target, and what keeps one that is from working."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from reactor.doctor import board
from reactor.doctor.checks import DOUBTFUL, WELL, WRONG, Finding
from reactor.provision.facts import Facts
from reactor.provision.plan import UNIT
from tests.reactor.provision.test_plan import BOARD, OLD, PYTHON, ROOT

PORT, PEM, TO = 7717, "PEM\n", "pi@porch"
TARGET = replace(
    BOARD, left=(ROOT,), releases=frozenset({ROOT}), files={UNIT: "hash"}, runs=True, taken=True, enabled=True
)
OBEYS = replace(TARGET, obeys=(PEM,), device="PEM")


def found(facts: Facts, clock_off_s: float = 0.0) -> Iterator[Finding]:
    yield from board.able(facts, PORT, clock_off_s)
    yield from board.runs(facts, PORT, PEM, TO)


BOARDS: dict[str, tuple[Facts, float, list[tuple[str, str]], str]] = {
    "a target, and all is well": (OBEYS, 0, [], ""),
    "none yet, and all is well": (BOARD, 0, [("bootloader", DOUBTFUL)], "reactor provision pi@porch"),
    "its Python is too old": (replace(OBEYS, pythons=(OLD,)), 0, [("python", WRONG)], "--python"),
    "an old Python beside another": (replace(OBEYS, pythons=(OLD, PYTHON)), 0, [], ""),
    "its clock begins in 1970": (OBEYS, -1.8e9, [("clock", DOUBTFUL)], "set-ntp"),
    "its disk is full": (replace(OBEYS, state_free_kb=100), 0, [("disk", WRONG)], "remove"),
    "its root is read-only": (replace(OBEYS, mount="/dev/mmcblk0p2 ro"), 0, [("board", WRONG)], "remount,rw"),
    "nobody becomes root, which it needs": (
        replace(BOARD, root="none"),
        0,
        [("board", WRONG), ("bootloader", DOUBTFUL)],
        "install sudo",
    ),
    "nobody becomes root, which it needs no more": (replace(OBEYS, root="none"), 0, [], ""),
    "another program has the port": (
        replace(BOARD, taken=True),
        0,
        [("board", WRONG), ("bootloader", DOUBTFUL)],
        "another port",
    ),
    "it is damaged": (replace(OBEYS, releases=frozenset()), 0, [("bootloader", WRONG)], "reactor provision pi@porch"),
    "it does not run": (replace(OBEYS, runs=False, taken=False), 0, [("bootloader", WRONG)], "systemctl start"),
    "it listens elsewhere": (replace(OBEYS, taken=False), 0, [("bootloader", WRONG)], "--listen"),
    "its unit is not enabled": (replace(OBEYS, enabled=False), 0, [("unit", WRONG)], "systemctl enable bootloader"),
    "it has no systemd": (replace(OBEYS, init="other"), 0, [("unit", DOUBTFUL)], "/opt/live-reactor/start"),
    "it does not obey this host": (TARGET, 0, [("trust", WRONG)], "reactor pair"),
}


@pytest.mark.parametrize("name", BOARDS)
def test_what_ails_a_board_is_found_by_its_shell(name: str) -> None:
    facts, clock_off_s, wanted, way_out = BOARDS[name]
    ill = [one for one in found(facts, clock_off_s) if one.state != WELL]
    assert [(one.check, one.state) for one in ill] == wanted
    assert all(one.do for one in ill)
    assert way_out in "".join(one.do for one in ill[:1])
