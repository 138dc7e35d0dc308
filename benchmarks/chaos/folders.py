"""Folders as values and back: what lies in one, and a new one with that content."""

from __future__ import annotations

import os
import shutil
import stat
from operator import attrgetter
from pathlib import Path

from .disk import Image, Thing, linked


def read(folder: Path) -> tuple[Image, dict[str, int]]:
    """What lies in ``folder``, and each path's inode, ``.`` for itself. Sockets and the like are no content."""
    image: Image = {}
    inodes = {".": folder.stat().st_ino}
    left = [""]
    while left:
        below = left.pop()
        for entry in sorted(os.scandir(f"{folder}/{below}"), key=attrgetter("name")):
            status = entry.stat(follow_symlinks=False)
            name, mode = f"{below}{entry.name}", stat.S_IMODE(status.st_mode)
            if stat.S_ISREG(status.st_mode):
                number = status.st_ino if status.st_nlink > 1 else 0
                with open(entry.path, "rb") as file:
                    image[name] = Thing("file", file.read(), mode, status.st_mtime_ns, number)
            elif stat.S_ISDIR(status.st_mode):
                image[name] = Thing("folder", b"", mode)
                left.append(f"{name}/")
            elif stat.S_ISLNK(status.st_mode):
                image[name] = Thing("link", os.fsencode(os.readlink(entry.path)))  # noqa: PTH115
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
    made: dict[int, str] = {}
    for name, thing in image.items():
        path = f"{top}/{name}"
        if thing.kind == "folder":
            os.mkdir(path)  # noqa: PTH102 - thousands of images with a hundred paths each
        elif thing.kind == "link":
            os.symlink(os.fsdecode(thing.content), path)  # noqa: PTH211
        elif thing.number in made:
            os.link(made[thing.number], path)
        else:
            if thing.number:
                made[thing.number] = path
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
    links = linked(left), linked(right)
    return sorted(
        path
        for path in left.keys() | right.keys()
        if (_told(left.get(path)), links[0].get(path)) != (_told(right.get(path)), links[1].get(path))
    )


def _told(thing: Thing | None) -> object:
    return None if thing is None else (thing.kind, thing.content, thing.mode if thing.kind != "link" else 0)
