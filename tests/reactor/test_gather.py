"""The end of a save and of a burst, on a clock of the test's own."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor import gather
from reactor.gather import (
    BURST_S,
    GIT_MOST_S,
    GONE_S,
    MADE_S,
    MOST_PATHS,
    MOST_S,
    QUIET_MOST_S,
    WRITING_S,
    Due,
    Gather,
    Kind,
)

KINDS: list[Kind] = ["created", "modified", "closed", "arrived", "gone", "touched"]
START = 1000.0


class Desk:
    """A gather and a clock, and the batches that came out, each with its time."""

    def __init__(self) -> None:
        self.gather = Gather()
        self.now = START
        self.out: list[tuple[float, Due]] = []

    def wait(self, seconds: float) -> Desk:
        """Let time pass, and take what becomes due on the way, exactly when it does."""
        until = self.now + seconds
        for _ in range(10_000):
            deadline = self.gather.next_deadline()
            if deadline is None or deadline > until:
                break
            self.now = max(self.now, deadline)
            due = self.gather.due(self.now)
            if due is not None:
                self.out.append((self.now, due))
        else:
            raise AssertionError("deadlines without end")
        self.now = until
        return self

    def add(self, *events: tuple[str, Kind]) -> Desk:
        """Events of this very moment, read together, and then what is due at once."""
        for path, kind in events:
            self.gather.add(path, kind, self.now)
        return self.wait(0)

    @property
    def paths(self) -> list[list[str]]:
        return [sorted(due.paths) for _, due in self.out]

    @property
    def after_ms(self) -> list[int]:
        return [round((at - START) * 1000) for at, _ in self.out]


def test_a_write_that_is_closed_is_due_at_once() -> None:
    desk = Desk().add(("a", "modified")).wait(0.004).add(("a", "modified"), ("a", "closed"))
    assert (desk.paths, desk.after_ms) == ([["a"]], [4])
    assert desk.out[0][1].at == START


def test_a_rename_is_due_at_once_and_is_not_the_beginning_of_a_burst() -> None:
    desk = Desk().add(("a.tmp", "created")).wait(0.001).add(("a.tmp", "closed")).wait(0.001)
    desk.gather.move("a.tmp", "a", desk.now)
    desk.wait(1)
    assert (desk.paths, desk.after_ms) == ([["a"], ["a.tmp"]], [2, 2 + GONE_S * 1000])


def test_a_file_that_is_moved_away_and_written_anew_is_one_save() -> None:
    desk = Desk().add(("a", "gone")).wait(0.003).add(("a", "created")).wait(0.003).add(("a", "modified"))
    desk.wait(0.003).add(("a", "closed")).wait(1)
    assert (desk.paths, desk.after_ms) == ([["a"]], [9])


def test_a_file_that_is_gone_is_due_a_moment_later() -> None:
    desk = Desk().add(("a", "gone")).wait(1)
    assert (desk.paths, desk.after_ms) == ([["a"]], [GONE_S * 1000])


def test_a_new_file_is_due_a_moment_after_it_is_closed() -> None:
    desk = Desk().add(("a", "created")).wait(0.002).add(("a", "closed")).wait(1)
    assert (desk.paths, desk.after_ms) == ([["a"]], [2 + MADE_S * 1000])


def test_a_write_that_is_not_closed_is_due_when_it_is_quiet() -> None:
    desk = Desk()
    for _ in range(5):
        desk.add(("a", "modified")).wait(0.2)
    desk.wait(1)
    assert (desk.paths, desk.after_ms) == ([["a"]], [800 + WRITING_S * 1000])


def test_a_write_without_end_is_due_now_and_then_and_holds_up_no_one() -> None:
    desk = Desk()
    for turn in range(50):
        desk.add(("log", "modified")).wait(0.1)
        if turn == 30:
            desk.add(("a", "closed"))
            assert desk.out[-1] == (desk.now, Due(frozenset({"a"}), desk.now))
    desk.wait(1)
    assert [path for paths in desk.paths for path in paths].count("log") == 3
    assert desk.after_ms[0] == MOST_S * 1000


def test_a_change_of_attributes_neither_ends_nor_delays_a_save() -> None:
    desk = Desk().add(("a", "modified")).wait(0.02).add(("a", "touched")).wait(0.02)
    assert desk.out == []
    assert desk.add(("a", "closed")).paths == [["a"]]
    desk = Desk().add(("a", "touched")).wait(1)
    assert desk.after_ms == [MADE_S * 1000]


def test_a_burst_comes_out_as_one_when_it_is_over() -> None:
    desk = Desk()
    for number in range(200):
        desk.add((f"f{number}", "closed")).wait(0.004)
    desk.wait(1)
    first, rest = desk.paths
    assert first == ["f0"]
    assert len(rest) == 199
    assert desk.after_ms[1] == 199 * 4 + QUIET_MOST_S * 1000


def test_files_that_are_saved_in_one_breath_come_out_together() -> None:
    desk = Desk().add(("a", "closed"), ("b", "closed"), ("c", "closed")).wait(1)
    assert desk.paths == [["a", "b", "c"]]
    assert desk.after_ms[0] <= 5


def test_two_saves_with_a_pause_between_are_no_burst() -> None:
    desk = Desk().add(("a", "closed")).wait(BURST_S + 0.001).add(("b", "closed"))
    assert (desk.paths, desk.after_ms) == ([["a"], ["b"]], [0, 51])


def test_a_burst_without_end_comes_out_now_and_then() -> None:
    desk = Desk()
    for number in range(1000):
        desk.add((f"f{number}", "closed")).wait(0.01)
    desk.wait(1)
    waits = [later - sooner for sooner, later in pairwise(desk.after_ms)]
    assert max(waits) <= MOST_S * 1000 + 20
    assert len(desk.out) <= 7
    assert sum(map(len, desk.paths)) == 1000


def test_while_git_works_everything_waits() -> None:
    desk = Desk()
    desk.gather.lock(desk.now)
    for number in range(100):
        desk.add((f"f{number}", "closed")).wait(0.06)
    assert desk.out == []
    desk.gather.unlock(desk.now)
    desk.wait(0.1)
    assert [len(paths) for paths in desk.paths] == [100]


def test_a_burst_of_deletions_and_writes_comes_out_whole() -> None:
    desk = Desk()
    for number in range(100):
        desk.wait(0.0002).add((f"f{number}", "gone"))
        if number == 50:
            desk.add(("main", "gone"), ("main", "created"), ("main", "closed"))
    desk.wait(1)
    assert [len(paths) for paths in desk.paths] == [101]


def test_when_git_is_done_what_is_gone_is_gone() -> None:
    desk = Desk()
    desk.gather.lock(desk.now)
    desk.add(("main", "closed"))
    for number in range(4):
        desk.wait(0.001).add((f"f{number}", "gone"))
    desk.gather.unlock(desk.now)
    desk.wait(GONE_S / 2)
    assert [len(paths) for paths in desk.paths] == [5]


def test_a_burst_does_not_wait_for_a_file_that_is_written_to_without_end() -> None:
    desk = Desk().add(("log", "modified")).wait(0.01).add(("a", "closed")).wait(0.01).add(("b", "closed"))
    desk.wait(0.1)
    assert ["a", "b"] in desk.paths or desk.paths == [["a"], ["b"]]


def test_a_lock_that_git_left_behind_holds_no_save_for_ever() -> None:
    desk = Desk()
    desk.gather.lock(desk.now)
    desk.add(("a", "closed")).wait(20)
    assert desk.after_ms == [GIT_MOST_S * 1000]
    desk.add(("b", "closed"))
    assert desk.paths[-1] == ["b"]


def test_more_paths_than_can_be_told_apart_mean_everything() -> None:
    desk = Desk()
    for number in range(MOST_PATHS + 1):
        desk.gather.add(f"f{number}", "closed", desk.now)
    desk.wait(1)
    assert [due.everything for _, due in desk.out] == [True]
    desk.add(("a", "closed"))
    assert desk.out[-1][1] == Due(frozenset({"a"}), desk.now)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0, 0.0001, 0.002, 0.01, 0.03, 0.06, 0.2, 0.7, 3.0]),
        st.sampled_from([*KINDS, "move", "lock", "unlock"]),
        st.sampled_from("abcdef"),
    ),
    max_size=60,
)


@given(EVENTS)
def test_nothing_is_lost_and_nothing_waits_for_longer_than_its_bound(events: list[tuple[float, str, str]]) -> None:
    desk = Desk()
    added: list[tuple[float, str]] = []
    most_s = GIT_MOST_S if any(kind == "lock" for _, kind, _ in events) else MOST_S
    for pause_s, kind, path in events:
        desk.wait(pause_s)
        match kind:
            case "lock":
                desk.gather.lock(desk.now)
            case "unlock":
                desk.gather.unlock(desk.now)
            case "move":
                desk.gather.move(path, f"{path}2", desk.now)
                added += [(desk.now, path), (desk.now, f"{path}2")]
            case _:
                desk.gather.add(path, next(each for each in KINDS if each == kind), desk.now)
                added.append((desk.now, path))
    desk.wait(60)
    assert desk.gather.next_deadline() is None
    for when, path in added:
        assert any(when <= at <= when + most_s + 1e-6 and path in due.paths for at, due in desk.out)
    assert all(due.at <= at and due.paths for at, due in desk.out)


@given(EVENTS, st.sampled_from(["closed", "arrived"]))
def test_a_save_after_a_pause_is_due_at_once_whatever_was_before(
    events: list[tuple[float, str, str]], kind: Kind
) -> None:
    desk = Desk()
    for pause_s, before, path in events:
        desk.wait(pause_s)
        if before not in ("move", "lock", "unlock"):
            desk.add((path, next(each for each in KINDS if each == before)))
    desk.wait(60)
    desk.add(("saved", kind))
    assert desk.out[-1] == (desk.now, Due(frozenset({"saved"}), desk.now))


@given(st.floats(0, 1), st.sampled_from(KINDS))
def test_nothing_is_due_before_its_deadline(after_s: float, kind: Kind) -> None:
    one = Gather()
    one.add("a", kind, START)
    deadline = one.next_deadline()
    assert deadline is not None
    due = one.due(START + after_s)
    assert (due is not None) == (START + after_s >= deadline)


def test_where_closing_is_not_told_a_write_is_due_sooner() -> None:
    quick = Gather(writing_s=0.03)
    quick.add("a", "modified", START)
    assert quick.next_deadline() == pytest.approx(START + 0.03)
    assert gather.WRITING_S > 0.03
