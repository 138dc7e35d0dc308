"""Frames made by hand, and a plain RPyC, against both ends of the strict link over real sockets and TLS."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rpyc.core import brine, consts, vinegar
from rpyc.core.channel import Channel
from rpyc.core.protocol import Connection
from rpyc.core.service import VoidService

from bootloader.wire.errors import LinkDown, Malformed
from bootloader.wire.limits import FRAME_BYTES
from bootloader.wire.stream import TlsStream
from bootloader.wire.strict import Caller, read_frame
from tests.bootloader.wire.ends import SOON_S, Pair, Target


def frame(payload: bytes, compressed: int = 0, end: bytes = b"\n") -> bytes:
    return struct.pack("!LB", len(payload), compressed) + payload + end


def message(kind: int, seq: object, body: object) -> bytes:
    return bytes([kind]) + bytes(brine.dump((seq, body)))


def request(handler: object, *args: object, label: int = consts.LABEL_VALUE) -> bytes:
    return frame(message(consts.MSG_REQUEST, 0, (handler, (label, args))))


def reply(label: int, value: object, kind: int = consts.MSG_REPLY) -> bytes:
    return frame(message(kind, 0, (label, value)))


NETREF = ("builtins.list", 1234, 5678)
SETS = bytes([consts.MSG_REQUEST]) + brine.TAG_TUP_L4 + struct.pack("!L", 1_000_000) + b"\x1a\x10\x00" * 1_000_000
DEEP = bytes([consts.MSG_REQUEST]) + brine.TAG_TUP1 * 100_000 + brine.TAG_NONE


def bent(good: bytes) -> dict[str, bytes]:
    """A frame that would be right, but for one thing."""
    payload = good[5:-1]
    return {
        "compressed": frame(payload, compressed=1),
        "does not end": frame(payload, end=b"!"),
        "more than it says": frame(payload + b"\0"),
        "less than it says": frame(payload[:-1]),
    }


BROKEN = {
    "claims 4 GiB": struct.pack("!LB", 0xFFFF_FFFF, 0),
    "claims a byte too many": struct.pack("!LB", FRAME_BYTES + 1, 0),
    "empty": frame(b""),
    "kind alone": frame(b"\x01"),
    "a million sets": frame(SETS),
    "deep": frame(DEEP),
    "not text": frame(b"\x01" + brine.TAG_TUP2 + b"\x50" + brine.TAG_UNICODE + brine.TAG_STR1 + b"\xff"),
    "text of no bytes": frame(b"\x01" + brine.TAG_TUP2 + b"\x50" + brine.TAG_UNICODE + b"\x50"),
    "not a number": frame(b"\x01" + brine.TAG_TUP2 + brine.TAG_INT_L1 + b"\x01z" + b"\x50"),
    "no pair": frame(b"\x01" + brine.TAG_TUP1 + b"\x50"),
    "no number first": frame(message(1, b"0", 0)),
    "random": frame(bytes(range(256))),
    "a slice": frame(message(1, 0, slice(1, 2, 3))),
    "kind 9": frame(message(9, 0, (consts.HANDLE_PING, (consts.LABEL_VALUE, (b"",))))),
}

TO_THE_DEVICE = {
    **BROKEN,
    **bent(request(consts.HANDLE_CALL, "echo", b"x")),
    "getroot": request(consts.HANDLE_GETROOT),
    "getattr": request(consts.HANDLE_GETATTR, 0, "echo"),
    "setattr": request(consts.HANDLE_SETATTR, 0, "echo", 1),
    "callattr": request(consts.HANDLE_CALLATTR, 0, "echo", (b"x",), ()),
    "repr": request(consts.HANDLE_REPR, 0),
    "str": request(consts.HANDLE_STR, 0),
    "hash": request(consts.HANDLE_HASH, 0),
    "dir": request(consts.HANDLE_DIR, 0),
    "cmp": request(consts.HANDLE_CMP, 0, 0, "__eq__"),
    "pickle": request(consts.HANDLE_PICKLE, 0, 2),
    "del": request(consts.HANDLE_DEL, 0),
    "inspect": request(consts.HANDLE_INSPECT, NETREF),
    "buffiter": request(consts.HANDLE_BUFFITER, 0, 1),
    "ctxexit": request(consts.HANDLE_CTXEXIT, 0, 0),
    "instancecheck": request(consts.HANDLE_INSTANCECHECK, 0, NETREF),
    "handler 99": request(99),
    "handler of text": request("call", "echo", b"x"),
    "remote reference": request(consts.HANDLE_CALL, "echo", b"x", label=consts.LABEL_REMOTE_REF),
    "local reference": request(consts.HANDLE_CALL, "echo", b"x", label=consts.LABEL_LOCAL_REF),
    "boxed in a tuple": request(
        consts.HANDLE_CALL, (1, "echo"), (consts.LABEL_REMOTE_REF, NETREF), label=consts.LABEL_TUPLE
    ),
    "method of bytes": request(consts.HANDLE_CALL, b"echo", b"x"),
    "request of text": request(consts.HANDLE_CALL, "echo", "x"),
    "no request": request(consts.HANDLE_CALL, "echo"),
    "two requests": request(consts.HANDLE_CALL, "echo", b"x", b"x"),
    "long name": request(consts.HANDLE_CALL, "e" * 65, b"x"),
    "ping of nothing": request(consts.HANDLE_PING),
    "an answer": reply(consts.LABEL_VALUE, b"x"),
    "an exception": frame(message(consts.MSG_EXCEPTION, 0, consts.EXC_STOP_ITERATION)),
}

TO_THE_HOST = {
    **BROKEN,
    **bent(reply(consts.LABEL_VALUE, b"x")),
    "value as a reference": reply(consts.LABEL_REMOTE_REF, b"x"),
    "value as an exception": reply(consts.LABEL_VALUE, b"x", consts.MSG_EXCEPTION),
    "value as a request": reply(consts.LABEL_VALUE, b"x", consts.MSG_REQUEST),
    "remote reference": reply(consts.LABEL_REMOTE_REF, NETREF),
    "local reference": reply(consts.LABEL_LOCAL_REF, NETREF),
    "boxed in a tuple": reply(consts.LABEL_TUPLE, ((consts.LABEL_REMOTE_REF, NETREF),)),
    "text": reply(consts.LABEL_VALUE, "x"),
    "number": reply(consts.LABEL_VALUE, 1),
    "tuple": reply(consts.LABEL_VALUE, (b"x",)),
    "unboxed": frame(message(consts.MSG_REPLY, 0, b"x")),
    "stop iteration": frame(message(consts.MSG_EXCEPTION, 0, consts.EXC_STOP_ITERATION)),
    "exception": frame(message(consts.MSG_EXCEPTION, 0, vinegar.dump(ValueError, ValueError("x"), None, False, False))),
    "asks to be called": request(consts.HANDLE_CALL, "echo", b"x"),
    "asks for the root": request(consts.HANDLE_GETROOT),
    "pings": request(consts.HANDLE_PING, b"x"),
    "closes": request(consts.HANDLE_CLOSE),
}


@pytest.mark.parametrize("name", TO_THE_DEVICE)
def test_what_no_host_would_send_ends_the_link_and_reaches_nothing(
    pair: Pair, serving: Future[None], target: Target, name: str
) -> None:
    host, device = pair
    try:
        host.write(TO_THE_DEVICE[name])
    except LinkDown:
        pass  # a long one may be refused by its header
    with pytest.raises(Malformed):
        serving.result(SOON_S)
    with pytest.raises(LinkDown):
        host.read(1)
    assert device.closed
    assert not target.asked
    assert not target.faults


@pytest.mark.parametrize("name", TO_THE_HOST)
def test_what_no_device_would_send_ends_the_link_and_becomes_no_object(
    pair: Pair, pool: ThreadPoolExecutor, name: str
) -> None:
    host, device = pair
    caller = Caller(host)
    call = pool.submit(caller.call, "echo", b"x", SOON_S)
    read_call(device)
    try:
        device.write(TO_THE_HOST[name])
    except LinkDown:
        pass  # a long one may be refused by its header
    with pytest.raises(LinkDown, match="broke the protocol"):
        call.result(SOON_S)
    with pytest.raises(LinkDown):
        device.read(1)
    assert caller.closed
    caller.close()


def read_call(device: TlsStream) -> None:
    """Take one request off the wire by hand."""
    size, compressed = struct.unpack("!LB", device.read(5))
    body = device.read(size + 1)
    assert not compressed
    assert brine.load(bytes(body[1:-1])) == (0, (consts.HANDLE_CALL, (consts.LABEL_VALUE, ("echo", b"x"))))


def test_an_answer_to_a_call_that_nobody_made_changes_nothing(pair: Pair, pool: ThreadPoolExecutor) -> None:
    host, device = pair
    caller = Caller(host)
    device.write(frame(message(consts.MSG_REPLY, 7, (consts.LABEL_VALUE, b"unasked"))))
    call = pool.submit(caller.call, "echo", b"x", SOON_S)
    read_call(device)
    device.write(reply(consts.LABEL_VALUE, b"asked"))
    assert call.result(SOON_S) == b"asked"
    caller.close()


@pytest.mark.parametrize("name", ["claims 4 GiB", "a million sets", "deep"])
def test_a_frame_costs_no_more_memory_than_its_bytes(pair: Pair, serving: Future[None], name: str) -> None:
    host, _ = pair
    tracemalloc.start()
    try:
        try:
            host.write(BROKEN[name])
        except LinkDown:
            pass
        with pytest.raises(Malformed):
            serving.result(SOON_S)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000 + 2 * len(BROKEN[name])


class Stock(Channel):  # type: ignore[misc]  # rpyc has no types
    """A stream of ours as the channel of a plain RPyC end, which waits in recv alone."""

    def poll(self, _timeout: object) -> bool:
        return True

    def recv(self) -> bytes:
        size, _ = self.FRAME_HEADER.unpack(self.stream.read(5, idle_s=None))
        return bytes(self.stream.read(size + 1)[:-1])

    def send(self, data: bytes) -> None:
        self.stream.write(self.FRAME_HEADER.pack(len(data), 0) + data + b"\n")


@pytest.fixture
def stock(pair: Pair) -> Iterator[Any]:
    made = Connection(VoidService(), Stock(pair[0], compress=False), {"close_catchall": True})
    yield made
    made.close()


def test_a_plain_rpyc_host_may_ping_call_by_name_and_close(stock: Any, serving: Future[None]) -> None:
    stock.ping()
    assert stock.sync_request(consts.HANDLE_CALL, "echo", b"x") == b"x"
    stock.close()
    serving.result(SOON_S)


@pytest.mark.parametrize(
    "attack",
    [
        lambda stock: stock.root,
        lambda stock: stock.sync_request(consts.HANDLE_CALL, "echo", [1, 2]),
        lambda stock: stock.sync_request(consts.HANDLE_CALL, print, b"x"),
        lambda stock: stock.sync_request(consts.HANDLE_PICKLE, "echo", 2),
    ],
    ids=["root", "list", "callback", "pickle"],
)
def test_a_plain_rpyc_host_gets_at_nothing_else(
    stock: Any, serving: Future[None], target: Target, attack: Callable[[Any], object]
) -> None:
    with pytest.raises(LinkDown):
        attack(stock)
    with pytest.raises(Malformed):
        serving.result(SOON_S)
    assert not target.asked


# The reader of frames.

VALUES = st.recursive(
    st.integers(-(10**80), 10**80) | st.text(max_size=300) | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=4,
)


def count(value: object) -> int:
    if isinstance(value, tuple):
        return 1 + sum(map(count, value))
    return 1 + isinstance(value, str)


@given(VALUES.filter(lambda value: count(value) <= 16))
def test_the_reader_reads_what_brine_writes(value: object) -> None:
    assert read_frame(memoryview(b"\x02" + brine.dump(value))) == (2, value)


@given(st.binary(max_size=40) | st.lists(st.sampled_from(range(0x20)), max_size=40).map(bytes))
def test_the_reader_reads_or_refuses_whatever_it_is_given(data: bytes) -> None:
    try:
        kind, value = read_frame(memoryview(data))
    except Malformed:
        return
    assert kind == data[0]
    assert value == brine.load(data[1:])
