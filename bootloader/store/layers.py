"""The layers of a target: wheels unpacked into a folder, which generations that require the same ones share.

    layers/<name>/site/…   what goes on ``sys.path``; bin/, share/ and the like beside it
    layers/<name>.files    what should be there

A layer is made aside, is durable before it has its name, and is not changed after that. What its wheels have in common
with another layer is linked from there, so one more wheel costs no more than itself. A start compares every file before
any is run; where some are damaged, the layer is made anew from what is left, and from its wheels, which are kept among
the blobs. One is made at a time; the store's lock is held around every call, but while wheels are unpacked for a host.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from ..aside import Aside
from ..wire.errors import Refused
from ..wire.layer import Wheel, layer_name
from .layer import Layer, read
from .objects import Objects, remove, sync
from .trees import OnNotice
from .unpack import Found, Progress, Room, Unpack


class Layers:
    """Those in the folder ``folder``, and those in ``sources``, which are only read. ``pycache``: of applications;
    ``lock``: the store's.
    """

    def __init__(
        self,
        folder: Path,
        pycache: Path,
        objects: Objects,
        aside: Aside,
        on_notice: OnNotice,
        lock: threading.RLock,
        sources: Sequence[Path],
    ) -> None:
        self.folder = folder
        self._pycache = pycache
        self._objects = objects
        self._aside = aside
        self._notice = on_notice
        self._lock = lock
        self._sources = sources
        self._new = folder / "new"
        self._whole: dict[str, Layer] = {}
        """Those that were compared, or made, since the start. Changed in place: by two threads."""
        self._making = threading.Lock()
        self.awaited: tuple[Wheel, ...] = ()
        """Those of the layer that was asked for last: its launch is still to come."""
        _remove(self._new)

    def has(self, wheels: Collection[Wheel]) -> bool:
        """Whether their layer is here, and whole. Where there are no wheels, none is needed."""
        return not wheels or layer_name(wheels) in self._whole

    def missing(self, wheels: Collection[Wheel]) -> list[str]:
        """The blobs that have to be sent before their layer can be made."""
        if self.has(wheels):
            return []
        unpacked = self._unpacked(wheels)
        objects = self._objects
        return [one.blake3 for one in wheels if one.blake3 not in unpacked and not objects.has(one.blake3, one.size)]

    def require(self, wheels: Collection[Wheel]) -> None:
        """Refuse, where their layer is not here."""
        if not self.has(wheels):
            name, do = layer_name(wheels)[:12], "have that made first"
            raise Refused("missing-layer", "what it requires is not on this target", to=f"layer {name}", do=do)

    def ensure(self, wheels: Collection[Wheel], room: Room) -> None:
        """Have their layer whole: as it lies somewhere, or made anew."""
        if self.has(wheels):
            return
        name = layer_name(wheels)
        for place in (self.folder, *self._sources):
            layer = read(place / f"{name}.files")
            wrong = layer.wrong(place / name) if layer is not None else {}
            if layer is not None and not wrong:
                if place != self.folder:
                    self._drop(name)
                    (self.folder / name).symlink_to(place / name)
                self._whole[name] = layer
                return
            if wrong:
                more = f" and {len(wrong) - 1} more files" if len(wrong) > 1 else ""
                self._notice("layer-damaged", f"'{min(wrong)}'{more} of layer {name[:12]} are not as they should be")
        self.make(wheels, room)
        self._notice("layer-mended", f"layer {name[:12]} was made anew from its wheels")

    def make(self, wheels: Collection[Wheel], room: Room, progress: Progress = lambda _done, _total: None) -> None:
        """Make their layer, unless it is here. Where that is refused, nothing has changed.

        The store's lock is held until there is room, and, but by the caller, not while wheels are unpacked.
        """
        name = layer_name(wheels)
        with ExitStack() as planning:
            planning.enter_context(self._lock)  # always before the other one
            with self._making:
                self._make(wheels, name, room, planning.close, progress)

    def _make(
        self, wheels: Collection[Wheel], name: str, room: Room, planned: Callable[[], None], progress: Progress
    ) -> None:
        def plan(sizes: Iterable[int]) -> None:
            room(sizes)
            planned()

        self.awaited = tuple(wheels)
        if not self.has(wheels):
            unpack = Unpack(self._new, self._blob, lambda text: self._notice("layer-clash", text))
            try:
                layer = unpack.run(tuple(wheels), self._unpacked(wheels), plan, progress)
                self._drop(name)
                listed = self.folder / f"{name}.files"
                listed.write_bytes(layer.encode())
                blobs = [self._objects.path(wheel.blake3) for wheel in wheels]
                sync([*blobs, *{blob.parent for blob in blobs}, *unpack.written, listed])
                self._new.rename(self.folder / name)
                sync([self.folder])
            finally:
                _remove(self._new)
            self._whole[name] = layer

    def _unpacked(self, wheels: Collection[Wheel]) -> dict[str, Found]:
        """The wheels that lie unpacked in layers that are whole, or that are left so in their own, which is not."""
        found: dict[str, Found] = {}
        own = layer_name(wheels)
        left = read(self.folder / f"{own}.files")
        for name, layer in (*self._whole.copy().items(), *([(own, left)] if left is not None else [])):
            wrong = set(layer.wrong(self.folder / name).values()) if layer is left else set()
            for wheel in wheels:
                if wheel.blake3 in found or wheel.blake3 in wrong:
                    continue
                if files := layer.of(wheel.blake3, self.folder / name):
                    found[wheel.blake3] = files
        return found

    def _blob(self, wheel: Wheel) -> Path:
        """Where a wheel lies whole. One that is damaged goes, so that it is sent again."""
        if self._objects.make_sure(wheel.blake3):
            return self._objects.path(wheel.blake3)
        self._objects.discard(wheel.blake3)
        raise Refused("missing-blob", "is not on this target, or was damaged", to=wheel.file, do="send it again")

    def _drop(self, name: str) -> None:
        for place in (self.folder / name, self.folder / f"{name}.files"):
            _remove(place)
            if os.path.lexists(place):  # there is something of another user's in it
                self._aside.take(place)
        _remove(self._pycache / str(self.folder / name).lstrip("/"))
        self._whole.pop(name, None)

    # what may go

    def forget_all_but(self, kept: Iterable[Collection[Wheel]]) -> None:
        """Drop all layers but those of ``kept``, and the one that is awaited; another time, while one is made."""
        names = {layer_name(self.awaited), *map(layer_name, kept)}
        if not self._making.acquire(blocking=False):
            return
        try:
            for place in list(self.folder.iterdir()):
                if place.name.removesuffix(".files") not in names:
                    self._drop(place.name.removesuffix(".files"))
        finally:
            self._making.release()


def _remove(place: Path) -> None:
    """Clear a place among the layers, if there is one."""
    with suppress(NotADirectoryError):
        remove(place)
