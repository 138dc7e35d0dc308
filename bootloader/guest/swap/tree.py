"""A tree of an application's files, as it lies in a folder, or as it will be once some of its files are others."""

from __future__ import annotations

import os
from collections.abc import Mapping


class Tree:
    """``changed``: what does not lie in ``folder`` as it is in the tree: where it lies, or None for what is gone."""

    def __init__(self, folder: str, changed: Mapping[str, str | None] | None = None) -> None:
        self._folder = folder
        self._changed = changed or {}

    def _place(self, path: str) -> str | None:
        return self._changed.get(path, f"{self._folder}/{path}")

    def has(self, path: str) -> bool:
        """Whether there is such a file."""
        place = self._place(path)
        return place is not None and os.path.exists(place)

    def read(self, path: str) -> bytes | None:
        """What a file holds; None where there is none."""
        place = self._place(path)
        try:
            if place is not None:
                with open(place, "rb") as file:
                    return file.read()
        except FileNotFoundError:
            pass
        return None
