"""Where a running application is, asked of its target, with this host's own paths and source lines.

What the target answers is read with distrust: bounded, field by field, and made harmless. Knows nothing of screens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from bootloader.wire.errors import Fault, Malformed
from bootloader.wire.messages import Fields

from . import stacks
from .follow import Paths
from .link import Link
from .project import Project
from .report import clean, whole

_CALL_S = 30.0
_MOST = 1000
_MOST_RUNNING = 64
_FRAMES = 10_000
_NAME_CHARS = 500
_SOURCE_BYTES = 4 * 1024 * 1024
_STATES = ("running", "waiting", "ready")

Told = dict[str, Any]


def where(link: Link, target: str, project: Project | None, application: str | None = None) -> Iterator[Told]:
    """The event ``stack`` of that application of the target at the other end, or of each that runs there."""
    hello, _ = link.call("hello", {})
    paths = Paths(clean(hello.text("live")), project)
    names = [application] if application else running(link)
    if not names:
        raise Fault("not-running", "no application runs", to=target, do="look at `reactor status`: it says why")
    for name in names:
        yield {**look(link, name, paths), "target": target}


def running(link: Link) -> list[str]:
    """The names of the applications that have a process on the target at the other end."""
    status, _ = link.call("status", {})
    applications = status.objects("applications")[:_MOST_RUNNING]
    return list(dict.fromkeys(clean(one.text("application")) for one in applications if one.plain().get("pid")))


def look(link: Link, application: str, paths: Paths) -> Told:
    """The event ``stack`` of an application there; :class:`Refused` where it does not run."""
    answer, blobs = link.call("stack", {"application": application}, timeout_s=_CALL_S)
    return read(answer, blobs, application, paths)


def read(answer: Fields, blobs: Sequence[bytes], application: str, paths: Paths) -> Told:
    """The event for what a target has answered."""
    system = [_system(one) for one in answer.objects("system")[:_MOST]]
    facts = {one["id"]: one for one in system if one["id"]}
    found = answer.child("stacks")
    reader = _Reader(paths, [_name(file) for file in found.texts("files")])
    if blobs:
        dump = stacks.dumped(blobs[0].decode("utf-8", "replace"))
        pid = whole(answer.integer("pid"))
        threads = [
            {
                **_thread(one["name"], one["ident"], pid if one["main"] else 0, one["main"], False, facts),
                "frames": [
                    reader.frame(_name(file), line, _name(function), "") for file, line, function in one["frames"]
                ],
                "cut": 0,
            }
            for one in dump
        ]
    else:
        threads = [_asked_thread(one, facts, reader) for one in found.objects("threads")[:_MOST]]
    names = {thread["ident"]: thread["name"] for thread in threads}
    return {
        "event": "stack",
        "application": application,
        "pid": whole(answer.integer("pid")),
        "answered": "threads" in found,
        "why": _name(answer.text("why", "")),
        "threads": threads,
        "tasks": [_task(one, names, reader) for one in found.objects("tasks")[:_MOST]],
        "more": whole(found.integer("more", 0)),
        "system": system,
    }


class _Reader:
    """Frames of one answer: its table of files, and how many may still come."""

    def __init__(self, paths: Paths, files: list[str]) -> None:
        self._paths = paths
        self._files = files
        self._left = _FRAMES
        self._source = cache(_source)

    def stack(self, one: Fields) -> Told:
        frames = []
        for row in one.rows("frames"):
            match row:
                case [int(file), int(line), str(function), str(text)] if 0 <= file < len(self._files):
                    frames.append(self.frame(self._files[file], line, _name(function), _name(text)))
                case _:
                    raise Malformed("not [file, line, function, text]", to="'frames'")
        return {"frames": frames, "cut": whole(one.integer("cut", 0))}

    def frame(self, file: str, line: int, function: str, text: str) -> Told:
        """One frame: a file of the project's as it is named here, with the line that it has here."""
        if self._left <= 0:
            raise Malformed("more frames than anybody asked for")
        self._left -= 1
        own, place = self._paths.file(file), self._paths.host(file)
        line = whole(line)
        if own is not None and place is not None:
            text = _line(self._source(place), line)
        return {"file": own or file, "line": line, "function": function, "text": text, "own": own is not None}


def _source(place: Path) -> list[str]:
    try:
        if not place.is_file() or place.stat().st_size > _SOURCE_BYTES:
            return []
        return place.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return []  # it is gone since: its line is not shown


def _line(lines: list[str], number: int) -> str:
    return _name(lines[number - 1].strip()) if 0 < number <= len(lines) else ""


def _asked_thread(one: Fields, facts: Mapping[int, Told], reader: _Reader) -> Told:
    number = whole(one.integer("id", 0))
    main, daemon = one.flag("main", False), one.flag("daemon", False)
    head = _thread(_name(one.text("name")), whole(one.integer("ident")), number, main, daemon, facts)
    return {**head, **reader.stack(one)}


def _thread(name: str, ident: int, number: int, main: bool, daemon: bool, facts: Mapping[int, Told]) -> Told:
    fact = facts.get(number, {"state": "", "waits_in": ""})
    head = {"name": _name(name), "id": number, "ident": ident, "main": main, "daemon": daemon}
    return {**head, "state": fact["state"], "waits_in": fact["waits_in"]}


def _task(one: Fields, names: Mapping[int, str], reader: _Reader) -> Told:
    state = one.text("state", "")
    return {
        "name": _name(one.text("name", "")),
        "coroutine": _name(one.text("coroutine", "")),
        "state": state if state in _STATES else _STATES[0],
        "waits_for": _name(one.text("waits_for", "")),
        "thread": names.get(one.integer("thread", 0), ""),
        **reader.stack(one),
    }


def _system(one: Fields) -> Told:
    return {
        "id": whole(one.integer("id")),
        "name": _name(one.text("name", "")),
        "state": _name(one.text("state", "")),
        "waits_in": _name(one.text("waits_in", "")),
    }


def _name(text: str) -> str:
    """Harmless, short, and on one line."""
    return " ".join(clean(text[:_NAME_CHARS]).split("\n"))
