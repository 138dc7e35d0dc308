"""Where an application is, as text: the dump that a stuck interpreter left is read, and an event becomes lines. Pure.

An event is ``stack`` of ``docs/json.md``. Knows nothing of links and files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

Line = list[tuple[str, str]]

_THREAD = re.compile(r"(Current thread|Thread) 0x([0-9a-f]{1,16})(?: \[(.*?)\])? \(most recent call first\):")
_FRAME = re.compile(r'  File "(.*)", line (\d{1,9}|\?\?\?) in (.*)')
_OURS = re.compile(r"/bootloader/guest/(repl/)?\w+\.py$|^<frozen (runpy|importlib)")
_STARTS = ("_bootstrap", "_bootstrap_inner")
_LIBRARY = re.compile(r".*/lib/python3\.\d+/(?:(?:site|dist)-packages/)?")
_GUEST = "/bootloader/guest/"
_MOST = 500
_FRAMES = 200


def dumped(text: str) -> list[dict[str, Any]]:
    """The threads of a dump of Python's ``faulthandler``, without what runs the application; frames innermost last.

    Each frame is (file, line, function). The main thread is told by what runs the application, at its outer end.
    """
    threads: list[dict[str, Any]] = []
    for line in text.splitlines():
        if head := _THREAD.fullmatch(line):
            if len(threads) == _MOST:
                break
            threads.append({"name": head[3] or "", "ident": int(head[2], 16), "frames": []})
        elif (frame := _FRAME.fullmatch(line)) and threads and len(threads[-1]["frames"]) < _FRAMES:
            number = int(frame[2]) if frame[2].isdecimal() else 0
            threads[-1]["frames"].insert(0, (frame[1], number, frame[3]))
    told = []
    for thread in threads:
        frames = thread["frames"]
        if frames and all(_GUEST in file and _OURS.search(file) for file, _, _ in frames):
            continue  # one that takes orders, or a host's session: ours
        ours = 0
        while ours < len(frames) and (_OURS.search(frames[ours][0]) or frames[ours][2] in _STARTS):
            ours += 1
        main = ours > 0 and frames[0][2] not in _STARTS
        told.append({**thread, "main": main, "name": thread["name"] or "MainThread" * main, "frames": frames[ours:]})
    return sorted(told, key=lambda one: not one["main"])


def lines(event: Mapping[str, Any], _verbose: bool) -> list[Line]:
    """An event, for people."""
    threads, tasks, system = event["threads"], event["tasks"], event["system"]
    counts = [_count(len(threads), "thread")] * bool(threads) + [_count(len(tasks), "task")] * bool(tasks)
    head = f" (pid {event['pid']})" + (f": {', '.join(counts)}" if counts else "")
    made: list[Line] = [[("● ", "good" if event["answered"] else "warn"), (event["application"], "strong"), (head, "")]]
    if event["why"]:
        made.append([("! ", "warn"), (f"{event['application']} {event['why']}", "")])
    for thread in threads:
        notes = [note for note in ("daemon" * thread["daemon"], thread["state"], _in(thread)) if note]
        made.append([("  thread ", "dim"), (_thread(thread), "strong"), (_bracketed(notes), "dim")])
        made += _frames(thread)
    for task in tasks:
        waits = f"waiting for {task['waits_for']}" if task["waits_for"] else task["state"]
        made.append(
            [("  task ", "dim"), (task["name"], "strong"), (f" {task['coroutine']}()", ""), (f" ({waits})", "dim")]
        )
        made += _frames(task)
    if event["more"]:
        made.append([(f"  and {event['more']} more", "dim")])
    if not event["answered"]:
        for one in system:
            notes = [note for note in (one["state"], _in(one)) if note]
            made.append([("  system: ", "dim"), (f"thread {one['id']} {one['name']}", ""), (_bracketed(notes), "dim")])
    return made


def _frames(stack: Mapping[str, Any]) -> Iterator[Line]:
    if stack["cut"]:
        yield [(f"    … {stack['cut']} frames outside of these", "dim")]
    for frame in stack["frames"]:
        file = frame["file"] if frame["own"] else _LIBRARY.sub("", frame["file"])
        where = f"{file}:{frame['line']}" if frame["line"] else file
        yield [("    ", ""), (where, "strong" if frame["own"] else "dim"), (f" in {frame['function']}", "dim")]
        if frame["text"]:
            yield [("      ", ""), (frame["text"], "" if frame["own"] else "dim")]
    if not stack["frames"]:
        yield [("    no Python code", "dim")]


def _thread(thread: Mapping[str, Any]) -> str:
    return thread["name"] or (f"{thread['id']}" if thread["id"] else f"0x{thread['ident']:x}")


def _in(thread: Mapping[str, Any]) -> str:
    return f"in {thread['waits_in']}" if thread["waits_in"] else ""


def _bracketed(notes: list[str]) -> str:
    return f" ({', '.join(notes)})" if notes else ""


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
