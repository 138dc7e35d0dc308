"""An overlay onto the disk: verified, staged in the idle tree, made live by one rename.

Owns the state folder's ``objects``, ``manifests``, ``trees``, ``live`` and ``ledger.jsonl`` and the lock around them.
Knows nothing of processes: the caller stops what runs between :meth:`Store.stage` and :meth:`Store.switch`.
Nothing is fsynced before the program runs; :meth:`Store.settle` says afterwards what is to be, and brings the other
tree up to date, in time that grows with the change. A power cut before that may tear the newest tree, which the next
start notices, and nothing older.
"""

from __future__ import annotations

import errno
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from .ledger import Generation, Ledger
from .objects import Objects
from .trees import Tree
from .wire.errors import Fault, Malformed, Refused
from .wire.launch import PATH as LAUNCH_PATH
from .wire.launch import Launch
from .wire.manifest import EMPTY, Edits, Manifest, check_hash
from .wire.overlay import Overlay
from .wire.overlay import apply as apply_overlay

_SPARE_BYTES = 16 * 1024 * 1024
"""Free space that an overlay leaves, for the ledger, the logs and the next small fix."""

_SMALL_BYTES = 1024 * 1024
"""What needs no more than this may use that space: it may well be the fix for what filled the disk."""

MANIFESTS_KEPT = 64

_BLOB = re.compile(rb"^[0-9a-f]{64}(?= )", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Staged:
    """A new tree, whole, in the idle place: not live yet."""

    tree: Tree
    manifest: Manifest
    before: Manifest
    edits: Edits
    launch: Launch
    launch_before: Launch | None


@dataclass(frozen=True, slots=True)
class Settled:
    """What is to be made durable, and what the trees hold that is durable then."""

    paths: tuple[Path, ...]
    manifests: Mapping[str, Manifest | None]


class Store:
    """What lies on a target's disk. Every public method but :attr:`lock` expects the lock to be held.

    ``live`` is the tree that the link of that name leads to, or None where there is no whole one; ``manifest`` is what
    lies in it, the empty one where nothing is live. Both may be read without the lock.
    """

    def __init__(self, folder: Path, on_notice: Callable[[str, str], None]) -> None:
        self.lock = threading.RLock()
        self._folder = folder
        self._notice = on_notice
        self._manifests = folder / "manifests"
        aside = folder / "aside"
        if os.path.lexists(aside) and not aside.is_dir():
            aside.rename(folder / f"aside-{time.time():.0f}")
        for place in (self._manifests, folder / "trees", folder / "objects"):
            if os.path.lexists(place) and not place.is_dir():
                self._set_aside(place)
            place.mkdir(parents=True, exist_ok=True)
        self.objects = Objects(folder / "objects", self._files_of)
        self.ledger = Ledger(folder / "ledger.jsonl", lambda why: on_notice("ledger-failed", why))
        self.live_path = folder / "live"
        self._next_link = folder / "live.new"
        self._unsynced: dict[Path, None] = {}
        self._trees = {
            name: Tree(folder / "trees" / name, folder / "aside", self._read_manifest, on_notice) for name in ("a", "b")
        }
        self.live = self._found_live()
        self.manifest = (self.live.manifest if self.live is not None else None) or EMPTY
        if self.ledger.damaged:
            on_notice("ledger-damaged", f"{self.ledger.damaged} lines of the ledger could not be read")

    def _found_live(self) -> Tree | None:
        try:
            tree = self._trees.get(self.live_path.readlink().name)
        except FileNotFoundError:
            return None
        except OSError:
            self._set_aside(self.live_path)
            return None
        if tree is None or tree.manifest is None:
            self._notice("live-lost", "the live tree is not whole")
            return None
        return tree

    def _set_aside(self, path: Path) -> None:
        """Something else lies where a part of the state should be."""
        aside = self._folder / "aside"
        aside.mkdir(exist_ok=True)
        path.rename(aside / f"{time.time():.0f}-{path.name}")
        self._notice("state-lost", f"'{path}' was something else, which is now in {aside}")

    def _files_of(self, blob: str) -> Iterator[Path]:
        """Where in the trees a blob should lie too."""
        for tree in self._trees.values():
            for path, entry in tree.manifest.items() if tree.manifest is not None else ():
                if entry.blake3 == blob:
                    yield tree.folder / path

    def launch(self) -> Launch | None:
        """What the live tree says to run, or None where it says nothing that can be read."""
        return self._launch_of(self.manifest)

    def _launch_of(self, manifest: Manifest, fresh: dict[str, bytes] | None = None) -> Launch | None:
        entry = manifest.get(LAUNCH_PATH)
        if entry is None:
            return None
        content = (fresh or {}).get(entry.blake3)
        try:
            return Launch.decode(self.objects.read(entry.blake3) if content is None else content)
        except Fault as fault:
            self._notice("launch-unreadable", str(fault))
            return None

    def manifest_of(self, root: str) -> Manifest | None:
        """A manifest that this target knows, by its root."""
        if root == EMPTY.root:
            return EMPTY
        for tree in self._trees.values():
            if tree.manifest is not None and tree.manifest.root == root:
                return tree.manifest
        return self._read_manifest(root)

    def _read_manifest(self, root: str) -> Manifest | None:
        try:
            manifest = Manifest.parse((self._manifests / check_hash(root)).read_bytes())
        except (OSError, Malformed):
            return EMPTY if root == EMPTY.root else None
        return manifest if manifest.root == root else None

    def stage(self, overlay: Overlay) -> Staged:
        """Verify ``overlay`` and make its tree in the idle place. Where it is refused, nothing live has changed."""
        before = self.manifest
        after = apply_overlay(overlay, before)
        with self._disk():
            return self._stage(before, after, overlay.edits, self._verify(overlay))

    def stage_root(self, root: str) -> Staged:
        """Make the tree of a root that this target has run before in the idle place, from its blobs."""
        before, after = self.manifest, self.manifest_of(root)
        if after is None:
            raise Refused("unknown-root", "this target no longer has that tree", to=root[:12], do="push it again")
        with self._disk():
            return self._stage(before, after, before.edits_to(after), {})

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Refused(
                "disk-full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "disk-failed",
                error.strerror or str(error),
                to=str(error.filename or self._folder),
                do="free space on the target, or look at its disk",
            ) from error

    def _check_space(self, what: str, needed_bytes: int) -> None:
        free_bytes = self.objects.free_bytes()
        needed_bytes += _SPARE_BYTES if needed_bytes > _SMALL_BYTES else 0
        if free_bytes < needed_bytes:
            raise Refused(
                "disk-full",
                f"{free_bytes // 1024} KB are free, {what} needs {needed_bytes // 1024} KB",
                to=str(self._folder),
                do="free space on the target",
            )

    def _verify(self, overlay: Overlay) -> dict[str, bytes]:
        """The blobs that ride in the overlay, each with the BLAKE3 and size that an edit names, none too many."""
        wanted = {entry.blake3: entry.size for entry in overlay.edits.values() if entry is not None}
        fresh: dict[str, bytes] = {}
        for name, blob in overlay.blobs.items():
            if name not in wanted:
                raise Malformed("nothing in the overlay needs this blob", to=f"blob {name[:12]}")
            size = (
                len(blob) if isinstance(blob, bytes) else blob.delta.prefix + len(blob.delta.middle) + blob.delta.suffix
            )
            if size != wanted[name]:
                raise Malformed(f"{size} bytes, the overlay says {wanted[name]}", to=f"blob {name[:12]}")
            fresh[name] = blob if isinstance(blob, bytes) else blob.delta.apply(self.objects.read(blob.base))
        lacking = self.objects.missing((name, size) for name, size in wanted.items() if name not in fresh)
        lacking = [name for name in lacking if not self.objects.recover(name)]
        if lacking:
            raise Refused(
                "missing-blob",
                f"{len(lacking)} blobs are not on this target",
                to=lacking[0][:12],
                do="upload them first",
            )
        needed = 3 * sum(len(content) for content in fresh.values()) + 2 * sum(
            size for name, size in wanted.items() if name not in fresh
        )
        self._check_space("the overlay", needed)
        for name, content in fresh.items():
            self.objects.put(name, content)
        return fresh

    def _stage(self, before: Manifest, after: Manifest, edits: Edits, fresh: dict[str, bytes]) -> Staged:
        launch = self._launch_of(after, fresh)
        if launch is None:
            raise Refused("no-launch", "the tree does not say what to run", to=LAUNCH_PATH, do="push with `reactor`")
        idle = self._idle()
        self._catch_up(idle, before)
        idle.edit(edits, after, self.objects, fresh)
        self._next_link.unlink(missing_ok=True)
        self._next_link.symlink_to(Path("trees", idle.folder.name))  # so that the switch is one rename, and can't fail
        return Staged(idle, after, before, edits, launch, self._launch_of(before))

    def note(self, staged: Staged) -> None:
        """Write down what is in the staged tree, so that the next start knows it: before :meth:`switch`."""
        kept = self._manifests / staged.manifest.root
        with self._disk():
            kept.write_bytes(staged.manifest.text)
        self._unsynced[kept] = None

    def _idle(self) -> Tree:
        return next(tree for tree in self._trees.values() if tree is not self.live)

    def _catch_up(self, idle: Tree, wanted: Manifest) -> None:
        if idle.manifest is None:
            idle.rebuild(wanted, self.objects)
        elif idle.manifest.root != wanted.root:
            idle.edit(idle.manifest.edits_to(wanted), wanted, self.objects, {})

    def upload(self, name: str, offset: int, size_bytes: int, content: bytes) -> None:
        """Keep one blob, or a part of a large one, ahead of the overlay that needs it."""
        self._check_space("this file", 3 * (size_bytes - offset))
        with self._disk():
            if offset == 0 and len(content) == size_bytes:
                self.objects.put(name, content)
            else:
                self.objects.append(name, offset, content, size_bytes)

    def switch(self, staged: Staged, who: str, rung: str, why: str) -> Generation:
        """Make the staged tree live, with one rename. Where that fails, nothing has changed."""
        self._next_link.replace(self.live_path)
        self.live, self.manifest = staged.tree, staged.manifest
        return self.ledger.add(staged.manifest.root, who, rung, why, len(staged.edits))

    def settle(self) -> Settled:
        """After the program runs: bring the other tree up to date, and tell what to fsync, which needs no lock."""
        try:
            with self._disk():
                if self.live is not None:
                    self._catch_up(self._idle(), self.manifest)
                self._forget_manifests()
        except Refused as refused:
            self._notice("idle-behind", f"the other tree could not be brought up to date: {refused}")
        paths = {**self._unsynced, self._folder / "ledger.jsonl": None, self._folder: None}
        self._unsynced.clear()
        for tree in self._trees.values():
            paths |= tree.unsynced
            tree.unsynced.clear()
        paths |= dict.fromkeys([path.parent for path in paths])
        return Settled(tuple(paths), {name: tree.manifest for name, tree in self._trees.items()})

    def synced(self, settled: Settled) -> None:
        """What :meth:`settle` told is on the disk for certain."""
        for name, manifest in settled.manifests.items():
            if manifest is not None:
                self._trees[name].synced(manifest)

    def _forget_manifests(self) -> None:
        """Keep the manifests of the newest generations, and of the newest healthy ones that a rollback may want.

        The blobs that only the others name go with those: an asset that changes daily does not fill the disk.
        """
        paths = list(self._manifests.iterdir())
        if len(paths) <= 2 * MANIFESTS_KEPT:
            return
        newest = self.ledger.newest_first()
        healthy = dict.fromkeys(one.root for one in newest if one.was_healthy)
        kept = {*(one.root for one in newest[:MANIFESTS_KEPT]), *islice(healthy, 2)}
        kept |= {tree.manifest.root for tree in self._trees.values() if tree.manifest is not None}
        forgotten = [path for path in paths if path.name not in kept]
        blobs = set().union(*(_blobs_in(path) for path in forgotten))
        for path in paths:
            if path.name in kept:
                blobs -= _blobs_in(path)
        for path in forgotten:
            path.unlink()
        for blob in blobs:
            self.objects.path(blob).unlink(missing_ok=True)


def _blobs_in(manifest: Path) -> set[str]:
    """The blobs that a manifest's file names; it is not parsed, as there are many, and long ones."""
    return {name.decode() for name in _BLOB.findall(manifest.read_bytes())}
