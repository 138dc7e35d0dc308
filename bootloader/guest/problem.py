"""What an exception tells a user: its text, its frames without ours, and what was missing."""

from __future__ import annotations

import os
import traceback
from typing import Any

_FRAMES = 40
_HERE = os.path.dirname(__file__)


def problem(error: BaseException) -> dict[str, Any]:
    """The fields of a note about ``error``."""
    frames = [
        {"file": frame.filename, "line": frame.lineno or 0, "function": frame.name}
        for frame in traceback.extract_tb(error.__traceback__, limit=-2 * _FRAMES)
        if _tells(frame) and frame.filename[:1] != "<"
    ]
    told: dict[str, Any] = {
        "died": type(error).__qualname__,
        "message": _text_of(error)[:2000],
        "frames": frames[-_FRAMES:],
        "traceback": _traceback(error),
    }
    if isinstance(error, SyntaxError):
        told["syntax"] = {
            "file": str(error.filename or ""),
            "line": error.lineno if isinstance(error.lineno, int) else 0,
            "column": error.offset if isinstance(error.offset, int) else 0,
            "text": str(error.text or "").rstrip("\n")[:500],
        }
    if isinstance(error, ModuleNotFoundError) and isinstance(error.name, str):
        told["missing_module"] = error.name[:1000]
    if isinstance(error, FileNotFoundError) and isinstance(error.filename, str):
        told["missing_file"] = error.filename[:1000]
    return told


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as second:  # noqa: BLE001 - an exception's own __str__ is user code, and may raise anything
        return f"(its text could not be made: {type(second).__name__})"


def _traceback(error: BaseException) -> str:
    """The whole story, causes included, without the frames that tell nothing."""
    try:
        return _story(error)
    except Exception as second:  # noqa: BLE001 - what an exception holds is user code, and may make no sense
        return f"(its traceback could not be made: {type(second).__name__}: {second})"


def _tells(frame: traceback.FrameSummary) -> bool:
    """Whether ``frame`` is neither this folder's nor of the machinery that imports."""
    return not frame.filename.startswith(_HERE) and "importlib" not in frame.filename


def _story(error: BaseException) -> str:
    story = traceback.TracebackException.from_exception(error, limit=-_FRAMES)
    link: traceback.TracebackException | None = story
    while link is not None:
        link.stack = traceback.StackSummary.from_list([frame for frame in link.stack if _tells(frame)])
        link = link.__cause__ or link.__context__
    return "".join(story.format())[-20_000:]
