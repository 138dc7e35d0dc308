"""Coverage follows every process that a test starts, and there are some that it can't, or had better not, follow."""

from __future__ import annotations

import os


def untraced() -> dict[str, str]:
    """The environment for a process in which coverage does not begin.

    One that forks hundreds of times would spend more on that than on all else; one that becomes another user may not
    write down what was covered.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_PROCESS")}
