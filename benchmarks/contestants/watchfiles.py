"""watchfiles' command line, watching the project and running a command."""

import shlex
import sys

from .local import RUN, Local

WATCHFILES = Local(
    "watchfiles",
    "watchfiles",
    "watchfiles 'python -m station.main' .",
    (sys.executable, "-m", "watchfiles", shlex.join(RUN), "."),
)
