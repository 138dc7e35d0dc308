"""Those that patch an application inside its own process, on this machine: jurigged, and IPython's autoreload.

They have no board to reach either. jurigged does not notice a file that is renamed over another (version 0.6), so it is
saved to by writing alone; it waits 50 ms after a change, and 1 ms where it is asked to. autoreload looks only when a
cell is run, so its loop is one cell a turn, which takes too much of the processor to be run as often as the others'.
"""

import sys

from .local import Local

_JURIGGED = (sys.executable, "-m", "jurigged", "--watch", "station")
_IN_PLACE = ("write",)
_CELLS = """
import sys, time
sys.path.insert(0, "")
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "autoreload")
shell.run_line_magic("autoreload", "2")
shell.run_cell("from station import main")
while True:
    shell.run_cell("main.turn()")
    time.sleep(0.02)
"""


def jurigged() -> Local:
    """As its command line starts it."""
    return Local("jurigged", "jurigged", (*_JURIGGED, "-m", "station.main"), _IN_PLACE)


def jurigged_tuned() -> Local:
    """With hardly a wait after a change."""
    return Local("jurigged-tuned", "jurigged", (*_JURIGGED, "--debounce", "0.001", "-m", "station.main"), _IN_PLACE)


def autoreload() -> Local:
    """``%autoreload 2`` in a shell whose every cell is one turn of the loop."""
    return Local("autoreload", "IPython", (sys.executable, "-c", _CELLS))
