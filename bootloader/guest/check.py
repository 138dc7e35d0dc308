"""Compiles what an overlay changed, before anything is switched, in a process that is not the bootloader.

The bytecode of a save is kept where the live path will look for it, so what was compiled for the check is not compiled
again. Of many files at once (a first sync, a checkout) it is not: an application imports few of thousands.
"""

from __future__ import annotations

import importlib.util
import linecache
import py_compile
import warnings
from typing import Any

KEPT = 64
"""The bytecode of more files than this at once is not kept."""


def check(tree: str, live: str, paths: list[str]) -> dict[str, Any]:
    """Compile the Python files ``paths`` of ``tree``. ``{}``, or the fields of the first problem."""
    linecache.clearcache()
    for path in paths:
        file = f"{tree}/{path}"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the import will show them, where the application wants that
                if len(paths) <= KEPT:
                    cache = importlib.util.cache_from_source(f"{live}/{path}")
                    py_compile.compile(file, cfile=cache, dfile=f"{live}/{path}", doraise=True)
                else:
                    with open(file, "rb") as source:
                        compile(source.read(), f"{live}/{path}", "exec", dont_inherit=True)
        except py_compile.PyCompileError as error:
            return _problem(file, path, error.exc_value)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            return _problem(file, path, error)
        except OSError:
            continue  # the bytecode could not be kept: the import compiles it again
    return {}


def _problem(file: str, path: str, error: BaseException) -> dict[str, Any]:
    """The text of the line is read here: the error has looked for it under the live path, where the old file lies."""
    syntax = error if isinstance(error, SyntaxError) else SyntaxError(str(error) or type(error).__name__)
    return {
        "code": "syntax-error",
        "what": syntax.msg or "does not compile",
        "file": path,
        "line": syntax.lineno or 1,
        "column": syntax.offset or 0,
        "text": linecache.getline(file, syntax.lineno or 1).rstrip("\n")[:500],
    }
