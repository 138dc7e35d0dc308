from __future__ import annotations

import json
import struct
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bootloader.wire.errors import FIELD_CHARS, Fault, Malformed, Refused
from bootloader.wire.limits import PROTOCOL
from bootloader.wire.messages import Fields, answer, lines, pack, refusal, unpack

numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)
bodies = st.dictionaries(st.text().filter(lambda key: key != "blobs"), values, max_size=5)
blob_lists = st.lists(st.binary(max_size=30), max_size=4)


def message(
    text: bytes, blobs: bytes = b"", *, magic: bytes = b"RL", version: int = PROTOCOL, length: int = -1
) -> bytes:
    """A message as another program might write it."""
    return struct.pack(">2sBI", magic, version, len(text) if length < 0 else length) + text + blobs


@given(bodies, blob_lists)
def test_a_message_reads_back_as_written(body: dict[str, object], blobs: list[bytes]) -> None:
    fields, received = unpack(pack(body, blobs))
    assert fields.plain() == {**body, "blobs": [len(blob) for blob in blobs]}
    assert received == blobs


@given(bodies, blob_lists, st.data())
def test_a_damaged_message_is_read_or_malformed(
    body: dict[str, object], blobs: list[bytes], data: st.DataObject
) -> None:
    sent = pack(body, blobs)
    at = data.draw(st.integers(0, len(sent)))
    cut = data.draw(st.integers(0, len(sent)))
    damaged = sent[:at] + data.draw(st.binary(max_size=4)) + sent[at + cut :]
    try:
        unpack(damaged)
    except Malformed:
        pass


@given(st.binary())
def test_arbitrary_bytes_are_read_or_malformed(data: bytes) -> None:
    for sent in (data, message(data), message(b'{"blobs":[' + data + b"]}", data)):
        try:
            unpack(sent)
        except Malformed:
            pass


ILLEGAL: dict[str, object] = {
    "nothing": b"",
    "no bytes": "RL",
    "no message at all": None,
    "cut in its head": b"RL\x01\0\0",
    "another protocol": message(b"{}", magic=b"XX"),
    "another version": message(b"{}", version=PROTOCOL + 1),
    "cut in its text": message(b'{"a":1}')[:-1],
    "longer than it says": message(b"{}", b"x"),
    "a length past its end": message(b"{}", length=3),
    "a length of 4 GB": message(b"{}", length=2**32 - 1),
    "not JSON": message(b"{'a':1}"),
    "not UTF-8": message(b'{"a":"\xff"}'),
    "UTF-16": message('{"a":1}'.encode("utf-16")),
    "a list": message(b"[]"),
    "a number": message(b"1"),
    "nested too deep": message(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "a number of too many digits": message(b'{"a":' + b"9" * 10_000 + b"}"),
    "not a number": message(b'{"a":NaN}'),
    "infinity": message(b'{"a":-Infinity}'),
    "blobs that are no list": message(b'{"blobs":1}'),
    "a blob of no length": message(b'{"blobs":["1"]}', b"x"),
    "a blob of length true": message(b'{"blobs":[true]}', b"x"),
    "a blob of length -1": message(b'{"blobs":[2,-1]}', b"x"),
    "a blob past the end": message(b'{"blobs":[2]}', b"x"),
    "a blob before the end": message(b'{"blobs":[1]}', b"xx"),
    "blobs that are not listed": message(b"{}", b"xx"),
}


@pytest.mark.parametrize("data", ILLEGAL.values(), ids=ILLEGAL.keys())
def test_an_illegal_message_is_refused(data: object) -> None:
    with pytest.raises(Malformed):
        unpack(data)


def test_another_version_is_told_what_to_do() -> None:
    with pytest.raises(Malformed, match="install the same version"):
        unpack(message(b"{}", version=PROTOCOL + 1))


BODY = {
    "text": "t",
    "int": 3,
    "float": 0.5,
    "true": True,
    "none": None,
    "texts": ["a"],
    "ints": [1],
    "rows": [[1]],
    "objects": [{}],
}
TYPES = {
    "text": {"text"},
    "integer": {"int"},
    "number": {"int", "float"},
    "flag": {"true"},
    "texts": {"texts"},
    "integers": {"ints"},
    "rows": {"rows"},
    "objects": {"objects"},
    "child": {"object"},
}


@pytest.mark.parametrize("reader", TYPES)
@pytest.mark.parametrize("key", [*BODY, "object", "mixed"])
def test_a_field_of_another_type_is_refused(reader: str, key: str) -> None:
    fields = Fields({**BODY, "object": {}, "mixed": [1, "a", [], {}, True]})
    if key in TYPES[reader]:
        getattr(fields, reader)(key)
    else:
        with pytest.raises(Malformed, match=f"field '{key}'"):
            getattr(fields, reader)(key)


def test_a_missing_field_is_refused_unless_it_has_a_default() -> None:
    fields = Fields({})
    assert (fields.text("a", "x"), fields.integer("a", 1), fields.number("a", 0.5), fields.flag("a", False)) == (
        "x",
        1,
        0.5,
        False,
    )
    for reader in (fields.texts, fields.integers, fields.rows, fields.objects):
        assert reader("a") == []
    assert fields.child("a").plain() == {}
    for strict in (fields.text, fields.integer, fields.number, fields.flag):
        with pytest.raises(Malformed, match="field 'a'"):
            strict("a")


@given(values, st.sampled_from(sorted(TYPES)))
@example(10**400, "number")
@example(float("inf"), "number")
@example(float("nan"), "number")
def test_a_field_of_any_value_is_read_or_malformed(value: object, reader: str) -> None:
    try:
        getattr(Fields({"a": value}), reader)("a")
    except Malformed:
        pass


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), 10**400])
def test_a_number_is_finite(value: float) -> None:
    with pytest.raises(Malformed, match="field 'a'"):
        Fields({"a": value}).number("a")


@given(st.text(min_size=1), st.text(min_size=1), st.text(), st.text(), st.integers())
def test_a_refusal_arrives_as_it_was_said(code: str, what: str, to: str, do: str, line: int) -> None:
    said = Fault(code, what, to=to, do=do, line=line, file=to)
    with pytest.raises(Refused) as refused:
        answer(refusal(said))
    assert refused.value.as_fields() == said.as_fields()
    assert str(refused.value) == str(said)


@given(bodies)
def test_a_refusal_of_any_shape_is_refused_or_malformed(body: dict[str, object]) -> None:
    with pytest.raises((Refused, Malformed)):
        answer(pack({"refused": body}))


def test_a_refusal_carries_no_more_than_its_fields() -> None:
    odd = {
        "code": 1,
        "what": "w" * 10_000,
        "line": True,
        "column": "4",
        "file": ["x"],
        "text": "t",
        "class": "SystemExit",
    }
    refused = Refused.from_fields(odd)
    assert refused.code == "refused"
    assert refused.what == "w" * FIELD_CHARS
    assert refused.fields == {"text": "t"}


def test_an_answer_that_is_no_refusal_is_read() -> None:
    fields, blobs = answer(pack({"a": 1}, [b"x"]))
    assert fields.integer("a") == 1
    assert blobs == [b"x"]


@given(st.lists(bodies, max_size=4))
def test_lines_are_one_object_each(events: list[dict[str, object]]) -> None:
    written = lines(events)
    assert [json.loads(line) for line in written.split(b"\n")[:-1]] == events


@pytest.mark.parametrize("value", ["{}", "[]", "1.5", '"ab"'])
def test_an_answer_of_more_values_than_anybody_asked_for_is_not_read(value: str) -> None:
    text = '{"blobs":[],"x":[' + ",".join([value] * 1_500_000) + "]}"
    told = b"RL\x01" + len(text).to_bytes(4, "big") + text.encode()
    tracemalloc.start()
    try:
        with pytest.raises(Malformed):
            answer(told)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(told)
