"""What happened on a target is told by its own clock and by this host's, whatever its clock says."""

from __future__ import annotations

from datetime import datetime

from reactor.clocks import Clock, clock_time, moment

NOW = 1_790_000_000.0


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_a_board_that_boots_in_1970_and_is_set_meanwhile_is_told_by_this_hosts_clock() -> None:
    clock = Clock()
    clock.hear(now=12.0, mono=100.0, heard_at=NOW)
    clock.hear(now=NOW - 30, mono=110.0, heard_at=NOW + 10)
    target_at, host_at = clock.times(5.5, 93.5)
    assert target_at == "1970-01-01T00:00:05.500+00:00"
    assert seconds(host_at) == NOW - 6.5
    assert seconds(clock.times(NOW - 31, 109.0)[1]) == NOW + 9


def test_the_fastest_answer_says_how_the_clocks_compare() -> None:
    clock = Clock()
    for delay_s in (0.5, 0.002, 1.0):
        clock.hear(now=NOW, mono=100.0, heard_at=NOW + delay_s)
    assert round(seconds(clock.times(NOW, 100.0)[1]) - NOW, 3) == 0.002


def test_an_earlier_start_of_the_machine_is_told_by_wall_clocks_if_they_were_set() -> None:
    clock = Clock(alike=False)
    clock.hear(now=NOW - 60, mono=100.0, heard_at=NOW)
    assert seconds(clock.times(NOW - 1060, 5.0)[1]) == NOW - 1000
    assert clock.times(12.0, 5.0) == ("1970-01-01T00:00:12.000+00:00", "")


def test_a_target_that_tells_no_other_clock_is_told_by_its_wall_clock() -> None:
    clock = Clock()
    clock.hear(now=NOW - 60, mono=None, heard_at=NOW)
    assert seconds(clock.times(NOW - 61, None)[1]) == NOW - 1


def test_times_that_no_calendar_has_are_empty() -> None:
    assert moment(1e300) == moment(-1e18) == ""
    assert clock_time("") == ""
    assert clock_time("2026-11-30T10:17:00.123+00:00") == "10:17:00.123"
