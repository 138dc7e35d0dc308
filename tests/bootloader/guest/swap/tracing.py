"""Coverage of what forks hundreds of times would cost more than all that is done in between."""

from __future__ import annotations

import os


def untraced() -> dict[str, str]:
    """The environment, without what has coverage begin in it. The same edits are traced in ``test_target``."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_PROCESS")}
