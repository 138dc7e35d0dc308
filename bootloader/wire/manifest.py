r"""A tree as a value: the sorted list ``blake3 mode size path`` of its files, and the root that names it.

Owns what a legal path is and how a manifest is written, read, hashed and compared. Knows nothing of disks: a tree
here is its files' names, modes and hashes. Directories exist only as parts of paths, as in git.

An edit of a few files costs a few bisections and one join of the lines, so that the size of the project hardly
shows in the latency of a save. Code-point order of ``str`` equals byte order of UTF-8, so Python's own sorting
is the order of the format.

A reader without this program checks a tree against its manifest, from inside the tree, with

    sed -E 's/^([0-9a-f]{64}) [0-9]+ [0-9]+ /\1  /' MANIFEST | b3sum --check
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from blake3 import blake3

from .errors import Malformed
from .limits import FILE_BYTES, MANIFEST_FILES, PATH_BYTES

PLAIN = 0o644
RUNNABLE = 0o755
MODES = (PLAIN, RUNNABLE)

_HASH = re.compile(r"[0-9a-f]{64}")
_LINE = re.compile(r"([0-9a-f]{64}) (644|755) (0|[1-9][0-9]{0,11}) (.+)")
_SPLICES = 4
"""Up to so many replaced lines are spliced into the text; more, and a join is as good."""

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


class Manifest:
    """An immutable tree. Equal roots mean equal trees."""

    __slots__ = ("__dict__", "_entries", "_lines", "_paths")

    def __init__(self, entries: Mapping[str, Entry] | None = None) -> None:
        """A tree of ``entries``. An illegal path, and a file that is also a folder, are :class:`Malformed`."""
        files = dict(entries or {})
        if len(files) > MANIFEST_FILES:
            raise Malformed(f"{len(files)} files, at most {MANIFEST_FILES} fit", do="exclude what need not be shipped")
        self._entries = files
        self._paths = sorted(files)
        for path in self._paths:
            check_path(path)
            self._check_parents(path)
        self._lines = [files[path].line(path) for path in self._paths]

    def _check_parents(self, path: str) -> None:
        end = path.find("/")
        while end != -1:
            if path[:end] in self._entries:
                raise Malformed("is a file and a folder at once", to=repr(path[:end]))
            end = path.find("/", end + 1)

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

    @cached_property
    def text(self) -> bytes:
        """The manifest as written: sorted lines ``blake3 mode size path``, each with its line end."""
        return b"".join(self._lines)

    @cached_property
    def root(self) -> str:
        """The BLAKE3 of :attr:`text`: the hash of all the hashes."""
        return blob_name(self.text)

    def edit(self, edits: Edits) -> Manifest:
        """This tree with ``edits`` applied. Costs the edits and one copy of two lists, not a sort of the tree."""
        new = Manifest.__new__(Manifest)
        new._entries = entries = self._entries.copy()
        new._paths = paths = self._paths.copy()
        new._lines = lines = self._lines.copy()
        replaced: list[tuple[bytes, bytes]] = []
        for path, entry in edits.items():
            at = bisect_left(paths, path)
            if path in entries:
                if entry is None:
                    del entries[path], paths[at], lines[at]
                else:
                    entries[path] = entry
                    replaced.append((lines[at], entry.line(path)))
                    lines[at] = replaced[-1][1]
            elif entry is not None:
                check_path(path)
                entries[path] = entry
                paths.insert(at, path)
                lines.insert(at, entry.line(path))
        if len(paths) > MANIFEST_FILES:
            raise Malformed(f"{len(paths)} files, at most {MANIFEST_FILES} fit", do="exclude what need not be shipped")
        for path, entry in edits.items():
            if entry is not None:
                new._check_parents(path)
                if any(new.below(path)):
                    raise Malformed("is a file and a folder at once", to=repr(path))
        if len(replaced) == len(edits) <= _SPLICES and "text" in self.__dict__:
            new.__dict__["text"] = _spliced(self.text, replaced)
        return new

    def below(self, folder: str) -> Iterator[str]:
        """The paths inside ``folder``, sorted; all paths for the empty string."""
        prefix = f"{folder}/" if folder else ""
        at = bisect_left(self._paths, prefix)
        while at < len(self._paths) and self._paths[at].startswith(prefix):
            yield self._paths[at]
            at += 1

    def edits_to(self, other: Manifest) -> dict[str, Entry | None]:
        """What must change in this tree to make it ``other``, deletions included."""
        mine, theirs = self._entries, other._entries
        edits: dict[str, Entry | None] = dict.fromkeys(mine.keys() - theirs.keys())
        for path, entry in theirs.items():
            before = mine.get(path)
            if before is not entry and before != entry:  # most entries are the very same object
                edits[path] = entry
        return edits

    def blobs(self) -> dict[str, int]:
        """The blobs that this tree needs: name to size in bytes."""
        return {entry.blake3: entry.size for entry in self._entries.values()}

    def get(self, path: str) -> Entry | None:
        """The entry of ``path``, or None."""
        return self._entries.get(path)

    def items(self) -> Iterable[tuple[str, Entry]]:
        """Paths and entries, sorted by path."""
        return ((path, self._entries[path]) for path in self._paths)

    def __contains__(self, path: object) -> bool:
        return path in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Manifest) and self._lines == other._lines

    def __hash__(self) -> int:
        return hash(self.root)

    def __repr__(self) -> str:
        return f"<Manifest {self.root[:12]} of {len(self)} files>"


def _spliced(text: bytes, replaced: list[tuple[bytes, bytes]]) -> bytes:
    """``text`` with lines replaced in place: the usual save, without a join of all lines."""
    for old, new in replaced:
        at = 0 if text.startswith(old) else text.index(b"\n" + old) + 1
        text = text[:at] + new + text[at + len(old) :]
    return text


EMPTY = Manifest()
