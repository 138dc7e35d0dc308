"""What a disk may hold after a power cut, from a record of what was done to it. Pure.

The model is POSIX's own, which promises little, not that of one file system: a file's content is certain once the file
was fsynced, a name in a folder once the folder was, and of all the rest any part may be there and any other not. Only a
rename is one step. Content belongs to a file, and names to folders: two names of one file have one content. So each cut
has many outcomes; :meth:`Disk.outcomes` lists them by kind:

- everything that was done is there, or nothing that was not fsynced;
- of one file that was not fsynced, or of all, the content is lost, of the right length but zero, or cut in half;
- of the operations on folders that were not fsynced one is lost, or all, or all from one on (as a journal would).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

from blake3 import blake3

from bootloader.wire.errors import Fault

Key = tuple[int, str]
"""A name in a folder: the folder's number and the name."""

ROOT = 0
DAMAGES = ("lost", "zeroed", "torn")


@dataclass(frozen=True)
class Thing:
    """What one path of an image is: a file, a folder or a symlink. ``ns``: its modification time; ``number``: which one
    it is, as paths with the same number are names of one file. 0 is a file of a single name.
    """

    kind: str
    content: bytes = b""
    mode: int = 0o755
    ns: int = 0
    number: int = 0

    @cached_property
    def token(self) -> bytes:
        """A name for it; equal things have equal ones. The modification time of what is no file does not count."""
        ns = self.ns if self.kind == "file" else 0
        return blake3(f"{self.kind}\0{self.mode:o}\0{ns}\0".encode() + self.content).digest()


Image = dict[str, Thing]
"""A folder's whole content by path; folders come before what is in them."""


def digest(image: Image) -> str:
    """A name for an image; equal images have equal ones."""
    things = b"".join(path.encode() + b"\0" + image[path].token for path in sorted(image))
    return blake3(things + repr(sorted(linked(image).items())).encode()).hexdigest()


def linked(image: Image) -> dict[str, str]:
    """The paths at which there is a file that another path before it leads to, and the first one that does."""
    first: dict[int, str] = {}
    numbered = ((path, image[path].number) for path in sorted(image))
    return {path: one for path, number in numbered if number and (one := first.setdefault(number, path)) != path}


@dataclass(slots=True)
class _Node:
    kind: str
    now: Thing
    certain: Thing
    written: list[tuple[int, int]] = field(default_factory=list)
    """The parts, as begin and end, that were written since the content was certain."""

    @property
    def dirty(self) -> bool:
        return self.now != self.certain

    def after(self, damage: str) -> Thing:
        """What is left of it if it is not certain."""
        content, old = self.now.content, self.certain.content
        if damage == "lost":
            return self.certain
        if damage == "zeroed":
            zeroed = bytearray(content)
            for begin, end in self.written:
                zeroed[begin:end] = bytes(len(zeroed[begin:end]))
            content = bytes(zeroed)
        elif self.written:
            middle = (min(begin for begin, _ in self.written) + max(end for _, end in self.written)) // 2
            content = content[:middle] + old[middle : len(content)]
        return replace(self.now, content=content)


class Disk:
    """One folder on a disk, as it is and as it is for certain. Begins with ``image``, all of it certain."""

    def __init__(self, image: Image, inodes: Mapping[str, int]) -> None:
        self._nodes: dict[int, _Node] = {}
        self._by_inode: dict[int, int] = {}
        self._now: dict[Key, int] = {}
        self._next = ROOT
        self._new(inodes["."], Thing("folder"))
        for path, thing in image.items():
            key, inode = self._key(path), inodes[path]
            self._now[key] = self._by_inode[inode] if inode in self._by_inode else self._new(inode, thing)
        self._certain = dict(self._now)
        self._pending: list[dict[Key, int | None]] = []
        self._old: list[dict[Key, int | None]] = []
        self._synced = False

    def _new(self, inode: int, thing: Thing, *, certain: bool = True) -> int:
        number, self._next = self._next, self._next + 1
        now = replace(thing, number=number)
        never = replace(now, content=b"" if thing.kind == "file" else thing.content, ns=0)
        self._nodes[number] = _Node(thing.kind, now, now if certain else never)
        self._by_inode[inode] = number
        return number

    def _key(self, path: str) -> Key:
        at = ROOT
        *parents, name = path.split("/")
        for parent in parents:
            at = self._now[at, parent]
        return at, name

    # what was done

    def do(self, step: Mapping[str, Any]) -> None:
        """One line of the record."""
        self._synced = step["op"] in ("fsync", "sync")
        match step["op"]:
            case "create":
                self._add(step, Thing("file", b"", step["mode"]))
            case "mkdir":
                self._add(step, Thing("folder", b"", step["mode"]))
            case "symlink":
                self._add(step, Thing("link", step["target"].encode()))
            case "link":
                self._change({self._key(step["to"]): self._now[self._key(step["path"])]})
            case "rename":
                source, to = self._key(step["path"]), self._key(step["to"])
                self._change({source: None, to: self._now[source]})
            case "unlink":
                self._change({self._key(step["path"]): None})
            case "fsync":
                self._fsync(self._by_inode[step["ino"]])
            case "sync":
                for number in self._nodes:
                    self._fsync(number)
            case "write" | "truncate" | "chmod" | "utime":
                self._edit(self._nodes[self._by_inode[step["ino"]]], step)
            case other:
                raise Fault("chaos-unseen", f"not recorded in full: {other} {step}")

    def _add(self, step: Mapping[str, Any], thing: Thing) -> None:
        key = self._key(step["path"])
        self._change({key: self._new(step["ino"], thing, certain=False)})

    def _change(self, updates: dict[Key, int | None]) -> None:
        self._pending.append(updates)
        _apply(self._now, updates)

    def _edit(self, node: _Node, step: Mapping[str, Any]) -> None:
        thing = node.now
        content, mode, ns = thing.content, thing.mode, thing.ns
        if step["op"] == "write":
            data, at = base64.b85decode(step["data"]), step["at"]
            node.written.append((at, at + len(data)))
            content = content[:at].ljust(at, b"\0") + data + content[at + len(data) :]
        elif step["op"] == "truncate":
            size = step["size"]
            content = content[:size].ljust(size, b"\0")
            node.written = [(begin, min(end, size)) for begin, end in node.written if begin < size]
        elif step["op"] == "chmod":
            mode = step["mode"]
        else:
            ns = step["ns"]
        node.now = replace(thing, content=content, mode=mode, ns=ns)

    def _fsync(self, number: int) -> None:
        node = self._nodes[number]
        node.certain, node.written = node.now, []
        if node.kind != "folder":
            return
        left = []
        for updates in self._pending:
            # A rename is one step: once its old name is certain to be gone, the new one is there.
            whole = any(folder == number and child is None for (folder, _), child in updates.items())
            sure = {key: child for key, child in updates.items() if whole or key[0] == number}
            _apply(self._certain, sure)
            if rest := {key: child for key, child in updates.items() if key not in sure}:
                left.append(rest)
        self._pending = left

    # what may be there

    def settle(self) -> None:
        """What was not fsynced so far may still be lost with all the rest, but no longer alone."""
        self._old = list(self._pending)

    def image(self) -> Image:
        """Everything that was done."""
        return self._image(self._now, {})

    def outcomes(self) -> Iterator[tuple[str, Callable[[], Image]]]:
        """What a power cut now may leave, each with a name that says how it came about.

        They are to be made before the next step. Those in which a single thing is not as it was done have names that
        begin with ``content`` or ``lost``.
        """
        dirty = [number for number in set(self._now.values()) if self._nodes[number].dirty]
        dirty = [number for number in sorted(dirty) if self._nodes[number].kind == "file"]
        yield "all done", partial(self._image, self._now, {})
        nothing = {number: self._nodes[number].after("lost") for number in dirty}
        yield "nothing but what is certain", partial(self._image, self._certain, nothing)
        for damage in DAMAGES if dirty else ():
            after = {number: self._nodes[number].after(damage) for number in dirty}
            yield f"all contents {damage}", partial(self._image, self._now, after)
            for number in dirty if len(dirty) > 1 else ():
                yield f"content {number} {damage}", partial(self._image, self._now, {number: after[number]})
        for at, updates in enumerate(self._pending):
            if any(updates is old for old in self._old):
                continue
            what = _told(updates)
            yield f"lost alone: {what}", partial(self._of, [*self._pending[:at], *self._pending[at + 1 :]], {})
            if self._synced:  # else it is as if the cut had come earlier
                yield f"lost from: {what}", partial(self._of, self._pending[:at], {})
                yield f"lost from: {what}, contents too", partial(self._of, self._pending[:at], nothing)

    def _of(self, done: list[dict[Key, int | None]], contents: Mapping[int, Thing]) -> Image:
        """The image where of what is not certain only ``done`` was done to folders."""
        names = dict(self._certain)
        for updates in done:
            _apply(names, updates)
        return self._image(names, contents)

    def _image(self, names: Mapping[Key, int], contents: Mapping[int, Thing]) -> Image:
        inside: dict[int, list[tuple[str, int]]] = {}
        for (folder, name), number in names.items():
            inside.setdefault(folder, []).append((name, number))
        image: Image = {}
        left = [("", ROOT)]
        while left:
            prefix, folder = left.pop()
            for name, number in sorted(inside.get(folder, ())):
                path = f"{prefix}{name}"
                image[path] = contents.get(number, self._nodes[number].now)
                if self._nodes[number].kind == "folder":
                    left.append((f"{path}/", number))
        return image


def _apply(names: dict[Key, int], updates: Mapping[Key, int | None]) -> None:
    for key, child in updates.items():
        if child is None:
            names.pop(key, None)
        else:
            names[key] = child


def _told(updates: Mapping[Key, int | None]) -> str:
    return ", ".join(f"{name} {'gone' if child is None else 'there'}" for (_, name), child in updates.items())
