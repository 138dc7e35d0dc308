"""What runs, and how it gives way to the next: stops, children, warmth, and what happens to any of the processes."""

from __future__ import annotations

import os
import signal
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bootloader.wire.errors import Fault
from tests.bootloader.target import SOON_S, Change, Event, Target, alive, app, descendants, gone

STEADY = app(settle_s=0.0)
"""Healthy as soon as it is up."""

WAIT = "import threading\ndef main():\n    print('up')\n    threading.Event().wait()\n"


def up(target: Target, source: str = WAIT, **more: Any) -> int:
    """Have ``source`` run until it prints ``up``; its process."""
    change = target.ship(source, app(settle_s=0.0, **more))
    change.healthy()
    start = change.state("starting")["n"]
    target.wait(
        lambda: next((e for e in target._events if e["n"] > start and e.get("text") == "up"), None), "the first line"
    )
    pid = target.status()["pid"]
    assert isinstance(pid, int)
    return pid


def printed_since(target: Target, event: Event) -> list[str]:
    return [each["text"] for each in target.events if each["event"] == "log" and each["n"] > event["n"]]


# stops

SYNC = """
import atexit, threading
class Held:
    def __del__(self): print("released")
held = Held()
def main():
    atexit.register(print, "at exit")
    try:
        print("up")
        threading.Event().wait()
    finally:
        print("finally")
"""
ASYNC = """
import asyncio, atexit
async def main():
    atexit.register(print, "at exit")
    try:
        print("up")
        await asyncio.sleep(1000)
    except asyncio.CancelledError:
        print("cancelled")
        raise
    finally:
        await asyncio.sleep(0)
        print("finally")
"""
INNER = """
import asyncio, atexit
async def inner():
    try:
        print("up")
        await asyncio.sleep(1000)
    finally:
        print("finally")
def main():
    atexit.register(print, "at exit")
    asyncio.run(inner())
"""


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (SYNC, ["finally", "at exit", "released"]),
        (ASYNC, ["cancelled", "finally", "at exit"]),
        (INNER, ["finally", "at exit"]),
    ],
    ids=["sync", "async", "asyncio inside"],
)
def test_a_stop_runs_everything_that_cleans_up(shared: Target, source: str, words: list[str]) -> None:
    up(shared, source)
    stopped_by = shared.ship("def main(): pass\n")
    stopping = shared.event("state", state="stopping", generation=stopped_by.generation - 1)
    stopped = shared.event("state", state="stopped", generation=stopped_by.generation - 1)
    assert printed_since(shared, stopping)[: len(words)] == words
    assert (stopped["why"], stopped["code"]) == ("asked to", 0)


def test_one_that_ignores_the_stop_is_killed_after_its_grace_with_all_its_children(shared: Target) -> None:
    pid = up(
        shared,
        """
import signal, subprocess, sys, threading
def main():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for _ in range(2): subprocess.Popen(["sleep", "1000"])  # they inherit that
    print("up")
    while True: threading.Event().wait(1000)
""",
        grace_s=0.1,
    )
    family = {pid, *descendants(pid)}
    assert len(family) == 3
    change = shared.ship("def main(): pass\n")
    gone(family)
    assert shared.event("notice", code="killed", application="app")
    stopped = shared.event("state", state="stopped", generation=change.generation - 1)
    assert stopped["why"] == "killed by SIGKILL"
    assert change.healthy()


def test_one_that_swallows_everything_is_killed_too(shared: Target) -> None:
    pid = up(
        shared,
        """
import threading
def main():
    print("up")
    while True:
        try: threading.Event().wait(1000)
        except BaseException: print("swallowed")
""",
        grace_s=1.0,  # within which it has to be given the processor
    )
    change = shared.ship("def main(): pass\n")
    gone({pid})
    assert change.healthy()
    assert shared.log("swallowed")


PORT_HOLDER = """
import signal, socket, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
held = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("up", flush=True)
while True: time.sleep(1000)
"""
BINDER = """
import socket
def main():
    socket.create_server(("127.0.0.1", {port})).close()
    print("bound")
"""


@pytest.mark.parametrize("ending", ["threading.Event().wait()", "os._exit(3)", "os.kill(os.getpid(), 9)"])
def test_a_childs_port_is_free_before_the_next_generation_starts(shared: Target, ending: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    source = f"""
import os, pathlib, subprocess, sys, threading
def main():
    holder = pathlib.Path(__file__).with_name("holder.py")
    child = subprocess.Popen([sys.executable, holder, "{port}"], stdout=subprocess.PIPE)
    print(child.stdout.readline().decode().strip())
    {ending}
"""
    first = shared.ship({"app.py": source, "holder.py": PORT_HOLDER}, app(settle_s=0.0, grace_s=0.2))
    first.state("running", "failed")
    start = first.state("starting")["n"]
    shared.wait(lambda: next((e for e in shared._events if e["n"] > start and e.get("text") == "up"), None), "up")
    if "wait" not in ending:
        first.state("failed")
    change = shared.ship(BINDER.format(port=port))
    assert shared.logs(change) == ["bound"]
    assert change.healthy()


def test_what_is_left_of_a_dead_application_is_asked_to_stop_and_heard(shared: Target) -> None:
    change = shared.ship(
        """
import os, subprocess
def main():
    left = subprocess.Popen(["sh", "-c", "trap 'echo cleaned up >&2; exit' TERM; echo ready; sleep 1000 & wait"],
                            stdout=subprocess.PIPE)
    left.stdout.readline()
    os._exit(1)
"""
    )
    assert change.fate()["state"] == "failed"
    assert shared.log("cleaned up")["stream"] == "stderr"


def test_a_child_in_a_session_of_its_own_is_gone_too_before_the_next_generation_starts(shared: Target) -> None:
    pid = up(
        shared,
        """
import subprocess, threading
def main():
    subprocess.Popen(["sh", "-c", "sleep 1000 & wait"], start_new_session=True)
    subprocess.Popen(["sh", "-c", "(trap '' TERM; setsid sleep 1000 &)"])  # a daemon, long nobody's child
    print("up")
    threading.Event().wait()
""",
        grace_s=0.2,
    )
    while len(family := {each for each in relatives(shared) if each != pid}) < 3:
        shared.call("status")
    change = shared.ship("import os\ndef main(): print(os.getpid())\n")
    shared.logs(change)
    assert not [each for each in family if alive(each)]
    assert change.healthy()


def test_a_daemon_that_was_only_forked_is_gone_with_its_port_before_the_next_generation_binds_it(
    shared: Target,
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = f"""
import os, socket, threading, time
def main():
    server = socket.socket()
    server.bind(("127.0.0.1", {port}))
    server.listen()
    if os.fork() == 0:
        os.setsid()
        time.sleep(1000)
        os._exit(0)
    print("bound")
    threading.Event().wait()
"""
    assert shared.ship(text, app(settle_s=0.2, grace_s=0.2)).healthy()
    assert shared.ship(text + "# again\n", app(settle_s=0.2, grace_s=0.2)).healthy()


def relatives(target: Target) -> set[int]:
    """The processes that have the application's mark."""
    mark = b"REACTOR_APPLICATION=app"
    found = set()
    for each in target.processes():
        with suppress(OSError):
            if mark in Path(f"/proc/{each}/environ").read_bytes().split(b"\0"):
                found.add(each)
    return found


def test_threads_that_never_end_are_killed_after_the_grace_time(shared: Target) -> None:
    pid = up(
        shared,
        "import threading\ndef main():\n    threading.Thread(target=threading.Event().wait).start()\n    print('up')\n",
        grace_s=0.1,
    )
    change = shared.ship("def main(): pass\n")
    gone({pid})
    assert change.healthy()


def test_one_that_is_still_importing_gives_way_to_the_next(shared: Target) -> None:
    slow = shared.ship("print('importing')\nimport threading\nthreading.Event().wait()\ndef main(): pass\n")
    shared.log("importing")
    change = shared.ship("def main(): print('next')\n")
    assert slow.fate()["state"] == "replaced"
    assert change.healthy()
    assert shared.logs(change) == ["next"]


# several applications

NET = app("net", "net:main", init=True, settle_s=0.0)
BOTH = {"net.py": WAIT, "app.py": WAIT}


def test_an_init_application_is_left_alone_until_its_own_code_changes(shared: Target) -> None:
    shared.ship(BOTH, NET, STEADY).healthy()
    net, other = shared.status("net")["pid"], shared.status()["pid"]
    shared.ship({**BOTH, "app.py": WAIT + "# changed\n"}, NET, STEADY).healthy()
    assert shared.status("net")["pid"] == net
    assert shared.status()["pid"] != other
    shared.ship({**BOTH, "net.py": WAIT + "# changed\n"}, NET, STEADY).healthy()
    assert shared.status("net")["pid"] != net
    change = shared.ship(BOTH, STEADY)
    change.healthy()
    assert [one.text("application") for one in shared.call("status").objects("applications")] == ["app"]
    order = [e["application"] for e in shared.events if e.get("state") == "starting" and e["generation"] == 1]
    assert order in (["net", "app"], ["app"], [])


def test_a_change_that_starts_nothing_is_healthy_at_once(shared: Target) -> None:
    shared.ship({"net.py": WAIT}, NET).healthy()
    net = shared.status("net")["pid"]
    shared.ship({"net.py": WAIT, "asset.txt": "changed"}, NET).healthy()
    assert shared.status("net")["pid"] == net


def test_one_that_died_of_an_exception_does_not_settle_while_it_cleans_up(shared: Target) -> None:
    late = "import atexit, threading\natexit.register(threading.Event().wait, 1.0)\ndef main(): raise ValueError\n"
    change = shared.ship(late, app(settle_s=0.1))
    assert change.fate()["state"] == "failed"
    assert change.state("healthy", "failed")["state"] == "failed"


def test_a_generation_is_not_blamed_for_how_the_last_one_ended(shared: Target) -> None:
    files = {"one.py": WAIT, "two.py": "def main(): raise ValueError\n"}
    one, two = app("one", "one:main", settle_s=0.0), app("two", "two:main", settle_s=0.0)
    broken = shared.ship(files, one, app("two", "two:main"))
    assert broken.fate()["state"] == "failed"
    broken.state("healthy", application="one")
    shared.ship({**files, "two.py": WAIT}, one, two).healthy()


def test_one_that_can_not_be_started_fails_with_the_reason(target: Target) -> None:
    (target.state / "data").joinpath("app").write_text("in the way")
    change = target.ship(WAIT)
    assert change.fate()["state"] == "failed"
    assert "could not be started" in change.state("failed")["why"]
    (target.state / "data" / "app").unlink()
    up(target, WAIT + "# again\n")


def test_a_switch_that_fails_starts_again_what_it_stopped(target: Target) -> None:
    saboteur = """
import pathlib, threading
def main():
    try:
        print("up")
        threading.Event().wait()
    finally: (pathlib.Path(__file__).parents[1] / "live.new").unlink()
"""
    up(target, saboteur)
    before = target.live()
    with pytest.raises(Fault) as caught:
        target.ship("def main(): print('never')\n")
    assert caught.value.code == "internal-error"
    assert target.live() == before
    again = target.wait(
        lambda: (
            next((e for e in target._events[::-1] if e.get("text") == "up" and e["n"] > stopped["n"]), None)
            if (stopped := next((e for e in target._events if e.get("state") == "stopped"), None))
            else None
        ),
        "the old one's new start",
    )
    assert again
    assert len(target.history()) == 1
    assert target.status()["state"] in ("running", "healthy")


# warmth


IMPORTED_BEFORE = """
import sys
before = "{module}" in sys.modules
import {module}
def main(): print("warm" if before else "cold")
"""


def starts_until(target: Target, module: str, word: str) -> int:
    """How many starts it takes until ``module`` is found ``word``."""
    for count in range(1, 200):
        change = target.ship(IMPORTED_BEFORE.format(module=module) + f"# {count}\n")
        (found,) = target.logs(change)
        if found == word:
            return count
    raise AssertionError(f"{module} never was {word}")


def test_what_an_application_imports_is_there_before_the_next_one_starts(target: Target) -> None:
    assert starts_until(target, "numpy", "cold") == 1
    starts_until(target, "numpy", "warm")
    assert target.call("status").child("warm").integer("modules") > 10
    target.end()
    target.start()
    assert starts_until(target, "numpy", "warm") == 1, "it was forgotten over a restart"


def libraries(target: Target, **modules: str) -> str:
    """A folder of modules that are not the application's own."""
    folder = target.state.parent / "libraries"
    folder.mkdir(exist_ok=True)
    for name, source in modules.items():
        (folder / f"{name}.py").write_text(source)
    return str(folder)


def importing(target: Target, module: str, folder: str, **env: str) -> str:
    """Whether an application finds ``module`` imported before it imports it."""
    change = target.ship(
        IMPORTED_BEFORE.format(module=module) + f"# {os.urandom(4).hex()}\n", app(env={"PYTHONPATH": folder, **env})
    )
    return target.logs(change)[-1]


def until_warm(target: Target, module: str, folder: str) -> None:
    """Start applications until one finds ``module`` imported."""
    assert any(importing(target, module, folder) == "warm" for _ in range(200)), f"{module} never was warm"


def test_a_module_that_starts_a_thread_is_left_cold_with_a_notice(target: Target) -> None:
    thread = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    folder = libraries(target, threaded=thread)
    assert importing(target, "threaded", folder) == "cold"
    assert "threaded starts a thread" in target.notice("left-cold")["text"]
    assert [importing(target, "threaded", folder) for _ in range(3)] == ["cold"] * 3
    assert len([e for e in target.events if e.get("code") == "left-cold"]) == 1


def test_a_package_that_opens_a_socket_is_left_cold_with_all_that_is_in_it_and_the_others_are_warm(
    target: Target,
) -> None:
    folder = libraries(target, fine="")
    package = Path(folder) / "opens"
    package.mkdir()
    (package / "__init__.py").write_text("import socket\nheld = socket.socket()\n")
    for number in range(12):  # more than a parent is tried again for
        (package / f"m{number}.py").touch()
    inside = "".join(f"import opens.m{number}\n" for number in range(12))
    (Path(folder) / "both.py").write_text(inside + "import fine\n")
    assert importing(target, "both", folder) == "cold"
    until_warm(target, "fine", folder)
    assert importing(target, "opens.m7", folder) == "cold"
    left = {event["text"] for event in target.events if event.get("code") == "left-cold"}
    assert left == {
        f"{name} opens a socket when it is imported, so it is imported at each start" for name in ("opens", "both")
    }


def test_a_save_never_waits_for_what_is_imported_ahead(target: Target) -> None:
    folder = libraries(target, slow="import sys\nif 'app' not in sys.modules: open(__file__ + '.gate').close()\n")
    gate = Path(folder) / "slow.py.gate"
    os.mkfifo(gate)
    assert [importing(target, "slow", folder) for _ in range(3)] == ["cold"] * 3
    gate.open("w").close()  # it has come there, and goes on only now
    until_warm(target, "slow", folder)


def test_a_module_that_can_not_be_imported_ahead_costs_its_warmth_alone_and_once(target: Target) -> None:
    picky = "import sys\nif 'app' not in sys.modules: raise RuntimeError('only inside an application')\n"
    folder = libraries(target, picky=picky)
    assert importing(target, "picky", folder) == "cold"
    assert "only inside an application" in target.notice("not-warm")["text"]
    assert [importing(target, "picky", folder) for _ in range(3)] == ["cold"] * 3
    assert len([e for e in target.events if e.get("code") == "not-warm"]) == 1


def test_a_module_is_imported_with_the_environment_of_now(target: Target) -> None:
    folder = libraries(target, reads="import os\nseen = os.environ.get('SEEN', 'nothing')\n")
    source = "import reads\ndef main(): print(reads.seen)\n"
    for round_ in range(3):
        for env in ({"SEEN": "one"}, {"SEEN": "two"}, {}):
            change = target.ship(source + f"# {round_}\n", app(env={"PYTHONPATH": folder, **env}))
            assert target.logs(change) == [env.get("SEEN", "nothing")]


# whatever happens to any of the processes


def family(target: Target) -> dict[str, int]:
    """The warm parent, the process that stands by and the application, by process id."""
    running = target.status()["pid"]
    warm = warm_parent(target)
    others = [pid for pid in descendants(warm) if pid != running]
    return {"warm": warm, "application": running, **({"standby": others[0]} if others else {})}


def warm_parent(target: Target) -> int:
    while True:
        found = [pid for pid in descendants(target.pid) if parent_of(pid) == target.pid and alive(pid)]
        if found:
            return found[0]


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("victim", ["warm", "standby", "application"])
def test_the_next_save_works_whichever_process_was_killed(target: Target, victim: str) -> None:
    up(target)
    while victim not in (found := family(target)):
        target.call("status")
    os.kill(found[victim], signal.SIGKILL)
    gone({found[victim]})
    if victim == "standby":
        assert alive(found["application"])
    else:
        failed = target.event("state", state="failed")
        assert failed["signal"] == "SIGKILL"
        gone({found["application"]})
    pid = up(target, WAIT + "# next\n")
    assert alive(pid)
    if victim == "warm":
        assert target.notice("warm-parent-died")
        assert family(target)["warm"] != found["warm"]


def test_a_save_works_though_the_process_that_compiles_it_is_killed(target: Target) -> None:
    up(target)
    while "standby" not in (found := family(target)):
        target.call("status")
    os.kill(found["standby"], signal.SIGSTOP)
    saved: list[Change] = []
    saver = threading.Thread(target=lambda: saved.append(target.ship(WAIT + "# next\n", STEADY)))
    saver.start()
    assert target.link("other").call("status", {})  # the target answers others
    os.kill(found["standby"], signal.SIGKILL)
    saver.join(SOON_S)
    assert saved[0].healthy()


def test_a_file_that_kills_whoever_compiles_it_is_refused(target: Target) -> None:
    up(target)
    pid = target.status()["pid"]
    deep = "x = " + "-" * 500_000 + "1\n"  # too deep for the compiler, which says so, or dies of it
    refused = target.refused(target.overlay({"app.py": WAIT, "deep.py": deep}, STEADY))
    assert refused.code in ("check-failed", "syntax-error")
    assert alive(pid)
    up(target, WAIT + "# next\n")


def test_saves_work_while_warm_parents_die(target: Target) -> None:
    up(target)
    for number in range(2):
        os.kill(warm_parent(target), signal.SIGKILL)
        target.ship(WAIT + f"# {number}\n", STEADY).state("running", "failed")
    up(target, WAIT + "# last\n")


def test_many_saves_leave_no_process_and_no_descriptor_behind(target: Target) -> None:
    up(target)
    folder = Path(f"/proc/{target.pid}/fd")
    counts = []
    for number in range(12):
        up(target, WAIT + f"# {number}\n")
        target.ship("def main(): raise ValueError\n# {number}\n").state("failed")
        up(target, WAIT + f"# {number} again\n")
        if number in (1, 11):
            while "standby" not in family(target):
                target.call("status")
            counts.append((len(list(folder.iterdir())), len(target.processes())))
    (before, family_before), (after, family_after) = counts
    assert family_before == family_after == 3
    assert after <= before + 2, "30 processes have come and gone"


def test_a_bootloader_that_ends_does_not_wait_for_a_change_that_is_under_way(target: Target) -> None:
    up(
        target,
        "import signal, threading\ndef main():\n    signal.signal(15, signal.SIG_IGN)\n    print('up')\n"
        "    while True: threading.Event().wait(1000)\n",
        grace_s=60.0,
    )
    refusals: list[Fault] = []

    def save() -> None:
        try:
            target.ship(WAIT)
        except Fault as fault:
            refusals.append(fault)

    saver = threading.Thread(target=save)
    saver.start()
    target.event("state", state="stopping")
    assert target.end() == 0
    saver.join(SOON_S)
    assert [fault.code for fault in refusals] == ["ending"]
    assert not [event for event in target.events if event.get("code") == "slow-end"]


def test_a_bootloader_that_ends_does_not_wait_for_a_check_that_is_under_way(target: Target) -> None:
    up(target)
    while "standby" not in (found := family(target)):
        target.call("status")
    os.kill(found["standby"], signal.SIGSTOP)
    refusals: list[Fault] = []

    def save() -> None:
        try:
            target.ship(WAIT + "# next\n")
        except Fault as fault:
            refusals.append(fault)

    saver = threading.Thread(target=save)
    saver.start()
    assert target.link("other").call("status", {})
    assert target.end() == 0
    saver.join(SOON_S)
    assert refusals[0].code in ("ending", "link-down")
