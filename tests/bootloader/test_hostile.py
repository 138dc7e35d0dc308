"""Applications that do their worst: the link answers throughout, and a stop leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from bootloader.priority import urgent
from bootloader.wire.errors import Fault
from tests.bootloader.probe import Probe
from tests.bootloader.target import SOON_S, Change, Target, alive, app, gone

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc"),
    pytest.mark.hostile,
]


@pytest.fixture(autouse=True)
def as_another_machine() -> Iterator[None]:
    """A host is one, which no load of this one slows down."""
    with urgent():
        yield


NEXT = "import threading\ndef main():\n    print('the next one')\n    threading.Event().wait()\n"


def family(target: Target) -> set[int]:
    """The application's processes, wherever they forked to: those that are in its folder, where it was started."""
    place = str(target.state / "data" / "app")
    found = set()
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.name.isdecimal() and str((folder / "cwd").readlink()) == place:
                found.add(int(folder.name))
    return found


def unleash(target: Target, source: str, *, count: int = 1, **limits: Any) -> Change:
    """An application that has printed `up`, and has at least ``count`` processes."""
    change = target.ship(source, app(settle_s=0.0, grace_s=0.2, **limits))
    began = change.state("starting")["n"]
    target.wait(lambda: next((e for e in target._events if e.get("text") == "up" and e["n"] > began), None), "its word")
    while len(family(target)) < count:
        target.call("status")
    return change


def tamed(target: Target) -> None:
    """The next application takes its place, and nothing is left of it."""
    left = family(target)
    change = target.ship(NEXT, app(settle_s=0.0, grace_s=0.2))
    change.healthy()
    target.log("the next one")
    gone({pid for pid in left if alive(pid)})
    assert family(target) == {target.status()["pid"]}


BUSY = """
import os, threading
def spin():
    while True: pass
def main():
    print("up")
    for _ in range(3):
        if os.fork() == 0: break
    for _ in range(8): threading.Thread(target=spin).start()
    spin()
"""

FORKS = """
import os, signal, time
def main():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("up", flush=True)
    for _ in range(7):  # to 128 processes, each in a session of its own
        if os.fork() == 0: os.setsid()
    while True:  # each is somebody else all the time
        time.sleep(0.01)
        try:
            if os.fork(): os._exit(0)
        except OSError: pass
"""

DAEMON = """
import os, signal, threading
def main():
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork() == 0:
            while True: threading.Event().wait(1000)
        os._exit(0)
    os.wait()
    print("up")
    {ending}
"""

CLOSED = """
import os, threading
def main():
    print("up")
    os.closerange(0, 65536)
    threading.Event().wait()
"""

DEAF = """
import signal, threading
def main():
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}: signal.signal(number, signal.SIG_IGN)
    print("up")
    while True:
        try: threading.Event().wait()
        except BaseException: pass
"""


FLOOD = """
import os, subprocess
def main():
    print("up")
    subprocess.Popen(["yes"])
    subprocess.Popen("while true; do echo to standard error >&2; done", shell=True)
    if os.fork():
        while True: os.write(1, b"no line ends here, ever")
    while True: print("x" * 60)
"""

FREEZER = """
import os, signal, threading
def main():
    print("up", flush=True)
    os.kill(os.getppid(), signal.SIGSTOP)
    threading.Event().wait()
"""

KILLER = """
import os, signal, threading
def main():
    print("up")
    os.kill(os.getppid(), signal.SIGKILL)
    threading.Event().wait()
"""


class Alone(Target):
    """A bootloader that has no cgroups, as in most containers."""

    program = (
        *("unshare", "-m", "sh", "-c"),
        'for place in $(grep " cgroup2 " /proc/mounts | cut -d " " -f 2); do umount -l $place; done; exec "$@"',
        *("sh", *Target.program),
    )

    def __init__(self, folder: Path) -> None:
        if os.geteuid() or subprocess.run(["unshare", "-m", "true"]).returncode:
            pytest.skip("only root can hide the cgroups")
        super().__init__(folder)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    made = Alone(tmp_path_factory.mktemp("alone"))
    yield made
    made.close()


@pytest.fixture(params=["shared", "alone"])
def grouped_or_not(request: pytest.FixtureRequest) -> Target:
    made: Target = request.getfixturevalue(request.param)
    return made


@pytest.mark.parametrize(
    ("source", "processes"),
    [
        (BUSY, 4),
        (DAEMON.format(ending="threading.Event().wait()"), 2),
        (DAEMON.format(ending="os._exit(3)"), 1),
        (CLOSED, 1),
        (DEAF, 1),
        (FLOOD, 4),
        (FREEZER, 1),
        (KILLER, 0),
    ],
    ids=[
        "busy",
        "a daemon",
        "a daemon of one that died",
        "all closed",
        "deaf",
        "flood",
        "freezes its parent",
        "kills its parent",
    ],
)
def test_the_link_answers_and_the_next_one_finds_nothing_left(
    grouped_or_not: Target, source: str, processes: int
) -> None:
    with Probe(grouped_or_not) as probe:
        unleash(grouped_or_not, source, count=processes)
        probe.watch()
        tamed(grouped_or_not)


def test_a_fork_bomb_whose_processes_are_others_all_the_time_is_ended_whole(shared: Target, groups: Path) -> None:
    with Probe(shared) as probe:
        unleash(shared, FORKS, count=0)  # its first process is gone at once, and soon all of them are
        probe.watch()
        tamed(shared)


BOMB = """
import os, resource, signal, time
def main():
    os.setgroups([])
    os.setresgid({user}, {user}, {user})
    os.setresuid({user}, {user}, {user})
    resource.setrlimit(resource.RLIMIT_NPROC, ({most}, {most}))  # the system counts: no more, whatever happens here
    over_s, first = time.monotonic() + 60, os.getpid()  # and no longer
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("up", flush=True)
    while time.monotonic() < over_s:
        try:
            if os.fork() == 0: os.setsid()
        except OSError:
            {full}
    os._exit(0)
"""


@pytest.fixture
def bomber() -> Iterator[int]:
    """A user of this test alone, of whose processes none outlives it."""
    if os.geteuid():
        pytest.skip("only root can become somebody whose processes the system counts")
    user = 20_000 + os.getpid() % 40_000
    yield user
    # At one blow, which nobody who forks can dodge: all that this user may signal, who must not be root.
    subprocess.run(["setpriv", "--reuid", str(user), "--clear-groups", "kill", "-KILL", "--", "-1"])
    deadline = monotonic() + SOON_S
    while left := processes_of(user):  # until they are waited for
        assert monotonic() < deadline, left


def processes_of(user: int) -> list[int]:
    """The processes of a user, those that have ended and were not waited for included."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.name.isdecimal() and f"\nUid:\t{user}\t" in (folder / "status").read_text():
                found.append(int(folder.name))
    return found


@pytest.mark.parametrize(
    "full",
    ["pass", "time.sleep(0.01 if os.getpid() == first or os.urandom(1)[0] > 3 else os._exit(0))"],
    ids=["spins", "dies and is born"],
)
def test_a_live_fork_bomb_is_borne_and_a_stop_leaves_no_process(grouped_or_not: Target, bomber: int, full: str) -> None:
    most = 200
    with Probe(grouped_or_not) as probe:
        unleash(grouped_or_not, BOMB.format(user=bomber, most=most, full=full), count=most // 2)
        probe.watch()
        assert most // 2 < len(processes_of(bomber)) <= most
        tamed(grouped_or_not)
        assert processes_of(bomber) == []


def test_a_live_fork_bomb_that_has_more_processes_than_it_may_is_ended_whole(
    grouped_or_not: Target, bomber: int
) -> None:
    if "pids" in grouped_or_not.call("status").child("confined").texts("limits"):
        pytest.skip("here it can't have more")
    with Probe(grouped_or_not) as probe:
        change = unleash(grouped_or_not, BOMB.format(user=bomber, most=200, full="pass"), count=0, processes=50)
        assert change.state("failed")["why"] == "killed by SIGKILL: more than 50 processes"
        probe.watch()
        tamed(grouped_or_not)
        assert processes_of(bomber) == []


def test_a_bootloader_says_what_holds_its_applications(shared: Target, groups: Path, alone: Target) -> None:
    assert shared.call("status").child("confined").flag("groups")
    assert alone.call("status").child("confined").plain() == {"groups": False, "limits": []}


def test_when_memory_is_gone_applications_go_first_and_the_bootloader_last(shared: Target) -> None:
    unleash(shared, DEAF)
    application = shared.status()["pid"]
    warm = int(Path(f"/proc/{application}/stat").read_text().rpartition(")")[2].split()[1])

    def score(pid: int | str) -> int:
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())

    may = subprocess.run(["sh", "-c", "echo -900 > /proc/self/oom_score_adj"], capture_output=True).returncode == 0
    spared = -900 if may else score("self")  # root may ask for that, but not in every container
    assert [score(pid) for pid in (shared.process.pid, shared.pid, warm, application)] == [spared, spared, 100, 500]
    tamed(shared)


HOG = """
import threading
def main():
    print("up")
    held = []
    while True: held.append(bytearray(2**22))
"""


def test_one_that_takes_more_memory_than_it_may_ends_with_the_reason(grouped_or_not: Target) -> None:
    with Probe(grouped_or_not):
        change = unleash(grouped_or_not, HOG, count=0, memory_mb=128)  # it may be gone by then
        end = change.state("failed")
        if "memory" in grouped_or_not.call("status").child("confined").texts("limits"):
            assert end["why"] == "killed by SIGKILL: out of memory"
        else:
            assert grouped_or_not.problem(change)["what"] == "MemoryError"
        tamed(grouped_or_not)


COUNTER = """
import os, threading
def main():
    made = 0
    try:
        for made in range(500):
            if os.fork() == 0:
                threading.Event().wait()
    except OSError: pass
    print(f"made {made}")
    print("up")
    threading.Event().wait()
"""


def test_one_that_forks_more_than_it_may_can_not(shared: Target) -> None:
    if "pids" not in shared.call("status").child("confined").texts("limits"):
        pytest.skip("no cgroup limits processes here")
    with Probe(shared) as probe:
        unleash(shared, COUNTER, count=20, processes=30)
        probe.watch()
        (made,) = [int(event["text"].split()[1]) for event in shared.events if event.get("text", "").startswith("made")]
        assert made < 30
        tamed(shared)


CROWD = """
import os, signal
def main():
    for _ in range(7):  # to 128 processes
        if os.fork() == 0: {escaping}
    print("up", flush=True)
    signal.pause()
"""


@pytest.mark.parametrize("escaping", ["pass", "os.setsid()"])
def test_one_that_has_more_processes_than_it_may_is_ended_whole_where_the_system_does_not_count(
    grouped_or_not: Target, escaping: str
) -> None:
    if "pids" in grouped_or_not.call("status").child("confined").texts("limits"):
        pytest.skip("here it can't have more")
    with Probe(grouped_or_not) as probe:
        change = unleash(grouped_or_not, CROWD.format(escaping=escaping), count=0, processes=20)
        assert change.state("failed")["why"] == "killed by SIGKILL: more than 20 processes"
        probe.watch()
        tamed(grouped_or_not)


LEAVES = """
import os, signal, threading
def leave(become):
    here, there = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if (pid := os.fork()) == 0:
            become()
        os.write(there, b"%d" % pid)
        os._exit(0)
    return int(os.read(here, 20))
def main():
    bare = ("/bin/sleep", ["sleep", "1000"], {{}})
    print("left", leave(signal.pause), leave(lambda: os.execve(*bare)))
    os.wait(), os.wait()
    {ending}
"""


def test_what_two_applications_leave_behind_is_known_for_whose_it_is(grouped_or_not: Target) -> None:
    files = {"app.py": LEAVES.format(ending="signal.pause()"), "other.py": LEAVES.format(ending="signal.pause()")}
    change = grouped_or_not.ship(files, app(settle_s=0.0, grace_s=0.2), app("other", "other:main", settle_s=0.0))
    change.healthy()
    began = change.state("starting")["n"]

    def left(name: str) -> set[int]:
        lines = (e for e in grouped_or_not._events if e["event"] == "log" and e["n"] > began)
        told = (e["text"].split() for e in lines if e["application"] == name)
        return next(({int(pid) for pid in words[1:]} for words in told if words[0] == "left"), set())

    grouped_or_not.wait(lambda: {"both": True} if left("app") and left("other") else None, "what they left")
    assert all(map(alive, left("app") | left("other")))
    os.kill(grouped_or_not.status()["pid"], signal.SIGKILL)
    gone(left("app"))
    assert all(map(alive, left("other")))
    theirs = left("other")
    tamed(grouped_or_not)
    gone(theirs)


KILLS_ALL = """
import os, signal, threading
def parent(pid): return int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
def main():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True: threading.Event().wait(1000)
        os._exit(0)
    os.wait()
    warm = os.getppid()
    for pid in (parent(warm), warm): os.kill(pid, signal.SIGKILL)
    while True: pass
"""


@pytest.mark.parametrize("kind", [Target, Alone], ids=["shared", "alone"])
def test_one_that_kills_all_above_it_at_each_start_is_started_no_more_and_gone(
    tmp_path: Path, kind: type[Target]
) -> None:
    target = kind(tmp_path)
    try:
        with suppress(Fault):  # it may be killed before it answers
            target.ship(KILLS_ALL)
        given_up = False
        deadline = monotonic() + 2 * SOON_S
        while not given_up:
            assert monotonic() < deadline
            with suppress(Fault), target.link("probe") as link:
                told, _ = link.call("status", {}, timeout_s=SOON_S)
                given_up = not told.objects("applications") and told.child("keeper").integer("restarts") > 0
        deadline = monotonic() + SOON_S
        while left := family(target):
            assert monotonic() < deadline, left
    finally:
        target.close()


FILLS = """
import os, time
def main():
    for _ in range(3):  # to 8 processes, in sessions of their own
        if os.fork() == 0: os.setsid()
    first = os.getpgrp() == os.getpid() and os.getppid() == parent
    with open("filled", "ab", buffering=0) as file:
        said = not first
        while True:
            for size in (2**20, 2**12, 1):
                try:
                    while True: file.write(bytes(size))
                except OSError: pass
            if not said:
                said = True
                print("up")
parent = os.getppid()
"""


@pytest.mark.parametrize("kind", [Target, Alone], ids=["shared", "alone"])
def test_one_that_fills_the_disk_without_a_pause_gives_way_to_the_fix(
    mount: Callable[[str], Path], kind: type[Target]
) -> None:
    target = kind(mount("size=40m"))
    try:
        target.ship("def main(): pass\n").healthy()
        with Probe(target) as probe:
            while not (target.state / "reserve").exists():
                probe.watch(1)
            unleash(target, FILLS)
            probe.watch()
            assert target.call("status").integer("disk_free_bytes") == 0
            tamed(target)
    finally:
        target.close()
