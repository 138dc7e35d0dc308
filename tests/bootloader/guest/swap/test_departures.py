"""Modules that moved, and modules that are gone, while they are loaded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootloader.guest.swap import Refusal
from tests.bootloader.guest.swap.process import Process, process

COUNTER = "count = 0\nclass Kept: pass\ndef turn():\n    global count\n    count += 1\n    return count\n"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Process]:
    yield from process(tmp_path)


def test_a_module_that_moved_keeps_its_state_under_its_new_name(app: Process) -> None:
    app.start(app="import gears_a\ndef step(): return gears_a.turn()\n", gears_a=COUNTER, robot_a__init="")
    module = app.load()
    module.step()
    gears, turn = module.gears_a, module.gears_a.turn
    app.patch(
        app="from robot_a import gears_a\ndef step(): return gears_a.turn()\n", gears_a=None, robot_a__gears_a=COUNTER
    )
    assert module.step() == 2
    assert sys.modules["robot_a.gears_a"] is sys.modules["robot_a"].gears_a is module.gears_a is gears
    assert "gears_a" not in sys.modules
    assert {turn.__module__, gears.Kept.__module__, gears.__name__, getattr(gears.__spec__, "name", "")} == {
        "robot_a.gears_a"
    }
    assert turn.__code__.co_filename == gears.__file__ == f"{app.live}/robot_a/gears_a.py"
    app.patch(robot_a__gears_a=COUNTER.replace("+= 1", "+= 10"))
    assert turn() == 12


def test_a_module_that_moved_and_changed_is_refused(app: Process) -> None:
    app.start(app="import gears_b\n", gears_b=COUNTER)
    app.load()
    with pytest.raises(Refusal, match=r"looks like what became of it"):
        app.prepare(app="from robot_b import gears_b\n", gears_b=None, robot_b__gears_b="count = 1\n")


def test_who_holds_a_module_that_is_gone_is_named(app: Process) -> None:
    app.start(app="import gears_c\nfrom gears_c import turn\n", gears_c=COUNTER)
    module = app.load()
    report = app.patch(gears_c=None)
    assert report.notes == [
        "`gears_c.py` is gone, and `app` still holds it as `gears_c`",
        "`gears_c.py` is gone, and `app` still holds `turn` of it",
    ]
    assert report.removed == ["gears_c"]
    assert module.turn() == 1
    with pytest.raises(ModuleNotFoundError):
        app.load("gears_c")


def test_a_module_that_is_gone_leaves_its_package(app: Process) -> None:
    app.start(
        robot_d__init="", robot_d__gears="X = 1\n", robot_d__motor="from . import gears\ndef f(): return gears.X\n"
    )
    motor, package = app.load("robot_d.motor"), app.load("robot_d")
    report = app.patch(robot_d__gears=None, robot_d__motor="def f(): return 7\n")
    assert (motor.f(), hasattr(package, "gears"), hasattr(motor, "gears"), report.notes) == (7, False, False, [])


def test_a_failure_puts_a_module_back_that_was_gone(app: Process) -> None:
    app.start(app="import gears_e\n", gears_e=COUNTER)
    module = app.load()
    with pytest.raises(Exception, match="nowhere_at_all"):
        app.patch(app="import nowhere_at_all\n", gears_e=None)
    assert sys.modules["gears_e"] is module.gears_e
