"""Makes a layer in an empty folder: unpacks wheels, and links what lies unpacked elsewhere.

Two wheels may bring one file. The first one's is taken, in the order of their names, so that the same wheels are the
same layer on every target; where the two differ, that is told. Nothing is durable when this returns but on request.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from blake3 import blake3

from ..wire.errors import Refused
from ..wire.layer import Wheel
from ..wire.limits import LAYER_BYTES, MANIFEST_FILES
from ..wire.manifest import PLAIN, Entry
from .layer import Layer
from .trees import content_time_ns
from .wheel import Archive, bad, opened

Room = Callable[[Iterable[int]], None]
"""Makes room for files of these sizes, or refuses."""

Progress = Callable[[int, int], None]
"""Told (bytes done, bytes in all)."""

Found = Mapping[str, tuple[Entry, Path]]
"""The files of a wheel that lie unpacked somewhere: by path, each with where that is."""


class Unpack:
    """Into ``folder``, which is made. ``blob`` tells where a wheel lies whole; ``on_clash`` gets the words for it."""

    def __init__(self, folder: Path, blob: Callable[[Wheel], Path], on_clash: Callable[[str], None]) -> None:
        self._folder = folder
        self._blob = blob
        self._on_clash = on_clash
        self._owners: dict[str, Wheel] = {}
        self.written: dict[Path, None] = {}
        """What is to be fsynced, files before the folders that they are in."""

    def run(self, wheels: Sequence[Wheel], unpacked: Mapping[str, Found], room: Room, progress: Progress) -> Layer:
        """All of ``wheels``; ``unpacked``: those, by BLAKE3, that need not be."""
        layer = Layer(tuple(sorted(wheels)))
        with ExitStack() as files:
            archives: dict[Wheel, Archive] = {}
            sizes: list[int] = []
            for wheel in layer.wheels:
                if wheel.blake3 not in unpacked and len(sizes) <= MANIFEST_FILES:  # else no more is read: it is refused
                    archives[wheel] = files.enter_context(opened(self._blob(wheel), wheel))
                    sizes += [member.size for member in archives[wheel].members]
            self._check(sizes, unpacked.values())
            room(sizes)
            self._folder.mkdir()
            self.written[self._folder] = None
            done = 0
            for wheel in layer.wheels:
                if wheel in archives:
                    for size in self._extract(layer, wheel, archives[wheel]):
                        done += size
                        progress(done, sum(sizes))
                else:
                    self._link(layer, wheel, unpacked[wheel.blake3])
        return layer

    def _check(self, sizes: Collection[int], unpacked: Iterable[Found]) -> None:
        known = [entry.size for found in unpacked for entry, _ in found.values()]
        count, size_bytes = len(sizes) + len(known), sum(sizes) + sum(known)
        if count > MANIFEST_FILES or size_bytes > LAYER_BYTES:
            what = f"{count} files of {size_bytes} bytes, at most {MANIFEST_FILES} of {LAYER_BYTES} fit"
            raise Refused("layer-too-large", what, to="what it requires", do="require less")

    def _extract(self, layer: Layer, wheel: Wheel, archive: Archive) -> Iterator[int]:
        """Write its files; the size of each that is done."""
        for member in archive.members:
            hasher = blake3()
            if member.path in layer.files:
                for part in archive.read(member):
                    hasher.update(part)
                self._give_way(layer, wheel, member.path, hasher.hexdigest())
            else:
                place = self._place(wheel, member.path)
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                try:
                    descriptor = os.open(place, flags, PLAIN)
                except (FileExistsError, IsADirectoryError) as error:
                    raise _folder_and_file(wheel, member.path) from error
                with open(descriptor, "wb") as file:
                    for part in archive.read(member):
                        hasher.update(part)
                        file.write(part)
                    file.flush()
                    os.fchmod(descriptor, member.mode)
                    os.utime(descriptor, ns=(content_time_ns(hasher.hexdigest()),) * 2)
                self._made(layer, wheel, member.path, Entry(hasher.hexdigest(), member.mode, member.size))
            yield member.size

    def _link(self, layer: Layer, wheel: Wheel, found: Found) -> None:
        for path, (entry, lies) in found.items():
            if path in layer.files:
                self._give_way(layer, wheel, path, entry.blake3)
                continue
            place = self._place(wheel, path)
            try:
                os.link(lies, place, follow_symlinks=False)
            except (FileExistsError, IsADirectoryError) as error:
                raise _folder_and_file(wheel, path) from error
            except OSError:  # not on this file system, or too often
                shutil.copy2(lies, place, follow_symlinks=False)
            self._made(layer, wheel, path, entry)

    def _made(self, layer: Layer, wheel: Wheel, path: str, entry: Entry) -> None:
        layer.files[path] = entry, wheel.blake3
        self._owners[path] = wheel
        self.written[self._folder / path] = None

    def _give_way(self, layer: Layer, wheel: Wheel, path: str, content: str) -> None:
        layer.partial.add(wheel.blake3)
        if layer.files[path][0].blake3 != content:
            first = self._owners[path].file
            self._on_clash(f"'{path}' is in {first} and in {wheel.file}, and differs: the first one's is taken")

    def _place(self, wheel: Wheel, path: str) -> Path:
        place = self._folder / path
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise _folder_and_file(wheel, path) from error
        for parent in place.parents:
            if parent in self.written or parent == self._folder:
                break
            self.written[parent] = None
        return place


def _folder_and_file(wheel: Wheel, path: str) -> Refused:
    return bad(wheel, f"'{path[:80]}' would be a file and a folder at once")
