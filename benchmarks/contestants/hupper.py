"""hupper, as its command line starts it (a second between looks), and with the interval that its API allows."""

import sys

from .local import Local

_COMMAND = "from hupper.cli import main; main()"
_TUNED = "import hupper; hupper.start_reloader('station.main.main', reload_interval=0.05)"


def default() -> Local:
    """A second between looks, and up to another for the application to stop."""
    command = (sys.executable, "-c", _COMMAND, "-q", "-m", "station.main")
    return Local("hupper", "hupper", command)


def tuned() -> Local:
    """50 ms for either: an application that takes longer to stop is killed."""
    return Local("hupper-tuned", "hupper", (sys.executable, "-c", _TUNED))
