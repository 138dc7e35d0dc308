"""Compiles what an overlay changed, before anything is switched, in a process that is not the bootloader.

The bytecode of a save is kept where the live path will look for it, so what was compiled for the check is not compiled
again. Of many files at once (a first sync, a checkout) it is not: an application imports few of thousands. It is kept
with a hash of its source (PEP 552), as the file of the tree may not be there yet, whose time Python would look at.
"""

from __future__ import annotations

import marshal
import warnings
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from importlib.util import MAGIC_NUMBER, cache_from_source, decode_source, source_hash
from types import CodeType
from typing import Any

from bootloader.wire.records import BYTES

KEPT = 64
"""The bytecode of more files than this at once is not kept."""

_BY_HASH = (0b11).to_bytes(4, "little")
"""Is valid while its source has this hash, and to be compared with it."""


def check(tree: str, live: str, paths: list[str], programs: Mapping[str, str]) -> dict[str, Any]:
    """Compile the Python files ``paths``, of ``programs`` or else of ``tree``. ``{}``, or the first problem."""
    for path in paths:
        file = f"{live}/{path}"
        source = b""
        try:
            source = programs[path].encode(BYTES) if path in programs else _read(f"{tree}/{path}")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the import will show them, where the application wants that
                code: CodeType = compile(source, file, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError, SystemError) as error:
            return _problem(source, path, error)
        except OSError:
            continue  # the import will tell
        if len(paths) <= KEPT:
            bytecode = MAGIC_NUMBER + _BY_HASH + source_hash(source) + marshal.dumps(code)
            SourceFileLoader("", file).set_data(cache_from_source(file), bytecode)  # if it can't, the import compiles
    return {}


def _read(file: str) -> bytes:
    with open(file, "rb") as source:
        return source.read()


def _problem(source: bytes, path: str, error: BaseException) -> dict[str, Any]:
    """The text of the line is read here: the error has looked for it under the live path, where the old file lies."""
    syntax = error if isinstance(error, SyntaxError) else SyntaxError(str(error) or type(error).__name__)
    line = syntax.lineno or 1
    return {
        "code": "syntax-error",
        "what": syntax.msg or "does not compile",
        "file": path,
        "line": line,
        "column": syntax.offset or 0,
        "text": "".join(_text(source).split("\n")[line - 1 : line])[:500],
    }


def _text(source: bytes) -> str:
    try:
        return decode_source(source)
    except (SyntaxError, ValueError):  # of an encoding that is not its own
        return source.decode(errors="replace")
