"""The manifests of the roots that this target has run.

    manifests/<root>           the names of a manifest's blocks, a line each: a file named by its own BLAKE3
    manifests/blocks/<blake3>  a block: what manifests have in common lies there once
    manifests/copy/…           the same again, for those that must not be lost with one file

So a save of one file among 10,000 writes a few kilobytes. Owns that folder. Everything in it is verified when it is
read, and taken from the other place where it is damaged. Knows nothing of trees: one whose manifest is gone can't be
compared, repaired or gone back to.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from ..aside import Aside, is_other
from ..regular import regular
from ..wire.errors import Malformed
from ..wire.launch import PATH as LAUNCH
from ..wire.manifest import EMPTY, Manifest, blob_name, check_hash

_BLOB = re.compile(rb"^[0-9a-f]{64}(?= )", re.MULTILINE)
_LAUNCH = re.compile(rb"^([0-9a-f]{64}) .* " + re.escape(LAUNCH.encode()) + rb"$", re.MULTILINE)
_NAME = re.compile(r"[0-9a-f]{64}")


class Manifests:
    """``aside`` takes what lies where a manifest should be; without it, nothing is ever written."""

    def __init__(self, folder: Path, aside: Aside | None = None) -> None:
        self._first = _Place(folder, aside)
        self._copy = _Place(folder / "copy", aside)
        self._places = (self._first, self._copy)

    def read(self, root: str) -> Manifest | None:
        """The manifest that ``root`` names, from whichever files are whole."""
        if root == EMPTY.root:
            return EMPTY
        names = self._names(check_hash(root))
        if names is None:
            return None
        blocks: list[bytes] = []
        for name in names:
            block = self._block(name)
            if block is None:
                return None
            blocks.append(block)
        try:
            manifest = Manifest.parse(b"".join(blocks))
        except Malformed:
            return None
        return manifest if manifest.root == root else None

    def _names(self, root: str) -> list[str] | None:
        texts = (place.read(root) for place in self._places)
        text = next((text for text in texts if text is not None), None)
        return None if text is None else text.decode(errors="replace").split()

    def _block(self, name: str) -> bytes | None:
        blocks = (place.read_block(name) for place in self._places)
        return next((block for block in blocks if block is not None), None)

    def keep(self, manifest: Manifest, *, twice: bool = False) -> list[Path]:
        """Keep a manifest; the files of it that may not be on the disk for certain."""
        return [path for place in self._places[: 1 + twice] for path in place.keep(manifest)]

    def roots(self) -> list[str]:
        """All that are kept, in no order."""
        return self._first.roots()

    def names(self, path: str) -> bool:
        """Whether any manifest that is kept names a file ``path``."""
        line = f" {path}\n".encode()
        return any(line in block for block in self._blocks(self.roots()))

    def named(self, roots: Iterable[str]) -> tuple[set[str], set[str]]:
        """The blobs that the manifests of ``roots`` name, and those among them of launch files; they are not parsed, as
        there are many, and long ones.
        """
        blobs, launches = set[str](), set[str]()
        for block in self._blocks(roots):
            blobs.update(map(bytes.decode, _BLOB.findall(block)))
            launches.update(map(bytes.decode, _LAUNCH.findall(block)))
        return blobs, launches

    def _blocks(self, roots: Iterable[str]) -> Iterator[bytes]:
        for name in {name for root in roots for name in self._names(root) or ()}:
            block = self._block(name)
            if block is not None:
                yield block

    def forget(self, roots: Iterable[str]) -> None:
        """Drop the manifests of ``roots``."""
        forgotten = set(roots)
        for place in self._places:
            place.forget(forgotten)

    def keep_copies(self, roots: Collection[str]) -> None:
        """The second files are for ``roots`` alone."""
        self._copy.forget(root for root in self._copy.roots() if root not in roots)


class _Place:
    """One of the two folders."""

    def __init__(self, folder: Path, aside: Aside | None) -> None:
        self._folder = folder
        self._blocks = folder / "blocks"
        self._aside = aside
        self._sure: set[str] = set()
        """Blocks that are known to be there."""
        if aside is not None:
            for part in (self._folder, self._blocks):
                if is_other(part, folder=True):
                    aside.take(part)
                part.mkdir(parents=True, exist_ok=True)

    def read(self, root: str) -> bytes | None:
        """The names of a manifest's blocks."""
        return _verified(self._folder / root)

    def read_block(self, name: str) -> bytes | None:
        return _verified(self._blocks / name) if _NAME.fullmatch(name) else None

    def roots(self) -> list[str]:
        return [path.name for path in self._folder.iterdir() if _NAME.fullmatch(path.name)]

    def keep(self, manifest: Manifest) -> list[Path]:
        """The files that may not be on the disk for certain: blocks first, so that a root which is there is whole."""
        new = {name: block for name, block in manifest.blocks() if name not in self._sure}
        files = {
            **{self._blocks / name: block for name, block in new.items()},
            self._folder / manifest.root: manifest.index,
        }
        for path, text in files.items():
            if _verified(path) is None:
                if self._aside is not None and is_other(path, folder=False):
                    self._aside.take(path)
                path.write_bytes(text)  # a cut here leaves a text of another hash, which is none
        self._sure |= new.keys()
        return list(files)

    def forget(self, roots: Iterable[str]) -> None:
        """Drop manifests, and the blocks that no other one has."""
        forgotten = [path for root in roots if (path := self._folder / root).is_file()]
        if not forgotten:
            return
        for path in forgotten:
            path.unlink()
        named = {name for root in self.roots() for name in (self.read(root) or b"").decode().split()}
        for path in self._blocks.iterdir():
            if path.name not in named and not path.is_dir():
                self._sure.discard(path.name)
                path.unlink()


def _verified(path: Path) -> bytes | None:
    """What a file holds whose name is its BLAKE3; None where it does not, or is none."""
    try:
        with open(path, "rb", opener=regular) as file:
            text = file.read()
    except OSError:
        return None
    return text if blob_name(text) == path.name else None
