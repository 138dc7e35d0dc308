"""Where packages are imported from: the layer, behind the standard library, and what the device has, where that may be.

For the warm parent, before it imports anything: all that it forks has the same. As in a virtual environment, files
``*.pth`` of the layer count, so from here on code of its wheels runs.
"""

from __future__ import annotations

import os
import site
import sys


def settle(layer: str, system: bool) -> None:
    """Make ``sys.path`` the standard library, the layer's folder, and, where ``system``, whatever else was on it."""
    if not layer and system:
        return
    library = os.path.dirname(os.__file__)
    zipped = f"python{sys.version_info[0]}{sys.version_info[1]}.zip"
    own = (library, os.path.join(library, "lib-dynload"))
    before, sys.path[:] = sys.path[:], []
    standard = [path for path in before if path in own or os.path.basename(path) == zipped]
    sys.path[:] = standard
    if layer:
        site.addsitedir(layer)
    if system:
        sys.path += [path for path in before if path not in standard and path not in sys.path]
