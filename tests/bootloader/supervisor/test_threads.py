"""What the system tells of threads is read as far as it tells it; the signal goes to one that it does not hurt."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader.supervisor.threads import Thread, seen, taker, thread

STATUS = "Name:\tworker\nState:\tS (sleeping)\nSigBlk:\t0000000000000005\nSigCgt:\t2000000000000000\n"
SIGNAL = 62
CAUGHT = 1 << (SIGNAL - 1)
ALL = (1 << 64) - 1


def test_a_thread_is_read() -> None:
    assert thread(7, STATUS, "do_epoll_wait") == Thread(7, "worker", "S", "do_epoll_wait", 5, CAUGHT)
    assert thread(7, STATUS, "0\n").waits_in == ""


@given(st.text(), st.text())
def test_whatever_the_system_says_makes_a_thread(status: str, wchan: str) -> None:
    assert set(thread(1, status, wchan).told()) == {"id", "name", "state", "waits_in"}


def test_this_process_is_seen_with_its_main_thread_first() -> None:
    assert seen(os.getpid())[0].id == os.getpid()
    assert seen(2**22 + 1) == []


def one(number: int, blocked: int | None = 0, caught: int | None = CAUGHT, state: str = "S") -> Thread:
    return Thread(number, "", state, "", blocked, caught)


@pytest.mark.parametrize(
    ("threads", "number", "taken", "why"),
    [
        ([one(1)], SIGNAL, 1, ""),
        ([one(1), one(2, ALL & ~CAUGHT), one(3)], SIGNAL, 2, ""),
        ([one(1, ALL), one(2)], SIGNAL, 2, ""),
        ([one(1, ALL)], SIGNAL, 0, "block"),
        ([one(1, caught=0)], SIGNAL, 0, "does not take"),
        ([one(1, caught=None)], SIGNAL, 0, "does not take"),
        ([one(1, None)], SIGNAL, 0, "block"),
        ([one(1, state="T"), one(2, state="T")], SIGNAL, 0, "stopped"),
        ([], SIGNAL, 0, "ended"),
        ([one(1)], 0, 0, "no signal"),
    ],
)
def test_the_thread_that_takes_the_signal(threads: list[Thread], number: int, taken: int, why: str) -> None:
    found, refusal = taker(threads, number)
    assert found == taken
    assert why in refusal
    assert bool(why) == bool(refusal)
