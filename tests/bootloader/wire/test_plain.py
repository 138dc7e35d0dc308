"""Values by value: what goes through arrives as it was, and what nobody can have sent is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader.wire import plain
from bootloader.wire.errors import Fault, Malformed
from bootloader.wire.limits import VALUE_BYTES

KEYS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
LEAVES = KEYS | st.complex_numbers(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(KEYS | st.tuples(KEYS, KEYS), inner, max_size=4)
        | st.sets(KEYS, max_size=4)
        | st.frozensets(KEYS, max_size=4)
    ),
    max_leaves=20,
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("dtszficban") | st.text(), inner),
    max_leaves=10,
)


def same(one: object, other: object) -> bool:
    """Whether they are equal, and of the same types to the last item: 1, 1.0 and True are equal, too."""
    return spelt(one) == spelt(other)


def spelt(value: object) -> object:
    kind = type(value).__name__
    if isinstance(value, set | frozenset):
        return kind, sorted(repr(spelt(one)) for one in value)
    if isinstance(value, dict):
        return kind, [(spelt(key), spelt(one)) for key, one in value.items()]
    if isinstance(value, list | tuple):
        return kind, [spelt(one) for one in value]
    return kind, repr(value)


@given(VALUES)
def test_what_is_plain_arrives_as_it_was(value: object) -> None:
    told, blobs = plain.encode(value)
    assert same(plain.decode(json.loads(json.dumps(told)), blobs), value)


@given(JSON, st.lists(st.binary(max_size=8), max_size=2))
def test_whatever_is_told_it_is_a_value_or_refused(told: object, blobs: list[bytes]) -> None:
    try:
        value = plain.decode(told, blobs)
    except Malformed:
        return
    assert type(value).__module__ in ("builtins", "numpy")


@pytest.mark.parametrize("dtype", ["<f8", ">f4", "|b1", "<i8", "|u1", "<c16", "<f2"])
@pytest.mark.parametrize("shape", [(), (0, 5), (3,), (2, 3, 4)])
def test_arrays_arrive_as_they_were(dtype: str, shape: tuple[int, ...]) -> None:
    array = numpy.ones(shape, dtype)
    told, blobs = plain.encode(array)
    got = plain.decode(told, blobs)
    assert (got.dtype, got.shape, type(got)) == (array.dtype, shape, numpy.ndarray)
    assert numpy.array_equal(got, array)
    got[...] = 0  # it is one's own
    scalar = plain.decode(*plain.encode(numpy.float32(1.5)))
    assert (type(scalar), scalar) == (numpy.float32, 1.5)


ARRAY = {"dtype": "<f8", "shape": [2], "blob": 0}


@pytest.mark.parametrize(
    "told",
    [
        {"a": {**ARRAY, "dtype": "|O"}},
        {"a": {**ARRAY, "dtype": "O8"}},
        {"a": {**ARRAY, "dtype": "<f8,<f8"}},
        {"a": {**ARRAY, "dtype": "|V16"}},
        {"a": {**ARRAY, "shape": [3]}},
        {"a": {**ARRAY, "shape": [-2]}},
        {"a": {**ARRAY, "shape": [True, 2]}},
        {"a": {**ARRAY, "shape": [2**62, 2**62, 0]}},
        {"a": {**ARRAY, "shape": [1] * 40 + [2]}},
        {"a": {**ARRAY, "blob": 1}},
        {"a": {**ARRAY, "blob": -1}},
        {"a": ARRAY, "b": 0},
        {"b": 7},
        {"b": True},
        {"i": "0x10"},
        {"i": "f" * 300_000},
        {"f": "1e5"},
        {"c": ["1" * 50, "0"]},
        {"c": ["__import__", "0"]},
        {"d": [[[1], 2]]},
        {"d": [[1]]},
        {"s": [{"d": []}]},
        {"t": 1},
        {"x": []},
        {},
    ],
)
def test_what_nobody_can_have_sent_is_refused(told: object) -> None:
    with pytest.raises(Malformed):
        plain.decode(told, [bytes(16)])


def test_depth_and_number_and_size_are_bounded_both_ways() -> None:
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    for value in (deep, cyclic, [0] * (plain.ITEMS + 1), bytes(VALUE_BYTES + 1), 1 << 2_000_000, object(), len):
        with pytest.raises(Fault) as fault:
            plain.encode(value)
        assert fault.value.code == "unfit-value"
    for told, blobs in ((deep, []), ([0] * (plain.ITEMS + 1), []), (None, [bytes(VALUE_BYTES + 1)])):
        with pytest.raises(Malformed):
            plain.decode(told, blobs)


def test_what_inherits_from_plain_data_is_not_taken_for_it() -> None:
    class Text(str):
        pass

    for value in (Text("a"), {Text("a"): 1}, numpy.ma.array([1]), numpy.array([object()]), numpy.array(["a"])):
        with pytest.raises(Fault):
            plain.encode(value)
