"""In which order applications start, and what each waits for."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader.supervisor.plan import due, order
from bootloader.wire.launch import Application, prerequisites


def app(name: str, *after: str) -> Application:
    return Application(name, "x:main", after=after)


def init(name: str, *after: str) -> Application:
    return Application(name, "x:main", init=True, after=after)


@pytest.mark.parametrize(
    ("applications", "names"),
    [
        pytest.param([], "", id="none"),
        pytest.param([app("a"), app("b"), app("c")], "abc", id="as listed"),
        pytest.param([app("a"), init("n")], "na", id="init first"),
        pytest.param([init("d", "n"), init("n"), app("a")], "nda", id="an init one after another"),
        pytest.param([app("a", "b"), app("b", "c"), app("c")], "cba", id="a chain"),
        pytest.param([app("a", "n"), init("n"), init("d"), app("b", "a")], "ndab", id="all of it"),
    ],
)
def test_init_applications_come_first_and_each_after_those_it_names(
    applications: list[Application], names: str
) -> None:
    assert "".join(one.name for one in order(applications)) == names


CHAIN = [init("n"), init("d", "n"), init("w"), app("a")]


@pytest.mark.parametrize(
    ("waiting", "pending", "starts"),
    [
        pytest.param("ndwa", "", "nw", id="at first those that wait for nothing, at once"),
        pytest.param("da", "nw", "", id="none is ready"),
        pytest.param("da", "w", "d", id="one is ready"),
        pytest.param("a", "w", "", id="one is still pending"),
        pytest.param("a", "", "a", id="all are ready, or failed"),
        pytest.param("n", "dwa", "n", id="those that come later hold nobody up"),
        pytest.param("", "", "", id="nothing waits"),
    ],
)
def test_one_starts_as_soon_as_nothing_that_it_waits_for_is_pending(waiting: str, pending: str, starts: str) -> None:
    assert "".join(due(CHAIN, waiting, pending)) == starts


NAMES = "abcdef"


def possible(applications: list[Application]) -> list[Application]:
    """They, where each waits for none that isn't there, or that comes later: init ones first, then by name."""
    ranks = {one.name: (not one.init, one.name) for one in applications}
    return [
        replace(one, after=tuple(name for name in one.after if name in ranks and ranks[name] < ranks[one.name]))
        for one in applications
    ]


graphs = st.lists(
    st.builds(
        Application,
        st.sampled_from(NAMES),
        st.just("x:main"),
        st.booleans(),
        after=st.lists(st.sampled_from(NAMES), max_size=3).map(tuple),
    ),
    unique_by=lambda one: one.name,
).map(possible)


@given(graphs, st.randoms(use_true_random=False))
def test_everything_starts_once_whatever_becomes_of_it(applications: list[Application], random: Random) -> None:
    ahead = prerequisites(applications)
    waiting, pending, started = set(ahead), set[str](), list[str]()
    while waiting or pending:
        for name in due(applications, waiting, pending):
            assert not pending & ahead[name]
            assert ahead[name] <= set(started)
            waiting.remove(name)
            pending.add(name)
            started.append(name)
        assert pending, "nothing can go on"
        pending.remove(random.choice(sorted(pending)))
    assert sorted(started) == sorted(ahead)


@given(graphs)
def test_the_order_is_one_in_which_each_comes_after_all_that_it_waits_for(applications: list[Application]) -> None:
    names = [app.name for app in order(applications)]
    assert sorted(names) == sorted(app.name for app in applications)
    for name, others in prerequisites(applications).items():
        assert others <= set(names[: names.index(name)])
