"""A change that what runs takes in place: asked first, all or none; and else the restart that it would have been."""

from __future__ import annotations

from typing import Any

import pytest

from bootloader.wire.errors import LinkClosed, LinkDown, Refused
from bootloader.wire.launch import Application
from tests.bootloader.target import Change, Files, Target, app, gone

STEADY = app(settle_s=0.0)

LOOP = """
import ctypes, os, signal, sys, threading
def step(): return {word!r}
def before(): {before}
def main():
    before()
    said = None
    while True:
        if said != (said := step()):
            print(said)
        threading.Event().wait(0.005)
"""


def loop(word: str, before: str = "pass") -> str:
    """An application that prints the word once, and the next when it has become that; it does ``before`` first."""
    return LOOP.format(word=word, before=before)


def patch(target: Target, files: Files | str, *apps: Application, reload: str = "auto", **launch: Any) -> Change:
    return target.ship(files, *(apps or (STEADY,)), reload=reload, **launch)


def up(target: Target, files: Files | str, *apps: Application, **launch: Any) -> Change:
    """``files`` run from their start, and have said ``one``."""
    change = target.ship(files, *(apps or (STEADY,)), **launch).healthy()
    target.event("log", change.state("running", application=(*apps, STEADY)[0].name), text="one")
    return change


def told(change: Change) -> tuple[str, str]:
    """Which rung it took, and why."""
    return change.answer.text("rung"), change.answer.text("why")


def started(target: Target, change: Change) -> list[str]:
    """The applications that started in ``change``'s generation."""
    return [
        event["application"]
        for event in target.events
        if event["event"] == "state" and event["state"] == "starting" and event["generation"] == change.generation
    ]


def test_a_change_of_a_function_is_taken_in_place_and_the_process_lives_on(shared: Target) -> None:
    first = up(shared, loop("one"))
    pid = shared.status()["pid"]
    change = patch(shared, loop("two")).healthy()
    shared.event("log", first.state("running"), text="two")
    assert told(change) == ("patch", "app.step")
    assert change.answer.child("patch").child("app").plain()["patched"] == ["app.step"]
    assert started(shared, change) == []
    status = shared.status()
    assert (status["pid"], status["generation"], status["state"]) == (pid, change.generation, "healthy")
    assert shared.call("hello").integer("generation") == change.generation
    newest = shared.history()[0]
    assert (newest["rung"], newest["why"], newest["fate"]) == ("patch", "app.step", "healthy")
    assert change.fate("running")["stages_ms"].keys() == {"store", "prepare", "switch", "patch"}


def test_what_still_runs_its_old_body_is_named(shared: Target) -> None:
    up(shared, loop("one"))
    change = patch(shared, loop("one").replace("0.005", "0.006"))
    assert told(change) == ("patch", "app.main; `app.main` runs its old body until it is called again")


def test_what_can_not_be_patched_restarts_and_says_why(shared: Target) -> None:
    up(shared, loop("one"))
    change = patch(shared, loop("two") + "print('at import')\n").healthy()
    assert told(change) == ("restart", "`app.py:12` changed what runs at import: `print('at import')`")
    assert started(shared, change) == ["app"]


def test_all_applications_are_patched_or_none(shared: Target) -> None:
    apps = (app("a", "a:main", settle_s=0.0), app("b", "b:main", settle_s=0.0))
    up(shared, {"a.py": loop("one"), "b.py": loop("one")}, *apps)
    change = patch(shared, {"a.py": loop("two"), "b.py": loop("one") + "print()\n"}, *apps).healthy()
    assert change.answer.text("rung") == "restart"
    assert sorted(started(shared, change)) == ["a", "b"]
    change = patch(shared, {"a.py": loop("three"), "b.py": loop("three") + "print()\n"}, *apps).healthy()
    assert told(change) == ("patch", "a.step, b.step")


def test_one_that_does_not_run_starts_while_the_others_are_patched(shared: Target) -> None:
    apps = (app("a", "a:main", settle_s=0.0), app("b", "b:main", settle_s=0.0))
    up(shared, {"a.py": loop("one"), "b.py": "def main(): pass\n"}, *apps).state("finished", application="b")
    pid = shared.status("a")["pid"]
    change = patch(shared, {"a.py": loop("two"), "b.py": loop("two")}, *apps).healthy()
    assert told(change) == ("patch", "a.step")
    assert started(shared, change) == ["b"]
    assert shared.status("a")["pid"] == pid


def test_one_that_an_earlier_change_did_not_concern_is_not_patched_where_it_runs_older_code(shared: Target) -> None:
    net, main = app("net", "net:main", init=True, settle_s=0.0), STEADY  # the two of which hear of one change alone
    files = {"net.py": loop("one"), "app.py": loop("one"), "both.py": "def f(): return 1\n"}
    up(shared, files, net, main)
    files["both.py"] = "def f(): return 2\n"
    assert told(patch(shared, files, net, main).healthy())[0] == "patch"
    files |= {"net.py": loop("two"), "both.py": "def f(): return 3\n"}
    change = patch(shared, files, net, main).healthy()
    assert told(change) == ("restart", "net runs an older `both.py`")
    files |= {"net.py": loop("three"), "both.py": "def f(): return 4\n"}
    assert told(patch(shared, files, net, main).healthy())[0] == "patch"


@pytest.mark.parametrize("broken", ["app.py", "unused.py"], ids=["what runs", "what nothing has imported"])
def test_what_does_not_compile_is_no_patch_and_changes_nothing(shared: Target, broken: str) -> None:
    up(shared, loop("one"))
    before = shared.live(), shared.history()
    files = {"app.py": loop("two"), "unused.py": "x = 1\n"}
    with pytest.raises(Refused) as caught:
        patch(shared, {**files, broken: "x = (\n"})
    assert (caught.value.code, caught.value.fields["file"]) == ("syntax-error", broken)
    assert (shared.live(), shared.history()) == before
    assert told(patch(shared, files).healthy()) == ("patch", "app.step")


def test_a_file_that_nothing_has_imported_is_compiled_beside(shared: Target) -> None:
    up(shared, loop("one"))
    change = patch(shared, {"app.py": loop("two"), "unused.py": "x = 1\n"}).healthy()
    assert told(change) == ("patch", "app.step")
    assert "check" in change.fate("running")["stages_ms"], "no application compiled it"


# the settings


def test_with_restart_in_the_settings_nothing_is_patched(shared: Target) -> None:
    up(shared, loop("one"))
    assert told(patch(shared, loop("two"), reload="restart").healthy()) == ("restart", "code changed")


def test_with_patch_in_the_settings_what_would_restart_is_refused_and_changes_nothing(shared: Target) -> None:
    up(shared, loop("one"))
    change = patch(shared, loop("one"), reload="patch").healthy()
    assert change.answer.text("rung") == "patch", "how to reload is nothing to the application"
    before = shared.live(), shared.history(), shared.standing()
    with pytest.raises(Refused) as caught:
        patch(shared, loop("two") + "print('at import')\n", reload="patch")
    assert caught.value.code == "not-patchable"
    assert "changed what runs at import: `print('at import')`" in str(caught.value)
    with pytest.raises(Refused, match="its settings changed"):
        patch(shared, loop("two"), app(settle_s=0.1), reload="patch")
    assert (shared.live(), shared.history(), shared.standing()) == before
    assert told(patch(shared, loop("two"), reload="patch").healthy()) == ("patch", "app.step")


def test_with_patch_in_the_settings_what_fails_halfway_is_held_and_not_restarted(shared: Target) -> None:
    up(shared, loop("one"))
    pid = shared.status()["pid"]
    change = patch(shared, "import nowhere_at_all\n" + loop("two"), reload="patch")
    rung, why = told(change)
    assert rung == "hold"
    assert "No module named 'nowhere_at_all'; what runs goes on, and is not to restart" in why
    assert (shared.status()["pid"], shared.status()["generation"]) == (pid, change.generation - 1)
    assert "healthy" not in [event["state"] for event in shared.events if event.get("generation") == change.generation]
    with pytest.raises(Refused, match=r"app runs an older `app.py`"):
        patch(shared, loop("three"), reload="patch")
    change = patch(shared, loop("three")).healthy()
    assert told(change) == ("restart", "app runs an older `app.py`")


def test_the_way_back_is_a_restart(shared: Target) -> None:
    change, tree = up(shared, loop("one")), shared.tree
    patch(shared, loop("two")).healthy()
    shared.tree = tree
    back = shared.roll_back(change.generation).healthy()
    assert back.answer.text("rung") == "rollback"
    assert started(shared, back) == ["app"]


# how it fares


def test_one_that_dies_of_its_new_code_is_a_failed_generation(shared: Target) -> None:
    spec = app(settle_s=0.3)
    up(shared, loop("one"), spec)
    change = patch(shared, loop("one").replace("'one'", "1 / 0"), spec)
    assert told(change)[0] == "patch"
    assert change.fate("healthy", "failed")["why"] == "app exited with status 1"
    assert "ZeroDivisionError" in shared.problem(change)["what"]


def test_one_that_says_itself_that_it_is_ready_is_healthy_again_after_its_settle_time(shared: Target) -> None:
    ready = """
    import socket
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"].replace("@", chr(0), 1))
"""
    spec = app(ready="notify", settle_s=0.01)
    up(shared, loop("one", ready), spec)
    change = patch(shared, loop("two", ready), spec).healthy()
    assert told(change)[0] == "patch"
    assert change.fate("healthy")["why"] == "patched, and up for 0.01 s"


# applications that make it hard


def test_one_that_has_closed_its_orders_restarts_at_once(shared: Target) -> None:
    deaf = "os.closerange(3, 4096)"
    up(shared, loop("one", deaf))
    assert told(patch(shared, loop("two", deaf)).healthy()) == ("restart", "app takes no orders any more")


def test_one_that_does_not_let_go_of_the_interpreter_restarts(shared: Target) -> None:
    stuck = "ctypes.PyDLL(None).system(b'echo one; exec sleep 60')"  # says so when it holds it for certain
    up(shared, loop("zero", stuck))
    change = patch(shared, loop("one")).healthy()
    assert told(change) == ("restart", "app did not answer within 2 s")


@pytest.mark.parametrize(
    "before",
    [
        "os.fork() or signal.pause()",
        "__import__('multiprocessing').get_context('fork').Process(target=signal.pause).start()",
        "__import__('multiprocessing').get_context('spawn').Process(target=signal.pause).start()",
        "__import__('subprocess').Popen([sys.executable, '-c', 'import signal; signal.pause()'])",
        "__import__('subprocess').Popen(['sh', '-c', sys.executable + ' -c \"import signal; signal.pause()\"; true'])",
        "os.waitpid(os.fork() or os.fork() and os._exit(0) or signal.pause(), 0)",
        "os.waitpid(os.fork() or os.setsid() or os.fork() and os._exit(0) or signal.pause(), 0)",
    ],
    ids=["fork", "multiprocessing", "spawn", "another script", "by a shell", "its parent has ended", "a daemon of it"],
)
def test_one_whose_code_runs_in_other_processes_too_restarts(shared: Target, before: str) -> None:
    up(shared, loop("one", before))
    change = patch(shared, loop("two", before)).healthy()
    assert change.answer.text("rung") == "restart"
    assert "runs its code, too" in change.answer.text("why")


def test_one_that_is_busy_in_every_thread_is_patched(shared: Target) -> None:
    busy = "[threading.Thread(target=lambda: [0 for _ in iter(int, 1)], daemon=True).start() for _ in range(3)]"
    first = up(shared, loop("one", busy))
    assert told(patch(shared, loop("two", busy))) == ("patch", "app.step")
    shared.event("log", first.state("running"), text="two")


def test_one_that_starts_other_programs_and_forks_at_times_is_patched(shared: Target) -> None:
    before = "os.waitpid(os.fork() or os._exit(0), 0); __import__('subprocess').Popen(['sleep', '60'])"
    before += "; __import__('multiprocessing.resource_tracker').resource_tracker.ensure_running()"
    up(shared, loop("one", before))
    assert told(patch(shared, loop("two", before))) == ("patch", "app.step")


def test_what_is_forged_is_no_answer(target: Target) -> None:
    before = "threading.Thread(target=forge, daemon=True).start()"
    forge = """
from bootloader.guest.output import Output
def forge():
    output = Output(sys.stdout.buffer.raw._pipe)
    while True:
        for number in range(1, 9):
            output.note(order=number, refused="forged")
        threading.Event().wait(0.0005)
"""
    up(target, loop("one", before) + forge)
    assert told(patch(target, loop("two", before) + forge)) == ("patch", "app.step")


def test_one_that_has_put_its_own_in_the_place_of_threads_is_patched(shared: Target) -> None:
    strange = "import _thread, os, select, time\n_thread.start_new_thread = select.poll = time.sleep = None\n"
    files = {"app.py": "import green\n" + loop("one", "os.waitpid(os.fork() or os._exit(0), 0)"), "green.py": strange}
    up(shared, files)
    assert told(patch(shared, {**files, "app.py": files["app.py"].replace("'one'", "'two'")})) == ("patch", "app.step")


def test_a_bootloader_that_dies_while_applications_take_a_change_starts_them_from_the_new_tree(target: Target) -> None:
    up(target, loop("one"))
    bomb = """
import os, pathlib
went = pathlib.Path("went")
if not went.exists():
    went.touch()
    with open(f"/proc/{os.getppid()}/stat") as stat:
        os.kill(int(stat.read().rpartition(")")[2].split()[1]), 9)
    os.kill(os.getpid(), 9)
"""
    pid = target.pid
    with pytest.raises((LinkClosed, LinkDown)):
        patch(target, {"app.py": "import bomb\n" + loop("two"), "bomb.py": bomb})
    gone({pid})
    target.again()
    target.log("two")
    assert target.status()["generation"] == 2


def test_a_save_while_it_still_imports_restarts_it(shared: Target) -> None:
    slow = "import time\nprint('imports')\ntime.sleep(60)\ndef main(): pass\n"
    change = patch(shared, slow)
    shared.event("log", change.state("starting"), text="imports")
    assert told(patch(shared, loop("one"))) == ("restart", "app is starting")


# what goes wrong after the switch


def test_one_that_dies_while_it_takes_the_change_starts_from_the_new_tree(shared: Target) -> None:
    up(shared, loop("one"))
    bomb = "import os, pathlib\nwent = pathlib.Path('went')\nif not went.exists(): went.touch(); os._exit(3)\n"
    files = {"app.py": "import bomb\n" + loop("two"), "bomb.py": bomb}
    change = patch(shared, files)
    assert told(change) == ("restart", "app ended: exited with status 3")
    assert change.healthy().fate("running")
    shared.event("log", change.state("starting"), text="two")
    newest = shared.history()[0]
    assert (newest["rung"], newest["why"]) == ("restart", "app ended: exited with status 3")


def test_what_is_added_and_can_not_be_imported_restarts_and_fails_as_it_would_have(shared: Target) -> None:
    up(shared, loop("one"))
    change = patch(shared, "import nowhere_to_be_found\n" + loop("two"))
    assert change.answer.text("rung") == "restart"
    assert "nowhere_to_be_found" in change.answer.text("why")
    assert change.fate("healthy", "failed")["state"] == "failed"
