"""Whether a folder lies on a file system that tells of no changes, or not of those that others make."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

MOUNTS = Path("/proc/mounts")

SILENT = frozenset(
    (
        *("9p", "drvfs", "virtiofs", "vboxsf", "prl_fs", "fuse.vmhgfs-fuse", "vmhgfs", "fuse.grpcfuse", "fakeowner"),
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.davfs2"),
    )
)
"""Shares of another machine, or of the one that this virtual machine runs on."""


def without_events(folders: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """Why one of ``folders`` must be polled, or None."""
    if environ.get("REACTOR_WATCH") == "poll":
        return "REACTOR_WATCH=poll"
    if not MOUNTS.exists():
        return None
    table = MOUNTS.read_text("utf-8", "surrogateescape")
    for folder in folders:
        kind = file_system(folder, table)
        if kind in SILENT:
            return f"{folder} is on {kind}, which does not tell of every change"
    return None


def file_system(folder: str, table: str) -> str:
    """The kind of file system that ``folder`` lies on, by a ``table`` like /proc/mounts; empty where it tells none."""
    best, kind = "", ""
    for line in table.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[1])
        # Of two that are mounted at one place, the later one hides the earlier.
        if (folder == point or folder.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind
