"""Why a patch is not made: a refusal before anything is touched, or the word that all of it was put back.

Both name a place as the tree knows it, ``motors.py:12``, and say what is there in words that a host can show.
"""

from __future__ import annotations

import ast

from ...wire.errors import Fault

_REASON_CHARS = 300
_CODE_CHARS = 80


class _Placed(Fault):
    """A fault at a line of a file of the tree; ``line`` 0: at the file as a whole."""

    def __init__(self, code: str, file: str, line: int, what: str, do: str) -> None:
        super().__init__(code, what, to=f"{file}:{line}" if line else file, do=do, file=file, line=line)

    @property
    def reason(self) -> str:
        """What a host shows: one line, the place first."""
        return f"`{self.to}` {self.what}"[:_REASON_CHARS]


class Refusal(_Placed):
    """The edit can't be made in the running process; nothing was touched."""

    def __init__(self, file: str, line: int, what: str) -> None:
        super().__init__("not-patchable", file, line, what, "restart the application")
        self.place = file, line

    def undone(self) -> Undone:
        """The same, said of a patch that had begun."""
        return Undone(*self.place, self.what)


class Undone(_Placed):
    """The patch failed halfway, and the process is again as it was before."""

    def __init__(self, file: str, line: int, what: str) -> None:
        super().__init__("not-patchable", file, line, what, "restart the application")


def quoted(node: ast.AST) -> str:
    """The first line of a statement, for a reason."""
    first, _, rest = ast.unparse(node).partition("\n")
    return f"`{first[:_CODE_CHARS]}{'…' if rest or len(first) > _CODE_CHARS else ''}`"
