"""A target's events: pulled in order, read with distrust, cleaned, and told with this host's own paths.

Owns where in a target's events this host is, and the translation of paths: whatever lies under the target's ``live``
folder is shown as the project's file. Knows nothing of what events mean for a save, and of how links are made.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootloader.wire.errors import CallTimeout, LinkDown, Malformed
from bootloader.wire.launch import DEPENDS
from bootloader.wire.launch import PATH as LAUNCH_PATH
from bootloader.wire.limits import PATH_BYTES
from bootloader.wire.manifest import check_path
from bootloader.wire.messages import Fields

from .clocks import Clock
from .link import Link
from .project import SETTINGS_FILE, Project
from .report import clean, whole

CONTEXT_EVENTS = 10
"""How many earlier events of a target are told at the first connection."""

_EVENTS = 5000
_LONGEST_BYTES = 8 * 1024 * 1024
"""Most bytes of one pull: a single event may be longer than a batch, but not by much."""

_PAST_PULLS = 256
"""What a target keeps of an earlier start comes in fewer."""

_PAST_BYTES = 32 * 1024 * 1024
"""Of all earlier starts together; a target keeps a quarter of that."""

SLACK_S = 10.0
"""How long an answer may take, besides the time for which events are waited for."""

_SUMMARY_S = 1.0
_FRAMES = 64
_MOST_MS = 1e7
_QUOTED = re.compile(f"`({re.escape(DEPENDS)}/[^`:\\s]+)")
OUTCOMES = ("died", "done", "answered", "raised", "timed-out", "missing", "nothing", "unfit")
STATES = ("starting", "running", "healthy", "finished", "stopping", "stopped", "failed")


def parse(blobs: Sequence[bytes]) -> Iterator[Fields | None]:
    """The events of a pull, as many as were asked for at most; None for a line that makes no sense."""
    *lines, _ = blobs[0].split(b"\n", _EVENTS) if blobs else [b""]
    try:
        events = json.loads((b"[%b]" % b",".join(lines)).decode())  # at once: they come by the thousand
        if len(events) == len(lines) and all(isinstance(event, dict) for event in events):
            return map(Fields, events)
    except (ValueError, RecursionError):
        pass  # some line is at fault, which is found below
    return map(_event_if_any, lines)


def _event_if_any(line: bytes) -> Fields | None:
    try:
        return _event(line)
    except Malformed:
        return None


def _event(line: bytes) -> Fields:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Malformed("an event of the target is not JSON") from error
    if not isinstance(event, dict):
        raise Malformed("an event of the target is not an object")
    return Fields(event)


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier start of a target. ``alike``: the machine has not been started since, so that its clocks go on."""

    boot: str
    alike: bool


class Follower:
    """The events of one target over as many links as it takes: each is heard once, in order, or counted as lost.

    ``hear`` gets an event and when it came, on the monotonic clock; one that it calls :class:`Malformed` is counted.
    ``rest`` is called when all that came at once was heard. ``notice`` gets (code, text). It begins so many events
    before the last. ``attached``: whether somebody sits here who mends what fails. One thread at once.
    """

    def __init__(
        self,
        hear: Callable[[Fields, float], None],
        notice: Callable[[str, str], None],
        context_events: int = CONTEXT_EVENTS,
        *,
        rest: Callable[[], None] = lambda: None,
        attached: Callable[[], bool] = lambda: False,
    ) -> None:
        self._attached = attached
        self._hear = hear
        self._rest = rest
        self._notice = notice
        self._boot: str | None = None
        self._cursor = -context_events
        self._clock = Clock()
        self._lost = self._odd = 0
        self._past_bytes = 0
        self._summary_at = 0.0

    def take_up(self, link: Link, boot: str) -> bool:
        """Go on where the last link ended, or begin with the events of ``boot``; whether that is another one now.

        Then what the one before has said since is heard first, as far as the target has kept it.
        """
        before, self._boot = self._boot, boot
        if before is not None and boot != before:
            if self._cursor >= 0:
                self.past(link, Earlier(before, alike=True), self._cursor)
            self._boot, self._cursor, self._clock = boot, 0, Clock()
            return True
        if self._cursor < 0:
            self.pull(link, 0)  # now, so that whatever this host does next comes after the place where it begins
        return False

    def past(self, link: Link, start: Earlier, cursor: int = 0) -> None:
        """Hear what the target has kept of an earlier start of its, past ``cursor``."""
        self._boot, self._cursor, self._clock = start.boot, cursor, Clock(alike=start.alike)
        for _ in range(_PAST_PULLS):
            answer, blobs, at = self._ask(link, 0, SLACK_S)
            self._past_bytes += sum(map(len, blobs))
            if self._past_bytes > _PAST_BYTES or answer.text("boot") != start.boot:
                break
            if not self._take(answer, blobs, at):
                break

    def pull(self, link: Link, wait_s: float, slack_s: float = SLACK_S) -> bool:
        """Hear the events that there are, or the first within ``wait_s``; whether there were any."""
        answer, blobs, at = self._ask(link, wait_s, slack_s)
        if answer.text("boot") != self._boot:
            raise LinkDown("the target started again")
        more = self._take(answer, blobs, at)
        if answer.flag("ended", False):
            raise LinkDown("the target has ended")
        return more

    def stamp(self, event: Fields) -> dict[str, str]:
        """When ``event`` happened, on the target's clock and on this host's, and in which start of the target."""
        mono = event.number("mono") if "mono" in event else None
        target_at, host_at = self._clock.times(event.number("at", 0), mono)
        return {"target_at": target_at, "host_at": host_at, "boot": clean(self._boot or "")}

    def close(self) -> None:
        """Tell what was not heard and has not been told yet."""
        self._summarize(time.monotonic(), over=True)

    def _ask(self, link: Link, wait_s: float, slack_s: float) -> tuple[Fields, list[bytes], float]:
        flow, began = link.flow, time.monotonic()
        asks = {"max_events": _EVENTS, "max_bytes": flow.batch_bytes, "attached": self._attached()}
        if wait_s:  # for what happens next: who does not wait reads what was
            asks["newest_bytes"] = flow.newest_bytes
        body = {**asks, "boot": self._boot, "cursor": self._cursor, "wait_s": wait_s}
        try:
            answer, blobs = link.call("events", body, timeout_s=wait_s + slack_s)
        except CallTimeout:
            what = f"no answer in {wait_s + slack_s:g} s: the target may be frozen, or out of reach"
            raise CallTimeout(what) from None
        mono = answer.number("mono") if "mono" in answer else None
        self._clock.hear(answer.number("now", 0), mono, time.time())
        at = time.monotonic()
        if "took_s" in answer:
            flow.came(sum(map(len, blobs)), at - began - min(max(0.0, answer.number("took_s")), at - began))
        return answer, blobs, at

    def _take(self, answer: Fields, blobs: list[bytes], at: float) -> bool:
        """Hear what came; whether that was anything."""
        began = max(0, self._cursor)
        cursor, lost = whole(answer.integer("cursor")), whole(answer.integer("lost", 0))
        if cursor < began or sum(map(len, blobs)) > _LONGEST_BYTES:
            raise Malformed("the target's answer can't be of its events")
        self._lost += lost
        self._cursor = began
        try:
            for event in parse(blobs):
                self._one(event, cursor, at)
        finally:
            self._rest()
        self._cursor = cursor
        self._summarize(at, over=not lost)
        return cursor > began

    def _one(self, event: Fields | None, last: int, at: float) -> None:
        try:
            number = event.integer("n") if event is not None else 0
            if event is None or not self._cursor < number <= last:
                raise Malformed("an event of the target is not in its place")
            self._cursor = number  # first: what can't be told is not told again
            self._hear(event, at)
        except Malformed:
            self._odd += 1

    def _summarize(self, at: float, *, over: bool) -> None:
        """Tell what was not heard; while it goes on, once a second."""
        if not self._lost + self._odd or (at < self._summary_at and not over):
            return
        if self._lost:
            text = f"{self._lost} events were dropped: the target told them faster than they were read"
            self._notice("events-lost", text)
        if self._odd:
            self._notice("events-odd", f"{self._odd} events of the target make no sense and are left out")
        self._lost = self._odd = 0
        self._summary_at = at + _SUMMARY_S


class Paths:
    """The target's paths as this host's. ``live``: where the target keeps the running tree.

    Without a project, as where a device is asked from any folder, they stay the target's.
    """

    def __init__(self, live: str, project: Project | None) -> None:
        self._project = project
        self._live = live if live.startswith("/") and len(live) <= 4 * PATH_BYTES else ""
        self._pattern = re.compile(re.escape(self._live) + r"/([^\s\"'<>|:*?]+)") if self._live else None

    def file(self, path: str) -> str | None:
        """The project's file for a path of the target, as it is shown; None where it is none of the project's."""
        if self._project is None or not self._live or not path.startswith(self._live + "/"):
            return None
        return tree_file(self._project, path[len(self._live) + 1 :])

    def host(self, path: str) -> Path | None:
        """Where that file is on this host; None where it is none of the project's."""
        if self._project is None or self.file(path) is None:
            return None
        return Path(self._project.host_path(path[len(self._live) + 1 :]))

    def is_entry(self, module: str) -> bool:
        """Whether an ``entry`` of the project's settings lies in the package of ``module``."""
        if self._project is None:
            return False
        settings = self._project.settings
        entries = [app.entry for app in (settings.main, *settings.others)]
        entries += [profile.entry for profile in settings.targets.values() if profile.entry]
        return module.partition(".")[0] in {re.split("[.:]", entry)[0] for entry in entries}

    def text(self, text: str) -> str:
        """``text`` with the target's paths replaced by this host's."""
        project = self._project
        if project is None or self._pattern is None or self._live not in text:
            return text
        return self._pattern.sub(lambda match: str(project.host_path(match[1])), text)


def tree_file(project: Project, told: str) -> str | None:
    """The file of the tree that a target calls ``told``, as it is shown; None where it can't be one."""
    try:
        return shown(project, check_path(told))
    except Malformed:
        return None


def shown(project: Project, tree_path: str) -> str:
    """A file of the tree as a person names it: relative to the project's folder."""
    if tree_path == LAUNCH_PATH:
        return SETTINGS_FILE
    if not tree_path.startswith(f"{DEPENDS}/"):
        return tree_path
    return Path(os.path.relpath(project.host_path(tree_path), project.folder)).as_posix()


def named(project: Project, text: str) -> str:
    """``text`` with the files of siblings that it quotes as a person names them."""
    return _QUOTED.sub(lambda match: f"`{tree_file(project, match[1]) or match[1]}", text)


def translate(event: Fields, paths: Paths) -> dict[str, Any] | None:
    """The host's event for a target's, or None where it has none."""
    kind = event.text("event", "")
    if kind == "log":
        told = {
            "event": "log",
            "application": clean(event.text("application", "")),
            "stream": _one_of(event.text("stream", ""), ("stdout", "stderr", "log")),
            "text": clean(paths.text(event.text("text", ""))),
        }
        if "level" in event:
            told["level"] = _one_of(event.text("level"), ("debug", "info", "warning", "error", "critical"))
        return told
    if kind == "state":
        return {
            "event": "state",
            "application": clean(event.text("application", "")),
            "state": _one_of(event.text("state", ""), STATES),
            "why": clean(event.text("why", "")),
            "generation": whole(event.integer("generation", 0)),
        }
    if kind == "problem":
        return _problem(event, paths)
    if kind in ("safe", "handler", "handover"):
        return _call(kind, event)
    if kind == "death":
        return {
            "event": "death",
            "application": clean(event.text("application", "")),
            "generation": whole(event.integer("generation", 0)),
            "why": clean(event.text("why", "")),
            "deaths": whole(event.integer("deaths", 1)),
            "window_s": event.number("window_s", 0),
            "next": _one_of(event.text("next", ""), ("hold", "restart", "rollback", "stop")),
            "by": _one_of(event.text("by", ""), ("breaker", "handler", "policy")),
            "pause_s": event.number("pause_s", 0),
        }
    if kind == "notice":
        return {"event": "notice", "code": clean(event.text("code", "")), "text": clean(event.text("text", ""))}
    return None


def _problem(event: Fields, paths: Paths) -> dict[str, Any]:
    told: dict[str, Any] = {
        "event": "problem",
        "code": clean(event.text("code", "")),
        "application": clean(event.text("application", "")),
        "generation": whole(event.integer("generation", 0)),
        "message": clean(event.text("what", "")),
        "traceback": clean(paths.text(event.text("traceback", ""))),
    }
    syntax = event.child("syntax")
    places = [syntax] if "file" in syntax else event.objects("frames")[: -_FRAMES - 1 : -1]
    for place in places:
        file = paths.file(place.text("file", ""))
        if file is not None:
            told |= {"file": file, "line": whole(place.integer("line", 0))}
            if "column" in place:
                told |= {"column": whole(place.integer("column", 0)), "text": clean(place.text("text", ""))}
            break
    hint = _hint(event, paths)
    return {**told, "hint": hint} if hint else told


def _call(kind: str, event: Fields) -> dict[str, Any]:
    """What became of a call of the application's code."""
    told: dict[str, Any] = {
        "event": kind,
        "application": clean(event.text("application", "")),
        "generation": whole(event.integer("generation", 0)),
        "entry": clean(event.text("entry", "")),
        "outcome": _one_of(event.text("outcome", ""), OUTCOMES),
        "why": clean(event.text("why", "")),
        "ms": min(max(0.0, event.number("ms", 0)), _MOST_MS),
    }
    if kind == "handler":
        told["answer"] = clean(event.text("answer", ""))
    if kind == "handover":
        told["step"] = _one_of(event.text("step", ""), ("give", "take"))
        told["size_bytes"] = whole(event.integer("size_bytes", 0))
        if "given_by" in event:
            told["given_by"] = whole(event.integer("given_by"))
    return told


def _hint(event: Fields, paths: Paths) -> str:
    module = clean(event.text("missing_module", ""))
    if "." in module:  # the package was found, and does not have it
        return f"'{module.rpartition('.')[0]}' has no module '{module.rpartition('.')[2]}': is the name right?"
    if module and paths.is_entry(module):
        return f"'{module}' is of an 'entry' in the settings, and not among the files that are shipped"
    if module:
        return (
            f"'{module}' is not there where the target runs: add it to the project's 'dependencies', or where it is a "
            "project beside this one, to 'depends'; with 'system_packages = true', what the device has is found, too"
        )
    file = clean(event.text("missing_file", ""))
    if file and not file.startswith("/"):
        return (
            f"'{file}' is looked for in the application's working folder, which keeps its data; "
            "files of the project lie next to the code: use Path(__file__) or importlib.resources"
        )
    return ""


def _one_of(text: str, values: tuple[str, ...]) -> str:
    return text if text in values else values[0]
