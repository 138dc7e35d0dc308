"""What follows a death: how long until the next start, when it is the last one, and whose word counts."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader.supervisor.breaker import ANSWERS, FIRST_S, LONGEST_S, Breaker, Next, Verdict, asks, decide

FRESH = Breaker(3, 60.0)


def after(*deaths: float, most: int = 3, window_s: float = 60.0) -> Breaker:
    breaker = Breaker(most, window_s)
    for at in deaths:
        breaker = breaker.died(at)
    return breaker


@pytest.mark.parametrize(
    ("breaker", "tripped"),
    [
        pytest.param(after(), False, id="none"),
        pytest.param(after(0), False, id="one"),
        pytest.param(after(0, 1), False, id="one too few"),
        pytest.param(after(0, 1, 2), True, id="enough"),
        pytest.param(after(0, 30, 59.9), True, id="just inside the window"),
        pytest.param(after(0, 30, 60), False, id="the first one no longer counts"),
        pytest.param(after(0, 1, 59, 60.5), True, id="without the first one still enough"),
        pytest.param(after(0, 100, 200, 300, 400), False, id="often, but slowly"),
        pytest.param(after(5, most=1), True, id="the first death is one too many"),
    ],
)
def test_so_many_deaths_within_the_window_trip_it(breaker: Breaker, tripped: bool) -> None:
    assert breaker.tripped is tripped


def test_each_pause_is_twice_the_one_before_up_to_the_longest() -> None:
    pauses = [after(*range(count), most=1000).pause_s for count in range(1, 12)]
    assert pauses[0] == FIRST_S
    assert pauses[-1] == LONGEST_S
    assert all(later == min(LONGEST_S, 2 * one) for one, later in itertools.pairwise(pauses))


def test_one_that_stayed_up_for_the_window_starts_at_once_again() -> None:
    assert after(0, 1, 2, 100).pause_s == FIRST_S


@given(st.integers(1, 50), st.lists(st.floats(0, 1000), min_size=1, max_size=200).map(sorted))
def test_it_keeps_no_more_than_it_needs_and_trips_exactly_when_it_should(most: int, deaths: list[float]) -> None:
    breaker = after(*deaths, most=most)
    recent = [death for death in deaths if deaths[-1] - death < breaker.window_s]
    assert breaker.tripped == (len(recent) >= most)
    assert len(breaker.deaths) <= most
    assert FIRST_S <= breaker.pause_s <= LONGEST_S


TRIPPED = after(0, 1, 2)


@pytest.mark.parametrize(
    ("breaker", "on_failure", "answer", "attached", "proven", "verdict"),
    [
        pytest.param(FRESH, "hold", "", False, True, Verdict(Next.RESTART, "breaker"), id="alone"),
        pytest.param(FRESH, "hold", "", False, False, Verdict(Next.RESTART, "breaker"), id="alone, never healthy"),
        pytest.param(TRIPPED, "hold", "", False, True, Verdict(Next.ROLLBACK, "breaker"), id="too often"),
        pytest.param(TRIPPED, "hold", "", False, False, Verdict(Next.ROLLBACK, "breaker"), id="too often, unproven"),
        pytest.param(FRESH, "hold", "", True, True, Verdict(Next.HOLD, "policy"), id="watched"),
        pytest.param(TRIPPED, "hold", "", True, True, Verdict(Next.HOLD, "policy"), id="watched, too often"),
        pytest.param(FRESH, "rollback", "", True, False, Verdict(Next.ROLLBACK, "policy"), id="watched, rolls back"),
        pytest.param(FRESH, "rollback", "", True, True, Verdict(Next.HOLD, "policy"), id="watched, was healthy"),
        pytest.param(FRESH, "rollback", "", False, False, Verdict(Next.RESTART, "breaker"), id="alone, rolls back"),
        pytest.param(TRIPPED, "rollback", "", False, False, Verdict(Next.ROLLBACK, "breaker"), id="alone, too often"),
        pytest.param(TRIPPED, "hold", "restart", False, True, Verdict(Next.RESTART, "handler"), id="says restart"),
        pytest.param(FRESH, "hold", "continue", False, True, Verdict(Next.HOLD, "handler"), id="says continue"),
        pytest.param(FRESH, "hold", "rollback", False, True, Verdict(Next.ROLLBACK, "handler"), id="says rollback"),
        pytest.param(FRESH, "rollback", "stop", True, False, Verdict(Next.STOP, "handler"), id="says stop"),
        pytest.param(FRESH, "hold", "Restart", False, True, Verdict(Next.RESTART, "breaker"), id="says nonsense"),
        pytest.param(TRIPPED, "hold", "hold", False, True, Verdict(Next.ROLLBACK, "breaker"), id="says a wrong word"),
    ],
)
def test_the_handler_is_heard_first_then_the_settings_then_the_breaker(
    breaker: Breaker, on_failure: str, answer: str, attached: bool, proven: bool, verdict: Verdict
) -> None:
    assert decide(breaker, on_failure, answer, attached=attached, proven=proven) == verdict


def test_the_handler_is_asked_unless_what_failed_is_held_for_somebody_to_see() -> None:
    asked = {(policy, here) for policy in ("hold", "rollback") for here in (True, False) if asks(policy, attached=here)}
    assert asked == {("hold", False), ("rollback", False), ("rollback", True)}


def test_every_answer_leads_to_another_end() -> None:
    assert set(ANSWERS.values()) == set(Next)
    assert len(ANSWERS) == len(Next)
