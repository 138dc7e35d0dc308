"""Does a file compile, on a target's Python, as far as this Python can tell.

Pure. What does not compile here is not sent. Where this Python is older than the target's, a failure proves
nothing, and the target decides; it compiles what it gets in any case.
"""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass

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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if host > target:
                ast.parse(source, file, feature_version=target)
            compile(source, file, "exec", dont_inherit=True)
    except SyntaxError as error:
        text = (error.text or "").rstrip("\r\n")[:TEXT_CHARS]
        return SyntaxProblem(file, error.lineno or 1, max(1, error.offset or 1), text, error.msg)
    except (RecursionError, MemoryError):
        return SyntaxProblem(file, 1, 1, "", "the code is nested too deeply to be compiled")
    except ValueError as error:  # a null byte, on Python 3.11
        return SyntaxProblem(file, 1, 1, "", str(error))
    return None
