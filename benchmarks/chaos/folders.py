"""Folders as values and back: what lies in one, and a new one with that content."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from .disk import Image, Thing


def read(folder: Path) -> tuple[Image, dict[str, int]]:
    """What lies in ``folder``, and each path's inode, ``.`` for itself. Sockets and the like are no content."""
    image: Image = {}
    inodes = {".": folder.stat().st_ino}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        name, mode = path.relative_to(folder).as_posix(), stat.S_IMODE(status.st_mode)
        if stat.S_ISREG(status.st_mode):
            image[name] = Thing("file", path.read_bytes(), mode, status.st_mtime_ns)
        elif stat.S_ISDIR(status.st_mode):
            image[name] = Thing("folder", b"", mode)
        elif stat.S_ISLNK(status.st_mode):
            image[name] = Thing("link", os.fsencode(path.readlink()))
        else:
            continue
        inodes[name] = status.st_ino
    return image, inodes


def lay(image: Image, folder: Path) -> None:
    """Make ``folder`` hold ``image`` and nothing else."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    top = str(folder)
    for name, thing in image.items():
        path = f"{top}/{name}"
        if thing.kind == "folder":
            os.mkdir(path)  # noqa: PTH102 - thousands of images with a hundred paths each
        elif thing.kind == "link":
            os.symlink(os.fsdecode(thing.content), path)  # noqa: PTH211
        else:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, thing.mode)
            try:
                os.write(descriptor, thing.content)
                os.fchmod(descriptor, thing.mode)
                if thing.ns:
                    os.utime(descriptor, ns=(thing.ns, thing.ns))
            finally:
                os.close(descriptor)
    for name, thing in image.items():
        if thing.kind == "folder" and thing.mode != 0o755:
            os.chmod(f"{top}/{name}", thing.mode)  # noqa: PTH101


def unlike(left: Image, right: Image) -> list[str]:
    """The paths at which two images are not the same. When something was written does not count."""
    return sorted(path for path in left.keys() | right.keys() if _told(left.get(path)) != _told(right.get(path)))


def _told(thing: Thing | None) -> object:
    return None if thing is None else (thing.kind, thing.content, thing.mode if thing.kind != "link" else 0)
