"""What is done about a host that says nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bootloader.gadget.watch import SILENT_S, Act, Look, Watched, after


def acts(looks: list[Look]) -> list[Act]:
    watched, found = Watched(), []
    for look in looks:
        watched, act = after(watched, look)
        found.append(act)
    return found


def test_a_silent_host_is_told_anew_and_then_gets_the_other_network() -> None:
    looks = [Look(n * SILENT_S, True, 0, "ncm") for n in range(5)]
    assert acts(looks) == [Act.NOTHING, Act.AGAIN, Act.OTHER, Act.NOTHING, Act.NOTHING]


def test_of_the_older_network_it_is_told_anew_once() -> None:
    looks = [Look(n * SILENT_S, True, 0, "ecm") for n in range(4)]
    assert acts(looks) == [Act.NOTHING, Act.AGAIN, Act.NOTHING, Act.NOTHING]


def test_a_host_that_comes_back_is_waited_for_again() -> None:
    there, gone = Look(0, True, 7, "ncm"), Look(100, False, 7, "ncm")
    back = [Look(100 + n * SILENT_S, True, 7, "ncm") for n in range(1, 3)]
    assert acts([there, gone, *back]) == [Act.NOTHING] * 3 + [Act.AGAIN]


def test_a_host_that_sleeps_is_left_alone_and_has_what_it_had_when_it_is_back() -> None:
    awake, asleep = Look(0, True, 7, "ncm", links=1), Look(10, False, 8, "ncm", is_asleep=True, links=1)
    heard = [awake, awake._replace(packets=8)]
    back = [Look(1000 + n * SILENT_S, True, 8, "ncm", links=1) for n in range(4)]
    assert set(acts([*heard, asleep, asleep, *back])) == {Act.NOTHING}
    asleep = asleep._replace(now_s=999, packets=7)
    unheard = acts([awake, asleep, *(one._replace(packets=7) for one in back)])
    assert unheard == [Act.NOTHING] * 3 + [Act.AGAIN, Act.OTHER, Act.NOTHING]  # the sleep is no silence


def test_one_that_sets_the_link_up_anew_after_that_is_another_host() -> None:
    heard = [Look(n, True, n, "ncm", links=1) for n in range(2)]
    asleep = Look(10, False, 1, "ncm", is_asleep=True, links=1)
    another = [Look(100 + n * SILENT_S, True, 1, "ncm", links=3) for n in range(3)]
    assert acts([*heard, asleep, *another]) == [Act.NOTHING] * 4 + [Act.AGAIN, Act.OTHER]


networks = st.sampled_from(["ncm", "ecm"])
looks = st.builds(Look, st.floats(0, 1e6), st.booleans(), st.integers(0, 3), networks, st.booleans())


@given(st.lists(looks, max_size=40))
def test_nothing_is_done_to_a_host_that_was_heard_or_is_away(seen: list[Look]) -> None:
    seen = sorted(seen)
    watched = Watched()
    for look in seen:
        before = watched
        watched, act = after(before, look)
        if look.is_asleep or not look.is_configured or before.is_heard or not before.is_there:
            assert act is Act.NOTHING
        if look.network == "ecm":
            assert act is not Act.OTHER
