"""A callable that the application's settings name: found, called in the application's own process, and timed.

Its code is the application's, so that anything may come of it; here that becomes one :class:`Result`. Only for the main
thread, which is the one that a time limit can interrupt. What holds the interpreter itself is not interrupted: whoever
waits outside has a limit too.
"""

from __future__ import annotations

import importlib
import inspect
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

DONE, RAISED, TIMED_OUT, MISSING = "done", "raised", "timed-out", "missing"


class Missing(Exception):
    """What is to be called is not there."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a call. ``value``: what it returned, where it is :data:`DONE`; ``error``: where it RAISED."""

    outcome: str
    why: str = ""
    value: object = None
    error: BaseException | None = None


class _Late(BaseException):
    """The time is over. No exception that code of an application's catches by accident."""


def found(entry: str) -> Callable[..., object]:
    """The callable that ``entry`` names. Where its module or its name is not there, that is :class:`Missing`."""
    module_name, _, attribute = entry.partition(":")
    try:
        target: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise Missing(f"there is no module '{error.name}'") from error
    for name in attribute.split("."):
        if not hasattr(target, name):
            raise Missing(f"{module_name} has no '{attribute}'")
        target = getattr(target, name)
    if not callable(target):
        raise Missing(f"'{attribute}' of {module_name} can't be called")
    callable_: Callable[..., object] = target
    return callable_


def call(entry: str, arguments: tuple[object, ...], limit_s: float) -> Result:
    """Call ``entry``, and await it where it is ``async``, for ``limit_s`` at most."""
    try:
        with _limit(limit_s):
            value = found(entry)(*arguments)
            if inspect.isawaitable(value):
                value = _await(value)
        return Result(DONE, value=value)
    except Missing as missing:
        return Result(MISSING, str(missing))
    except _Late:
        return Result(TIMED_OUT, f"not done within {limit_s:g} s")
    except BaseException as error:  # noqa: BLE001 - whatever ended the call is what we report
        return Result(RAISED, error=error)


def _await(value: Awaitable[object]) -> object:
    import asyncio  # here, as not every application has it, nor wants to wait for it

    async def awaited() -> object:
        return await value

    return asyncio.run(awaited())


@contextmanager
def _limit(limit_s: float) -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, _late)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before or signal.SIG_DFL)


def _late(_number: int, _frame: FrameType | None) -> NoReturn:
    raise _Late
