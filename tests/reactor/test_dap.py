"""Messages come whole however they are cut, and what an editor says is changed where it has to be, and nowhere else."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader.wire.errors import Fault
from reactor.dap import EVENTS, Messages, encode, failure, is_harmless, is_waiting, refused, to_adapter
from reactor.debugger import owner

MAPPINGS = [{"localRoot": "/home/me/app", "remoteRoot": "/var/lib/bootloader/live"}]
JSON = st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4) | st.none(), max_size=3)


@given(st.lists(JSON, max_size=4), st.integers(1, 40))
def test_messages_come_whole_however_they_are_cut(sent: list[dict[str, Any]], size: int) -> None:
    for message in sent:
        message.pop("arguments", None)
    data = b"".join(map(encode, sent))
    messages = Messages()
    assert [one for at in range(0, len(data), size) for one in messages.feed(data[at : at + size])] == sent


@given(st.binary())
def test_what_is_no_message_is_a_fault_and_nothing_else(data: bytes) -> None:
    with suppress(Fault):
        assert list(Messages().feed(data)) == [] or b"Content-Length" in data


@pytest.mark.parametrize(
    "data",
    [
        b"x" * 5000,
        b"GET / HTTP/1.1\r\n\r\n",
        b"Content-Length: 99999999999\r\n\r\n",
        b"Content-Length: 2\r\n\r\n[]",
        b"Content-Length: 1\r\n\r\n{",
        encode({"arguments": [1]}),
    ],
)
def test_what_makes_no_sense_is_refused(data: bytes) -> None:
    with pytest.raises(Fault):
        list(Messages().feed(data))


def request(command: str, **arguments: Any) -> dict[str, Any]:
    return {"seq": 3, "type": "request", "command": command, "arguments": arguments}


def test_an_attach_knows_where_the_files_are_and_not_how_the_process_is_reached() -> None:
    told = to_adapter(request("attach", connect={"port": 1}, processId=7, justMyCode=False), MAPPINGS)
    listen = {"host": "127.0.0.1", "port": 0}
    assert told["arguments"] == {"justMyCode": False, "pathMappings": MAPPINGS, "listen": listen}
    own = {"localRoot": "/a", "remoteRoot": "/b"}
    assert to_adapter(request("attach", pathMappings=[own]), MAPPINGS)["arguments"]["pathMappings"] == [own, *MAPPINGS]


@pytest.mark.parametrize("command", ["disconnect", "terminate"])
def test_whatever_an_editor_ends_the_application_goes_on(command: str) -> None:
    told = to_adapter(request(command, terminateDebuggee=True), MAPPINGS)
    assert (told["command"], told["arguments"], told["seq"]) == ("disconnect", {"terminateDebuggee": False}, 3)


@given(JSON)
def test_all_else_goes_through_as_it_is(message: dict[str, Any]) -> None:
    assert to_adapter(message, MAPPINGS) == message
    other = request("next", threadId=1)
    assert to_adapter(other, MAPPINGS) == other
    assert refused(other) == ""


def test_a_request_that_can_t_be_met_is_answered() -> None:
    told = failure(request("attach"), "it is not there")
    assert (told["request_seq"], told["success"], told["message"]) == (3, False, "it is not there")
    assert "attach" in refused(request("launch"))


def test_that_the_adapter_waits_is_heard() -> None:
    assert is_waiting({"type": "event", "event": "debugpyWaitingForServer", "body": {"port": 1}})
    assert not is_waiting({"type": "event", "event": "stopped"})
    assert not is_waiting({"type": "request", "event": "debugpyWaitingForServer"})


@pytest.mark.parametrize(
    "message",
    [
        {"type": "request", "command": "runInTerminal"},
        {"type": "request", "command": "startDebugging"},
        {"type": "event", "event": "debugpyAttach"},
        {"type": "event", "event": "ptvsd_subprocess"},
        {"type": "event", "event": "debugpySockets"},
        {"type": "event", "event": []},
        {"type": "event"},
        {"type": []},
        {},
    ],
)
def test_an_editor_gets_nothing_by_which_it_would_begin_something(message: dict[str, Any]) -> None:
    assert not is_harmless(message)


def test_an_editor_gets_answers_and_what_it_shows() -> None:
    for name in EVENTS:
        assert is_harmless({"type": "event", "event": name})
    assert is_harmless({"type": "response", "command": "next", "request_seq": 3})


TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 1 1 0 20 4 30 10 -1
"""


def test_who_has_come_by_loopback_is_read() -> None:
    assert owner(TABLE, ("127.0.0.1", 8080), ("127.0.0.1", 50000)) == 1000
    assert owner(TABLE, ("127.0.0.1", 50000), ("127.0.0.1", 8080)) is None
    assert owner("", ("127.0.0.1", 1), ("127.0.0.1", 2)) is None


def test_this_very_connection_is_found_to_be_this_user_s() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        table = Path("/proc/net/tcp").read_text()
        assert owner(table, client.getsockname(), server.getsockname()) == os.getuid()
