"""When each line began, before it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from reactor.console.stamp import Clock, Stamped, shown


def test_each_line_is_stamped_with_when_its_first_piece_came() -> None:
    stamped = Stamped()
    assert stamped.feed("a", "1 ") == "1 a"
    assert stamped.feed("b\nc\n", "2 ") == "b\n2 c\n"
    assert stamped.feed("\r\n\rd", "3 ") == "\r\n\r3 d"


@given(st.lists(st.text("ab\r\n", max_size=6), max_size=10))
def test_nothing_but_stamps_is_added_and_one_to_each_line_that_shows_something(pieces: list[str]) -> None:
    stamped = Stamped()
    made = "".join(stamped.feed(piece, "#") for piece in pieces)
    assert made.replace("#", "") == "".join(pieces)
    assert [line.count("#") for line in made.split("\n")] == [int("#" in line) for line in made.split("\n")]
    assert all(("#" in line) == bool(line.strip("\r")) for line in made.split("\n"))


def test_the_clock_that_is_set_meanwhile_makes_no_line_older() -> None:
    clock = Clock(datetime(2026, 3, 1, 12, tzinfo=UTC), 100.0)
    assert clock.moment(101.5) - clock.moment(100.0) == timedelta(seconds=1.5)
    assert clock.moment(100.0) == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert shown(datetime(2026, 3, 1, 12, 5, 7, 9_000)) == "[12:05:07.009] "
