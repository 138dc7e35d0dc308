"""What is told to the user: the events of ``--json``, and the lines that they become on a terminal. Pure.

An event is a dict of plain values with ``event``, ``target`` and ``at`` (``docs/json.md``); a line is a list of (text,
style) pairs, the styles being names that the terminal maps to colours. Text that came from a target has been made
harmless before it gets here (:func:`clean`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

Event = Mapping[str, Any]
Line = list[tuple[str, str]]

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """``text`` without terminal escape sequences and control characters; tabs and line ends stay."""
    return _CONTROL.sub("\ufffd", _ESCAPES.sub("", text))


def shown_files(files: Iterable[str], most: int = 3) -> str:
    """File names for one line, or how many they are."""
    names = list(files)
    return ", ".join(names) if len(names) <= most else f"{len(names)} files"


def duration(ms: float) -> str:
    """A duration as a person reads it."""
    if ms < 100:
        return f"{ms:.1f} ms"
    return f"{ms:.0f} ms" if ms < 10_000 else f"{ms / 1000:.1f} s"


def size(count: int) -> str:
    """A number of bytes as a person reads it."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def lines(event: Event, *, verbose: bool, many: bool) -> list[Line]:
    """The lines of an event, none where it is not for people. ``many``: several targets, so each line names its own."""
    shown = _SHOWN.get(str(event.get("event")))
    if shown is None:
        return []
    made = shown(event, verbose)
    if many and event.get("target"):
        return [[(f"{event['target']} ", "target"), *line] for line in made]
    return made


def _ready(event: Event, _verbose: bool) -> list[Line]:
    what = f"{event['project']} on {event['target']}"
    more = f"generation {event['generation']}, {event['files_count']} files, Python {event['python']}"
    watching = ", watching" if event.get("watching") else ""
    return [[("● ", "good"), (what, "strong"), (f": {more}{watching}", "")]]


def _result(event: Event, verbose: bool) -> list[Line]:
    files = shown_files(event["files"]) or "no file"
    number = event.get("generation")
    generation = f"generation {number}" if number else ""
    ms = event.get("save_to_running_ms")
    took = duration(ms) if ms is not None else ""
    if event["healthy"]:
        mark: tuple[str, str] = ("✓ ", "good")
        state = "healthy"
    else:
        mark = ("✗ ", "bad")
        state = "held" if event["rung"] == "hold" else "not healthy"
    head: Line = [mark, (files, "strong"), (f" · {event['rung']}: {event['reason']} · ", ""), (state, mark[1])]
    tail = " · ".join(part for part in (generation, took) if part)
    made = [[*head, (f" · {tail}" if tail else "", "dim")]]
    if verbose and event.get("stages_ms"):
        stages = "  ".join(f"{name} {value:.1f}" for name, value in event["stages_ms"].items())
        made.append([(f"  ms: {stages}", "dim")])
    return made


def _state(event: Event, verbose: bool) -> list[Line]:
    if event["state"] in ("starting", "running", "healthy", "stopping") and not verbose:
        return []
    if event["state"] == "stopped" and not verbose:
        return []
    style = "bad" if event["state"] == "failed" else "dim"
    why = f" ({event['why']})" if event.get("why") else ""
    return [[(f"  {event['application']} {event['state']}{why}", style)]]


def _log(event: Event, _verbose: bool) -> list[Line]:
    style = "log"
    if event["stream"] == "stderr" or event.get("level") in ("error", "critical"):
        style = "bad"
    elif event.get("level") == "warning":
        style = "warn"
    return [[(f"{event['application']} │ ", "dim"), (event["text"], style)]]


def _problem(event: Event, _verbose: bool) -> list[Line]:
    where = event.get("file") or ""
    if where and event.get("line"):
        where += f":{event['line']}"
        if event.get("column"):
            where += f":{event['column']}"
    head: Line = [("✗ ", "bad"), (f"{where}: " if where else "", "strong"), (event["message"], "bad")]
    made = [head]
    text = event.get("text") or ""
    if text and event.get("line"):
        indent = len(text) - len(text.lstrip())
        made.append([("    ", ""), (text.strip(), "")])
        column = event.get("column") or 0
        if column > indent:
            made.append([("    " + " " * (column - 1 - indent) + "^", "bad")])
    made += [[("  " + line, "dim")] for line in (event.get("traceback") or "").rstrip().splitlines()]
    if event.get("hint"):
        made.append([("  → ", "warn"), (event["hint"], "")])
    return made


def _link(event: Event, _verbose: bool) -> list[Line]:
    if event["state"] == "up":
        return [[("● ", "good"), ("link up", ""), (f": {event['why']}" if event.get("why") else "", "dim")]]
    style = "warn" if event["state"] == "retrying" else "bad"
    return [[("● ", style), (f"link {event['state']}", style), (f": {event['why']}" if event.get("why") else "", "")]]


def _notice(event: Event, _verbose: bool) -> list[Line]:
    return [[("! ", "warn"), (event["text"], "")]]


_SHOWN = {
    "ready": _ready,
    "result": _result,
    "state": _state,
    "log": _log,
    "problem": _problem,
    "link": _link,
    "notice": _notice,
}
