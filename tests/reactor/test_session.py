"""One target over links that are cut at the worst moments: no save is lost, and each has one result, which is true."""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bootloader.wire.errors import Fault, LinkDown, Untrusted
from bootloader.wire.manifest import EMPTY
from bootloader.wire.messages import Fields
from reactor import session as module
from reactor import shipment
from reactor.link import Link
from reactor.session import Save, Session, outage
from tests.reactor.board import COUNT, Bench, Board, until
from tests.reactor.simulated import Simulated

VERSION_2 = COUNT.replace("version 1", "version 2")
VERSION_3 = COUNT.replace("version 1", "version 3")
BROKEN = "def main(:\n"


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[Simulated]:
    made = Simulated(tmp_path / "device", tmp_path / "home")
    yield made
    made.close()


# One target


def test_a_file_that_came_and_went_before_it_could_be_shipped_is_no_deletion(bench: Bench) -> None:
    session = bench.healthy()
    bench.board.away = True
    bench.board.proxy.cut()
    mark = bench.told.mark()
    bench.told.wait("link", since=mark, state="retrying")
    session.submit(bench.desk.save("scratch.txt", "x"))
    session.submit(bench.desk.save("main.py", VERSION_2))
    session.submit(bench.desk.remove("scratch.txt"))
    bench.board.away = False
    result = bench.told.wait("result", since=mark)
    assert (result["healthy"], result["files"]) == (True, ["main.py"])
    assert not bench.told.all("problem")


def test_saves_that_come_before_the_first_sync_is_done_are_shipped(bench: Bench) -> None:
    session = bench.open()
    session.submit(bench.desk.first())
    last = bench.desk.save("main.py", VERSION_2)
    session.submit(last)
    bench.told.wait("log", text="version 2")
    until(lambda: bench.told.all("result", root=last.manifest.root))
    assert bench.told.wait("ready")["python"].startswith("3.")


def test_a_save_in_the_middle_of_another_ones_way_waits_for_it_and_is_shipped(bench: Bench) -> None:
    session = bench.healthy()
    control = bench.board.proxy.wire("control")
    control.hold("back")
    one = bench.desk.save("main.py", VERSION_2)
    session.submit(one)
    until(lambda: bench.board.root() == one.manifest.root)
    two = bench.desk.save("main.py", VERSION_3)
    session.submit(two)
    control.release("back")
    until(lambda: bench.told.all("result", root=two.manifest.root))
    assert len(bench.told.all("result", root=one.manifest.root)) == 1
    assert bench.told.all("result", root=two.manifest.root)[0]["healthy"]


def test_taking_back_what_was_held_says_what_runs(bench: Bench) -> None:
    session = bench.healthy()
    session.submit(bench.desk.save("main.py", BROKEN))
    held = bench.told.wait("result", rung="hold")
    assert (held["healthy"], held["files"]) == (False, ["main.py"])
    mark = bench.told.mark()
    session.submit(bench.desk.save("main.py", COUNT))
    back = bench.told.wait("result", since=mark)
    assert (back["healthy"], back["rung"], back["files"]) == (True, "none", ["main.py"])
    assert bench.board.generations() == [1]


# Links that are cut


def test_a_call_whose_answer_is_cut_off_is_carried_out_once_and_has_one_result(bench: Bench) -> None:
    session = bench.healthy()
    mark = bench.told.mark()
    control = bench.board.proxy.wire("control")
    control.hold("back")
    save = bench.desk.save("main.py", VERSION_2)
    session.submit(save)
    until(lambda: bench.board.root() == save.manifest.root)
    control.cut()
    bench.told.wait("link", since=mark, state="up")
    result = bench.told.wait("result", since=mark)
    assert (result["healthy"], result["root"], result["files"]) == (True, save.manifest.root, ["main.py"])
    assert (result["rung"], result["reason"]) == ("restart", "code changed")

    session.submit(bench.desk.save("main.py", VERSION_3))
    bench.told.wait("log", text="version 3")
    until(lambda: len(bench.told.all("result", since=mark)) == 2)
    assert bench.board.generations() == [3, 2, 1]


def test_a_call_that_is_cut_on_its_way_there_is_made_again(bench: Bench) -> None:
    session = bench.healthy()
    mark = bench.told.mark()
    save = bench.desk.save("noise.bin", random.Random(1).randbytes(600_000))
    bench.board.proxy.wire("control").cut_after("there", 300_000)
    session.submit(save)
    result = bench.told.wait("result", since=mark)
    assert (result["healthy"], result["root"], result["files"]) == (True, save.manifest.root, ["noise.bin"])
    assert bench.told.all("link", since=mark, state="down")
    assert bench.board.generations() == [2, 1]


def test_a_target_that_does_not_answer_in_time_but_did_it_is_believed_when_it_is_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipment, "CALL_S", 1.0)
    session = bench.healthy()
    mark = bench.told.mark()
    bench.board.proxy.wire("control").hold("back")  # half-open: nobody says that anything is wrong
    save = bench.desk.save("main.py", VERSION_2)
    session.submit(save)
    assert "no answer in 1.1 s" in bench.told.wait("link", since=mark, state="retrying")["why"]
    result = bench.told.wait("result", since=mark)
    assert (result["healthy"], result["root"]) == (True, save.manifest.root)
    assert bench.board.generations() == [2, 1]


def test_a_link_that_breaks_before_the_program_is_healthy_brings_the_result_all_the_same(bench: Bench) -> None:
    bench.desk.write("pyproject.toml", '[tool.reactor]\nentry = "main:main"\nsettle_s = 1\nreload = "restart"\n')
    session = bench.healthy()
    mark = bench.told.mark()
    save = bench.desk.save("main.py", VERSION_2)
    session.submit(save)
    bench.told.wait("state", since=mark, state="running")
    bench.board.away = True
    bench.board.proxy.cut()
    bench.told.wait("link", since=mark, state="down")
    bench.board.away = False
    assert bench.told.wait("result", since=mark)["healthy"]
    session.submit(bench.desk.save("main.py", VERSION_3))
    until(lambda: len(bench.told.all("result", since=mark)) >= 2)
    assert [result["healthy"] for result in bench.told.all("result", since=mark)] == [True, True]


def test_what_the_program_prints_comes_once_and_in_order_over_many_links(bench: Bench) -> None:
    bench.healthy()
    for way in ("there", "back", "back"):
        mark = bench.told.mark()
        bench.told.wait("log", since=mark)
        wire = bench.board.proxy.wire("events")
        wire.cut_after("there" if way == "there" else "back", 700)
        bench.told.wait("link", since=mark, state="up")
        bench.told.wait("log", since=bench.told.mark())
    printed = [event["text"] for event in bench.told.all("log") if event["text"].isdecimal()]
    assert printed == [str(number) for number in range(len(printed))]


def test_a_link_that_is_slow_is_no_link_that_is_broken(bench: Bench) -> None:
    session = bench.healthy()
    mark = bench.told.mark()
    for purpose in ("control", "events"):
        bench.board.proxy.wire(purpose).hold("there", "back")
    save = bench.desk.save("main.py", VERSION_2)
    session.submit(save)
    until(lambda: session._wanted is None)
    for purpose in ("control", "events"):
        bench.board.proxy.wire(purpose).release("there", "back")
    assert bench.told.wait("result", since=mark)["healthy"]
    assert not bench.told.all("link")


def test_no_thread_is_left_of_links_that_were_cut(bench: Bench) -> None:
    bench.healthy()

    def of_the_session() -> list[str]:
        return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith(("local", "control")))

    before = of_the_session()
    for _ in range(5):
        mark = bench.told.mark()
        bench.board.proxy.cut()
        bench.told.wait("link", since=mark, state="up")
    until(lambda: of_the_session() == before)


def test_events_that_are_still_being_told_when_the_link_is_cut_are_told_once(
    bench: Bench, simulated: Simulated
) -> None:
    again, texts = threading.Event(), [str(number) for number in range(10)]

    def hello(fields: Fields, blobs: list[bytes]) -> bytes:
        if bench.told.all("log") and not bench.told.all("log", text=texts[-1]):
            again.set()
        return simulated.truth("hello", fields, blobs)

    def tell(event: dict[str, Any]) -> None:
        bench.told(event)
        if event["event"] == "log" and event["text"] == "3":
            session._hang_up()
            session.submit(bench.desk.save("main.py", VERSION_2))  # which finds out
            again.wait(0.5)  # for what must not come: another link, while this one's events are not told yet

    simulated.lies["hello"] = hello
    session = Session(simulated, bench.desk.scanner, tell, lambda: None, watching=True)
    bench.sessions.append(session)
    session.start()
    until(lambda: "events" in simulated.calls)
    with simulated.journal._changed:  # so that they come in one batch
        for text in texts:
            simulated.journal.add("log", {"text": text})
    bench.told.wait("link", state="up")
    simulated.journal.add("notice", {"text": "the last one"})
    bench.told.wait("notice", text="the last one")
    assert [one["text"] for one in bench.told.all("log")] == texts
    assert not bench.told.all("notice", code="events-odd")
    assert not again.is_set()


# A target that ends


def test_a_killed_target_is_started_again_with_what_it_had(bench: Bench) -> None:
    bench.healthy()
    mark = bench.told.mark()
    bench.board.kill()
    result = bench.told.wait("result", since=mark)
    assert (result["healthy"], result["rung"], result["reason"]) == (True, "restart", "started")
    assert bench.board.generations() == [1]


def test_a_save_whose_call_a_killed_target_took_along_is_shipped_and_told_once(bench: Bench) -> None:
    session = bench.healthy()
    bench.board.proxy.wire("control").hold("back")
    save = bench.desk.save("main.py", VERSION_2)
    mark = bench.told.mark()
    session.submit(save)
    until(lambda: bench.board.root() == save.manifest.root)
    bench.board.kill()
    assert bench.told.wait("result", since=mark)["healthy"]
    assert [result["files"] for result in bench.told.all("result", since=mark)] == [["main.py"]]


def test_a_target_that_ends_before_the_program_is_healthy_is_not_called_healthy(bench: Bench) -> None:
    bench.desk.write("pyproject.toml", '[tool.reactor]\nentry = "main:main"\nsettle_s = 1\nreload = "restart"\n')
    session = bench.healthy()
    mark = bench.told.mark()
    session.submit(bench.desk.save("main.py", VERSION_2))
    bench.told.wait("state", since=mark, state="running")
    bench.board.kill()
    first = bench.told.wait("result", since=mark, files=["main.py"])
    assert (first["healthy"], first["reason"]) == (
        False,
        "code changed; the target started again before it was healthy",
    )
    assert bench.told.wait("result", since=mark, files=[])["healthy"]


def test_a_save_that_the_target_lost_with_its_power_is_sent_again(bench: Bench, tmp_path: Path) -> None:
    session = bench.healthy()
    with bench.board.frozen():
        shutil.copytree(bench.board.state, tmp_path / "copy", symlinks=True)
    save = bench.desk.save("main.py", VERSION_2)
    session.submit(save)
    bench.told.wait("result", root=save.manifest.root)
    mark = bench.told.mark()

    bench.board.away = True
    bench.board.kill()
    shutil.rmtree(bench.board.state)
    shutil.copytree(tmp_path / "copy", bench.board.state, symlinks=True)
    bench.board.away = False

    result = bench.told.wait("result", since=mark)
    assert (result["healthy"], result["root"], result["files"]) == (True, save.manifest.root, ["main.py"])
    assert bench.board.root() == save.manifest.root
    assert not bench.told.all("notice", code="changed-elsewhere")


# Somebody else


def roll_back(board: Board, generation: int = 1) -> None:
    with board.direct() as link:
        link.call("lease", {"do": "take"})
        link.call("rollback", {"generation": generation}, timeout_s=20)


def test_somebody_elses_rollback_is_told_and_stays_until_the_next_save(bench: Bench) -> None:
    session = bench.healthy()
    old = bench.board.root()
    session.submit(bench.desk.save("main.py", VERSION_2))
    until(lambda: len(bench.told.all("result")) == 2)
    mark = bench.told.mark()

    roll_back(bench.board)
    notice = bench.told.wait("notice", since=mark, code="changed-elsewhere")
    assert "generation 3 is live now" in notice["text"]
    assert "rollback: to generation 1" in notice["text"]
    assert bench.board.root() == old
    assert not bench.told.all("result", since=mark)

    # Even one that only takes the project to where it was before, as far as this host had shipped.
    session.submit(bench.desk.save("other.py", ""))
    bench.told.wait("result", since=mark, files=["main.py", "other.py"])
    mark = bench.told.mark()
    roll_back(bench.board)
    bench.told.wait("notice", since=mark, code="changed-elsewhere")
    session.submit(bench.desk.remove("other.py"))
    result = bench.told.wait("result", since=mark)
    assert (result["healthy"], result["files"], result["rung"]) == (True, ["main.py"], "restart")


def test_a_rollback_while_the_link_was_down_is_told_and_not_undone(bench: Bench) -> None:
    session = bench.healthy()
    old = bench.board.root()
    session.submit(bench.desk.save("main.py", VERSION_2))
    until(lambda: len(bench.told.all("result")) == 2)
    mark = bench.told.mark()
    bench.board.away = True
    bench.board.proxy.cut()
    bench.told.wait("link", since=mark, state="down")
    roll_back(bench.board)
    bench.board.away = False
    bench.told.wait("notice", since=mark, code="changed-elsewhere")
    assert bench.board.root() == old
    assert not bench.told.all("result", since=mark)
    assert len(bench.told.all("notice", since=mark, code="changed-elsewhere")) == 1

    bench.board.kill()  # and what is live there is what runs again
    assert bench.told.wait("result", since=mark)["root"] == old
    assert bench.board.root() == old


def test_the_targets_own_rollback_of_what_failed_is_told(bench: Bench) -> None:
    bench.desk.write("pyproject.toml", '[tool.reactor]\nentry = "main:main"\non_failure = "rollback"\n')
    session = bench.healthy()
    mark = bench.told.mark()
    session.submit(bench.desk.save("main.py", "def main():\n    raise SystemExit(3)\n"))
    assert not bench.told.wait("result", since=mark)["healthy"]
    notice = bench.told.wait("notice", since=mark, code="changed-elsewhere")
    assert "by bootloader (rollback: to generation 1: generation 2 failed" in notice["text"]


def test_a_tree_that_changed_unheard_of_is_found_out_and_shipped_over(bench: Bench, simulated: Simulated) -> None:
    session = bench.open(simulated)
    session.submit(bench.desk.first())
    bench.told.wait("result")
    simulated.manifest = simulated.manifest.edit({"main.py": None})
    simulated.known[simulated.manifest.root] = simulated.manifest
    mark = bench.told.mark()
    save = bench.desk.save("other.py", "")
    session.submit(save)
    result = bench.told.wait("result", since=mark)
    assert (result["healthy"], result["root"], result["files"]) == (True, save.manifest.root, ["main.py", "other.py"])
    assert simulated.manifest == save.manifest


# Files that change, targets that refuse


def test_a_file_that_changed_since_it_was_hashed_is_shipped_as_it_is_now(bench: Bench) -> None:
    large = random.Random(2).randbytes(5_000_000)
    bench.desk.write("model.bin", large)
    session = bench.open(watching=False)
    save = bench.desk.first()
    bench.desk.write("model.bin", large + b"!")
    now: list[Save] = []

    def look_again() -> None:
        now.append(bench.desk.first())
        session.submit(now[0])

    bench.look_again = look_again
    session.submit(save)
    result = bench.told.wait("result")
    assert (result["healthy"], result["root"]) == (True, now[0].manifest.root)
    assert bench.looked_again == 1


def test_a_file_that_changes_all_the_time_is_told_and_the_next_save_is_shipped(bench: Bench) -> None:
    bench.desk.write("log.bin", bytes(5_000_000))
    session = bench.open()
    save = bench.desk.first()
    bench.desk.write("log.bin", bytes(5_000_001))
    session.submit(save)
    assert bench.told.wait("problem")["code"] == "file-changed"
    assert bench.told.wait("result")["reason"] == "it could not be shipped"
    assert bench.looked_again > 1
    mark = bench.told.mark()
    session.submit(bench.desk.first())
    assert bench.told.wait("result", since=mark)["healthy"]


def test_a_file_that_can_not_be_read_is_told_and_does_not_end_the_session(bench: Bench) -> None:
    session = bench.healthy()
    save = bench.desk.save("big.bin", bytes(5_000_000))
    (bench.desk.folder / "big.bin").unlink()
    (bench.desk.folder / "big.bin").symlink_to("big.bin")  # for root, too, this can't be opened
    mark = bench.told.mark()
    session.submit(save)
    problem = bench.told.wait("problem", since=mark)
    assert (problem["code"], problem["file"]) == ("unreadable", "big.bin")
    assert bench.told.wait("result", since=mark)["rung"] == "hold"
    assert session.fatal is None


def test_a_program_that_does_not_start_is_a_result_that_is_not_healthy(bench: Bench) -> None:
    session = bench.healthy()
    mark = bench.told.mark()
    session.submit(bench.desk.save("main.py", "def main():\n    1 / 0\n"))
    result = bench.told.wait("result", since=mark)
    assert (result["healthy"], result["rung"]) == (False, "restart")
    problem = bench.told.wait("problem", since=mark)
    assert (problem["file"], problem["line"]) == ("main.py", 2)


# The end of a session


class Nowhere:
    """A target that there is no link to."""

    name = "nowhere"

    def __init__(self, fault: Callable[[], Exception]) -> None:
        self.fault = fault
        self.tries = 0

    def connect(self, _purpose: str) -> Link:
        self.tries += 1
        raise self.fault()

    def close(self) -> bool:
        return False


def nowhere(bench: Bench, fault: Callable[[], Exception], *, watching: bool) -> tuple[Session, Nowhere]:
    target = Nowhere(fault)
    return bench.open(target, watching=watching), target


def test_a_push_to_a_target_that_is_not_there_ends_with_the_reason(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.2)
    session, target = nowhere(bench, lambda: LinkDown("no connection", to="porch:7717"), watching=False)
    problem = bench.told.wait("problem")
    assert (problem["code"], problem["message"]) == ("link-down", "porch:7717: no connection")
    assert session.fatal is not None
    assert target.tries > 1


def test_a_dev_waits_for_a_target_that_is_not_there_and_says_so_now_and_then(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.0)
    monkeypatch.setattr(outage, "PAUSES_S", (0.001,))
    session, target = nowhere(bench, lambda: LinkDown("no connection"), watching=True)
    until(lambda: target.tries > 100)
    assert session.fatal is None
    assert len(bench.told.all("link", state="down")) == 1
    assert 3 < len(bench.told.all("link", state="retrying")) < target.tries / 5


@pytest.mark.parametrize("fault", [Untrusted("another key"), Fault("unusable-identity", "no certificate")], ids=str)
def test_a_fault_that_waiting_does_not_mend_ends_the_session(bench: Bench, fault: Fault) -> None:
    session, target = nowhere(bench, lambda: fault, watching=True)
    assert bench.told.wait("problem")["code"] == fault.code
    until(lambda: session.fatal is fault)
    assert target.tries == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_of_our_own_ends_the_session_and_is_told(bench: Bench) -> None:
    session, _ = nowhere(bench, lambda: ZeroDivisionError("our own"), watching=True)
    problem = bench.told.wait("problem")
    assert (problem["code"], session.fatal is not None) == ("internal-error", True)
    assert "ZeroDivisionError: our own" in problem["message"]


def test_a_session_that_is_closed_while_it_connects_ships_nothing_more(bench: Bench) -> None:
    session = bench.open()
    session.submit(bench.desk.first())
    session.close()
    session._runner.join(20)
    assert not session._runner.is_alive()
    assert not bench.told.all("result")
    assert bench.board.root() == EMPTY.root


def test_a_link_that_comes_up_after_the_end_is_hung_up(bench: Bench, simulated: Simulated) -> None:
    class Late:
        name = "late"
        asked, through = threading.Event(), threading.Event()

        def connect(self, purpose: str) -> Link:
            self.asked.set()
            self.through.wait(20)
            return simulated.connect(purpose)

        def close(self) -> bool:
            return False

    target = Late()
    session = bench.open(target)
    assert target.asked.wait(20)
    session.close()
    target.through.set()
    session._runner.join(20)
    assert not session._runner.is_alive()
    assert not simulated.calls


def test_closing_waits_for_no_link(bench: Bench) -> None:
    bench.healthy()
    for purpose in ("control", "events"):
        bench.board.proxy.wire(purpose).hold("there", "back")
    session = bench.sessions[0]
    session.submit(bench.desk.save("main.py", VERSION_2))
    until(lambda: session._wanted is None)
    began = time.monotonic()
    session.close()
    assert not session._runner.is_alive()
    assert time.monotonic() - began < 60  # a bound, not a measurement: what it must not wait for takes 180 s
    assert not bench.told.all("problem")
