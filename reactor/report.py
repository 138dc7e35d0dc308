"""What is told to the user: the events of ``--json``, and the lines that they become on a terminal. Pure.

An event is a dict of plain values with ``event``, ``target`` and ``at`` (``docs/json.md``); a line is a list of (text,
style) pairs, the styles being names that the terminal maps to colours. Text that came from a target has been made
harmless before it gets here (:func:`clean`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from posixpath import join, normpath
from typing import Any

from bootloader.wire.errors import Fault, Refused

from . import dap, stacks
from .clocks import clock_time

Event = Mapping[str, Any]
Line = list[tuple[str, str]]

TEXT_CHARS = 64 * 1024
"""Most of one text that is shown; a line of output is shorter, a traceback nearly always."""

_CELL_CHARS = 200
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
# What moves the cursor, turns the direction of writing around, begins a line unseen, or can't be encoded.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_FRAME = re.compile(r'([\s|+]*File ")(.+", line \d+)(.*)')
_LEADS = ("Traceback (most recent", "During handling of", "The above exception", "[Previous line repeated")
_CARETS = re.compile(r"[\s|]*[~^]+\s*")

_MARKS = {"stderr": "!", "debug": "D", "info": "I", "warning": "W", "error": "E", "critical": "C"}
"""Where a line was written: to stderr, or to the log with which level; nothing for stdout."""

_OURS = tuple("✓✗●!·→")
"""What lines of this program begin with."""


def clean(text: str) -> str:
    """``text`` without terminal escape sequences and control characters; tabs and line ends stay. Cut if long."""
    if text.isprintable() and len(text) <= TEXT_CHARS:
        return text  # as nearly all are, and none of what is taken out is
    cut = text if len(text) <= TEXT_CHARS else text[: TEXT_CHARS - 1] + "…"
    return _CONTROL.sub("\ufffd", _ESCAPES.sub("", cut))


def whole(number: int) -> int:
    """A number of a target's; 0 where it is negative, or so large that not every reader of JSON takes it as it is."""
    return number if 0 <= number < 2**53 else 0


def problem(fault: Fault) -> dict[str, Any]:
    """The ``problem`` event of a fault. A target that refuses may name any file, so that one is left out."""
    told: dict[str, Any] = {"event": "problem", "code": clean(fault.code), "message": clean(str(fault))}
    for key in ("file", "line", "column", "text")[isinstance(fault, Refused) :]:
        value = fault.fields.get(key)
        if value is not None:
            told[key] = clean(value) if isinstance(value, str) else whole(value)
    return told


def cell(text: str) -> str:
    """``text`` for a column of a table: in one line, and no longer than anybody reads there."""
    return (text if len(text) <= _CELL_CHARS else text[: _CELL_CHARS - 1] + "…").replace("\n", " ")


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


def progress(event: Event) -> tuple[int, int | None, str]:
    """How much of how much is done, and the words for it; None where it is not known yet how much there is."""
    by = "bytes" if event["what"] in ("ship", "unpack") else "files"
    done, total, target = event[f"done_{by}"], event[f"total_{by}"], event.get("target", "")
    if event["what"] == "scan":
        return done, total, "looking for files" if total is None else f"looking at {done} of {total} files"
    if event["what"] == "fetch":
        return done, total, f"fetching what {target} requires: {event['file'] or 'looking for it'}"
    if event["what"] == "apply":
        return done, total if done else None, f"{target} checks and lays out {total} files"
    words = {
        "ship": f"shipping to {target}: {size(done)} of {size(total)}",
        "unpack": f"{target} unpacks {size(total)}",
    }
    return done, total, words[event["what"]]


def indented(text: str) -> str:
    """``text`` with all lines but the first indented: what a target says can't pass for a line of this program."""
    return text.replace("\n", "\n    ")


def lines(event: Event, *, verbose: bool, many: bool, folder: str | None = None) -> list[Line]:
    """The lines of an event, none where it is not for people. ``many``: several targets, so each line names its own.

    ``folder``: the lines are for programs, too, as editors read them: what a save begins with is told, and a problem
    begins as compilers write it, its file being seen from where ``folder`` is the project's.
    """
    shown = _SHOWN.get(str(event.get("event")))
    made = shown(event, verbose) if shown is not None else []
    owner = event["target"] if many and event.get("target") else ""
    head: Line | None = None
    if folder is not None and (event["event"] == "save" or (event["event"] == "problem" and event.get("file"))):
        head, made = _for_editors(event, folder, owner), made[1:]
    told = [[(f"{owner} ", "target"), *line] if owner else line for line in made]
    return [[(indented(text), style) for text, style in line] for line in ([head, *told] if head else told)]


def _ready(event: Event, _verbose: bool) -> list[Line]:
    what = f"{event['project']} on {event['target']}"
    more = f"generation {event['generation']}, {event['files_count']} files, Python {event['python']}"
    watching = ", watching" if event.get("watching") else ""
    return [[("● ", "good"), (what, "strong"), (f": {more}{watching}", "")]]


def _result(event: Event, verbose: bool) -> list[Line]:
    files = shown_files(event["files"])
    number = event.get("generation")
    generation = f"generation {number}" if number else ""
    ms = event.get("save_to_running_ms")
    took = duration(ms) if ms is not None else ""
    if event["healthy"]:
        mark: tuple[str, str] = ("✓ ", "good")
        state = "healthy"
    elif event.get("replaced"):
        mark, state = ("· ", "dim"), "replaced"
    else:
        mark = ("✗ ", "bad")
        state = "held" if event["rung"] == "hold" else "not healthy"
    what: Line = [(files, "strong"), (" · ", "")] if files else []
    head: Line = [mark, *what, (f"{event['rung']}: {event['reason']} · ", ""), (state, mark[1])]
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


def _death(event: Event, verbose: bool) -> list[Line]:
    """What is to follow. Where it is held for somebody to see, that is the failure above, and no news."""
    if event["next"] == "hold" and event["by"] == "policy" and not verbose:
        return []
    follows = {
        "restart": f"starts again in {event['pause_s']:g} s",
        "hold": "stays down",
        "rollback": "goes back to what was healthy before",
        "stop": "everything stops",
    }[event["next"]]
    often = f"died {event['deaths']} times in {event['window_s']:g} s, " if event["deaths"] > 1 else ""
    handler = ", says the failure handler" if event["by"] == "handler" else ""
    return [[(f"  {event['application']} {often}{follows}{handler}", "warn")]]


def fitting(events: Sequence[Event], most: int) -> Sequence[Event]:
    """``events`` with the last ``most`` lines of output, and a notice in place of those before."""
    over = sum(event["event"] == "log" for event in events) - most
    if over <= 0:
        return events
    kept: list[Event] = []
    left = over
    for event in events:
        if event["event"] != "log" or not left:
            kept.append(event)
            continue
        left -= 1
        if not left:
            text = f"{over} lines came at once and are not shown: `reactor logs -n` has them"
            kept.append({"event": "notice", "target": event["target"], "code": "lines-not-shown", "text": text})
    return kept


def _log(event: Event, verbose: bool) -> list[Line]:
    style = "log"
    if event["stream"] == "stderr" or event.get("level") in ("error", "critical"):
        style = "bad"
    elif event.get("level") == "warning":
        style = "warn"
    at = clock_time(event.get("host_at") or "")
    there = f" ({clock_time(event.get('target_at') or '')} there)" if verbose and at else ""
    mark = _MARKS.get(event.get("level") or event["stream"], " ")
    return [[(f"{at}{there}{' ' if at else ''}{event['application']}{mark}│ ", "dim"), (event["text"], style)]]


def _place(event: Event) -> str:
    """``file:line:column`` as far as they are known."""
    known = (str(event[key]) for key in ("file", "line", "column") if event.get(key))
    return ":".join(known) if event.get("file") else ""


def _message(event: Event) -> str:
    return str(event["message"]).removeprefix(f"{_place(event)}: ")


def _problem(event: Event, _verbose: bool) -> list[Line]:
    where = _place(event)
    head: Line = [("✗ ", "bad"), *([(where, "place"), (": ", "strong")] if where else []), (_message(event), "bad")]
    made = [head]
    text = event.get("text") or ""
    if text and event.get("line"):
        indent = len(text) - len(text.lstrip())
        made.append([("    ", ""), (text.strip(), "")])
        column = event.get("column") or 0
        if indent < column <= len(text) + 1:
            made.append([("    " + " " * (column - 1 - indent) + "^", "bad")])
    traceback = (event.get("traceback") or "").strip()
    if traceback != event["message"]:  # else there is no frame in it
        made += [[("  ", ""), *line] for line in map(_traced, traceback.splitlines())]
    if event.get("hint"):
        made.append([("  → ", "warn"), (event["hint"], "")])
    return made


def _traced(line: str) -> Line:
    """A line of a traceback: the file of a frame is a place, and what was raised stands out."""
    frame = _FRAME.fullmatch(line)
    if frame is not None:
        return [(frame[1], "dim"), (frame[2], "frame"), (frame[3], "dim")]
    if line.startswith(_LEADS):
        return [(line, "dim")]
    return [(line, "" if line[:1] in (" ", "") and not _CARETS.fullmatch(line) else "bad")]


def _for_editors(event: Event, folder: str, owner: str) -> Line:
    """The first line of what an editor looks for."""
    if event["event"] == "save":
        return [(f"saved {shown_files(event['files'])}".rstrip(), "")]
    place = normpath(join(folder, _place(event)))
    return [(f"{place}: error: {owner}{': ' if owner else ''}{_message(event)}", "")]


def _safe(event: Event, _verbose: bool) -> list[Line]:
    done = event["outcome"] == "done"
    why = f" ({event['why']})" if event["why"] else ""
    head = f"  {event['application']} safe state: {event['entry']} "
    return [[(head, "dim"), (f"{event['outcome']}{why}", "dim" if done else "bad"), (_took(event), "dim")]]


def _handler(event: Event, _verbose: bool) -> list[Line]:
    why = f" ({event['why']})" if event["why"] else ""
    said = f"says {event['answer']}" if event["answer"] else f"gave no answer, {event['outcome']}{why}"
    head = f"  {event['application']} handler: {event['entry']} "
    return [[(head, "dim"), (said, "dim" if event["answer"] else "warn"), (_took(event), "dim")]]


def _handover(event: Event, verbose: bool) -> list[Line]:
    """A state that was handed over is no news; one that was not, is."""
    well = event["outcome"] in ("done", "nothing")
    if well and not verbose:
        return []
    why = f" ({event['why']})" if event["why"] else ""
    head = f"  {event['application']} {event['step']}s its state: {event['entry']} "
    size = f", {event['size_bytes']} bytes" if event["outcome"] == "done" else ""
    return [[(head, "dim"), (f"{event['outcome']}{why}{size}", "dim" if well else "warn"), (_took(event), "dim")]]


def _took(event: Event) -> str:
    return f" · {duration(event['ms'])}"


def _link(event: Event, _verbose: bool) -> list[Line]:
    if event["state"] == "up":
        return [[("● ", "good"), ("link up", ""), (f": {event['why']}" if event.get("why") else "", "dim")]]
    style = "warn" if event["state"] == "retrying" else "bad"
    return [[("● ", style), (f"link {event['state']}", style), (f": {event['why']}" if event.get("why") else "", "")]]


def _console(event: Event, _verbose: bool) -> list[Line]:
    at = clock_time(event.get("at") or "")
    return [[(f"{at}{' ' if at else ''}{_port_name(event)} │ ", "dim"), (event["text"], "log")]]


def _port(event: Event, _verbose: bool) -> list[Line]:
    word, style = {"up": ("is open", "good"), "down": ("is gone", "bad")}.get(event["state"], ("is waited for", "warn"))
    why = f": {event['why']}" if event["why"] else ""
    return [[("● ", style), (f"{event['port']} {word}", "" if style == "good" else style), (why, "dim")]]


def _port_name(event: Event) -> str:
    """The last part of a port's path, or of its URL: the whole stands where it was opened."""
    name: str = event["port"].rstrip("/").rpartition("/")[2]
    return name or "console"


def _output(event: Event, _verbose: bool) -> list[Line]:
    style = "bad" if event["stream"] == "stderr" else "log"
    return [[(apart(line), style)] for line in event["text"].split("\n")]


def _answer(event: Event, _verbose: bool) -> list[Line]:
    """What came of a statement: what it is worth, or how it failed."""
    made: list[Line] = [[(apart(line), "")] for line in event["text"].split("\n") if event["text"]]
    if event["cut"]:
        made.append([(f"… {event['cut']}", "dim")])
    if event["traceback"] and event["outcome"] == "raised":
        made += map(_traced, event["traceback"].rstrip("\n").split("\n"))
    elif event["why"]:
        made.append([("! ", "warn"), (event["why"], "")])
    return made


def _answers(event: Event, _verbose: bool) -> list[Line]:
    """What several devices say, side by side."""
    rows: list[list[str]] = [event["targets"], *event["rows"]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    made: list[Line] = []
    for row in rows:
        style = "target" if row is rows[0] else ""
        made.append([(f"{cell:{width}}   ", style) for cell, width in zip(row, widths, strict=True)])
    return made


def _session(event: Event, _verbose: bool) -> list[Line]:
    style = dict.fromkeys(("up", "back", "moved", "yours"), "good").get(event["state"], "warn")
    return [[("● ", style), (event["text"], "")]]


def apart(line: str) -> str:
    """A line of a device's that looks like one of this program's is moved aside."""
    return f"  {line}" if line[:1] in _OURS else line


def _notice(event: Event, _verbose: bool) -> list[Line]:
    return [[("! ", "warn"), (event["text"], "")]]


def _start(event: Event, _verbose: bool) -> list[Line]:
    return [[(f"──── {event['target'] or 'the target'} started again ────", "dim")]]


_SHOWN = {
    "start": _start,
    "ready": _ready,
    "result": _result,
    "state": _state,
    "death": _death,
    "log": _log,
    "console": _console,
    "port": _port,
    "problem": _problem,
    "safe": _safe,
    "handler": _handler,
    "handover": _handover,
    "link": _link,
    "lease": _session,
    "output": _output,
    "answer": _answer,
    "answers": _answers,
    "session": _session,
    "notice": _notice,
    "stack": stacks.lines,
    "debug": dap.lines,
}
