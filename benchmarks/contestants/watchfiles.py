"""watchfiles' command line, watching the project and running a command."""

import shlex
import sys

from .local import RUN, Local


def command_line() -> Local:
    """``watchfiles 'python -m station.main' .``"""
    return Local("watchfiles", "watchfiles", (sys.executable, "-m", "watchfiles", shlex.join(RUN), "."))
