"""Who still runs an old body: threads that are within it, and generators and coroutines that stopped within it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType

from .census import Suspended, code_of
from .successors import Successors

_FRAMES = 200
"""Of each thread; a recursion is told by what is innermost."""
_WORD = {GeneratorType: "generator", CoroutineType: "coroutine", AsyncGeneratorType: "async generator"}
_FRAME: dict[type, str] = {GeneratorType: "gi_frame", CoroutineType: "cr_frame", AsyncGeneratorType: "ag_frame"}


@dataclass(frozen=True, slots=True)
class Outdated:
    """``where``: ``thread MainThread``, ``generator`` and the like; ``line``: of the old source."""

    name: str
    where: str
    line: int


def outdated(files: Container[str], suspended: Iterable[Suspended], successors: Successors) -> list[Outdated]:
    """The old bodies that go on, each once for each place."""
    found: dict[tuple[str, str], Outdated] = {}
    for where, frame in (*_running(), *_stopped(suspended)):
        code = frame.f_code
        if code.co_filename in files and code.co_name != "<module>" and successors.is_outdated(code):
            name = f"{frame.f_globals.get('__name__', '?')}.{code.co_qualname}"
            found.setdefault((name, where), Outdated(name, where, frame.f_lineno or 0))
    return list(found.values())


def modules_running(files: Container[str]) -> Iterator[tuple[CodeType, int]]:
    """Module bodies that are being run, and how far they are."""
    for _, frame in _running():
        if frame.f_code.co_name == "<module>" and frame.f_code.co_filename in files:
            yield frame.f_code, frame.f_lineno or 0


def _running() -> Iterator[tuple[str, FrameType]]:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, innermost in sys._current_frames().items():
        frame: FrameType | None = innermost
        for _ in range(_FRAMES):
            if frame is None:
                break
            yield f"thread {names.get(ident, ident)}", frame
            frame = frame.f_back


def _stopped(suspended: Iterable[Suspended]) -> Iterator[tuple[str, FrameType]]:
    for each in suspended:
        frame: FrameType | None = getattr(each, _FRAME[type(each)])
        if frame is not None:
            assert code_of(each) is frame.f_code
            yield _WORD[type(each)], frame
