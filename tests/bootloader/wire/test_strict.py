"""Calls over the strict link, over real sockets and TLS: what is answered, what is refused, who is woken."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from bootloader.wire.errors import CallTimeout, LinkClosed, LinkDown, Malformed, Refused
from bootloader.wire.limits import FRAME_BYTES
from bootloader.wire.messages import answer
from bootloader.wire.strict import Caller
from tests.bootloader.wire.ends import SOON_S, Pair, Target

# What works.


@pytest.mark.parametrize("size", [0, 1, 4, 5, 255, 256, 70_000, 16_000_000])
def test_a_call_answers(caller: Caller, size: int) -> None:
    request = os.urandom(size)
    assert caller.call("echo", request, SOON_S) == request


def test_calls_from_many_threads_get_their_own_answers(caller: Caller, pool: ThreadPoolExecutor) -> None:
    def calls(thread: int) -> list[bool]:
        requests = [f"{thread}:{count}".encode() * (1 + 400 * count) for count in range(20)]
        return [caller.call("echo", request, SOON_S) == request for request in requests]

    for each in [pool.submit(calls, thread) for thread in range(8)]:
        assert all(each.result(SOON_S))


def test_the_host_leaves_and_serving_ends(caller: Caller, serving: Future[None]) -> None:
    caller.call("echo", b"x", SOON_S)
    caller.close()
    serving.result(SOON_S)


def test_closing_the_device_s_stream_ends_serving(pair: Pair, serving: Future[None]) -> None:
    pair[1].close()
    serving.result(SOON_S)


# What is refused, and leaves the link as it was.


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("refuse", "stale-root"),
        ("crash", "internal-error"),
        ("text", "internal-error"),
        ("long", "internal-error"),
        ("absent", "unknown-method"),
        ("__init__", "unknown-method"),
    ],
)
def test_a_method_that_fails_is_an_answer_that_says_no(caller: Caller, target: Target, method: str, code: str) -> None:
    with pytest.raises(Refused) as caught:
        answer(caller.call(method, b"", SOON_S))
    assert caught.value.code == code
    assert "secret" not in str(caught.value)
    assert "Traceback" not in str(caught.value.as_fields())
    assert len(target.faults) == (code == "internal-error")
    assert caller.call("echo", b"still here", SOON_S) == b"still here"


def test_a_request_that_fits_no_frame_is_not_sent(caller: Caller) -> None:
    with pytest.raises(Malformed):
        caller.call("echo", bytes(FRAME_BYTES), SOON_S)
    assert caller.call("echo", b"still here", SOON_S) == b"still here"


def test_a_late_answer_is_nobody_elses(caller: Caller, target: Target) -> None:
    with pytest.raises(CallTimeout):
        caller.call("wait", b"late", 0.02)
    assert not caller._connection._request_callbacks
    target.release.set()
    assert caller.call("echo", b"mine", SOON_S) == b"mine"


# Who is woken.


def waiting_calls(caller: Caller, pool: ThreadPoolExecutor, serving: Future[None]) -> list[Future[bytes]]:
    """Three calls that wait for an answer; sent, for a fourth one has timed out behind them."""
    calls = [pool.submit(caller.call, "wait", b"", 60) for _ in range(3)]
    with pytest.raises(CallTimeout):
        caller.call("wait", b"", 0.1)
    assert not any(call.done() for call in calls)
    return calls


def test_closing_wakes_every_waiting_call(
    caller: Caller, pool: ThreadPoolExecutor, serving: Future[None], target: Target
) -> None:
    calls = waiting_calls(caller, pool, serving)
    caller.close()
    for call in calls:
        with pytest.raises(LinkClosed):
            call.result(SOON_S)
    with pytest.raises(LinkClosed):
        caller.call("echo", b"", SOON_S)
    assert caller.closed
    assert not [thread for thread in threading.enumerate() if thread.name == "test-reader"]


def test_a_peer_that_goes_wakes_every_waiting_call(
    caller: Caller, pair: Pair, pool: ThreadPoolExecutor, serving: Future[None], target: Target
) -> None:
    calls = waiting_calls(caller, pool, serving)
    pair[1].close()
    for call in calls:
        with pytest.raises(LinkDown):
            call.result(SOON_S)
    with pytest.raises(LinkDown):
        caller.call("echo", b"", SOON_S)
    assert caller.closed
