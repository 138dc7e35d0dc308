r"""A tree as a value: the sorted list ``blake3 mode size path`` of its files, and the root that names it.

Owns what a legal path is and how a manifest is written, read, hashed and compared. Knows nothing of disks: a tree
here is its files' names, modes and hashes. Directories exist only as parts of paths, as in git.

A manifest is cut into blocks of neighbouring files, some 64 each, and its root is the BLAKE3 of the list of theirs. An
edited manifest shares all blocks with the one before but those that the edit touches, so the size of the project does
not show in the latency of a save. The paths alone decide where it is cut: one tree has one root, however it came about.
Code-point order of ``str`` equals byte order of UTF-8, so Python's own sorting is the order of the format.

A reader without this program checks a tree against its manifest, from inside the tree, with

    sed -E 's/^([0-9a-f]{64}) [0-9]+ [0-9]+ /\1  /' MANIFEST | b3sum --check
"""

from __future__ import annotations

import re
from binascii import crc32
from bisect import bisect_left, bisect_right
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from blake3 import blake3

from .errors import Malformed
from .limits import FILE_BYTES, MANIFEST_FILES, PATH_BYTES

PLAIN = 0o644
RUNNABLE = 0o755
MODES = (PLAIN, RUNNABLE)

_HASH = re.compile(r"[0-9a-f]{64}")
_LINE = re.compile(r"([0-9a-f]{64}) (644|755) (0|[1-9][0-9]{0,11}) (.+)")
_BLOCK_FILES = 64
"""Files of a block, on average: one begins where the CRC-32 of a path is a multiple of this."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def blob_name(content: bytes | memoryview) -> str:
    """The name of a blob: the BLAKE3 of its content, 64 lower-case hexadecimal digits."""
    return blake3(content).hexdigest()


def check_hash(text: str) -> str:
    """``text`` if it is a blob's or a root's name, else :class:`Malformed`. It may become part of a file name."""
    if not _HASH.fullmatch(text):
        raise Malformed("not a BLAKE3 in lower-case hexadecimal", to=repr(text[:80]))
    return text


def check_path(path: str) -> str:
    """``path`` if it names a file inside a tree on every system, else :class:`Malformed` with the reason."""
    reason = ""
    if not path:
        reason = "the path is empty"
    elif _CONTROL.search(path):
        reason = "the path holds a control character"
    elif path.startswith("/"):
        reason = "the path is absolute"
    elif "\\" in path:
        reason = "the path holds a backslash"
    elif any(part in ("", ".", "..") for part in path.split("/")):
        reason = "the path has an empty, '.' or '..' part"
    else:
        try:
            if len(path.encode()) > PATH_BYTES:
                reason = f"the path is longer than {PATH_BYTES} bytes"
            elif max(len(part.encode()) for part in path.split("/")) > 255:
                reason = "a part of the path is longer than 255 bytes"
        except UnicodeEncodeError:
            reason = "the path is not valid Unicode"
    if reason:
        raise Malformed(reason, to=repr(path[:200]), do="rename the file, or exclude it in [tool.reactor]")
    return path


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a tree: the BLAKE3 of its content, its mode (0o644 or 0o755), its size in bytes."""

    blake3: str
    mode: int
    size: int

    def __post_init__(self) -> None:
        check_hash(self.blake3)
        if self.mode not in MODES:
            raise Malformed(f"the mode is {self.mode:o}, expected 644 or 755")
        if isinstance(self.size, bool) or not 0 <= self.size <= FILE_BYTES:
            raise Malformed(f"the size is {self.size}, expected 0 to {FILE_BYTES}")

    def line(self, path: str) -> bytes:
        """This file's line in a manifest, line end included."""
        return f"{self.blake3} {self.mode:o} {self.size} {path}\n".encode()


Edits = Mapping[str, Entry | None]
"""What changed in a tree: the new entry of a path, or None where the file is gone."""


class _Block:
    """Neighbouring files of a tree, immutable: ``entries`` is sorted by path, ``text`` are their lines."""

    __slots__ = ("entries", "name", "text")

    def __init__(self, entries: dict[str, Entry]) -> None:
        self.entries = entries
        self.text = b"".join([entry.line(path) for path, entry in entries.items()])
        self.name = blob_name(self.text)


def _begins(path: str) -> bool:
    return crc32(path.encode()) % _BLOCK_FILES == 0


def _blocks(entries: dict[str, Entry]) -> list[_Block]:
    """``entries``, sorted by path, in blocks."""
    blocks: list[dict[str, Entry]] = []
    for path, entry in entries.items():
        if not blocks or _begins(path):
            blocks.append({})
        blocks[-1][path] = entry
    return [_Block(block) for block in blocks]


class Manifest:
    """An immutable tree. Equal roots mean equal trees."""

    __slots__ = ("__dict__", "_blocks", "_firsts", "_length")

    def __init__(self, entries: Mapping[str, Entry] | None = None) -> None:
        """A tree of ``entries``. An illegal path, and a file that is also a folder, are :class:`Malformed`."""
        files = dict(sorted((entries or {}).items()))
        for path in files:
            check_path(path)
            _check_parents(path, files)
        self._hold(_blocks(files))

    def _hold(self, blocks: list[_Block]) -> None:
        self._blocks = blocks
        self._firsts = [next(iter(block.entries)) for block in blocks]
        self._length = sum(len(block.entries) for block in blocks)
        if self._length > MANIFEST_FILES:
            raise Malformed(
                f"{self._length} files, at most {MANIFEST_FILES} fit", do="exclude what need not be shipped"
            )

    @classmethod
    def parse(cls, text: bytes) -> Manifest:
        """The tree that ``text`` lists. Anything but the canonical form is :class:`Malformed`."""
        if not text:
            return cls()
        try:
            lines = text.decode().split("\n")
        except UnicodeDecodeError as error:
            raise Malformed("the manifest is not UTF-8") from error
        if lines.pop():
            raise Malformed("the manifest's last line is cut")
        entries: dict[str, Entry] = {}
        for number, line in enumerate(lines, 1):
            match = _LINE.fullmatch(line)
            if not match:
                raise Malformed("not a line 'blake3 mode size path'", to=f"manifest line {number}")
            name, mode, size, path = match.groups()
            entries[path] = Entry(name, int(mode, 8), int(size))
        manifest = cls(entries)
        if manifest.text != text:
            raise Malformed("the manifest is not sorted, or names a path twice")
        return manifest

    @property
    def text(self) -> bytes:
        """The manifest as written: sorted lines ``blake3 mode size path``, each with its line end."""
        return b"".join([block.text for block in self._blocks])

    @cached_property
    def index(self) -> bytes:
        """The BLAKE3s of the blocks, a line each."""
        return "".join([f"{block.name}\n" for block in self._blocks]).encode()

    @cached_property
    def root(self) -> str:
        """The hash of all the hashes: the BLAKE3 of :attr:`index`."""
        return blob_name(self.index)

    def blocks(self) -> Iterator[tuple[str, bytes]]:
        """The name and the text of each block; the texts make up :attr:`text`."""
        return ((block.name, block.text) for block in self._blocks)

    def edit(self, edits: Edits) -> Manifest:
        """This tree with ``edits`` applied. Costs the blocks that they touch, not the tree."""
        touched: dict[int, dict[str, Entry | None]] = {}
        for path, entry in edits.items():
            if entry is not None and path not in self:
                check_path(path)
            touched.setdefault(self._at(path), {})[path] = entry
        blocks = self._blocks.copy()
        for at in sorted(touched, reverse=True):  # from the end: what is cut moves only what is behind it
            entries = _edited(blocks[at].entries if blocks else {}, touched[at])
            if at and entries and not _begins(next(iter(entries))):  # what it began with is gone
                blocks[at - 1 : at + 1] = _blocks(blocks[at - 1].entries | entries)
            else:
                blocks[at : at + 1] = _blocks(entries)
        new = Manifest.__new__(Manifest)
        new._hold(blocks)
        for path, entry in edits.items():
            if entry is not None:
                _check_parents(path, new)
                if any(new.below(path)):
                    raise Malformed("is a file and a folder at once", to=repr(path))
        return new

    def _at(self, path: str) -> int:
        """The number of the block that ``path`` is in, or would be in."""
        return max(0, bisect_right(self._firsts, path) - 1)

    def below(self, folder: str) -> Iterator[str]:
        """The paths inside ``folder``, sorted; all paths for the empty string."""
        prefix = f"{folder}/" if folder else ""
        for block in self._blocks[self._at(prefix) :]:
            paths = list(block.entries)
            for path in paths[bisect_left(paths, prefix) :]:
                if not path.startswith(prefix):
                    return
                yield path

    def edits_to(self, other: Manifest) -> dict[str, Entry | None]:
        """What must change in this tree to make it ``other``, deletions included."""
        mine, theirs = _apart(self._blocks, other._blocks), _apart(other._blocks, self._blocks)
        edits: dict[str, Entry | None] = dict.fromkeys(path for path in mine if path not in theirs)
        edits |= {path: entry for path, entry in theirs.items() if mine.get(path) != entry}
        return edits

    def blobs(self) -> dict[str, int]:
        """The blobs that this tree needs: name to size in bytes."""
        return {entry.blake3: entry.size for block in self._blocks for entry in block.entries.values()}

    @cached_property
    def paths_of(self) -> Mapping[str, list[str]]:
        """Where each blob lies: blob to paths."""
        found: dict[str, list[str]] = {}
        for path, entry in self.items():
            found.setdefault(entry.blake3, []).append(path)
        return found

    def get(self, path: str) -> Entry | None:
        """The entry of ``path``, or None."""
        return self._blocks[self._at(path)].entries.get(path) if self._blocks else None

    def items(self) -> Iterator[tuple[str, Entry]]:
        """Paths and entries, sorted by path."""
        return chain.from_iterable(block.entries.items() for block in self._blocks)

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and self.get(path) is not None

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(block.entries for block in self._blocks)

    def __len__(self) -> int:
        return self._length

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Manifest) and self.root == other.root

    def __hash__(self) -> int:
        return hash(self.root)

    def __repr__(self) -> str:
        return f"<Manifest {self.root[:12]} of {len(self)} files>"


def _check_parents(path: str, files: Container[str]) -> None:
    end = path.find("/")
    while end != -1:
        if path[:end] in files:
            raise Malformed("is a file and a folder at once", to=repr(path[:end]))
        end = path.find("/", end + 1)


def _edited(entries: dict[str, Entry], edits: Edits) -> dict[str, Entry]:
    """``entries`` with ``edits`` applied, sorted by path again where one is new."""
    after = entries.copy()
    for path, entry in edits.items():
        if entry is None:
            after.pop(path, None)
        else:
            after[path] = entry
    return after if after.keys() <= entries.keys() else dict(sorted(after.items()))


def _apart(blocks: list[_Block], others: list[_Block]) -> dict[str, Entry]:
    """The entries of ``blocks``, but for blocks that are ``others`` too: two trees share most."""
    shared = set(map(id, others))
    return {path: entry for block in blocks if id(block) not in shared for path, entry in block.entries.items()}


EMPTY = Manifest()
