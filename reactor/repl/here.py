"""Statements that run on this host, beside the devices': with names of their own, in this very process."""

from __future__ import annotations

import ast
import asyncio
import ctypes
import inspect
import io
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from typing import Any

from .menu import Completion
from .remote import Answer

_SHOWN_CHARS = 20_000
_FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


class _Lines(io.TextIOBase):
    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._rest = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        lines, newline, self._rest = (self._rest + text).rpartition("\n")
        if newline:
            self._tell(lines)
        return len(text)

    def flush(self) -> None:
        if self._rest:
            self._tell(self._rest)
            self._rest = ""


class Here:
    """``output`` gets what is printed, in lines, with the stream's name."""

    def __init__(self, output: Callable[[str, str], None]) -> None:
        self.names: dict[str, Any] = {"__name__": "__console__", "__doc__": None}
        self._output = output
        self._thread = 0

    def run(self, source: str) -> Answer:
        """Run ``source`` to its end."""
        began, answer = time.monotonic(), Answer()
        out, err = (_Lines(partial(self._output, name)) for name in ("stdout", "stderr"))
        self._thread = threading.get_ident()
        try:
            with redirect_stdout(out), redirect_stderr(err):
                value = self._value(source)
                out.flush()
                err.flush()
            if value is not None:
                self.names["_"] = value
                text = repr(value)
                answer.text, answer.cut = text[:_SHOWN_CHARS], f"{len(text)} characters" * (len(text) > _SHOWN_CHARS)
            answer.outcome = "done"
        except KeyboardInterrupt:
            answer.outcome, answer.why, answer.status = "interrupted", "interrupted", 1
        except BaseException as error:  # noqa: BLE001 - whatever it raises is the answer
            answer.outcome, answer.why, answer.status = "raised", f"{type(error).__name__}: {error}", 1
            frames = traceback.TracebackException.from_exception(error)
            frames.stack = traceback.StackSummary.from_list(
                [each for each in frames.stack if each.filename != __file__]
            )
            answer.traceback = "".join(frames.format())
        finally:
            self._thread = 0
            answer.ms = round((time.monotonic() - began) * 1000, 2)
        return answer

    def _value(self, source: str) -> Any:
        tree = compile(source, "<host>", "exec", ast.PyCF_ONLY_AST | _FLAGS, dont_inherit=True)
        assert isinstance(tree, ast.Module)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        codes = [compile(tree, "<host>", "exec", _FLAGS, dont_inherit=True)]
        if isinstance(last, ast.Expr):
            codes.append(compile(ast.Expression(last.value), "<host>", "eval", _FLAGS, dont_inherit=True))
        value: Any = None
        for code in codes:
            value = eval(code, self.names)
            if code.co_flags & inspect.CO_COROUTINE:
                value = asyncio.run(value)
        return value

    def get(self, expression: str) -> Any:
        """What ``expression`` is worth."""
        return eval(compile(expression.strip(), "<host>", "eval"), self.names)

    def interrupt(self) -> bool:
        """Have what runs end; False where nothing does."""
        if not self._thread:
            return False
        kind = ctypes.py_object(KeyboardInterrupt)
        found: int = ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), kind)
        return found == 1

    def complete(self, source: str, at: int) -> Completion:
        """The names that there are."""
        word = source[:at][len(source[:at].rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")) :]
        found = sorted(name for name in self.names if name.startswith(word) and not name.startswith("__"))
        return Completion(tuple((name, type(self.names[name]).__name__) for name in found), at - len(word))
