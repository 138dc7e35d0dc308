"""Applications that do their worst: the link answers throughout, and a stop leaves nothing behind."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from tests.bootloader.probe import Probe
from tests.bootloader.target import Change, Target, alive, app, gone

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


def unleash(target: Target, source: str, *, processes: int = 1, memory_mb: int = 0) -> Change:
    """An application that has printed `up`, and has at least that many processes."""
    change = target.ship(source, app(settle_s=0.0, grace_s=0.2, memory_mb=memory_mb))
    began = change.state("starting")["n"]
    target.wait(lambda: next((e for e in target._events if e.get("text") == "up" and e["n"] > began), None), "its word")
    while len(family(target)) < processes:
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
    for _ in range(7):  # 128 processes, each in a session of its own
        os.fork()
        os.setsid() if os.getpid() != os.getsid(0) else None
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


@pytest.mark.parametrize(
    ("source", "processes"),
    [
        (BUSY, 4),
        (DAEMON.format(ending="threading.Event().wait()"), 2),
        (DAEMON.format(ending="os._exit(3)"), 1),
        (CLOSED, 1),
        (DEAF, 1),
    ],
    ids=["busy in all threads", "a daemon", "a daemon of one that died", "all descriptors closed", "deaf"],
)
def test_the_link_answers_and_the_next_one_finds_nothing_left(shared: Target, source: str, processes: int) -> None:
    with Probe(shared):
        unleash(shared, source, processes=processes)
        tamed(shared)
