"""A target's events as the host tells them: read with distrust, cleaned, with this host's own paths.

Owns the translation of paths: whatever lies under the target's ``live`` folder is shown as the project's file.
Knows nothing of connections; :mod:`reactor.session` pulls and hands over.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bootloader.wire.errors import Malformed
from bootloader.wire.launch import PATH as LAUNCH_PATH
from bootloader.wire.messages import Fields

from .project import SETTINGS_FILE, Project
from .report import clean

STATES = ("starting", "running", "healthy", "finished", "stopping", "stopped", "failed")


def parse(lines: bytes) -> Iterator[Fields]:
    """The events in a pulled batch; a line that makes no sense is :class:`Malformed`."""
    for line in lines.splitlines():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise Malformed("an event of the target is not JSON") from error
        if not isinstance(event, dict):
            raise Malformed("an event of the target is not an object")
        yield Fields(event)


class Paths:
    """The target's paths as this host's. ``live``: where the target keeps the running tree."""

    def __init__(self, live: str, project: Project) -> None:
        self._project = project
        self._live = live
        self._pattern = re.compile(re.escape(live) + r"/([^\s\"'<>|:*?]+)") if live else None

    def file(self, path: str) -> str | None:
        """The project's file for a path of the target, as it is shown; None where it is none of the project's."""
        if not self._live or not path.startswith(self._live + "/"):
            return None
        return shown(self._project, path[len(self._live) + 1 :])

    def text(self, text: str) -> str:
        """``text`` with the target's paths replaced by this host's."""
        if self._pattern is None or self._live not in text:
            return text
        return self._pattern.sub(lambda match: str(self._project.host_path(match[1])), text)


def shown(project: Project, tree_path: str) -> str:
    """A file of the tree as a person names it: relative to the project's folder."""
    if tree_path == LAUNCH_PATH:
        return SETTINGS_FILE
    return Path(os.path.relpath(project.host_path(tree_path), project.folder)).as_posix()


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
            "generation": event.integer("generation", 0),
        }
    if kind == "problem":
        return _problem(event, paths)
    if kind == "notice":
        return {"event": "notice", "code": clean(event.text("code", "")), "text": clean(event.text("text", ""))}
    return None


def _problem(event: Fields, paths: Paths) -> dict[str, Any]:
    told: dict[str, Any] = {
        "event": "problem",
        "code": clean(event.text("code", "")),
        "application": clean(event.text("application", "")),
        "generation": event.integer("generation", 0),
        "message": clean(event.text("what", "")),
        "traceback": clean(paths.text(event.text("traceback", ""))),
    }
    syntax = event.child("syntax")
    places = [syntax] if "file" in syntax else event.objects("frames")[::-1]
    for place in places:
        file = paths.file(place.text("file", ""))
        if file is not None:
            told |= {"file": file, "line": place.integer("line", 0)}
            if "column" in place:
                told |= {"column": place.integer("column", 0), "text": clean(place.text("text", ""))}
            break
    hint = _hint(event)
    return {**told, "hint": hint} if hint else told


def _hint(event: Fields) -> str:
    module = clean(event.text("missing_module", ""))
    if module:
        return f"'{module}' is not installed where the target runs; install it there, or add its project to 'depends'"
    file = clean(event.text("missing_file", ""))
    if file and not file.startswith("/"):
        return (
            f"'{file}' is looked for in the application's working folder, which keeps its data; "
            "files of the project lie next to the code: use Path(__file__) or importlib.resources"
        )
    return ""


def _one_of(text: str, values: tuple[str, ...]) -> str:
    return text if text in values else values[0]
