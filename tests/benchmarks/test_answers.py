"""What counts as an answer to a save."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from benchmarks.answers import Answers


@pytest.fixture
def answers() -> Iterator[Answers]:
    listening = Answers()
    yield listening
    listening.close()


def say(answers: Answers, name: str, version: int, at_ns: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.sendto(f"{name} {version} {at_ns}".encode(), ("127.0.0.1", answers.port))


def test_the_time_is_from_the_save_to_what_the_application_read_from_the_clock(answers: Answers) -> None:
    say(answers, "floor", 7, 5_000_000)
    assert answers.wait("floor", 7, 2_000_000, timeout_s=5) == 3.0


def test_an_older_version_that_starts_after_the_save_is_stale_and_no_answer(answers: Answers) -> None:
    say(answers, "floor", 6, 3_000_000)
    say(answers, "floor", 7, 4_000_000)
    assert answers.wait("floor", 7, 2_000_000, timeout_s=5) == 2.0
    assert (answers.stale["floor"], answers.again["floor"]) == (1, 0)


def test_a_second_start_of_a_version_is_counted_for_whom_it_was(answers: Answers) -> None:
    for name, version in (("floor", 7), ("floor", 7), ("hupper", 3)):
        say(answers, name, version, 4_000_000)
    assert answers.wait("floor", 7, 2_000_000, timeout_s=5) == 2.0
    assert answers.wait("hupper", 3, 2_000_000, timeout_s=5) == 2.0
    assert dict(answers.again) == {"floor": 1}


def test_another_contestant_s_answer_is_no_answer(answers: Answers) -> None:
    say(answers, "hupper", 7, 4_000_000)
    assert answers.wait("floor", 7, time.monotonic_ns(), timeout_s=0.01) is None


def test_the_warm_up_is_forgotten(answers: Answers) -> None:
    for _ in range(2):
        say(answers, "floor", 1, 4_000_000)
    answers.wait("floor", 2, 2_000_000, timeout_s=0.01)
    answers.forget()
    assert (dict(answers.stale), dict(answers.again)) == ({}, {})
