from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bootloader.wire.delta import WORTH_BYTES, Delta, make
from bootloader.wire.errors import Malformed

LONG = bytes(range(256)) * 32

# Long, and mostly of one byte, so that beginnings and ends overlap in each other.
contents = st.one_of(
    st.binary(max_size=16),
    st.tuples(st.binary(max_size=9), st.integers(0, 9000), st.binary(max_size=9)).map(
        lambda parts: parts[0] + b"x" * parts[1] + parts[2]
    ),
)


@given(contents, contents)
@example(b"x" * 5000, b"x" * 5001)
@example(b"x" * 5001, b"x" * 5000)
@example(LONG, LONG)
@example(LONG, LONG * 2)
@example(LONG * 2, LONG)
def test_a_delta_leads_from_any_content_to_any_other(base: bytes, new: bytes) -> None:
    delta = make(base, new)
    if delta:
        assert delta.apply(base) == new
        assert len(delta.middle) < len(new) // 2


@given(st.integers(0, len(LONG)), st.integers(0, 200), st.binary(max_size=200))
def test_one_edit_of_a_long_content_ships_at_most_what_was_typed(at: int, cut: int, typed: bytes) -> None:
    delta = make(LONG, LONG[:at] + typed + LONG[at + cut :])
    assert delta is not None
    assert len(delta.middle) <= len(typed)


@pytest.mark.parametrize(
    ("base", "new"),
    [(b"", LONG), (LONG, b""), (LONG, LONG[: WORTH_BYTES - 1]), (LONG, bytes(len(LONG))), (LONG, LONG[::-1])],
    ids=["new file", "emptied", "short", "zeroed", "reversed"],
)
def test_no_delta_is_made_where_it_does_not_pay(base: bytes, new: bytes) -> None:
    assert make(base, new) is None


@pytest.mark.parametrize(
    ("prefix", "suffix"), [(4, 0), (0, 4), (2, 2), (-1, 1), (1, -1), (-1, 4), (2**70, 0), (2**70, -(2**70))]
)
def test_a_delta_that_does_not_fit_its_base_is_refused(prefix: int, suffix: int) -> None:
    with pytest.raises(Malformed, match="fit"):
        Delta(prefix, suffix, b"x").apply(b"abc")


@given(st.binary(max_size=9), st.integers(-2, 12), st.integers(-2, 12), st.binary(max_size=3))
def test_a_delta_keeps_exactly_the_ends_that_it_names_or_is_refused(
    base: bytes, prefix: int, suffix: int, middle: bytes
) -> None:
    try:
        new = Delta(prefix, suffix, middle).apply(base)
    except Malformed:
        assert prefix < 0 or suffix < 0 or prefix + suffix > len(base)
    else:
        assert len(new) == prefix + len(middle) + suffix
        assert new.startswith(base[:prefix] + middle)
        assert new.endswith(base[len(base) - suffix :])
