"""From a change on disk to sessions that ship it, with real watchers, real bootloaders and several targets."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bootloader.wire.errors import Fault, LinkDown, Untrusted
from bootloader.wire.launch import PATH as LAUNCH_PATH
from bootloader.wire.launch import Launch
from bootloader.wire.manifest import blob_name
from reactor import pace
from reactor.link import Link
from reactor.loop import Loop, Tell
from reactor.project import Project
from reactor.targets import Target
from tests.reactor.board import COUNT, SOON_S, Board, Told, until
from tests.reactor.simulated import Simulated

SETTINGS = '[tool.reactor]\nentry = "main:main"\nsettle_s = 0.1\n'


class Bench:
    """A project, targets, and a loop that runs in a thread, as it does in the front door's own."""

    def __init__(self, folder: Path) -> None:
        self.outside = folder
        self.folder = folder / "app"
        self.folder.mkdir()
        self.write("pyproject.toml", SETTINGS)
        self.write("main.py", COUNT)
        self.told = Told()
        self.loops: list[Loop] = []
        self.raised: list[BaseException] = []
        self.ended = threading.Event()
        self._stop = threading.Event()
        self._targets: list[Simulated] = []

    def write(self, path: str, content: str | bytes) -> None:
        """Save as editors do."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        aside = file.with_name(file.name + ".tmp~")
        aside.write_bytes(content.encode() if isinstance(content, str) else content)
        aside.replace(file)

    def simulated(self, name: str) -> Simulated:
        """A target in this process."""
        target = Simulated(self.outside / name, self.outside / "home", name)
        self._targets.append(target)
        return target

    def loop(self, *targets: Target, tell: Tell | None = None, watching: bool = True) -> Loop:
        """A loop over the project as it is now."""
        loop = Loop(Project.open(self.folder), targets, tell or self.told, watching=watching)
        self.loops.append(loop)
        return loop

    def dev(self, *targets: Target) -> Loop:
        """A loop that watches, after the first sync."""
        loop = self.loop(*targets)
        loop.watch()
        loop.first()
        self.run(loop)
        for target in targets:
            self.told.wait("result", target=target.name, healthy=True)
        return loop

    def run(self, loop: Loop) -> None:
        def run() -> None:
            try:
                loop.run()
            except OSError as error:
                self.raised.append(error)
            self.ended.set()

        threading.Thread(target=run, name="loop", daemon=True).start()

    def close(self) -> None:
        for loop in self.loops:
            for session in loop.sessions:
                session.fatal = session.fatal or Fault("over", "the test is over")
            loop.close()
        for target in self._targets:
            target.close()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("REACTOR_HOME", str(tmp_path / "home"))
    made = Bench(tmp_path)
    yield made
    made.close()


# One target


def test_each_save_is_shipped_and_a_burst_is_one(bench: Bench) -> None:
    target = bench.simulated("local")
    bench.dev(target)
    for number in range(3):
        mark = bench.told.mark()
        bench.write("main.py", f"x = {number}\n")
        result = bench.told.wait("result", since=mark)
        assert (result["files"], result["healthy"]) == (["main.py"], True)
        assert {"watch", "hash", "wait", "diff", "ship"} <= result["stages_ms"].keys()


def test_a_save_between_the_first_scan_and_the_first_wait_is_shipped(bench: Bench) -> None:
    target = bench.simulated("local")
    loop = bench.loop(target)
    loop.watch()
    loop.first()
    bench.write("main.py", "x = 2\n")
    bench.run(loop)
    until(lambda: (entry := target.manifest.get("main.py")) and entry.blake3 == blob_name(b"x = 2\n"))


def test_a_save_that_is_undone_before_it_is_looked_at_ships_nothing(bench: Bench) -> None:
    target = bench.simulated("local")
    bench.dev(target)
    mark = bench.told.mark()
    bench.write("main.py", COUNT)
    bench.write("other.py", "")
    assert bench.told.wait("result", since=mark)["files"] == ["other.py"]
    assert target.calls.count("apply") == 2


def test_a_project_that_is_broken_at_the_start_is_mended_by_a_save_while_sessions_wait(bench: Bench) -> None:
    target = bench.simulated("local")
    loop = bench.loop(target)
    loop.watch()
    bench.write("pyproject.toml", "[tool.reactor]\nentri = 1\n")
    with pytest.raises(Fault) as caught:
        loop.first()
    assert caught.value.code == "bad-settings"
    bench.run(loop)
    bench.write("main.py", "x = 3\n")
    problem = bench.told.wait("problem")
    assert (problem["target"], problem["code"], problem["line"]) == ("", "bad-settings", 2)
    assert bench.told.wait("result")["rung"] == "hold"
    bench.write("pyproject.toml", SETTINGS)
    assert bench.told.wait("result", target="local")["healthy"]
    assert bench.told.wait("ready")["root"] == target.manifest.root
    assert target.manifest.get("main.py") is not None


def test_what_can_not_be_shipped_is_told_and_what_can_is_shipped_afterwards(bench: Bench) -> None:
    target = bench.simulated("local")
    bench.dev(target)
    mark = bench.told.mark()
    (bench.folder / "link").symlink_to("/etc/hostname")
    problem = bench.told.wait("problem", since=mark)
    assert (problem["code"], problem["file"]) == ("link-leaves-project", "link")
    bench.write("main.py", "x = 4\n")
    (bench.folder / "link").unlink()
    assert bench.told.wait("result", since=mark, target="local")["files"] == ["main.py"]
    (held,) = bench.told.all("result", mark, target="")
    assert (held["files"], held["rung"], held["healthy"]) == (["link"], "hold", False)


def test_a_save_is_told_before_what_comes_of_it(bench: Bench) -> None:
    bench.dev(bench.simulated("local"))
    mark = bench.told.mark()
    bench.write("main.py", "x = (\n")
    bench.told.wait("result", since=mark)
    told = [event for event in bench.told.events[mark:] if event["event"] in ("save", "problem", "result")]
    assert [event["event"] for event in told] == ["save", "problem", "result"]
    assert told[0]["files"] == ["main.py"]


def test_what_is_wrong_is_told_once_a_save_and_again_with_the_next(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reactor.loop._ONE_SAVE_S", 600.0)
    loop = bench.loop(bench.simulated("local"))
    loop.first()
    bench.write("pyproject.toml", "[tool.reactor]\nentri = 1\n")
    loop._look_again()
    loop._look_again()
    assert len(bench.told.all("problem")) == 1
    bench.write("pyproject.toml", "[tool.reactor]\nentry = 1\n")
    loop._look_again()
    assert len(bench.told.all("problem")) == 2
    monkeypatch.setattr("reactor.loop._ONE_SAVE_S", -1.0)
    loop._look_again()
    assert len(bench.told.all("problem")) == 3
    bench.write("pyproject.toml", SETTINGS)
    loop._look_again()
    assert bench.told.all("notice", code="well-again")


def test_a_fault_of_the_project_is_told_without_what_a_terminal_acts_upon(bench: Bench) -> None:
    target = bench.simulated("local")
    bench.dev(target)
    (bench.folder / "\x1b[2Jgotcha.py").touch()
    told = bench.told.wait("problem")
    assert "\x1b" not in "".join(map(str, told.values()))


# A push: no watcher


def test_a_push_ships_what_is_there_when_it_ships(bench: Bench) -> None:
    """A file that changes between the scan and the shipping is looked at again, though nobody watches."""
    content = random.Random(1).randbytes(5_000_000)
    bench.write("model.bin", content)
    board = Board(bench.folder)
    board.away = True
    loop = bench.loop(board, watching=False)
    loop.first()
    bench.write("model.bin", content + b"more")
    bench.write("main.py", COUNT.replace("version 1", "version 2"))
    board.away = False
    result = bench.told.wait("result")
    assert result["healthy"]
    assert (board.state / "live" / "model.bin").read_bytes() == content + b"more"
    bench.told.wait("log", text="version 2")


def test_progress_of_a_long_scan_and_of_a_long_upload_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_SLOW_S", 0.0)
    monkeypatch.setattr(pace, "_EVERY_S", 0.0)
    for number in range(50):
        bench.write(f"data/{number}", random.Random(number).randbytes(200_000))
    bench.loop(bench.simulated("local"), watching=False).first()
    bench.told.wait("result")
    scan = [(one["done_files"], one["total_files"]) for one in bench.told.all("progress", what="scan", target="")]
    assert scan[-1] == (52, 52)
    assert len(scan) == 52
    ship = [(one["done_bytes"], one["total_bytes"]) for one in bench.told.all("progress", what="ship", target="local")]
    assert ship[-1][0] == ship[-1][1] > 10_000_000
    assert len(ship) > 1
    apply = [(one["done_files"], one["total_files"]) for one in bench.told.all("progress", what="apply")]
    assert apply == [(0, 53), (53, 53)]


def test_a_sibling_that_joins_while_it_runs_is_shown_by_its_own_path(bench: Bench) -> None:
    target = bench.simulated("local")
    bench.dev(target)
    (bench.outside / "drivers").mkdir()
    (bench.outside / "drivers" / "pins.py").touch()
    bench.write("pyproject.toml", SETTINGS + 'depends = ["../drivers"]\n')
    bench.told.wait("result", files=["../drivers/pins.py", "pyproject.toml"])
    frame = {"file": "/device/live/.reactor/depends/drivers/pins.py", "line": 3}
    target.journal.add("problem", {"what": "died", "frames": [frame], "traceback": f'File "{frame["file"]}"'})
    problem = bench.told.wait("problem")
    assert (problem["file"], problem["line"]) == ("../drivers/pins.py", 3)
    assert problem["traceback"] == f'File "{bench.outside / "drivers" / "pins.py"}"'


# Several targets

TWO = """
[tool.reactor.targets.porch]
entry = "main:porch"
env = { PIN = "17" }
"""


def entry_of(target: Simulated) -> str:
    """The entry point that the target was given."""
    entry = target.manifest.get(LAUNCH_PATH)
    assert entry is not None
    return Launch.decode(target.blob(entry.blake3)).applications[0].entry


def test_each_target_gets_the_tree_of_its_own_profile(bench: Bench) -> None:
    bench.write("pyproject.toml", SETTINGS + TWO)
    porch, shed = bench.simulated("porch"), bench.simulated("shed")
    bench.dev(porch, shed)
    assert (entry_of(porch), entry_of(shed)) == ("main:porch", "main:main")
    for number in range(3):
        mark = bench.told.mark()
        bench.write("main.py", f"x = {number}\n")
        for name in ("porch", "shed"):
            assert bench.told.wait("result", since=mark, target=name)["files"] == ["main.py"]
    assert porch.manifest.edits_to(shed.manifest).keys() == {LAUNCH_PATH}


def test_a_profile_that_changes_ships_to_its_target_alone(bench: Bench) -> None:
    bench.write("pyproject.toml", SETTINGS + TWO)
    shed, porch = bench.simulated("shed"), bench.simulated("porch")
    bench.dev(shed, porch)
    mark = bench.told.mark()
    bench.write("pyproject.toml", SETTINGS + TWO.replace("17", "18"))
    for name in ("porch", "shed"):  # the file itself is one of the tree
        assert bench.told.wait("result", since=mark, target=name)["files"] == ["pyproject.toml"]
    assert entry_of(shed) == "main:main"
    assert b'"18"' in porch.blob(launch_blob(porch))
    assert b'"18"' not in shed.blob(launch_blob(shed))


def launch_blob(target: Simulated) -> str:
    entry = target.manifest.get(LAUNCH_PATH)
    assert entry is not None
    return entry.blake3


def test_a_target_that_is_away_holds_up_no_other_and_gets_the_newest_when_it_is_back(bench: Bench) -> None:
    here, away = bench.simulated("here"), Away(bench.simulated("away"))
    loop = bench.loop(here, away)
    loop.watch()
    loop.first()
    bench.run(loop)
    for number in range(5):
        mark = bench.told.mark()
        bench.write("main.py", f"x = {number}\n")
        assert bench.told.wait("result", since=mark, target="here")["healthy"]
    away.back.set()
    bench.told.wait("result", target="away")
    until(lambda: away.real.manifest.root == here.manifest.root)
    assert len(bench.told.all("result", target="away")) == 1


class Away:
    """A target that can't be reached at first."""

    def __init__(self, real: Simulated) -> None:
        self.name = real.name
        self.real = real
        self.back = threading.Event()

    def connect(self, purpose: str) -> Link:
        if not self.back.is_set():
            raise LinkDown("it is away")
        return self.real.connect(purpose)

    def close(self) -> bool:
        self.closed = True
        return False


# Ends


class Never:
    """A target whose links never come up."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.closed = 0

    def connect(self, _purpose: str) -> Link:
        raise Untrusted("another key", to=self.name)

    def close(self) -> bool:
        self.closed += 1
        return False


def test_the_loop_ends_when_no_target_is_left(bench: Bench) -> None:
    one, two = Never("one"), Never("two")
    loop = bench.loop(one, two)
    loop.watch()
    loop.first()
    bench.run(loop)
    assert bench.ended.wait(SOON_S)
    assert not bench.raised
    assert {problem["target"] for problem in bench.told.all("problem")} == {"one", "two"}
    loop.close()
    assert (one.closed, two.closed) == (1, 1)


def test_the_loop_goes_on_while_one_target_is_left(bench: Bench) -> None:
    left = bench.simulated("left")
    loop = bench.loop(Never("gone"), left)
    loop.watch()
    loop.first()
    bench.run(loop)
    bench.told.wait("problem", target="gone")
    bench.told.wait("result", target="left")
    mark = bench.told.mark()
    bench.write("main.py", "x = 5\n")
    assert bench.told.wait("result", since=mark, target="left")["healthy"]
    assert not bench.ended.is_set()


@pytest.mark.parametrize("event", ["ready", "result", "log", "state"])
def test_what_showing_an_event_raises_is_raised_where_events_are_shown(bench: Bench, event: str) -> None:
    target = bench.simulated("local")
    told: list[str] = []

    def tell(one: dict[str, Any]) -> None:
        told.append(one["event"])
        if one["event"] == event:
            raise BrokenPipeError("whoever read this is gone")

    loop = bench.loop(target, tell=tell)
    loop.watch()
    loop.first()
    target.journal.add("log", {"text": "x"})
    target.journal.add("state", {"state": "running"})
    bench.run(loop)
    assert bench.ended.wait(SOON_S)
    assert [type(error) for error in bench.raised] == [BrokenPipeError]
    assert told.count(event) == 1
    for session in loop.sessions:
        session._runner.join(SOON_S)
        assert not session._runner.is_alive()


def test_closing_ends_every_thread(bench: Bench) -> None:
    before = set(threading.enumerate())
    loop = bench.loop(bench.simulated("one"), bench.simulated("two"))
    loop.watch()
    loop.first()
    for name in ("one", "two"):
        bench.told.wait("result", target=name)
    bench.close()
    until(lambda: set(threading.enumerate()) <= before)


class Stuck:
    """A target that a connection is being made to, for ever."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.through = threading.Event()

    def connect(self, _purpose: str) -> Link:
        self.through.wait(60)
        raise LinkDown("at last")

    def close(self) -> bool:
        return False


def test_closing_waits_for_no_connection_that_is_being_made(bench: Bench) -> None:
    stuck = [Stuck(f"stuck {number}") for number in range(20)]
    loop = bench.loop(*stuck, watching=False)
    loop.first()
    loop.close()
    assert all(session._runner.is_alive() for session in loop.sessions)
    for target in stuck:
        target.through.set()
    for session in loop.sessions:
        session._runner.join(SOON_S)
    assert not bench.told.all("link")


def test_saves_by_the_hundred_leave_nothing_behind(bench: Bench) -> None:
    target = bench.simulated("local")
    loop = bench.dev(target)
    threads = threading.active_count()
    (session,) = loop.sessions
    for number in range(300):
        mark = bench.told.mark()
        bench.write("main.py", f"x = {number}\n")
        bench.told.wait("result", since=mark)
        if number % 50 == 0:
            bench.told.events.clear()
    outcomes = session._delivery._outcomes
    assert (outcomes._waiting, list(outcomes._early)) == ([], [])
    assert session._wanted is None
    assert threading.active_count() <= threads
