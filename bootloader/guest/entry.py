"""One application process: waits for its orders, then becomes the application.

It is forked ahead of time, so that at a save the next process already exists. Orders come as JSON lines on a pipe:
``check`` compiles files and answers; ``go`` runs the application and never returns, and what is ordered from then on is
for ``channel``; ``call`` calls one callable of it, answers, and never returns. The end of the pipe ends it. What it has
to say (``checked``, ``running``, ``died``, ``modules``, ``left``; of a call ``begun``, ``answered``, ``missing``; of a
state ``taking``, ``took``, ``giving``, ``gave``) goes as notes down its output pipe, in order with what the application
prints.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import inspect
import io
import json
import os
import runpy
import signal
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import FrameType, ModuleType
from typing import Any, NoReturn

from bootloader.wire.session import KIND

from . import ahead, handover, hook, limits
from .assets import Assets
from .attach import Attach
from .channel import Channel
from .check import check
from .debugger import Debugger
from .imports import Imports
from .output import Output
from .patch import Patch
from .problem import problem
from .repl import Repl
from .stacks import Stacks

_ANSWER_CHARS = 10_000
_MARGIN_S = 0.25
"""What is left of the grace time for the rest of the end; of a short one, a quarter."""


class Guest:
    """The process from its fork to its end. ``environment``: what its parent was started with."""

    def __init__(self, orders: int, output: Output, environment: Mapping[str, str], imports: Imports) -> None:
        self._orders = orders
        self._output = output
        self._environment = environment
        self._imports = imports
        self._pid = os.getpid()
        self._known = frozenset(sys.modules)
        self._ahead = ahead.by_first_name()
        self._tree = ""
        self._stopping_since: float | None = None
        self._entered = False
        self._gives: dict[str, Any] | None = None
        """How it is asked for its state at its end, if it is."""
        self._channel: Channel | None = None
        self._repl: Repl | None = None

    def serve(self) -> None:
        """Take orders until ``go``; returns when the orders end without one."""
        buffer = b""
        while chunk := os.read(self._orders, 65536):
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                order = json.loads(line)
                if "check" in order:
                    sys.pycache_prefix = order["pycache"]
                    found = check(order["tree"], order["live"], order["check"], order["programs"])
                    self._output.note(checked=order["id"], problem=found)
                elif "go" in order:
                    self._go(order["go"])
                elif "beside" in order:
                    os.close(self._orders)
                    self._beside(order["beside"])
                elif "call" in order:
                    os.close(self._orders)
                    self._call(order["call"])

    def _enter(self, orders: dict[str, Any]) -> None:
        """Become a process of the application, in which none of its code has run yet."""
        self._tree = orders["tree"]
        self._imports.begin(self._tree)
        self._adopt(orders["env"])
        os.chdir(orders["data"])
        limits.restrict(**orders["limits"])
        sys.pycache_prefix = orders["pycache"]
        sys.dont_write_bytecode = bool(orders["env"].get("PYTHONDONTWRITEBYTECODE"))
        sys.path[:0] = orders["path"]
        sys.argv[:] = [orders["entry"]]
        sys.modules["__main__"] = ModuleType("__main__")
        ahead.make_way(self._ahead, orders["path"])
        _reseed()

    def _call(self, call: dict[str, Any]) -> NoReturn:
        """Its answer is told as soon as there is one: what the process does at its end takes none back."""
        self._output.note(begun=True)
        code = 1
        try:
            self._enter(call)
            result = hook.found(call["entry"])(*call["arguments"])
            if inspect.isawaitable(result):
                result = self._run_async(result)
            self._output.note(answered=_plain(result))
            code = 0
        except hook.Missing as missing:
            self._output.note(missing=str(missing))
        except BaseException as error:  # noqa: BLE001 - whatever ended the call is what we report
            self._died(error)
        self._leave(code)

    def _beside(self, order: dict[str, Any]) -> NoReturn:
        """An interpreter where the application would be, of whose code nothing has run."""
        self._enter(order)
        self._repl = Repl(order["entry"].partition(":")[0], self._tree, _say)
        told = Attach({KIND: self._repl.open}).attach(order["attach"])
        if "refused" in told:
            _say(told["refused"])
        self._repl.wait()
        self._leave(0)

    def _go(self, go: dict[str, Any]) -> NoReturn:
        self._enter(go)
        patch = Patch(self._tree)
        module, is_called, _ = go["entry"].partition(":")
        self._repl = Repl(module if is_called else "__main__", self._tree, _say)
        debugger = Debugger(os.path.join(os.path.dirname(go["pycache"]), "debugger"), self._keep_to_itself)
        attach = Attach({KIND: self._repl.open, "debug": debugger.attach})
        handlers = {
            "prepare": patch.prepare,
            "commit": patch.commit,
            "assets": Assets(self._tree).changed,
            "attach": attach.attach,
            "stacks": Stacks(self._tree).where,
            "imports": self._imports.slowest,
        }
        self._channel = Channel(self._orders, self._output.note, handlers)
        signal.signal(signal.SIGTERM, self._on_terminate)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code: object = 1
        try:
            code = self._run(go)
        except SystemExit as end:
            code = end.code
        except KeyboardInterrupt:
            code = 130
        except BaseException as error:  # noqa: BLE001 - whatever ended the application is what we report
            self._died(error)
        if code is not None and not isinstance(code, int):
            _attempt(lambda: print(code, file=sys.stderr))
            code = 1
        if not code and self._entered:
            self._gives = go["give"]
        self._leave(code or 0)

    def _keep_to_itself(self, modules: frozenset[str]) -> None:
        """These are in this process alone: the next warm parent is not to import them."""
        self._known |= modules

    def _adopt(self, wanted: dict[str, str]) -> None:
        """The application's environment. What a module changed when the parent imported it, stays changed."""
        for name in self._environment.keys() - wanted.keys():
            os.environ.pop(name, None)
        os.environ.update({name: value for name, value in wanted.items() if self._environment.get(name) != value})

    def _leave(self, code: int) -> NoReturn:
        """End as Python ends, but without taking apart what the warm parent brought.

        Other threads are waited for, ``atexit`` runs, its state is asked for, the application's own modules are let go,
        so that what they held is closed and finalised. The third-party modules' teardown, two thirds of a stop with
        numpy, is left to the kernel: nothing of the application's is in there that ``atexit`` has not seen.
        """
        shutdown, exits = threading._shutdown, atexit._run_exitfuncs  # type: ignore[attr-defined]
        for step in (
            self._end,
            self._tell_modules,
            shutdown,
            self._clean_up,
            exits,
            self._give,
            self._let_go,
            *_FLUSH,
            self._tell_left,
        ):
            _attempt(step)
        os._exit(code & 0xFF)

    def _clean_up(self) -> None:
        """From here on, to be asked to stop ends nothing: it would cut a cleanup that is under way in half."""
        if signal.getsignal(signal.SIGTERM) == self._on_terminate:
            signal.signal(signal.SIGTERM, self._note_terminate)

    def _tell_left(self) -> None:
        """It cleaned up, as far as it does: without this word, its outputs are put in their safe state."""
        if os.getpid() == self._pid:  # not a fork of the application, at its own end
            self._output.note(left=True)

    def _give(self) -> None:
        """Offer the state, in the time that is left. Nothing more is asked of it then: it ends."""
        if self._gives is None or os.getpid() != self._pid:  # a fork of the application, at its own end
            return
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        limit_s = self._gives["limit_s"]
        if self._stopping_since is not None:
            margin_s = min(_MARGIN_S, self._gives["grace_s"] / 4)
            left_s = self._gives["grace_s"] - (time.monotonic() - self._stopping_since) - margin_s
            limit_s = min(limit_s, max(margin_s, left_s))
        self._output.note(giving=True)
        result, state = handover.give(self._gives["entry"], limit_s)
        self._output.note(gave=_told(result), state=state)

    def _take(self, take: dict[str, Any]) -> None:
        """Hand over what the last one gave. Where that fails, this process ends: who knows what it has done with it."""
        self._output.note(taking=True)
        result = handover.take(take["entry"], take["state"], take["version"], take["limit_s"])
        if self._stopping_since is not None:
            raise SystemExit(0)
        self._output.note(took=_told(result))
        if result.outcome != hook.DONE:
            self._leave(1)

    def _let_go(self) -> None:
        """Drop the application's own modules, as Python does at its end: what only they held is finalised.

        What something else still holds (a signal handler, a daemon thread) stays as it is. Files are flushed before:
        a cycle of garbage may close a file's descriptor before its buffer is written.
        """
        sys.meta_path.insert(0, _Parking())
        atexit._clear()
        for thing in gc.get_objects():
            if issubclass(type(thing), (io.TextIOWrapper, io.BufferedWriter)) and not thing.closed:
                _attempt(thing.flush)
        for name, module in list(sys.modules.items()):
            if self._owns(module):
                del sys.modules[name], module
        gc.collect()

    def _owns(self, module: ModuleType) -> bool:
        return (getattr(module, "__file__", None) or "").startswith(self._tree + "/")

    def _run(self, go: dict[str, Any]) -> object:
        module_name, _, attribute = go["entry"].partition(":")
        if not attribute:
            self._begin(go)
            runpy.run_module(module_name, run_name="__main__", alter_sys=True)
            return 0
        target: Any = importlib.import_module(module_name)
        for name in attribute.split("."):
            target = getattr(target, name)
        self._begin(go)
        result = target()
        if inspect.isawaitable(result):
            result = self._run_async(result)
        return result if isinstance(result, int) and not isinstance(result, bool) else 0

    def _begin(self, go: dict[str, Any]) -> None:
        """The entry comes next. From here on it may be given orders, and has a state of its own to hand over."""
        if go["take"] is not None:
            self._take(go["take"])
        self._tell_modules()
        if self._channel is not None:
            self._channel.open()
        self._entered = True
        self._output.note(running=True)

    def _end(self) -> None:
        if self._channel is not None:
            self._channel.close()
        if self._repl is not None:
            self._repl.close()

    def _run_async(self, result: Awaitable[object]) -> object:
        import asyncio

        async def main() -> object:
            task = asyncio.current_task()
            assert task is not None

            def stop() -> None:
                self._stopping_since = time.monotonic()
                task.cancel()

            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
            return await result

        try:
            return asyncio.run(main())
        except asyncio.CancelledError:
            if self._stopping_since is not None:
                return 0
            raise

    def _on_terminate(self, number: int, frame: FrameType | None) -> None:
        self._note_terminate(number, frame)
        raise SystemExit(0)

    def _note_terminate(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping_since = time.monotonic()

    def _tell_modules(self) -> None:
        """The modules that the application brought in and that are not its own: the next warm parent has them."""
        if os.getpid() != self._pid:  # a fork of the application, at its own end
            return
        names = []
        for name, module in list(sys.modules.items()):
            if name in self._known or name == "__main__":
                continue
            origin = getattr(getattr(module, "__spec__", None), "origin", None)
            if isinstance(origin, str) and os.path.isabs(origin) and not origin.startswith(self._tree + "/"):
                names.append(name)
        if names:
            self._output.note(modules=names[:2000])
            self._known |= frozenset(names)

    def _died(self, error: BaseException) -> None:
        for flush in _FLUSH:
            _attempt(flush)
        if os.getpid() != self._pid:
            _print(error)
            return
        self._output.note(**problem(error))


def _told(result: hook.Result) -> dict[str, Any]:
    more = problem(result.error) if result.error is not None else {}
    return {"outcome": result.outcome, "why": result.why, **more}


def _plain(result: object) -> object:
    """``result``, if it is JSON and short, as an answer is; None for anything else."""
    try:
        return result if len(json.dumps(result)) <= _ANSWER_CHARS else None
    except (TypeError, ValueError, RecursionError):
        return None


class _Parking:
    """Daemon threads get no further than their next import, which would run a module of the application again."""

    @staticmethod
    def find_spec(_name: str, _path: object = None, _target: object = None) -> None:
        if threading.current_thread() is not threading.main_thread():
            threading.Event().wait()


def _attempt(step: Callable[[], object]) -> None:
    """One of the last steps. Where it fails, that is told if there is still a way to, and the others follow."""
    try:
        step()
    except SystemExit:
        return  # asked to stop once more, or for the first time: it does
    except BaseException as error:  # noqa: BLE001 - the application's code runs in it, and may raise anything
        _print(error)


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(text, file=sys.stderr)


def _print(error: BaseException) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # its standard error is closed, or none
        traceback.print_exception(error)


def _flush(name: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or none
        getattr(sys, name).flush()


_FLUSH = (partial(_flush, "stdout"), partial(_flush, "stderr"))


def _reseed() -> None:
    """Forks of one parent would draw the same numbers. Python reseeds its own generator, numpy does not."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
