"""hupper, as its command line starts it (a second between looks), and with the interval that its API allows."""

import sys

from .local import Local

_COMMAND = "from hupper.cli import main; main()"
_TUNED = "import hupper; hupper.start_reloader('station.main.main', reload_interval=0.05)"

DEFAULT = Local(
    "hupper", "hupper", "hupper -m station.main", (sys.executable, "-c", _COMMAND, "-q", "-m", "station.main")
)
TUNED = Local("hupper-tuned", "hupper", "hupper, reload_interval=0.05", (sys.executable, "-c", _TUNED))
