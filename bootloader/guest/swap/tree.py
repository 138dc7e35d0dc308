"""A tree of an application's files, as it lies in a folder, or as it will lie there once some programs are others."""

from __future__ import annotations

import os
from collections.abc import Mapping


class Tree:
    """``changed``: what the files hold that are not as they are in ``folder``, or None for those that are gone."""

    def __init__(self, folder: str, changed: Mapping[str, bytes | None] | None = None) -> None:
        self._folder = folder
        self._changed = changed or {}

    def has(self, path: str) -> bool:
        """Whether there is such a file."""
        if path in self._changed:
            return self._changed[path] is not None
        return os.path.exists(f"{self._folder}/{path}")

    def read(self, path: str) -> bytes | None:
        """What a file holds; None where there is none."""
        if path in self._changed:
            return self._changed[path]
        try:
            with open(f"{self._folder}/{path}", "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None
