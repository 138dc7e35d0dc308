"""An exception as plain values: its story, with where each frame stands, for a host to show with its own files.

The lines of the application's own files are not told: the host has them. Those of other files are.
"""

from __future__ import annotations

import linecache
import os
import traceback
from typing import Any

_FRAMES = 40
_CHAIN = 8
_GROUP = 8
_TEXT_CHARS = 4000
_LINE_CHARS = 300
_HERE = os.path.dirname(os.path.dirname(__file__))


def told(error: BaseException, tree: str) -> list[dict[str, Any]]:
    """The exceptions, the first one first: ``kind``, ``message``, ``frames``, and ``how`` it led to the next one."""
    try:
        story: traceback.TracebackException | None = traceback.TracebackException.from_exception(
            error, limit=-2 * _FRAMES, lookup_lines=False, compact=True
        )
        chain: list[dict[str, Any]] = []
        how = ""
        while story is not None and len(chain) < _CHAIN:
            chain.append({**_one(story, tree, 0), "how": how})
            cause, context = story.__cause__, story.__context__
            how = "cause" if cause is not None else "context"
            story = cause or (None if story.__suppress_context__ else context)
    except Exception as second:  # noqa: BLE001 - what an exception holds is user code, and may make no sense
        return [{"kind": type(error).__qualname__, "message": f"(it can't be told: {type(second).__name__})"}]
    return chain[::-1]


def _one(story: traceback.TracebackException, tree: str, depth: int) -> dict[str, Any]:
    frames = [frame for frame in story.stack if not frame.filename.startswith(_HERE)]
    only = list(story.format_exception_only()) if story.exc_type is not None else [""]
    fields: dict[str, Any] = {
        "kind": story.exc_type.__qualname__ if story.exc_type is not None else "",
        "message": "".join(only).strip()[:_TEXT_CHARS],
        "frames": [_frame(frame, tree) for frame in frames[-_FRAMES:]],
        "left_out": max(0, len(frames) - _FRAMES),
    }
    if story.exc_type is not None and issubclass(story.exc_type, SyntaxError):
        line = int(story.lineno or 0)
        fields["message"] = f"{story.exc_type.__qualname__}: {story.msg}"[:_TEXT_CHARS]
        text = str(story.text or "")[:_LINE_CHARS]
        fields["syntax"] = {"file": str(story.filename or ""), "line": line, "column": story.offset or 0, "text": text}
    if story.exceptions and depth < 2:
        fields["group"] = [_one(each, tree, depth + 1) for each in story.exceptions[:_GROUP]]
    return fields


def _frame(frame: traceback.FrameSummary, tree: str) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "file": frame.filename,
        "line": frame.lineno or 0,
        "function": frame.name[:_LINE_CHARS],
    }
    if frame.colno is not None and frame.end_colno is not None and frame.end_lineno == frame.lineno:
        fields |= {"column": frame.colno, "end": frame.end_colno}  # in bytes of UTF-8, from 0 on
    if not frame.filename.startswith((tree + "/", "<")):
        fields["text"] = linecache.getline(frame.filename, frame.lineno or 0).rstrip("\n")[:_LINE_CHARS]
    return fields
