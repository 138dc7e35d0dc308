"""watchdog's ``watchmedo auto-restart``, on the project's Python files."""

import sys

from .local import RUN, Local

_OPTIONS = ("--directory", ".", "--patterns", "**/*.py", "--recursive", "--")

WATCHMEDO = Local(
    "watchmedo",
    "yaml",
    "watchmedo auto-restart --patterns '**/*.py' --recursive",
    (sys.executable, "-m", "watchdog.watchmedo", "auto-restart", *_OPTIONS, *RUN),
)
