"""Commands of the system that a gadget takes, each in bounded time. Knows nothing of what they are for."""

from __future__ import annotations

import os
import shutil
import subprocess

_LIMIT_S = 30.0


def run(*words: str) -> str:
    """Run one; why it did not work, if so."""
    command = shutil.which(words[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if command is None:
        return f"there is no command {words[0]!r}"
    try:
        done = subprocess.run(
            [command, *words[1:]], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_LIMIT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (done.stderr.strip() or f"{' '.join(words)} failed") if done.returncode else ""
