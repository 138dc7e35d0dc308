"""The Debug Adapter Protocol, as far as a relay between an editor and its adapter has to know it. Pure.

Messages in bytes and back; and what is changed on the way, so that an editor needs to know nothing of the target: where
the files lie there, how its process is reached, and that it goes on when the editor leaves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bootloader.wire.errors import Fault

Message = dict[str, Any]
Line = list[tuple[str, str]]

_HEAD_BYTES = 4096
_MOST_BYTES = 4 * 1024 * 1024
"""Of one message, which takes many times as much once it is read."""

_HOW = ("connect", "listen", "host", "port", "processId", "subProcessId")
"""What an editor may say of how a process is reached."""

WAITING = "debugpyWaitingForServer"

EVENTS = frozenset(
    {
        *("breakpoint", "capabilities", "continued", "exited", "initialized", "invalidated", "loadedSource", "memory"),
        *("module", "output", "process", "progressEnd", "progressStart", "progressUpdate", "stopped", "terminated"),
        "thread",
    }
)
"""What an editor only shows. By others, debugpy's own, it would begin whatever they name on this host."""


class Messages:
    """Bytes in, messages out; none is held that is longer than may be."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Every message that ``data`` completes; a :class:`Fault` where it can't be one."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n", 0, _HEAD_BYTES)) != -1:
            size = _length(bytes(self._buffer[:end]))
            if len(self._buffer) < end + 4 + size:
                return
            body = bytes(self._buffer[end + 4 : end + 4 + size])
            del self._buffer[: end + 4 + size]
            yield _message(body)
        if len(self._buffer) > _HEAD_BYTES and end == -1:
            raise _odd("its head does not end")


def encode(message: Mapping[str, Any]) -> bytes:
    """A message as it is sent."""
    body = json.dumps(message).encode()
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def is_harmless(message: Message) -> bool:
    """Whether an editor may have it, which may come from a device that somebody has taken over: answers, and what it
    only shows. An adapter has nothing to ask for here, and ``runInTerminal`` is a command on this host.
    """
    event = message.get("event") if message.get("type") == "event" else None
    return message.get("type") == "response" or (isinstance(event, str) and event in EVENTS)


def to_adapter(message: Message, mappings: Sequence[Mapping[str, str]]) -> Message:
    """A message of the editor's, as the adapter is to have it. ``mappings``: of this host's folders to the target's."""
    if message.get("type") != "request":
        return message
    arguments = dict(message.get("arguments") or {})
    match message.get("command"):
        case "attach":
            arguments = {key: value for key, value in arguments.items() if key not in _HOW}
            own = arguments.get("pathMappings")
            arguments["pathMappings"] = [*(own if isinstance(own, list) else []), *mappings]
            arguments["listen"] = {"host": "127.0.0.1", "port": 0}
        case "disconnect" | "terminate":
            message = {**message, "command": "disconnect"}
            arguments["terminateDebuggee"] = False
        case _:
            return message
    return {**message, "arguments": arguments}


def refused(message: Message) -> str:
    """Why a request is not passed on; empty where it is."""
    if message.get("type") == "request" and message.get("command") == "launch":
        return 'the program runs on the target already: use "request": "attach"'
    return ""


def failure(request: Message, why: str) -> Message:
    """The answer to a request that can't be met."""
    head = {"seq": 0, "type": "response", "request_seq": request.get("seq", 0), "command": request.get("command", "")}
    error = {"id": 1, "format": "{why}", "variables": {"why": why}, "showUser": True}
    return {**head, "success": False, "message": why, "body": {"error": error}}


def is_waiting(message: Message) -> bool:
    """Whether the adapter says that it waits for the application's half."""
    return message.get("type") == "event" and message.get("event") == WAITING


def lines(event: Mapping[str, Any], _verbose: bool) -> list[Line]:
    """The event ``debug``, for people: where an editor attaches, and who has."""
    what = f"debugger for {event['application'] or 'the application'} on {event['target']}"
    if event["state"] == "listening":
        return [[("● ", "good"), (what, "strong"), (f": attach your editor to {event['address']}:{event['port']}", "")]]
    style = "warn" if event["state"] == "refused" else "good"
    return [[("● ", style), (f"debugger {event['state']}", ""), (f": {event['why']}" if event["why"] else "", "dim")]]


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            size = int(value)
            if size <= _MOST_BYTES:
                return size
    raise _odd("its length is missing, or too large")


def _message(body: bytes) -> Message:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        raise _odd("it is not JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("arguments") or {}, dict):
        raise _odd("it is not an object")
    return message


def _odd(what: str) -> Fault:
    return Fault("odd-editor", f"what came is no message of the Debug Adapter Protocol: {what}")
