"""How long a link that fails is tried, and what of it is told."""

from __future__ import annotations

from bootloader.wire.errors import CallTimeout, LinkDown
from reactor.session.outage import PAUSES_S, Outage


def test_pauses_grow_and_are_short_again_after_a_link_that_lasted() -> None:
    outage = Outage(None)
    fault = LinkDown("gone")
    assert [outage.failed(fault, 0.0) for _ in range(8)] == [*PAUSES_S, PAUSES_S[-1], PAUSES_S[-1]]
    outage.up(10.0)
    assert outage.failed(fault, 11.0) == PAUSES_S[-1], "it was up for a moment"
    outage.up(20.0)
    assert outage.failed(fault, 30.0) == PAUSES_S[0]


def test_a_push_tries_for_a_while_and_longer_what_it_had_reached() -> None:
    """A minute's stall is none of its end."""
    fault = LinkDown("gone")
    never, reached, watched = Outage(15.0), Outage(15.0), Outage(None)
    reached.up(0.0)
    for outage in (never, reached, watched):
        assert outage.failed(fault, 1.0) is not None
    assert never.failed(fault, 17.0) is None
    assert reached.failed(fault, 61.0) is not None
    assert reached.failed(fault, 120.0) is None
    assert watched.failed(fault, 1e6) is not None


def test_the_first_and_the_second_failure_are_told_and_then_one_now_and_then() -> None:
    outage = Outage(None)
    told = [outage.news(LinkDown("gone")) for _ in range(22)]
    assert [number for number, state in enumerate(told) if state] == [0, 1, 10, 20]
    assert told[:2] == ["down", "retrying"]
    fault = CallTimeout("silent")
    again = Outage(None)
    assert (again.news(fault), again.news(fault)) == ("retrying", ""), "one fault is told once"
