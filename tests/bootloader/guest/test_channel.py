"""The thread on which a running application takes orders: it feels nothing of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Any

from bootloader.guest import channel
from tests.bootloader.guest.swap.stage import apart
from tests.bootloader.target import Target


def test_no_signal_that_the_application_waits_for_goes_astray(shared: Target) -> None:
    change = shared.ship(
        """
import os, signal
def main():
    wanted = {signal.SIGUSR1, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    for number in wanted:
        for _ in range(20):
            os.kill(os.getpid(), number)
            print(signal.sigwait(wanted) == number)
"""
    )
    assert shared.logs(change) == ["True"] * 40


def test_python_does_not_list_it(shared: Target) -> None:
    change = shared.ship(
        """
import threading
def main():
    print(threading.active_count(), threading.enumerate() == [threading.main_thread()])
    threading.Thread(target=print, args=["another"]).start()
    for thread in set(threading.enumerate()) - {threading.main_thread()}:
        thread.join()
"""
    )
    assert shared.logs(change) == ["1 True", "another"]


def test_it_is_not_there_while_the_application_forks_from_any_thread(shared: Target) -> None:
    change = shared.ship(
        """
import os, threading, warnings
warnings.simplefilter("ignore")  # of threads: from 3.13 on, Python looks for them when ours is back already
def tasks(): return len(os.listdir("/proc/self/task"))
def main():
    before = tasks()
    for _ in range(50):
        if (child := os.fork()) == 0:
            os._exit(tasks())
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    print(before, tasks())
    ends = []
    def fork():
        for _ in range(20):
            if (child := os.fork()) == 0:
                os._exit(tasks())
            ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    threads = [threading.Thread(target=fork) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    print(set(ends), len(ends))
"""
    )
    assert shared.logs(change) == ["2 2", "{1} 80"]


def test_an_order_during_which_the_application_forked_has_failed_and_what_is_no_order_hurts_nobody() -> None:
    assert apart(_is_overtaken) == ("", "")


def _is_overtaken(_folder: Path) -> str:
    channel._ASIDE_S = 0.05
    orders, send = os.pipe()
    told: SimpleQueue[dict[str, Any]] = SimpleQueue()
    begun, over = Event(), Event()

    def wait(_order: Mapping[str, Any]) -> dict[str, Any]:
        begun.set()
        over.wait(10)
        return {}

    channel.Channel(orders, lambda **note: told.put(note), {"wait": wait}).open()
    os.write(send, b'no order\n["neither"]\n{"order": "first", "do": "wait"}\n')
    assert begun.wait(10)
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)
    over.set()
    os.write(send, b'{"order": "second", "do": "wait"}\n')
    notes = [told.get(timeout=10) for _ in range(4)]
    assert [note["order"] for note in notes] == [None, None, "first", "second"], notes
    assert notes[2]["failed"] == "the application forked in the middle of it"
    assert "failed" not in notes[3]
    return ""
