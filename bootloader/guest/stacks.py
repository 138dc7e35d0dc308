"""Where the application is: the stacks of its threads and of its asyncio tasks, as an order asks for them.

Looks on while everything runs, calls nothing of the application's, and keeps nothing. What it tells is bounded: of deep
stacks the innermost frames, of many threads and tasks the first.
"""

from __future__ import annotations

import linecache
import os
import sys
import threading
from _thread import get_ident
from collections.abc import Iterator, Mapping
from types import CodeType, FrameType
from typing import Any

_HERE = os.path.dirname(__file__)
_MACHINERY = ("<frozen runpy>", "<frozen importlib")
_STARTS = {"_bootstrap", "_bootstrap_inner"}
_LOOPS = {"run_forever", "run_until_complete", "run"}
_FRAMES = 60
_ALL_FRAMES = 3000
_DEEPEST = 20_000
_THREADS = 200
_TASKS = 500
_TEXT_CHARS = 200
_TEXTS = 400

_Place = tuple[CodeType, int]


class Stacks:
    """``tree``: the folder that the application runs from. To be made on the main thread."""

    def __init__(self, tree: str) -> None:
        self._tree = tree + "/"
        self._main = get_ident()

    def where(self, _order: Mapping[str, Any]) -> Mapping[str, Any]:
        """``threads``, ``tasks``, and how many ``more`` of either there are; a frame is [file, line, function, text].

        ``file`` is an index into ``files``; ``text`` is empty where the line is the application's own: the host has it.
        """
        told = _Told(self._tree)
        known = dict(threading._active)  # type: ignore[attr-defined]
        loops: list[tuple[Any, int]] = []
        chains: dict[int, list[FrameType]] = {}
        threads: list[dict[str, Any]] = []
        more = 0
        for ident, frame in sys._current_frames().items():
            chain = _chain(frame)
            if all(each.f_code.co_filename.startswith(_HERE + "/") for each in chain):
                continue  # this one, and those of a host's sessions, which wait: no thread of the application's
            if len(threads) == _THREADS:
                more += 1
                continue
            chains[ident] = chain
            loops += [(loop, ident) for loop in _loops(chain)]
            thread = vars(known[ident]) if ident in known else {}
            threads.append(
                {
                    "name": _text(thread.get("_name")) or ("MainThread" if ident == self._main else ""),
                    "ident": ident,
                    "id": os.getpid() if ident == self._main else thread.get("_native_id") or 0,
                    "main": ident == self._main,
                    "daemon": bool(thread.get("_daemonic")),
                    **told.stack(_places(chain)),
                }
            )
        threads.sort(key=lambda one: not one["main"])
        tasks: list[dict[str, Any]] = []
        for task, ident in _tasks(loops):
            if len(tasks) == _TASKS:
                more += 1
                continue
            tasks.append({"thread": ident, **_task(task, chains[ident], told)})
        return {"threads": threads, "tasks": tasks, "more": more, "files": told.files}


class _Told:
    """What has been told so far, which is bounded as a whole."""

    def __init__(self, tree: str) -> None:
        self._tree = tree
        self._numbers: dict[str, int] = {}
        self._left = _ALL_FRAMES
        self._texts = _TEXTS

    @property
    def files(self) -> list[str]:
        return list(self._numbers)

    def stack(self, places: list[_Place]) -> dict[str, Any]:
        """``places`` without what runs the application, the innermost last, and how many are ``cut``."""
        own = 0
        for at, (code, _) in enumerate(places):
            if not _is_ours(code):
                break
            own = at + 1
        places = places[own:]
        kept = places[max(0, len(places) - min(_FRAMES, self._left)) :] if self._left else []
        self._left -= len(kept)
        return {"frames": [self._frame(code, line) for code, line in kept], "cut": len(places) - len(kept)}

    def _frame(self, code: CodeType, line: int) -> list[Any]:
        file = code.co_filename
        text = ""
        if not file.startswith(self._tree) and os.path.isabs(file) and self._texts:
            self._texts -= 1
            text = linecache.getline(file, line).strip()[:_TEXT_CHARS]
        return [self._numbers.setdefault(file, len(self._numbers)), line, code.co_qualname, text]


def _is_ours(code: CodeType) -> bool:
    file = code.co_filename
    return file.startswith((_HERE + "/", *_MACHINERY)) or (code.co_name in _STARTS and file == threading.__file__)


def _chain(frame: FrameType | None) -> list[FrameType]:
    """A frame and those that called it, the outermost first."""
    found: list[FrameType] = []
    while frame is not None and len(found) < _DEEPEST:
        found.append(frame)
        frame = frame.f_back
    return found[::-1]


def _places(chain: list[FrameType]) -> list[_Place]:
    return [(frame.f_code, frame.f_lineno or 0) for frame in chain]


def _loops(chain: list[FrameType]) -> Iterator[Any]:
    """The event loops that run in a stack, asyncio's own or one that its runner has started."""
    for frame in chain:
        code = frame.f_code
        if code.co_name in _LOOPS and os.path.basename(os.path.dirname(code.co_filename)) == "asyncio":
            runner = frame.f_locals.get("self")
            yield getattr(runner, "_loop", None) or runner


def _tasks(loops: list[tuple[Any, int]]) -> Iterator[tuple[Any, int]]:
    all_tasks = getattr(sys.modules.get("asyncio.tasks"), "all_tasks", None)
    seen: set[int] = set()
    for loop, ident in loops:
        if all_tasks is not None and id(loop) not in seen:
            seen.add(id(loop))
            try:
                found = sorted(all_tasks(loop), key=_number)
            except Exception:  # noqa: BLE001 - a loop of somebody else's, or one that ends in this moment
                found = []
            yield from ((task, ident) for task in found)


def _number(task: Any) -> tuple[int, str]:
    """Tasks in the order in which they were made, as far as their names tell."""
    name = _name(task)
    digits = name.rpartition("-")[2]
    return (int(digits), "") if digits.isdecimal() and len(digits) < 10 else (sys.maxsize, name)


def _task(task: Any, thread: list[FrameType], told: _Told) -> dict[str, Any]:
    """``thread``: what its thread is at. The coroutines of a task that runs are there, and not below each other."""
    inner = _asked(task, "get_coro", None)
    places: list[_Place] = []
    running = False
    while inner is not None and len(places) < _DEEPEST:
        for prefix, below in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
            code = getattr(inner, f"{prefix}_code", None)
            if isinstance(code, CodeType):
                frame = getattr(inner, f"{prefix}_frame", None)
                running = running or bool(getattr(inner, f"{prefix}_running", False))
                if frame in thread:
                    places += _places(thread[thread.index(frame) :])
                elif frame is not None:
                    places.append((code, frame.f_lineno or 0))
                inner = getattr(inner, below, None)
                break
        else:
            break
    waiter = getattr(task, "_fut_waiter", None)
    waits_for = "" if waiter is None else _name(waiter) or type(waiter).__qualname__[:_TEXT_CHARS]
    outer = next((code.co_qualname for code, _ in places if not _is_ours(code)), "")
    state = "running" if running else "waiting" if waits_for else "ready"
    return {"name": _name(task), "coroutine": outer, "state": state, "waits_for": waits_for, **told.stack(places)}


def _name(task: Any) -> str:
    """What a task is called; empty for a future, which has no name."""
    return _text(_asked(task, "get_name", ""))


def _asked(task: Any, method: str, otherwise: object) -> Any:
    """What a method of a task returns; ``otherwise`` where it is of a class that makes something else of it."""
    try:
        return getattr(task, method)()
    except Exception:  # noqa: BLE001 - it may be the application's own code
        return otherwise


def _text(value: object) -> str:
    return value[:_TEXT_CHARS] if isinstance(value, str) else ""
