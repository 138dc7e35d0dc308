"""The states of an application: every pair of state and event, against what each state promises."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader.supervisor.lifecycle import ALIVE, TABLE, WELL, Action, Event, State, step

PAIRS = list(product(State, Event))


@pytest.mark.parametrize(("state", "event"), [pair for pair in PAIRS if pair not in TABLE])
def test_what_is_not_in_the_table_changes_nothing(state: State, event: Event) -> None:
    assert step(state, event) == (state, ())


@pytest.mark.parametrize("state", list(State))
def test_a_process_is_made_only_where_there_is_none(state: State) -> None:
    after, actions = step(state, Event.GO)
    assert (Action.SPAWN in actions) == (state not in ALIVE) == (after is State.STARTING and state is not after)


@pytest.mark.parametrize("state", sorted(ALIVE))
@pytest.mark.parametrize("event", [Event.ENDED, Event.DIED])
def test_a_process_that_is_gone_is_swept_after_and_leaves_a_state_without_one(state: State, event: Event) -> None:
    after, actions = step(state, event)
    assert after not in ALIVE
    assert actions == (Action.SWEEP,)


@pytest.mark.parametrize("state", sorted(ALIVE - {State.STOPPING}))
def test_an_unasked_end_fails_unless_its_status_is_zero_and_an_asked_one_never_does(state: State) -> None:
    assert step(state, Event.DIED)[0] is State.FAILED
    assert step(state, Event.ENDED)[0] is State.FINISHED
    assert step(state, Event.STOP) == (State.STOPPING, (Action.TERMINATE,))
    assert step(State.STOPPING, Event.DIED)[0] is step(State.STOPPING, Event.ENDED)[0] is State.STOPPED


def test_healthy_comes_only_after_its_settle_time_and_only_from_running() -> None:
    before = {state for state in State if step(state, Event.SETTLED)[0] is State.HEALTHY} - {State.HEALTHY}
    assert before == {State.RUNNING}
    assert step(State.STARTING, Event.ENTERED) == (State.RUNNING, (Action.ARM_SETTLE,))


def test_it_may_say_that_it_is_ready_as_soon_as_it_has_a_process_and_not_when_it_is_to_stop() -> None:
    before = {state for state in State if step(state, Event.READY)[0] is State.HEALTHY} - {State.HEALTHY}
    assert before == {State.STARTING, State.RUNNING}


def test_a_kill_comes_only_after_the_grace_time() -> None:
    kills = {pair for pair in PAIRS if Action.KILL in step(*pair)[1]}
    assert kills == {(State.STOPPING, Event.GRACE_OVER)}
    assert step(State.STOPPING, Event.GRACE_OVER)[0] is State.STOPPING


def test_well_is_healthy_or_done() -> None:
    assert {State.HEALTHY, State.FINISHED} == WELL


@given(st.lists(st.sampled_from(Event)))
def test_spawns_and_sweeps_alternate_whatever_happens(events: list[Event]) -> None:
    state = State.STOPPED
    processes = 0
    for event in events:
        if event in (Event.ENDED, Event.DIED) and not processes:
            continue  # nothing that could end
        state, actions = step(state, event)
        processes += actions.count(Action.SPAWN) - actions.count(Action.SWEEP)
        assert processes == (state in ALIVE)
