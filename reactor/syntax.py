"""Does a file compile, on a target's Python, as far as this Python can tell.

Pure. The target decides: it compiles what it gets in any case, and switches to nothing that does not. Once it has said
so, this is found out here, to tell of every file, and of the place as people see it. Where this Python is older than
the target's, a failure proves nothing.
"""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass
from importlib.util import decode_source
from io import StringIO
from itertools import islice

CODE = "syntax-error"

TEXT_CHARS = 400
"""Most of a line that is shown."""

Version = tuple[int, int]


@dataclass(frozen=True, slots=True)
class SyntaxProblem:
    """Why and where ``file`` does not compile. ``line`` and ``column`` count from 1; ``text`` is that line's."""

    file: str
    line: int
    column: int
    text: str
    message: str
    code: str = CODE


def check(source: bytes, file: str, target: Version, host: Version) -> SyntaxProblem | None:
    """What keeps the Python file of content ``source`` from compiling on a ``target``'s version, if anything is seen.

    ``host`` is the version of the Python that runs this.
    """
    if host < target:
        return None
    older = target if target < host else None
    error = _error(source, file, older)
    if error is None:
        return None
    try:
        decoded = decode_source(source)
    except (SyntaxError, UnicodeDecodeError):
        return _problem(error, source.decode("utf-8", "replace"), file)
    # Up to Python 3.12, the columns of what was compiled from bytes count bytes.
    return _problem(_error(decoded, file, older) or error, decoded, file)


def _error(source: bytes | str, file: str, older: Version | None) -> Exception | None:
    """Why ``source`` does not compile, also not on the ``older`` version, if there is one."""
    try:
        with warnings.catch_warnings():  # two threads at once may leave warnings ignored, which nobody misses here
            warnings.simplefilter("ignore")
            if older:
                ast.parse(source, file, feature_version=older)
            compile(source, file, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return error
    return None


def _problem(error: Exception, source: str, file: str) -> SyntaxProblem:
    if not isinstance(error, SyntaxError):
        nested = "the code is nested too deeply to be compiled"
        message = str(error) if isinstance(error, ValueError) else nested  # a null byte, on Python 3.11
        return SyntaxProblem(file, 1, 1, "", message)
    line = max(1, error.lineno or 1)
    # The error's own text may come from a file of that name in the current folder.
    text = next(islice(StringIO(source), line - 1, None), "").rstrip("\n")[:TEXT_CHARS]
    return SyntaxProblem(file, line, max(1, error.offset or 1), text, error.msg)
