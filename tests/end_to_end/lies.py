"""What a device that somebody has taken over makes of its answers: the lies, by name. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from bootloader.wire.errors import Refused
from bootloader.wire.limits import FRAME_BYTES
from bootloader.wire.messages import pack, refusal
from tests.reactor.test_report import HOSTILE

WHOLE_BYTES = 4 * 1024 * 1024
"""About how much a lie says that says as much as it can."""

EVIL = HOSTILE.replace("\ud800", "") + "\x1b]52;c;ZXZpbA==\x07"
CLIMBING = "../../../../../../etc/passwd"
_OWN = ("event", "state", "stream", "level", "boot", "kind", "outcome", "is", "status")
"""What has to be as it was for the rest to be read at all."""

Body = dict[str, Any]
Lie = Callable[[str, Body, list[bytes]], bytes]


def changed(value: Any, change: Callable[[Any], Any], key: str = "") -> Any:
    """``value``, with ``change`` made to each leaf of it but those that others hang on."""
    match value:
        case dict():
            return {name: changed(inner, change, name) for name, inner in value.items()}
        case list() if key != "python":
            return [changed(inner, change) for inner in value]
    return value if key in (*_OWN, "protocol") else change(value)


def leaves(change: Callable[[Any], Any]) -> Lie:
    """The truth, but for each value; so are the events, and what an interpreter says."""

    def lie(method: str, body: Body, blobs: list[bytes]) -> bytes:
        if method == "events":
            events = [json.loads(line) for line in blobs[0].splitlines()] if blobs else []
            told = [{**changed(event, change), "n": event["n"]} for event in events]
            return pack(body, [b"".join(json.dumps(event).encode() + b"\n" for event in told)])
        if method in ("read", "write", "open"):
            return pack(body, blobs)
        return bounded(changed(body, change), blobs)

    return lie


def bounded(body: Body, blobs: list[bytes]) -> bytes:
    """As much of it as fits a frame."""
    told = pack(body, blobs)
    while len(told) > FRAME_BYTES - 1024 and body:
        body.popitem()
        told = pack(body, blobs)
    return told


def texts(change: Callable[[str], Any]) -> Callable[[Any], Any]:
    return lambda value: change(value) if isinstance(value, str) else value


def many(_method: str, body: Body, blobs: list[bytes]) -> bytes:
    """Each list as long as fits."""
    told = {}
    for key, value in body.items():
        if isinstance(value, list) and value and key != "python":
            size = len(json.dumps(value)) // len(value) + 1
            value = value * (WHOLE_BYTES // size // len(value))
        told[key] = value
    return bounded(told, blobs)


def deep(method: str, body: Body, blobs: list[bytes]) -> bytes:
    """Nested as deep as one that reads it recursively would bear, and deeper in every third."""
    if method == "hello":
        return pack(body, blobs)
    depth = 100_000 if len(body) % 3 == 0 or method == "events" else 900
    text = json.dumps({**body, "blobs": [len(blob) for blob in blobs]})
    told = '{"deep":' + "[" * depth + "]" * depth + "," + text[1:]
    header = told.replace('"why":"', '"why":' + "[" * 300 + "]" * 300 + ',"y":"', 1).encode()
    return b"RL\x01" + len(header).to_bytes(4, "big") + header + b"".join(blobs)


def refused(method: str, body: Body, blobs: list[bytes]) -> bytes:
    """It says no to all but the greeting, in words of its own."""
    if method == "hello":
        return pack(body, blobs)
    place: dict[str, str | int] = {"file": CLIMBING, "line": 1, "column": 10**30, "text": EVIL}
    return refusal(Refused("lure.Lure", EVIL, to=CLIMBING, do=EVIL * 1000, **place))


def flood(method: str, body: Body, blobs: list[bytes]) -> bytes:
    """Events without end, each time as many as are taken."""
    if method != "events":
        return pack(body, blobs)
    first = max(0, int(body["cursor"]))
    line = {"event": "state", "application": "app", "state": "running", "why": "x" * 1000, "generation": 1}
    told = b"".join(json.dumps({"n": first + n, **line}).encode() + b"\n" for n in range(1, 5000))
    return pack({**body, "cursor": first + 4999}, [told])


def wrong(value: Any) -> Any:
    """Of another type."""
    return {str: 7, int: "7", bool: 1.5, float: [], type(None): {}}.get(type(value))


def swollen(method: str, body: Body, blobs: list[bytes]) -> bytes:
    """A frame full of the smallest values, which take many times as much where they are read."""
    if method == "hello":
        return pack(body, blobs)
    text = json.dumps({**body, "blobs": [len(blob) for blob in blobs]})
    header = ('{"more":[' + "{}," * (WHOLE_BYTES // 3) + "{}]," + text[1:]).encode()
    return b"RL\x01" + len(header).to_bytes(4, "big") + header + b"".join(blobs)


LEAVES: dict[str, Callable[[Any], Any]] = {
    "escapes": texts(lambda text: text + EVIL),
    "long": texts(lambda text: (text + EVIL) * 3000),
    "paths": texts(lambda text: CLIMBING if "/" in text or "." in text else text),
    "types": wrong,
    "numbers": lambda value: 10**300 if type(value) is int else -1e308 if isinstance(value, float) else value,
}
LIES: dict[str, Lie] = {
    **{name: leaves(change) for name, change in LEAVES.items()},
    "many": many,
    "deep": deep,
    "swollen": swollen,
    "refused": refused,
    "flood": flood,
}
