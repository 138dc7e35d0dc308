"""Each save gets one result, in whatever order calls return and events come, and whatever is lost on the way."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader.wire.errors import Malformed
from bootloader.wire.messages import Fields
from reactor.outcomes import HEALTHY, NEVER_TOLD, RUNNING, Fate, Outcome, Outcomes, stages_of


def outcome(number: int, *, known: bool = True) -> Outcome:
    """The save that became change ``number`` and generation 100 more; ``known``: its call has said which change."""
    return Outcome(number if known else 0, 100 + number, f"root {number}", (f"{number}.py",), "restart", "edited", 0.0)


def fate(number: int, state: str) -> Fate:
    return Fate(number, 100 + number, state, f"why {number}", float(number), {"start": 1.0})


ENDINGS = st.sampled_from([[RUNNING, "healthy"], [RUNNING, "failed"], [RUNNING, "replaced"], ["failed"], ["replaced"]])


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[list[str]], list[tuple[str, Outcome | Fate]]]:
    """How each change ends, and the returns of calls and the events, each in their order, shuffled into each other."""
    endings = draw(st.lists(ENDINGS, min_size=1, max_size=6))
    calls: list[tuple[str, Outcome | Fate]] = []
    events: list[tuple[str, Outcome | Fate]] = []
    for number, states in enumerate(endings, 1):
        calls.append(("expect", outcome(number, known=draw(st.booleans()))))
        events += [("happened", fate(number, state)) for state in states]
    steps = []
    while calls or events:
        first = calls if events == [] or (calls and draw(st.booleans())) else events
        steps.append(first.pop(0))
    return endings, steps


def play(steps: list[tuple[str, Outcome | Fate]]) -> tuple[Outcomes, list[dict[str, Any]]]:
    outcomes, results = Outcomes(), []
    for kind, what in steps:
        results += getattr(outcomes, kind)(what)
    return outcomes, results


@given(histories())
def test_any_interleaving_gives_each_save_its_own_result_once(
    history: tuple[list[list[str]], list[tuple[str, Outcome | Fate]]],
) -> None:
    endings, steps = history
    outcomes, results = play(steps)
    told = {result["root"]: result["healthy"] for result in results}
    assert len(results) == len(endings)
    assert told == {f"root {number}": states[-1] == HEALTHY for number, states in enumerate(endings, 1)}
    assert outcomes.give_up("the end") == []


@given(histories(), st.data())
def test_whatever_is_lost_each_save_has_one_result_and_no_healthy_one_is_made_up(
    history: tuple[list[list[str]], list[tuple[str, Outcome | Fate]]], data: st.DataObject
) -> None:
    endings, steps = history
    heard = [step for step in steps if step[0] == "expect" or data.draw(st.booleans())]
    outcomes, results = play(heard)
    results += outcomes.give_up("the end")
    assert sorted(result["root"] for result in results) == [f"root {number}" for number in range(1, len(endings) + 1)]
    really = {f"root {what.change}" for kind, what in heard if isinstance(what, Fate) and what.state == HEALTHY}
    assert {result["root"] for result in results if result["healthy"]} <= really


def test_a_change_that_is_overtaken_unheard_is_told_as_such() -> None:
    outcomes = Outcomes()
    assert outcomes.expect(outcome(1)) == []
    (result,) = outcomes.happened(fate(2, RUNNING))
    assert (result["root"], result["healthy"], result["reason"]) == ("root 1", False, f"edited; {NEVER_TOLD}")
    (late,) = outcomes.expect(outcome(1, known=False))
    assert late["reason"].endswith(NEVER_TOLD)


def test_a_result_says_when_the_program_ran_and_what_took_how_long() -> None:
    outcomes = Outcomes()
    one = Outcome(1, 101, "root", ("a.py",), "restart", "edited", 10.0, {"watch": 2.0, "ship": 3.0})
    outcomes.expect(one)
    outcomes.happened(Fate(1, 101, RUNNING, "", 10.01, {"stop": 1.0, "start": 2.5}))
    (result,) = outcomes.happened(Fate(1, 101, HEALTHY, "up for 0.5 s", 10.51, {"stop": 1.0, "start": 99.0}))
    assert result == {
        "event": "result",
        "root": "root",
        "generation": 101,
        "files": ["a.py"],
        "rung": "restart",
        "reason": "edited",
        "healthy": True,
        "save_to_running_ms": 10.0,
        "stages_ms": {"watch": 2.0, "ship": 3.0, "stop": 1.0, "start": 2.5, "tell": 1.5},
    }


def test_a_result_of_what_failed_says_why() -> None:
    outcomes = Outcomes()
    outcomes.expect(outcome(3))
    (result,) = outcomes.happened(fate(3, "failed"))
    assert (result["healthy"], result["reason"]) == (False, "edited; why 3")
    assert "save_to_running_ms" not in result


def test_what_nobody_tells_of_does_not_pile_up() -> None:
    outcomes = Outcomes()
    results = [result for number in range(1, 5001) for result in outcomes.expect(outcome(number))]
    for number in range(10_000, 15_000):
        outcomes.happened(fate(number, RUNNING))
    assert len(results) > 4900
    assert {result["healthy"] for result in results} == {False}
    assert outcomes.give_up("") == []
    assert outcomes.expect(outcome(14_999)) == []  # numbers begin anew


ODD_EVENTS = [
    {"change": 1, "state": "perfect"},
    {"change": 1},
    {"state": "healthy"},
    {"change": "1", "state": "healthy"},
    {"change": True, "state": "healthy"},
    {"change": 1, "state": ["healthy"]},
    {"change": 1, "state": "healthy", "why": 3},
    {"change": 1, "state": "healthy", "stages_ms": []},
    {"change": 1, "state": "healthy", "stages_ms": {"stop": "long"}},
    {"change": 1, "state": "healthy", "generation": 1.5},
]


@pytest.mark.parametrize("event", ODD_EVENTS, ids=str)
def test_an_event_that_makes_no_sense_is_malformed(event: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        Fate.read(Fields(event), 0.0)


def test_of_the_stages_that_a_target_tells_only_times_that_can_be_are_taken() -> None:
    told = {"store": 1, "stop": -1, "switch": 1e300, "\x1b[2J": 5.0, "start": 2.5, "check": 10**400}
    assert stages_of(Fields({"stages_ms": {key: value for key, value in told.items() if key != "check"}})) == {
        "store": 1.0,
        "start": 2.5,
    }
    with pytest.raises(Malformed):
        stages_of(Fields({"stages_ms": told}))


def test_numbers_past_all_sense_are_none() -> None:
    read = Fate.read(Fields({"change": 10**400, "generation": -7, "state": "healthy", "why": "\x1b[1mx"}), 1.0)
    assert (read.change, read.generation, read.why) == (0, 0, "x")
