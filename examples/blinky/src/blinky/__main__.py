"""``python -m blinky``: blinks without a bootloader, which would turn SIGTERM into SystemExit too."""

import signal
import sys

from .main import main

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
main()
