"""Free space on the target's disk: what a change needs, and what may go to make room for it.

Decides which roots are kept; the blobs that only others name go with their manifests, and so do their layers. Never
goes what the trees hold, what there is here of the base, nor the newest two healthy roots, which a rollback and a boot
may want. Age is counted in generations, as a device may have no clock. Not thread-safe: the store's lock is held around
every call.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from ..aside import Aside
from ..segments import shorten
from ..wire.errors import Refused
from ..wire.limits import MANIFEST_FILES
from ..wire.manifest import Manifest
from .launches import Launches
from .layers import Layers
from .ledger import Generation
from .manifests import Manifests
from .objects import Objects
from .reserve import RESERVE_BYTES, Reserve

SPARE_BYTES = 16 * 1024 * 1024
"""Free space that an overlay leaves, for the ledger, the logs and the next small fix, which needs no more than is held
back: it may well be the one for what filled the disk.
"""

OWN_BYTES = 64 * 1024
"""What any change writes besides its files: folders, the manifest twice, notes, a line in both files of the ledger."""

QUICK_FILES, QUICK_BYTES = 100, 1024 * 1024
"""A tree of no more than this is made in milliseconds."""

ROOTS_KEPT = 64
"""So many of the newest roots can be gone back to, and up to twice as many until the others are forgotten."""


class Space:
    """``folder``: the reserve's; ``held``: the roots of the trees and of the base; ``newest_first``: the generations.
    ``let_go`` empties a tree that is not needed, if there is one.
    """

    def __init__(
        self,
        folder: Path,
        objects: Objects,
        manifests: Manifests,
        aside: Aside,
        layers: Layers,
        launches: Launches,
        held: Callable[[], Collection[str]],
        newest_first: Callable[[], Sequence[Generation]],
        let_go: Callable[[], None],
    ) -> None:
        self._reserve = Reserve(folder / "reserve")
        self._logs = folder / "logs"
        self._objects = objects
        self._manifests = manifests
        self._aside = aside
        self._layers = layers
        self._launches = launches
        self._held = held
        self._newest_first = newest_first
        self._let_go = let_go
        self._awaited: set[str] = set()
        self.is_alone = False
        """Whether nobody else writes at the moment."""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else writes meanwhile, so what is made free is there for whoever needs it. The reserve is made free at
        once, as how much will be needed is an estimate.
        """
        self.is_alone = True
        self._reserve.give()
        try:
            yield
        finally:
            self.is_alone = False
            self._reserve.take_back()

    def need(self, what: str, needed_bytes: int, blobs: Collection[str]) -> None:
        """Make room for ``what``, which needs ``blobs``, or refuse it, before anything is touched.

        What is small is refused at first where the disk is full, and nothing is made free: whoever fills it would have
        that at once. It is asked for again where one is :meth:`alone`.
        """
        if is_small := needed_bytes <= RESERVE_BYTES:
            free_bytes = self._objects.free_bytes()
        needed_bytes += OWN_BYTES if is_small else SPARE_BYTES
        if not is_small or self.is_alone:
            free_bytes = self.make(needed_bytes, blobs)
        if free_bytes < needed_bytes:
            missing, free, needed = (-(-size // 1024) for size in (needed_bytes - free_bytes, free_bytes, needed_bytes))
            told = f"{missing} KB are missing: {free} KB are free, it needs {needed} KB"
            raise Refused("disk-full", told, to=what, do="free space on the target")

    def taken(self, sizes: Iterable[int]) -> int:
        """Bytes of the disk that files of these sizes take: whole blocks, so small ones take more than they hold."""
        block = self._objects.block_bytes()
        return block * sum(-(-size // block) for size in sizes)

    def has_room_for(self, manifest: Manifest, *, at_once: bool = False) -> bool:
        """Whether there is room for one more tree; ``at_once``: and it is made in no time."""
        if at_once and len(manifest) > QUICK_FILES:
            return False
        size_bytes = sum(manifest.blobs().values())
        if at_once and size_bytes > QUICK_BYTES:
            return False
        return self._objects.free_bytes() > size_bytes + 4 * SPARE_BYTES

    def make(self, needed_bytes: int, blobs: Collection[str]) -> int:
        """Free bytes, after as much went as had to, or as may; ``blobs`` stay."""
        if self._objects.free_bytes() < needed_bytes:
            self._aside.keep(0, 0)
        if self._objects.free_bytes() < needed_bytes:
            shorten(self._logs, 0)
        if self._objects.free_bytes() < needed_bytes:
            self._let_go()
        if self._objects.free_bytes() < needed_bytes:
            self._forget_all_but(self._dear(), blobs)
        return self._objects.free_bytes()

    def await_blob(self, name: str) -> None:
        """A blob was uploaded for an overlay that is still to come: no manifest names it yet."""
        if len(self._awaited) >= MANIFEST_FILES:
            self._awaited.clear()  # more than any overlay needs: hosts that never came back
        self._awaited.add(name)

    def arrived(self) -> None:
        """The overlay that blobs were uploaded for is live."""
        self._awaited.clear()

    def tidy(self) -> None:
        """Forget what is too old, or where there is little space left, all that may go."""
        dear = self._dear()
        self._manifests.keep_copies(dear)
        if self._objects.free_bytes() > SPARE_BYTES + RESERVE_BYTES:
            self._reserve.keep()
        if self._objects.free_bytes() < SPARE_BYTES:
            shorten(self._logs, 0)
            self._let_go()
            self._forget_all_but(dear, ())
        elif len(self._manifests.roots()) > 2 * ROOTS_KEPT:
            self._forget_all_but(dear | {one.root for one in self._newest_first()[:ROOTS_KEPT]}, ())

    def _dear(self) -> set[str]:
        healthy = dict.fromkeys(one.root for one in self._newest_first() if one.was_healthy)
        return {*self._held(), *islice(healthy, 2)}

    def _forget_all_but(self, kept: set[str], blobs: Collection[str]) -> None:
        named, launches = self._manifests.named(kept)
        layers = self._launches.layers(launches)
        named |= self._awaited | {wheel.blake3 for layer in (*layers, self._layers.awaited) for wheel in layer}
        named.update(blobs)
        self._layers.forget_all_but(layers)
        self._manifests.forget(root for root in self._manifests.roots() if root not in kept)
        for name in self._objects.names():
            if name not in named:
                self._objects.discard(name)


@contextmanager
def disk(folder: Path) -> Iterator[None]:
    """Where the disk that ``folder`` is on says no, that is a refusal."""
    try:
        yield
    except OSError as error:
        raise Refused(
            "disk-full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "disk-failed",
            error.strerror or str(error),
            to=str(error.filename or folder),
            do="free space on the target, or look at its disk",
        ) from error
