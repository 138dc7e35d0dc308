"""Warm parents and the processes that they fork: nothing blocks, nothing is left behind."""

from __future__ import annotations

import os
import queue
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bootloader.dump import Dump
from bootloader.supervisor.child import Child
from bootloader.supervisor.confine import Confinement
from bootloader.supervisor.ground import Ground
from bootloader.supervisor.process import WarmParent
from bootloader.supervisor.turns import Turns
from tests.bootloader.target import SOON_S, descendants, gone


class Parents:
    """Warm parents on a thread of their own; what they and their children tell goes into ``told``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.turns = Turns("supervisor", lambda error: self.told.put(("fault", error)))
        self.turns.start()
        self.lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR)
        self.made: list[WarmParent] = []

    def do(self, call: Callable[[], Any]) -> Any:
        """On the thread; it must never be held up."""
        return self.turns.call(call, SOON_S)

    def start(self, *modules: str) -> WarmParent:
        def make() -> WarmParent:
            ground = Ground({"PYTHONPATH": str(self.folder)})
            warm = WarmParent(list(modules), ground, self.turns, self.lock, Confinement())
            warm.on_ready = lambda note: self.told.put(("ready", note))
            warm.on_dead = lambda cold: self.told.put(("dead", cold))
            return warm

        warm: WarmParent = self.do(make)
        self.made.append(warm)
        return warm

    def fork(self, warm: WarmParent) -> Child:
        def fork() -> Child:
            child = warm.fork()

            def hear(lines: Sequence[tuple[str, str]]) -> None:
                for line in lines:
                    self.told.put(line)

            child.on_lines = hear
            child.on_end = lambda status: self.told.put(("end", status))
            return child

        child: Child = self.do(fork)
        return child

    def next(self, kind: str) -> Any:
        """What is told next, which is to be of this kind."""
        told, what = self.told.get(timeout=SOON_S)
        assert told == kind, what
        return what

    def close(self) -> None:
        for warm in self.made:
            self.do(warm.close)
        self.turns.close(SOON_S)
        os.close(self.lock)


@pytest.fixture
def parents(tmp_path: Path) -> Iterator[Parents]:
    made = Parents(tmp_path)
    yield made
    made.close()


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def check(child: Child, folder: Path, count: int = 1) -> None:
    folders = {"tree": str(folder), "live": str(folder), "pycache": str(folder / "cache")}
    child.order(check=["fine.py"] * count, programs={}, id=7, **folders)


def test_a_child_takes_orders_and_answers(parents: Parents) -> None:
    (parents.folder / "fine.py").write_text("x = 1\n")
    child = parents.fork(parents.start())
    parents.do(lambda: check(child, parents.folder))
    parents.next("ready")
    assert parents.next("n") == '{"checked": 7, "problem": {}}'
    assert child.pid is not None
    assert os.getpgid(child.pid) == os.getsid(child.pid) == child.pid


def test_an_order_larger_than_a_pipe_for_a_process_that_is_not_there_yet_holds_nobody_up(parents: Parents) -> None:
    (parents.folder / "fine.py").write_text("x = 1\n")
    warm = parents.start()
    parents.next("ready")
    os.kill(warm.pid, signal.SIGSTOP)
    child = parents.fork(warm)
    parents.do(lambda: check(child, parents.folder, 20_000))
    assert parents.do(lambda: 1) == 1
    assert child.pid is None
    assert not parents.do(lambda: child.signal_group(signal.SIGTERM))
    parents.do(lambda: check(child, parents.folder))
    os.kill(warm.pid, signal.SIGCONT)
    assert [parents.next("n") for _ in range(2)] == ['{"checked": 7, "problem": {}}'] * 2


def test_an_order_for_a_process_that_dies_is_no_fault(parents: Parents) -> None:
    warm = parents.start()
    parents.next("ready")
    os.kill(warm.pid, signal.SIGSTOP)
    child = parents.fork(warm)
    parents.do(lambda: check(child, parents.folder, 20_000))
    os.kill(warm.pid, signal.SIGKILL)
    assert parents.next("end") == -signal.SIGKILL
    parents.next("dead")
    parents.do(lambda: check(child, parents.folder, 20_000))
    parents.do(child.close)
    parents.do(lambda: check(child, parents.folder))


def test_a_parent_that_is_killed_takes_its_children_along_and_each_end_is_told_once(parents: Parents) -> None:
    warm = parents.start()
    parents.next("ready")
    children = [parents.fork(warm) for _ in range(3)]
    for child in children:
        parents.do(partial(check, child, parents.folder))
        parents.next("n")
    pids = {child.pid for child in children if child.pid is not None}
    os.kill(warm.pid, signal.SIGKILL)
    assert [parents.next("end") for _ in children] == [-signal.SIGKILL] * 3
    assert parents.next("dead") is None
    gone(pids)
    parents.do(warm.close)
    assert parents.told.empty()


def test_a_turn_that_comes_late_does_not_read_a_pipe_that_has_the_number_now(parents: Parents) -> None:
    warm = parents.start()
    parents.next("ready")
    child = parents.fork(warm)

    def close_and_come_late() -> None:
        keys = [key for key in parents.turns.selector.get_map().values() if isinstance(key.fd, int)]
        late = [(key.fd, key.data) for key in keys]
        child.close()
        others = [os.pipe() for _ in range(8)]
        for _, writer in others:
            os.write(writer, b"not the child's")
        for number, turn in late:
            if number in {reader for reader, _ in others}:
                turn()
        kept = [os.read(reader, 100) for reader, _ in others]
        for pair in others:
            for descriptor in pair:
                os.close(descriptor)
        assert kept == [b"not the child's"] * 8

    parents.do(close_and_come_late)
    assert parents.next("end") == 0


def test_a_child_that_is_killed_is_told_and_the_others_live_on(parents: Parents) -> None:
    warm = parents.start()
    parents.next("ready")
    one, two = parents.fork(warm), parents.fork(warm)
    parents.do(lambda: check(two, parents.folder))
    parents.next("n")
    assert one.pid is not None
    os.kill(one.pid, signal.SIGKILL)
    assert parents.next("end") == -signal.SIGKILL
    assert parents.do(lambda: two.signal_group(0))
    assert not parents.do(lambda: one.signal_group(0))


def test_the_end_of_a_child_is_told_although_its_parent_is_frozen(parents: Parents) -> None:
    warm = parents.start()
    parents.next("ready")
    child = parents.fork(warm)
    parents.do(lambda: check(child, parents.folder))
    parents.next("n")
    os.kill(warm.pid, signal.SIGSTOP)
    parents.do(child.kill)
    assert parents.next("end") == -signal.SIGKILL
    parents.next("dead")


def test_a_child_that_nobody_listens_to_ends_and_a_retired_parent_with_it(parents: Parents) -> None:
    warm = parents.start()
    parents.next("ready")
    dropped, kept = parents.fork(warm), parents.fork(warm)
    parents.do(lambda: check(kept, parents.folder))
    parents.next("n")
    parents.do(dropped.close)
    parents.do(warm.retire)
    assert parents.next("end") == 0
    assert not warm.dead
    pid = warm.pid
    parents.do(kept.close)
    assert parents.next("end") == 0
    gone({pid})
    assert parents.do(lambda: warm.dead)


def test_no_descriptor_and_no_process_is_left_behind(parents: Parents) -> None:
    before = descriptors()
    warm = parents.start()
    parents.next("ready")
    for _ in range(10):
        child = parents.fork(warm)
        parents.do(partial(check, child, parents.folder))
        parents.next("n")
        assert child.pid is not None
        theirs = [str(path.readlink()) for path in Path(f"/proc/{child.pid}/fd").iterdir()]
        own = [file for file in theirs if "libffi.so" not in file]  # newer ones keep themselves open, for callbacks
        assert len(own) == 6, "three standard ones, its output, its orders and its stacks"
        parents.do(child.close)
        parents.next("end")
    started = set(descendants(os.getpid())) & {warm.pid, *descendants(warm.pid)}
    last = parents.fork(warm)
    parents.do(warm.close)
    gone(started)
    parents.next("end")
    parents.do(last.close)
    assert descriptors() == before


def test_a_module_that_raises_or_takes_too_long_costs_its_warmth_alone(parents: Parents) -> None:
    (parents.folder / "fine.py").write_text("x = 1\n")
    (parents.folder / "raises.py").write_text("raise SystemExit('no')\n")
    (parents.folder / "hangs.py").write_text("import signal\nsignal.raise_signal(signal.SIGALRM)\n")
    parents.start("raises", "nowhere.at.all", "hangs", "fine")
    failed = parents.next("ready")["failed"]
    assert failed["raises"] == "SystemExit: no"
    assert failed["nowhere.at.all"] == "ModuleNotFoundError: No module named 'nowhere'"
    assert "its import took longer than" in failed["hangs"]
    assert "fine" not in failed


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()", "starts a thread"),
        ("import subprocess\nrunning = subprocess.Popen(['sleep', '100'])", "starts a process"),
        ("import socket\nsocket_ = socket.socket()", "opens a socket"),
        ("import os\npipe = os.pipe()", "opens a pipe"),
        ("device = open('/proc/self/stat')", "opens /proc/"),
        ("import asyncio\nloop = asyncio.new_event_loop()", "opens "),
        ("import os\nos.open(__file__, os.O_RDONLY)\nraise OSError('after all')", "opens /"),
    ],
    ids=lambda value: value[:40].replace("\n", " "),
)
def test_a_module_that_leaves_what_a_fork_would_spoil_ends_the_parent_which_names_it(
    parents: Parents, source: str, what: str
) -> None:
    (parents.folder / "spoils.py").write_text(source + "\n")
    warm = parents.start("json", "spoils", "csv")
    child = parents.fork(warm)
    assert parents.next("end") == -signal.SIGKILL
    name, does = parents.next("dead")
    assert name == "spoils"
    assert does.startswith(what)
    parents.do(child.close)


def test_a_module_may_open_what_is_the_same_to_all_and_what_it_closes_again(parents: Parents) -> None:
    source = "nothing = open('/dev/null'), open('/dev/urandom', 'rb')\nopen(__file__).close()\n"
    (parents.folder / "tidy.py").write_text(source)
    parents.start("tidy")
    assert parents.next("ready")["failed"] == {}


@pytest.mark.parametrize("what", ["os.closerange(0, 100)", "os._exit(0)", "os.kill(os.getpid(), 11)"])
def test_a_module_that_wrecks_the_parent_is_a_dead_parent_and_no_more(parents: Parents, what: str) -> None:
    (parents.folder / "wrecks.py").write_text(f"import os\n{what}\n")
    warm = parents.start("wrecks")
    assert parents.next("dead") is None
    gone({warm.pid})


def test_what_a_module_prints_when_it_is_imported_is_no_note(
    parents: Parents, capfd: pytest.CaptureFixture[str]
) -> None:
    (parents.folder / "chatty.py").write_text("print('hello'); import os; os.write(1, b'hello\\n')\n")
    parents.start("chatty")
    parents.next("ready")
    assert capfd.readouterr().out == ""


def test_whatever_comes_of_what_a_process_says_its_end_is_told(parents: Parents) -> None:
    orders, out, err = (os.pipe() for _ in range(3))
    os.write(out[1], b"the last word")

    def choke(_lines: Sequence[tuple[str, str]]) -> None:
        raise ValueError("what it says can't be taken in")

    def end() -> Child:
        child = Child(parents.turns, (orders[1], out[0], err[0]), Dump(), None, list, lambda: None)
        child.on_lines, child.on_end = choke, lambda status: parents.told.put(("end", status))
        child.end(3)
        return child

    child: Child = parents.do(end)
    assert isinstance(parents.next("fault"), ValueError)
    assert parents.next("end") == 3
    parents.do(child.close)
    for descriptor in (orders[0], out[1], err[1]):
        os.close(descriptor)
