"""watchdog's ``watchmedo auto-restart``, on the project's Python files."""

import sys

from .local import RUN, Local

_OPTIONS = ("--directory", ".", "--patterns", "**/*.py", "--recursive", "--")


def auto_restart() -> Local:
    """Needs PyYAML besides watchdog, as its ``watchmedo`` extra has it."""
    return Local("watchmedo", "yaml", (sys.executable, "-m", "watchdog.watchmedo", "auto-restart", *_OPTIONS, *RUN))
