"""Whether this device's init system starts the bootloader again after a power cut, as far as systemd's files tell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_UNIT = re.compile(r"system\.slice/(?:[^/\n]+/)*?([\w@.:\\-]+\.service)(?:/|$)", re.MULTILINE)
_FOLDERS = ("etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")


def told(root: Path = Path("/")) -> Mapping[str, object]:
    """``name`` of the unit that this process is of, if it is of one; ``enabled``: whether a boot starts that."""
    try:
        groups = (root / "proc/self/cgroup").read_text("utf-8", "replace")
    except OSError:
        groups = ""
    found = _UNIT.search(groups)
    name = found[1] if found is not None else ""
    wants = [
        folder / name
        for where in _FOLDERS
        for kind in ("wants", "requires")
        for folder in (root / where).glob(f"*.{kind}")
    ]
    wanted = name and any(path.is_symlink() or path.exists() for path in wants)
    return {"name": name, "enabled": bool(wanted)}
