"""An overlay onto the disk: verified, staged in the idle tree, made live by one rename.

Owns the state folder's ``objects``, ``manifests``, ``trees``, ``live`` and ``ledger.jsonl`` and the lock around them.
Knows nothing of processes: the caller stops what runs between :meth:`Store.stage` and :meth:`Store.switch`.
Nothing is fsynced before the program runs; :meth:`Store.settle` says afterwards what is to be, and brings the other
tree up to date, in time that grows with the change.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .ledger import Generation, Ledger
from .objects import Objects
from .trees import Tree
from .wire.errors import Fault, Malformed, Refused
from .wire.launch import PATH as LAUNCH_PATH
from .wire.launch import Launch
from .wire.manifest import EMPTY, Edits, Manifest, check_hash
from .wire.overlay import Overlay, Splice
from .wire.overlay import apply as apply_overlay

_SPARE_BYTES = 16 * 1024 * 1024
"""Free space that an overlay leaves, for the ledger, the logs and the next small fix."""

MANIFESTS_KEPT = 64


@dataclass(frozen=True, slots=True)
class Staged:
    """A new tree, whole, in the idle place: not live yet."""

    tree: Tree
    manifest: Manifest
    before: Manifest
    edits: Edits
    launch: Launch
    launch_before: Launch | None


class Store:
    """What lies on a target's disk. Every public method but :attr:`lock` expects the lock to be held."""

    def __init__(self, folder: Path, on_notice: Callable[[str, str], None]) -> None:
        self.lock = threading.RLock()
        self._folder = folder
        self._notice = on_notice
        self._manifests = folder / "manifests"
        self._manifests.mkdir(parents=True, exist_ok=True)
        (folder / "trees").mkdir(exist_ok=True)
        self.objects = Objects(folder / "objects")
        self.ledger = Ledger(folder / "ledger.jsonl")
        self.live_path = folder / "live"
        self._trees = {
            name: Tree(folder / "trees" / name, folder / "aside", self._read_manifest) for name in ("a", "b")
        }
        self._unsynced: tuple[Tree, Edits, str] | None = None
        if self.ledger.damaged:
            on_notice("ledger-damaged", f"{self.ledger.damaged} lines of the ledger could not be read")
        if self.live is None and self.live_path.is_symlink():
            on_notice("live-lost", "the live tree is not whole; nothing runs until the next overlay")

    @property
    def live(self) -> Tree | None:
        """The tree that ``live`` leads to, where it is whole."""
        try:
            tree = self._trees.get(self.live_path.readlink().name)
        except OSError:
            return None
        return tree if tree is not None and tree.manifest is not None else None

    @property
    def manifest(self) -> Manifest:
        """The live tree's manifest; the empty one where nothing is live."""
        live = self.live
        return live.manifest if live is not None and live.manifest is not None else EMPTY

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
                "disk-failed",
                error.strerror or str(error),
                to=str(error.filename or self._folder),
                do="look at the target's disk",
            ) from error

    def _verify(self, overlay: Overlay) -> dict[str, bytes]:
        """The blobs that ride in the overlay, each with the BLAKE3 and size that an edit names, none too many."""
        wanted = {entry.blake3: entry.size for entry in overlay.edits.values() if entry is not None}
        fresh: dict[str, bytes] = {}
        for name, blob in overlay.blobs.items():
            if name not in wanted:
                raise Malformed("nothing in the overlay needs this blob", to=f"blob {name[:12]}")
            content = blob.delta.apply(self.objects.read(blob.base)) if isinstance(blob, Splice) else blob
            if len(content) != wanted[name]:
                raise Malformed(f"{len(content)} bytes, the overlay says {wanted[name]}", to=f"blob {name[:12]}")
            fresh[name] = content
        lacking = self.objects.missing((name, size) for name, size in wanted.items() if name not in fresh)
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
        free = self.objects.free_bytes()
        if free < needed + _SPARE_BYTES:
            raise Refused(
                "disk-full",
                f"{free // 1024} KB are free, the overlay needs {(needed + _SPARE_BYTES) // 1024} KB",
                to=str(self._folder),
                do="free space on the target",
            )
        for name, content in fresh.items():
            self.objects.put(name, content)
        return fresh

    def _stage(self, before: Manifest, after: Manifest, edits: Edits, fresh: dict[str, bytes]) -> Staged:
        launch = self._launch_of(after, fresh)
        if launch is None:
            raise Refused("no-launch", "the tree does not say what to run", to=LAUNCH_PATH, do="push with `reactor`")
        idle = self._idle()
        self._catch_up(idle, before)
        (self._manifests / after.root).write_bytes(after.text)
        idle.edit(edits, after, self.objects, fresh)
        return Staged(idle, after, before, edits, launch, self._launch_of(before))

    def _idle(self) -> Tree:
        live = self.live
        return next(tree for tree in self._trees.values() if tree is not live)

    def _catch_up(self, idle: Tree, wanted: Manifest) -> None:
        if idle.manifest is None:
            idle.rebuild(wanted, self.objects)
        elif idle.manifest.root != wanted.root:
            idle.edit(idle.manifest.edits_to(wanted), wanted, self.objects, {})

    def upload(self, name: str, offset: int, size_bytes: int, content: bytes) -> None:
        """Keep one blob, or a part of a large one, ahead of the overlay that needs it."""
        free = self.objects.free_bytes()
        if free < 3 * (size_bytes - offset) + _SPARE_BYTES:
            raise Refused(
                "disk-full",
                f"{free // 1024} KB are free, this file needs {3 * (size_bytes - offset) // 1024} KB and some to spare",
                to=str(self._folder),
                do="free space on the target",
            )
        with self._disk():
            if offset == 0 and len(content) == size_bytes:
                self.objects.put(name, content)
            else:
                self.objects.append(name, offset, content, size_bytes)

    def switch(self, staged: Staged, who: str, rung: str, why: str) -> Generation:
        """Make the staged tree live, with one rename."""
        aside = self.live_path.with_suffix(".new")
        aside.unlink(missing_ok=True)
        aside.symlink_to(Path("trees", staged.tree.folder.name))
        aside.replace(self.live_path)
        self._unsynced = (staged.tree, staged.edits, staged.manifest.root)
        return self.ledger.add(staged.manifest.root, who, rung, why, len(staged.edits))

    def settle(self) -> list[Path]:
        """After the program runs: bring the other tree up to date. The paths to fsync, which needs no lock."""
        live = self.live
        if live is not None and live.manifest is not None:
            with self._disk():
                self._catch_up(self._idle(), live.manifest)
        self._forget_manifests()
        if self._unsynced is None:
            return []
        tree, edits, root = self._unsynced
        self._unsynced = None
        written = {path: entry for path, entry in edits.items() if entry is not None}
        return [
            *(self.objects.path(entry.blake3) for entry in written.values()),
            *(tree.folder / path for path in written),
            tree.note,
            self._manifests / root,
            self._folder / "ledger.jsonl",
            *{self.objects.path(entry.blake3).parent for entry in written.values()},
            *{(tree.folder / path).parent for path in written},
            self._manifests,
            tree.folder.parent,
            self._folder,
        ]

    def _forget_manifests(self) -> None:
        """Keep the manifests of the newest generations, and of every healthy one that a rollback may want."""
        names = list(self._manifests.iterdir())
        if len(names) <= 2 * MANIFESTS_KEPT:
            return
        kept = {one.root for one in self.ledger.newest_first()[:MANIFESTS_KEPT]}
        healthy = self.ledger.last_healthy()
        kept |= {tree.manifest.root for tree in self._trees.values() if tree.manifest is not None}
        kept |= {healthy.root} if healthy is not None else set()
        for path in names:
            if path.name not in kept:
                path.unlink()
