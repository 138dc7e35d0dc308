"""The manifests of the roots that this target has run, a file each, named by its own hash.

Owns the folder ``manifests`` and, in ``manifests/copy``, a second file of those that must not be lost with one: a tree
whose manifest is gone can't be compared, repaired or gone back to. Knows nothing of trees.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from .aside import Aside, is_other
from .wire.errors import Malformed
from .wire.manifest import EMPTY, Manifest, check_hash

_BLOB = re.compile(rb"^[0-9a-f]{64}(?= )", re.MULTILINE)
_NAME = re.compile(r"[0-9a-f]{64}")


class Manifests:
    """``aside`` takes what lies where a manifest should be; without it, nothing is ever written."""

    def __init__(self, folder: Path, aside: Aside | None = None) -> None:
        self._folder = folder
        self._copies = folder / "copy"
        self._aside = aside
        if aside is not None:
            for place in (self._folder, self._copies):
                if is_other(place, folder=True):
                    aside.take(place)
                place.mkdir(parents=True, exist_ok=True)

    def read(self, root: str) -> Manifest | None:
        """The manifest whose text has the BLAKE3 ``root``, from whichever file is whole."""
        if root == EMPTY.root:
            return EMPTY
        for place in self._places(root):
            try:
                manifest = Manifest.parse(place.read_bytes())
            except (OSError, Malformed):
                continue
            if manifest.root == root:
                return manifest
        return None

    def _places(self, root: str) -> tuple[Path, Path]:
        return self._folder / check_hash(root), self._copies / root

    def keep(self, manifest: Manifest, *, twice: bool = False) -> list[Path]:
        """Keep a manifest; the files that were written for it."""
        written = []
        for place in self._places(manifest.root)[: 1 + twice]:
            if not _holds(place, manifest.text):
                if self._aside is not None and is_other(place, folder=False):
                    self._aside.take(place)
                place.write_bytes(manifest.text)  # a cut here leaves a text of another hash, which is none
                written.append(place)
        return written

    def roots(self) -> list[str]:
        """All that are kept, in no order."""
        return [path.name for path in self._folder.iterdir() if _NAME.fullmatch(path.name)]

    def names(self, path: str) -> bool:
        """Whether any manifest that is kept names a file ``path``."""
        line = f" {path}\n".encode()
        return any(line in text for text in self._texts(self.roots()))

    def blobs(self, roots: Iterable[str]) -> set[str]:
        """The blobs that the manifests of ``roots`` name; they are not parsed, as there are many, and long ones."""
        return {name.decode() for text in self._texts(roots) for name in _BLOB.findall(text)}

    def _texts(self, roots: Iterable[str]) -> Iterator[bytes]:
        for root in roots:
            for place in self._places(root):
                try:
                    yield place.read_bytes()
                except OSError:
                    continue

    def forget(self, roots: Iterable[str]) -> None:
        """Drop the manifests of ``roots``."""
        for root in roots:
            for place in self._places(root):
                place.unlink(missing_ok=True)

    def keep_copies(self, roots: Collection[str]) -> None:
        """The second files are for ``roots`` alone."""
        for path in self._copies.iterdir():
            if path.name not in roots and not path.is_dir():
                path.unlink(missing_ok=True)


def _holds(place: Path, text: bytes) -> bool:
    try:
        return place.stat().st_size == len(text) and place.read_bytes() == text
    except OSError:
        return False
