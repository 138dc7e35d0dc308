"""The root file system of a card, mounted on this host: its paths as the card means them, and none that leads out.

Its symlinks are whatever wrote the card made them, and this host writes there as root. So an absolute one begins at
the card's own root, and what leads out of that, in a circle or nowhere is refused.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from bootloader.wire.errors import Fault

_MOST_LINKS = 40
"""As many as Linux follows in one path."""


class Root:
    """That in ``folder``. Paths are the card's, from its root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    def follow(self, path: str) -> Path:
        """Where ``path`` lies on this host, every link of it followed; what no link leads to need not be there."""
        here, links = self.folder, 0
        left: list[str | None] = [*reversed(path.split("/"))]
        while left:
            part = left.pop()
            if part is None:  # the end of a link
                if not os.path.lexists(here):
                    raise self.odd(path, "leads to what is not on the card")
            elif part == "..":
                if here == self.folder:
                    raise self.odd(path)
                here = here.parent
            elif part not in ("", "."):
                try:
                    link = str((here / part).readlink())
                except OSError:  # no link, or nothing
                    here /= part
                    continue
                links += 1
                if links > _MOST_LINKS:
                    raise self.odd(path, "leads in a circle")
                here = self.folder if link.startswith("/") else here
                left += [None, *reversed(link.split("/"))]
        return here

    def place(self, path: str) -> Path:
        """Where ``path`` is to be written: the links on the way are followed, one at its end is not."""
        folder, _, name = path.rpartition("/")
        return self.follow(folder) / name

    def read(self, path: str, most_bytes: int) -> bytes:
        """The beginning of a plain file, and nothing where there is none."""
        file = self.follow(path)
        try:
            if not stat.S_ISREG(file.lstat().st_mode):  # to open a device may be to use it
                return b""
            with file.open("rb") as content:
                return content.read(most_bytes)
        except OSError:
            return b""

    def odd(self, path: str, what: str = "leads out of the card") -> Fault:
        """Why ``path`` is not used."""
        do = "look at its links; what lies on another partition of the card, mount in its place"
        return Fault("odd-card", what, to=str(self.folder / path.lstrip("/")), do=do)
