"""One thread takes turns, outlives what it runs, and leaves nobody waiting."""

from __future__ import annotations

import os
import selectors
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import pytest

from bootloader.supervisor.turns import Turns
from bootloader.wire.errors import Fault

SOON_S = 20.0


class Faults(list[BaseException]):
    def __call__(self, error: BaseException) -> None:
        self.append(error)


def fail() -> None:
    raise KeyError("missing")


def hold(release: threading.Event) -> None:
    assert release.wait(SOON_S)


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def turns(faults: Faults) -> Iterator[Turns]:
    made = Turns("turns", faults)
    made.start()
    yield made
    made.close(SOON_S)


def test_a_call_returns_what_its_function_does_on_the_thread(turns: Turns) -> None:
    assert turns.call(lambda: threading.current_thread().name, SOON_S) == "turns"


def test_a_call_raises_what_its_function_does_and_the_thread_goes_on(turns: Turns, faults: Faults) -> None:
    with pytest.raises(KeyError):
        turns.call(fail, SOON_S)
    with pytest.raises(SystemExit):
        turns.call(lambda: exec("raise SystemExit"), SOON_S)
    assert turns.call(lambda: 1, SOON_S) == 1
    assert faults == []


def test_a_call_from_the_thread_itself_is_taken_at_once(turns: Turns) -> None:
    assert turns.call(lambda: turns.call(lambda: 2, 0), SOON_S) == 2


def test_a_turn_is_taken_by_who_asks_for_it_now(turns: Turns, faults: Faults) -> None:
    taken: list[object] = []
    turns.now(lambda: taken.append((threading.current_thread(), turns.call(lambda: 3, 0))))
    assert taken == [(threading.current_thread(), 3)]
    turns.now(fail)
    assert [type(fault) for fault in faults] == [KeyError]


def test_a_turn_now_comes_after_the_one_that_is_under_way_and_what_is_due(turns: Turns) -> None:
    release = threading.Event()
    taken: list[object] = []
    turns.soon(partial(hold, release))
    for number in range(3):
        turns.soon(partial(taken.append, number))
    turns.now(lambda: taken.append(threading.current_thread().name))
    assert taken == []
    release.set()
    turns.call(lambda: None, SOON_S)
    assert taken == [0, 1, 2, "turns"]


def arm(turns: Turns, fired: Future[str]) -> None:
    turns.later(0.01, lambda: fired.set_result(threading.current_thread().name))


def test_a_timer_that_is_set_in_a_turn_now_is_not_late(turns: Turns) -> None:
    fired: Future[str] = Future()
    turns.call(lambda: None, SOON_S)
    turns.now(partial(arm, turns, fired))
    assert fired.result(SOON_S) == "turns"


def test_no_turn_is_taken_now_after_the_end(turns: Turns) -> None:
    turns.call(lambda: None, SOON_S)
    ended = Turns("ended", lambda _error: None)
    ended.start()
    ended.close(SOON_S)
    ended.now(lambda: pytest.fail("taken"))


def test_a_turn_that_raises_is_told_and_ends_only_itself(turns: Turns, faults: Faults) -> None:
    turns.soon(fail)
    assert turns.call(lambda: 1, SOON_S) == 1
    assert [type(fault) for fault in faults] == [KeyError]


def test_a_call_that_is_not_taken_in_time_is_a_fault(turns: Turns) -> None:
    release = threading.Event()
    turns.soon(partial(hold, release))
    with pytest.raises(Fault) as caught:
        turns.call(lambda: 1, 0.01)
    assert caught.value.code == "busy"
    release.set()
    assert turns.call(lambda: 2, SOON_S) == 2


def test_timers_are_taken_in_order_unless_cancelled(turns: Turns) -> None:
    taken: list[int] = []
    done = threading.Event()

    def arm() -> None:
        turns.later(0.02, done.set)
        turns.later(0.01, lambda: taken.append(2))
        turns.later(0.015, lambda: taken.append(9)).cancel()
        turns.later(0, lambda: taken.append(1))
        turns.later(0.01, lambda: taken.append(3))

    turns.call(arm, SOON_S)
    assert done.wait(SOON_S)
    assert taken == [1, 2, 3]


def test_a_descriptor_that_becomes_readable_has_its_turn(turns: Turns) -> None:
    reader, writer = os.pipe()
    got: Future[bytes] = Future()

    def read() -> None:
        got.set_result(os.read(reader, 10))
        turns.selector.unregister(reader)

    turns.call(lambda: turns.selector.register(reader, selectors.EVENT_READ, read), SOON_S)
    os.write(writer, b"hello")
    assert got.result(SOON_S) == b"hello"
    for descriptor in (reader, writer):
        os.close(descriptor)


def test_calls_that_make_calls_keep_no_descriptor_and_no_timer_waiting(turns: Turns) -> None:
    reader, writer = os.pipe()
    seen: list[str] = []
    over = threading.Event()

    def again() -> None:
        if len(seen) < 2:
            turns.soon(again)
        else:
            over.set()

    def read() -> None:
        seen.append(os.read(reader, 1).decode())

    def begin() -> None:
        turns.selector.register(reader, selectors.EVENT_READ, read)
        turns.later(0, lambda: seen.append("timer"))
        again()

    turns.soon(begin)
    os.write(writer, b"x")
    assert over.wait(SOON_S)
    assert sorted(seen) == ["timer", "x"]
    turns.call(lambda: turns.selector.unregister(reader), SOON_S)
    os.close(reader)
    os.close(writer)


def test_more_calls_than_its_bell_holds_are_all_taken(turns: Turns) -> None:
    release = threading.Event()
    taken: list[object] = []
    turns.soon(partial(hold, release))
    for number in range(100_000):
        turns.soon(lambda number=number: taken.append(number))  # type: ignore[misc]
    release.set()
    turns.call(lambda: None, SOON_S)
    assert taken == list(range(100_000))


def test_the_end_wakes_whoever_waits_for_what_will_not_come() -> None:
    turns = Turns("turns", Faults())
    turns.start()
    never: Future[int] = Future()
    waiting = threading.Event()
    raised: list[BaseException] = []

    def wait() -> None:
        waiting.set()
        try:
            turns.result(never, 3600)
        except Fault as fault:
            raised.append(fault)

    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.wait(SOON_S)
    turns.close(SOON_S)
    thread.join(SOON_S)
    assert not thread.is_alive()
    assert [str(fault) for fault in raised] == ["the bootloader ends (try again when it runs again)"]


def open_descriptors() -> set[str]:
    """Nothing where the system does not tell."""
    folder = Path("/proc/self/fd")
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def test_after_the_end_nothing_is_taken_and_no_descriptor_is_touched() -> None:
    before = open_descriptors()
    turns = Turns("turns", Faults())
    turns.start()
    turns.close(SOON_S)
    reader, writer = os.pipe()  # with the numbers that the bell had
    os.set_blocking(reader, False)
    turns.soon(lambda: None)
    with pytest.raises(Fault) as caught:
        turns.call(lambda: 1, 3600)
    assert caught.value.code == "ending"
    with pytest.raises(BlockingIOError):
        os.read(reader, 1)
    for descriptor in (reader, writer):
        os.close(descriptor)
    assert open_descriptors() == before


def test_one_that_never_began_can_be_closed() -> None:
    Turns("turns", Faults()).close(0)


def test_a_thread_that_does_not_end_is_told_and_keeps_its_descriptors() -> None:
    turns = Turns("turns", Faults())
    turns.start()
    release = threading.Event()
    turns.soon(partial(hold, release))
    with pytest.raises(Fault) as caught:
        turns.close(0.01)
    assert caught.value.code == "stuck"
    release.set()
    turns.close(SOON_S)
