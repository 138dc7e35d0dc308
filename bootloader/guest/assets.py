"""Tells a running application that files of its tree have changed, by the callable that its settings name for that.

It is called where it disturbs least: on the loop of an application that runs one, as any callback there, and else on
the thread that takes orders, beside the application's own. What keeps that for ever is seen by who gave the order.
"""

from __future__ import annotations

import gc
import inspect
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import hook
from .problem import problem

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

_SLACK_S = 0.2
"""So much longer is waited for a loop, which may see by itself that the time is over."""


class Assets:
    """``tree``: the folder that the application runs from, as its files are named in it."""

    def __init__(self, tree: str) -> None:
        self._tree = Path(tree)

    def changed(self, order: Mapping[str, Any]) -> Mapping[str, Any]:
        """Call ``entry`` with ``paths``, which lie in the tree or did so, for ``limit_s`` at most."""
        entry, limit_s = order["entry"], order["limit_s"]
        paths = [self._tree / path for path in order["paths"]]
        try:
            value = _call(hook.found(entry), paths, limit_s)
        except hook.Missing as missing:
            return {"refused": str(missing)}
        except _Late:
            return {"refused": f"`{entry}` was not done within {limit_s:g} s"}
        except BaseException as error:  # noqa: BLE001 - whatever ended the call is what we report
            told = problem(error)
            return {
                "refused": f"`{entry}` raised {told['died']}: {told['message']}".removesuffix(": "),
                "problem": told,
            }
        return {"refused": f"`{entry}` said no"} if value is False else {}


class _Late(Exception):
    """The time is over."""


def _call(callable_: Callable[[list[Path]], object], paths: list[Path], limit_s: float) -> object:
    if (loop := _loop()) is None:
        mask = signal.pthread_sigmask(signal.SIG_SETMASK, ())  # what it starts would be deaf to them as this thread is
        try:
            value = callable_(paths)
            if not inspect.isawaitable(value):
                return value
            import asyncio

            return asyncio.run(_within(lambda: value, limit_s))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    from asyncio import run_coroutine_threadsafe

    future = run_coroutine_threadsafe(_within(lambda: callable_(paths), limit_s), loop)
    try:
        return future.result(limit_s + _SLACK_S)
    except TimeoutError:
        if future.done():
            raise  # its own
        future.cancel()  # something keeps the loop
        raise _Late from None


async def _within(call: Callable[[], object], limit_s: float) -> object:
    import asyncio

    try:
        async with asyncio.timeout(limit_s) as limit:
            value = call()
            return await value if inspect.isawaitable(value) else value
    except TimeoutError:
        if limit.expired():
            raise _Late from None
        raise


def _loop() -> AbstractEventLoop | None:
    """The loop that the application runs: the main thread's, if it has several. Whoever made it, it was not us."""
    if "asyncio" not in sys.modules:
        return None
    from asyncio import AbstractEventLoop

    loops = [thing for thing in gc.get_objects() if issubclass(type(thing), AbstractEventLoop) and thing.is_running()]
    main = threading.main_thread().ident
    return next((loop for loop in loops if getattr(loop, "_thread_id", main) == main), loops[0] if loops else None)
