"""What lay in the way of the state or of a tree: moved aside and not deleted, as it may be somebody's, within bounds.

Owns the folder ``aside``. The oldest go first; order is told by a number in the name, as a device may have no clock.
Knows nothing of why something was in the way.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

MOST = 32
MOST_BYTES = 64 * 1024 * 1024

_PLACE = re.compile(r"\d{1,9}")


class Aside:
    """The newest is always kept, whatever its size."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def take(self, path: Path) -> None:
        """Move ``path`` here, whatever it is."""
        if is_other(self.folder, folder=True):
            self.folder.unlink()  # a file that nobody of ours wrote, in the one place that is ours to empty
        self.folder.mkdir(mode=0o700, exist_ok=True)
        place = self.folder / str(self._last() + 1)
        place.mkdir(mode=0o700)
        try:
            path.rename(place / path.name)
        except PermissionError:  # a folder of another user does not leave the one that it is in
            path.rename(path.with_name(f"{path.name}.lost"))
        self.keep(MOST, MOST_BYTES)

    def keep(self, most: int, most_bytes: int) -> None:
        """Keep the newest ``most`` within ``most_bytes``, but the newest one in any case; none with ``most`` 0."""
        left_bytes = most_bytes
        for count, (_, place) in enumerate(self._newest_first()):
            size_bytes = _size_bytes(place)
            left_bytes -= size_bytes
            if count >= most or (count and left_bytes < 0):
                shutil.rmtree(place, ignore_errors=True)  # what can't be deleted, is tried again at the next

    def _newest_first(self) -> list[tuple[int, Path]]:
        try:
            found = [path for path in self.folder.iterdir() if _PLACE.fullmatch(path.name)]
        except OSError:
            return []
        return sorted(((int(path.name), path) for path in found), reverse=True)

    def _last(self) -> int:
        return next((number for number, _ in self._newest_first()), 0)


def is_other(place: Path, *, folder: bool) -> bool:
    """Whether something lies at ``place`` that is not the folder, or the file, that should be there.

    A folder of another user, who lets nobody in, is of no use either.
    """
    if folder and is_folder(place):
        use = os.R_OK | os.W_OK | os.X_OK
        return place.stat().st_uid != os.geteuid() and not os.access(place, use)
    return os.path.lexists(place) and (folder or not os.path.isfile(place))  # noqa: PTH113


def is_folder(place: Path) -> bool:
    """Whether a folder lies at ``place``, as far as can be seen: ``Path.is_dir`` raises where it may not look."""
    return os.path.isdir(place)  # noqa: PTH112


def _size_bytes(folder: Path) -> int:
    """What deleting it gives back, roughly."""
    total = 0
    for top, _, files in os.walk(folder):
        for name in files:
            try:
                total += Path(top, name).lstat().st_size
            except OSError:
                continue
    return total
