"""One statement, or a block of them: compiled, run to its end, and what came of it.

Where it awaits, it runs on the application's own event loop, if one runs, or on one of its session's. Whatever it
raises ends it alone: not the thread, nor the loop, nor the application.
"""

from __future__ import annotations

import ast
import gc
import inspect
import sys
import threading
from _thread import get_ident
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

_FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


class Interrupted(BaseException):
    """The user interrupts the statement: what is raised in it where it runs on a thread of the application's."""


def compiled(source: str, filename: str) -> list[CodeType]:
    """The code to run, one after the other; what the last one is worth is the result."""
    tree = compile(source, filename, "exec", ast.PyCF_ONLY_AST | _FLAGS, dont_inherit=True)
    assert isinstance(tree, ast.Module)
    codes = []
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    if tree.body:
        codes.append(compile(tree, filename, "exec", _FLAGS, dont_inherit=True))
    if isinstance(last, ast.Expr):
        codes.append(compile(ast.Expression(last.value), filename, "eval", _FLAGS, dont_inherit=True))
    return codes


class Loops:
    """The event loops that statements can await on. ``_own``: the session's, made when it is needed."""

    def __init__(self) -> None:
        self._own: Any = None

    def running(self) -> Any:
        """The application's loop that runs now, its main thread's before others; None where there is none."""
        asyncio = sys.modules.get("asyncio")
        if asyncio is None:
            return None
        kind = asyncio.AbstractEventLoop
        loops = [each for each in gc.get_objects() if issubclass(type(each), kind) and each.is_running()]
        main = threading.main_thread().ident
        return max(loops, key=lambda loop: getattr(loop, "_thread_id", None) == main, default=None)

    def own(self) -> Any:
        """The session's."""
        import asyncio

        if self._own is None:
            self._own = asyncio.new_event_loop()
        return self._own

    def close(self) -> None:
        """End the session's."""
        if self._own is not None and not self._own.is_running():
            self._own.close()


class Statement:
    """Runs once, on the thread that calls :meth:`run`; :meth:`interrupt` comes from another one.

    ``throw`` raises an exception of that class in the thread of that id, at its next step in Python.
    """

    def __init__(self, codes: list[CodeType], names: dict[str, Any], throw: Callable[[int, type], bool]) -> None:
        self._codes = codes
        self._names = names
        self._throw = throw
        self._cancel: Callable[[], object] | None = None
        self._loop_thread = 0
        self._drive: CodeType | None = None
        self._is_guest = False
        """Whether it awaits on the application's own loop."""

    @property
    def holds_loop(self) -> bool:
        """Whether it runs on the thread of the application's loop at this moment, and holds that up."""
        return self._is_guest and self._is_on_stack()

    def run(self, loops: Loops) -> object:
        """What the last one is worth; raises what it raises."""
        if any(code.co_flags & inspect.CO_COROUTINE for code in self._codes):
            return self._run_awaiting(loops)
        result: object = None
        for code in self._codes:
            result = eval(code, self._names)
        return result

    def _run_awaiting(self, loops: Loops) -> object:
        import asyncio
        from concurrent import futures

        outcome: list[tuple[object, BaseException | None]] = []

        async def drive() -> None:
            """Nothing gets out of here but the end of the task: the loop may be the application's."""
            self._loop_thread = get_ident()
            result: object = None
            try:
                for code in self._codes:
                    result = eval(code, self._names)
                    if inspect.iscoroutine(result):
                        result = await result
            except BaseException as error:  # noqa: BLE001 - handed over to the thread that waits
                outcome.append((None, error))
            else:
                outcome.append((result, None))

        self._drive = drive.__code__
        loop = loops.running()
        if loop is not None:
            self._is_guest = True
            future = asyncio.run_coroutine_threadsafe(drive(), loop)
            self._cancel = future.cancel
            try:
                future.result()
            except futures.CancelledError:  # by us: nothing came of it
                pass
            except Exception as error:  # noqa: BLE001 - the loop would not have it, or ended meanwhile
                outcome.append((None, error))
        else:
            own = loops.own()
            task = own.create_task(drive())
            self._cancel = lambda: own.call_soon_threadsafe(task.cancel)
            own.run_until_complete(task)
        self._cancel = None
        if not outcome:
            raise KeyboardInterrupt
        worth, raised = outcome[0]
        if isinstance(raised, asyncio.CancelledError | Interrupted):
            raise KeyboardInterrupt from None
        if raised is not None:
            raise raised
        return worth

    def interrupt(self, thread: int) -> bool:
        """Have it end, where it runs on ``thread`` or awaits; False where this Python has no way to do that."""
        cancel = self._cancel
        if cancel is None:
            return self._throw(thread, KeyboardInterrupt)
        if self._loop_thread and self._is_on_stack():  # it does not await now, and the loop's thread can't hear
            self._throw(self._loop_thread, Interrupted)
        else:
            cancel()
        return True

    def give_up(self) -> None:
        """Wait no longer for what it awaits."""
        if self._cancel is not None:
            self._cancel()

    def _is_on_stack(self) -> bool:
        """Whether the loop's thread is in the middle of it, at this moment."""
        frame: FrameType | None = sys._current_frames().get(self._loop_thread)
        while frame is not None:
            if frame.f_code is self._drive:
                return True
            frame = frame.f_back
        return False
