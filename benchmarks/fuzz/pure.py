"""What reads bytes of another end without a process of its own: the wire, both ends of a call, what a host shows.

A part is given one input. It raises nothing but what is its promise that was broken; whether it had a use for the
input, it says, so that a run that is refused at the first byte does not pass for one that went deep.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from rpyc.core import brine, consts

from bootloader.wire import plain, session
from bootloader.wire.delta import Delta
from bootloader.wire.errors import Fault, Malformed
from bootloader.wire.launch import Launch
from bootloader.wire.limits import FRAME_BYTES, LINE_BYTES
from bootloader.wire.manifest import EMPTY, Entry, Manifest, blob_name
from bootloader.wire.messages import Fields, answer, pack, unpack
from bootloader.wire.overlay import Overlay, apply
from bootloader.wire.pairing import MESSAGE_BYTES, octets, receive
from bootloader.wire.presence import SERVICE, Presence
from bootloader.wire.records import Lines
from bootloader.wire.stream import TlsStream
from bootloader.wire.strict import _Calling, read_frame, serve
from reactor import dap, discovery, follow, look, outcomes, report
from reactor.cli import ask, status
from reactor.repl import menu, story

from .tape import Tape

Check = Callable[[bytes], bool]

MOST_SHOWN_CHARS = 8_000_000
"""What the host makes of one answer of at most 64 KiB here."""

_NOTES = 3_000_000


@dataclass(frozen=True, slots=True)
class Part:
    """``check``: one input; ``seeds``: good ones; ``share``: of all inputs, beside the others'."""

    check: Check
    seeds: tuple[bytes, ...]
    share: int = 10
    at_rest: Callable[[], None] = field(default=lambda: None)
    """What has to hold between inputs, looked at now and then."""


def frame(payload: bytes) -> bytes:
    """A frame of the link."""
    return len(payload).to_bytes(4, "big") + b"\0" + payload + b"\n"


def request(name: str, message: bytes) -> bytes:
    """A host's."""
    body = (0, (consts.HANDLE_CALL, (consts.LABEL_VALUE, (name, message))))
    return frame(bytes([consts.MSG_REQUEST]) + brine.dump(body))


def reply(message: bytes) -> bytes:
    """A device's."""
    return frame(bytes([consts.MSG_REPLY]) + brine.dump((0, (consts.LABEL_VALUE, message))))


def frames(data: bytes) -> bool:
    """The reader of frames says what RPyC's own would, or nothing."""
    try:
        kind, value = read_frame(memoryview(data))
    except Malformed:
        return False
    assert kind == data[0]
    assert value == brine.load(data[1:])
    return True


def device_end(data: bytes) -> bool:
    """Past authentication: methods by name, with bytes, and nothing else."""
    tape, asked, faults = Tape(data), list[bytes](), list[Exception]()

    def echo(message: bytes) -> bytes:
        assert type(message) is bytes
        asked.append(message)
        return message

    try:
        serve(cast(TlsStream, tape), {"echo": echo, "hello": echo}, faults.append)
    except Malformed:
        pass
    assert tape.closed
    assert faults == []
    assert tape.asked_bytes <= FRAME_BYTES + 1
    assert tape.said <= 1000 + 40 * len(data)
    return bool(asked)


def host_end(data: bytes) -> bool:
    """What a device sends becomes bytes, or the end of the link."""
    tape, told = Tape(data), list[object]()
    calling = _Calling(cast(TlsStream, tape))
    calling._request_callbacks[0] = lambda _failed, message: told.append(message)
    calling.read_answers()
    assert tape.closed
    assert tape.asked_bytes <= FRAME_BYTES + 1
    assert all(message is None or type(message) is bytes for message in told)
    return any(message is not None for message in told)


def messages(data: bytes) -> bool:
    """A message is read, field by field, or malformed; what was read says itself again."""
    try:
        fields, blobs = unpack(data)
    except Malformed:
        return False
    body = {key: value for key, value in fields.plain().items() if key != "blobs"}
    readers = (fields.text, fields.integer, fields.number, fields.flag, fields.texts, fields.rows, fields.objects)
    for key in (*body, "absent"):
        for read in (*readers, fields.integers, fields.child):
            try:
                read(key)
            except Malformed:
                pass
    try:
        again, parts = unpack(pack(body, blobs))
    except (UnicodeEncodeError, ValueError):  # half a character, or a number that is none: JSON has them, we don't
        return True
    assert {**body, "blobs": [len(blob) for blob in blobs]} == again.plain()
    assert parts == blobs
    return True


def clean_through(told: object) -> int:
    """How many characters are in it; each of them harmless."""
    match told:
        case str():
            assert report.clean(told) == told, repr(told[:200])
            return len(told)
        case Mapping():
            return sum(clean_through(str(key)) + clean_through(value) for key, value in told.items())
        case list() | tuple():
            return sum(map(clean_through, told))
    return 8


def shown(event: Mapping[str, Any]) -> None:
    """An event, for programs and for people: harmless, and in bounds."""
    assert len(json.dumps(event, allow_nan=False)) < 4 * MOST_SHOWN_CHARS
    assert clean_through(event) < MOST_SHOWN_CHARS
    for line in report.lines({"target": "porch", **event}, verbose=True, many=True):
        for text, _ in line:
            assert report.clean(text)[: report.TEXT_CHARS - 1] == text[: report.TEXT_CHARS - 1], repr(text[:200])


_PATHS = follow.Paths("/state/live", None)


def _read(fields: Fields, blobs: list[bytes]) -> Iterator[Callable[[], object]]:
    """The ways in which commands read an answer."""
    yield lambda: status._told(fields)
    yield lambda: [ask.generation_of(one) for one in fields.objects("generations")]
    yield lambda: look.read(fields, blobs, "app", _PATHS)
    yield lambda: outcomes.stages_of(fields.child("stages_ms"))
    yield lambda: outcomes.patch_of(fields)
    yield lambda: outcomes.Fate.read(fields, 0.0).why
    yield lambda: menu.read(fields, "x")
    yield lambda: story.story(fields.objects("raised"), _PATHS, {})


def answers(data: bytes) -> bool:
    """Whatever a device answers, what a command makes of it is harmless, or a fault in our own words."""
    try:
        fields, blobs = answer(data)
    except Fault as fault:
        shown({**report.problem(fault), "target": "porch"})
        return False
    for read in _read(fields, blobs):
        try:
            made = read()
        except Fault as fault:
            shown({**report.problem(fault), "target": "porch"})
            continue
        if isinstance(made, dict) and made.get("event") == "stack":
            shown({**made, "target": "porch"})
        elif not isinstance(made, menu.Completion):
            assert clean_through(made) < MOST_SHOWN_CHARS
    return True


def events(data: bytes) -> bool:
    """A pull of events: each is told harmlessly, or counted as odd."""
    told = 0
    for event in follow.parse([data]):
        try:
            made = None if event is None else follow.translate(event, _PATHS)
        except Malformed:
            continue
        if made is not None:
            shown({"target": "porch", **made})
            told += 1
    return told > 0


def manifests(data: bytes) -> bool:
    """A manifest is the one text of its tree, and no path in it leads out."""
    try:
        manifest = Manifest.parse(data)
    except Malformed:
        return False
    assert manifest.text == data
    stays_inside(manifest)
    return True


def stays_inside(paths: Manifest | Mapping[str, object]) -> None:
    """No path leads out of the folder that it is put into."""
    for path in paths:
        assert posixpath.normpath(f"/tree/{path}") == f"/tree/{path}"
        assert "\0" not in path


def overlays(data: bytes) -> bool:
    """An overlay leads from one tree to another that is inside its folder, or nowhere."""
    try:
        made = Overlay.decode(*unpack(data))
    except Fault:
        return False
    stays_inside(made.edits)
    assert Overlay.decode(*unpack(made.encode())) == made
    for tree in (EMPTY, TREE):
        try:
            assert apply(made, tree).root == made.root
        except Fault:
            continue
    return True


def deltas(data: bytes) -> bool:
    """A delta makes something of the size that it says, or does not fit."""
    prefix, suffix = (int.from_bytes(data[at : at + 3], "big", signed=True) for at in (0, 3))
    delta = Delta(prefix, suffix, data[6:])
    base = b"base" * 300
    try:
        new = delta.apply(base)
    except Malformed:
        return False
    assert len(new) == delta.size_bytes
    return True


def launches(data: bytes) -> bool:
    """What is to be run is told in full, or refused."""
    try:
        launch = Launch.decode(data)
    except Fault:
        return False
    assert Launch.decode(launch.encode()) == launch
    return True


def records(data: bytes) -> bool:
    """What an application's pipe says becomes short lines, wherever the reads cut it."""
    lines = Lines()
    whole = Lines()
    cut = len(data) // 3
    told = [*lines.feed(data[:cut]), *lines.feed(data[cut:]), *lines.close()]
    assert told == [*whole.feed(data), *whole.close()]
    assert all(
        len(text.encode("utf-8", "replace")) <= (_NOTES if kind == "n" else 3 * LINE_BYTES) for kind, text in told
    )
    return bool(told)


def sessions(data: bytes) -> bool:
    """What an interpreter says is messages; a value in one is plain data of our own making."""
    found = False
    try:
        for fields, blobs in session.Messages().feed(data):
            found = True
            try:
                value = plain.decode(fields.plain().get("value"), blobs)
            except Fault:
                continue
            repr(value)
    except Malformed:
        pass
    return found


def pairings(data: bytes) -> bool:
    """One message of a pairing, from whoever is there."""
    tape = Tape(data)
    try:
        fields = receive(cast(TlsStream, tape), 1.0)
    except Fault:
        return False
    finally:
        assert tape.asked_bytes <= MESSAGE_BYTES
    for key in fields.plain():
        try:
            assert len(octets(fields, key)) <= 64
        except Malformed:
            continue
    return True


def records_of_text(data: bytes) -> bool:
    """A text record of multicast DNS, from anybody."""
    from zeroconf import ServiceInfo

    told = ServiceInfo(SERVICE, f"x.{SERVICE}", 1, properties=data).properties
    presence = Presence.read(told)
    if presence is None:
        return False
    words = {key: discovery._word(text) for key, text in presence.told().items()}
    assert all(text.isprintable() and len(text) <= 64 for text in words.values())
    return True


def packets(data: bytes) -> bool:
    """A whole packet of multicast DNS, up to what `reactor devices` has to show."""
    from types import SimpleNamespace

    from zeroconf._cache import DNSCache
    from zeroconf._protocol.incoming import DNSIncoming

    cache = DNSCache()
    incoming = DNSIncoming(data)
    if not incoming.valid:
        return False
    cache.async_add_records(incoming.answers())
    found = discovery._read(cast(Any, SimpleNamespace(cache=cache)), f"porch.{SERVICE}")
    if found is None:
        return False
    assert all(text.isprintable() and len(text) <= 64 for text in found.presence.told().values())
    assert len(found.addresses) <= discovery.MOST_ADDRESSES
    return True


def editors(data: bytes) -> bool:
    """What comes where an editor's debugger is expected."""
    found = False
    try:
        for message in dap.Messages().feed(data):
            found = True
            dap.to_adapter(message, [])
            dap.refused(message)
            dap.is_harmless(message)
    except Fault:
        pass
    return found


def packet() -> bytes:
    """An announcement as a bootloader sends it."""
    from zeroconf import ServiceInfo
    from zeroconf._protocol.outgoing import DNSOutgoing

    told = Presence("a" * 64, "porch", "1", "0.1.0", "3.11", "armv7l", "b" * 64).told()
    info = ServiceInfo(
        SERVICE, f"porch.{SERVICE}", 7717, properties=told, server="p.local.", parsed_addresses=["10.0.0.9"]
    )
    out = DNSOutgoing(0x8400)
    for record in (info.dns_pointer(), info.dns_service(), info.dns_text(), *info.dns_addresses()):
        out.add_answer_at_time(record, 0)
    return out.packets()[0]


def _tree() -> Manifest:
    files = {"main.py": b"def main(): ...\n", "pack/__init__.py": b"", "pack/thing.bin": bytes(range(256))}
    return Manifest({path: Entry(blob_name(content), 0o644, len(content)) for path, content in files.items()})


TREE = _tree()
