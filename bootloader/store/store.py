"""An overlay onto the disk: verified, staged in the idle tree, made live by one rename; and the way back to what was.

Owns the state folder's ``objects``, ``manifests``, ``trees``, ``live``, ``aside`` and the ledger, and the lock around
them. Knows nothing of processes: the caller stops what runs between :meth:`Store.build` and :meth:`Store.switch`.
Nothing is fsynced before the program runs; :meth:`Store.settle` says afterwards what is to be, and only what is durable
is built upon: :meth:`Store.catch_up`. So a power cut may tear the newest tree, which the next start notices
(:meth:`Store.recover`), and nothing older.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ..aside import Aside, is_other
from ..ladder import ROLLBACK
from ..wire.errors import Fault, Malformed, Refused
from ..wire.launch import Launch
from ..wire.manifest import EMPTY, Edits, Manifest
from ..wire.overlay import Overlay
from ..wire.overlay import apply as apply_overlay
from .launches import Launches
from .layers import Layers
from .ledger import Generation, Ledger
from .loans import Loan, Loans
from .manifests import Manifests
from .objects import Objects, sync, verified
from .source import Source
from .space import Space, disk
from .staged import Staged
from .trees import NAMES, OnNotice, Tree
from .triage import BOOTLOADER, Rung, ladder


class Store:
    """What lies on a target's disk. Every public method but :attr:`lock` expects the lock to be held.

    ``live`` is the tree that the link of that name leads to, ``manifest`` what is in it: after :meth:`recover` for
    certain, before as far as is noted; None and the empty one where nothing is live. Both may be read without the lock.
    """

    def __init__(
        self, folder: Path, on_notice: OnNotice, *, base: Path | None = None, kept: Path | None = None
    ) -> None:
        """``base`` and ``kept`` are folders like this one that are only read: what is live in ``base`` is the last
        resort, what is live in ``kept`` is live here, until something else is.
        """
        self.lock = threading.RLock()
        self._folder = folder
        self._notice = on_notice
        self._aside = Aside(folder / "aside")
        for name in ("trees", "objects", "manifests", "layers"):
            self._clear(folder / name, folder=True)
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._manifests = Manifests(folder / "manifests", self._aside)
        self._base = Source(base, on_notice) if base is not None else None
        self._kept = Source(kept, on_notice) if kept is not None else None
        self._sources = [source for source in (self._kept, self._base) if source is not None]
        self._own: list[Tree] = []
        for name in NAMES:
            self._own.append(Tree(folder / "trees" / name, self.manifest_of, self._aside, on_notice))
        self._third = self._own[-1]
        self.objects = Objects(folder / "objects", self._files_of)
        self.ledger = self._open_ledger(folder / "ledger.jsonl")
        self._launches = Launches(self.objects, on_notice)
        lying = [source.layers for source in self._sources]
        caches = folder / "pycache"
        self.layers = Layers(folder / "layers", caches, self.objects, self._aside, on_notice, self.lock, lying)
        parts = self.objects, self._manifests, self._aside, self.layers, self._launches
        self.space = Space(folder, *parts, self._held, self.ledger.newest_first, self._let_go)
        self._loans = Loans()
        self.live_path = folder / "live"
        self._next_link = folder / "live.new"
        self._unsynced: dict[Path, None] = {}
        self.live = self._led_to()
        self.manifest = (self.live.noted if self.live is not None else None) or EMPTY

    def _open_ledger(self, path: Path) -> Ledger:
        for file in (path, path.with_suffix(".copy")):
            self._clear(file)
        ledger = Ledger(path, lambda why: self._notice("ledger-failed", why))
        if ledger.mended:
            text = f"{ledger.damaged} lines of the ledger can't be read; what its other file has is taken from there"
            self._notice("ledger-damaged", text)
        return ledger

    def _clear(self, place: Path, *, folder: bool = False) -> None:
        """Something else than the folder, or the file, that is meant to be at ``place`` is moved aside."""
        if is_other(place, folder=folder):
            self._aside.take(place)
            self._notice("state-lost", f"'{place}' was something else, which is now in {self._aside.folder}")

    def _trees(self) -> Iterator[Tree]:
        """All trees, where there is one: those of this folder first."""
        yield from self._own
        for source in self._sources:
            yield from source.trees

    def _led_to(self) -> Tree | None:
        """The tree that the link ``live`` leads to."""
        try:
            place = self._folder / self.live_path.readlink()
        except FileNotFoundError:
            return self._kept.live if self._kept is not None else None
        except OSError:
            self._aside.take(self.live_path)
            self._notice("state-lost", f"'{self.live_path}' was no link, and is now in {self._aside.folder}")
            return None
        return next((tree for tree in self._trees() if tree.folder == place), None)

    def _held(self) -> set[str]:
        """The roots that nothing may take: what the trees hold, and what there is here of the base, which may rot."""
        return {tree.noted.root for tree in self._own if tree.noted is not None} | {self.base_root} - {""}

    def _files_of(self, blob: str) -> Iterator[Path]:
        """Where else than among the objects a blob should lie."""
        for tree in self._trees():
            if tree.noted is not None:
                yield from (tree.folder / path for path in tree.noted.paths_of.get(blob, ()))
        for source in self._sources:
            yield from source.files_of(blob)

    def _let_go(self) -> None:
        """Empty the third tree, where that can be done without, to make room."""
        if self._third is not self.live and self._third.is_made and not self._is_dear(self._third):
            self._build([self._third], EMPTY)

    # what a start finds

    @property
    def base_root(self) -> str:
        """The root that the device was provisioned with, or an empty text."""
        base = self._base.live if self._base is not None else None
        return base.noted.root if base is not None and base.noted is not None else ""

    def recover(self) -> Rung | None:
        """Make the best that this target has live and whole: what to start, or None where there is nothing.

        The live tree is compared, file by file; where it is damaged, it is made anew beside, from blobs and from what
        is left of all trees. Where that can't be, the next rung of the ladder is tried.
        """
        for tree in self._own:
            if tree.noted is None and (found := tree.identify([one.root for one in self.ledger.newest_first()])):
                self._note(found)
        noted = self.live.noted if self.live is not None else None
        was = noted.root if noted is not None and len(noted) else ""
        for rung in ladder(was, self.ledger.newest_first(), self.base_root):
            try:
                self._restore(rung.root)
            except (Fault, OSError) as fault:
                text = f"generation {rung.generation}" if rung.generation else "a tree that is in no generation"
                self._notice("generation-lost", f"{text}, root {rung.root[:12]}, can't be made whole: {fault}")
                continue
            last = self.ledger.last()
            if not was and last is not None:
                self._notice("live-lost", "what leads to the live tree was lost, and is made anew")
            if rung.root != was and (last is None or last.root != rung.root):
                to = f"to generation {rung.generation}" if rung.generation else "to the base"
                self.ledger.add(rung.root, BOOTLOADER, ROLLBACK, f"{to}: {rung.why}", len(self.manifest))
            self._look_after_healthy()
            return rung
        self.live, self.manifest = None, EMPTY
        return None

    def _restore(self, root: str) -> None:
        """Make a tree of ``root`` live: one that is whole, or one made anew."""
        manifest = self._known(root)
        tree = self._whole(manifest)
        if tree is None:
            tree = self._remade(manifest)
            self._notice("tree-mended", f"root {root[:12]} was made anew from its blobs")
        self.layers.ensure(self._launches.wanted(manifest).wheels, self.room)
        if self._led_to() is not tree or not self.live_path.is_symlink():
            self._lead_to(tree)
            self._next_link.replace(self.live_path)
            sync([self._folder])
        self.live, self.manifest = tree, manifest

    def _look_after_healthy(self) -> None:
        """What makes the outputs safe runs from the last healthy generation, where something else is live."""
        if (one := self.ledger.last_healthy()) and (manifest := self.manifest_of(one.root)) and self._whole(manifest):
            try:
                self.layers.ensure(self._launches.wanted(manifest).wheels, self.room)
            except (Fault, OSError) as fault:
                self._notice("layer-damaged", f"generation {one.number}, the last healthy one, is without it: {fault}")

    def _remade(self, manifest: Manifest) -> Tree:
        """A tree that is made of its blobs, and on the disk for certain."""
        blobs = manifest.blobs()
        with self.space.alone():
            self.space.make(self.space.taken(blobs.values()), blobs)
            if lacking := [name for name in blobs if not self.objects.make_sure(name)]:
                raise Refused("missing-blob", f"{len(lacking)} blobs are lost", to=lacking[0][:12])
            tree = self._anew(manifest)
            self._note(manifest)
            sync(self._written())
            return tree

    def _anew(self, manifest: Manifest) -> Tree:
        """The first of the idle trees that it can be made in: the disk may fail under one of them alone."""
        *others, last = dict.fromkeys([*self._idle(), *(tree for tree in self._own if tree is not self.live)])
        for tree in others:
            try:
                return self._build([tree], manifest)
            except (Fault, OSError) as error:
                self._notice("idle-behind", f"nothing can be made in '{tree.folder}': {error}")
        return self._build([last], manifest)

    def _whole(self, manifest: Manifest) -> Tree | None:
        """A tree that is ``manifest`` for certain, the live one before others."""
        for tree in sorted(self._trees(), key=lambda tree: tree is not self.live):
            if tree.manifest is None and (tree.noted is None or tree.noted.root == manifest.root):
                wrong = tree.compare(manifest, self._is_named)
                if wrong and tree is self.live:
                    self._notice("live-lost", f"the live tree is not whole: {wrong}")
            if tree.manifest is not None and tree.manifest.root == manifest.root:
                return tree
        return None

    def _is_named(self, path: str) -> bool:
        noted = (tree.noted for tree in self._own)
        return any(path in manifest for manifest in noted if manifest is not None) or self._manifests.names(path)

    def lend_last_healthy(self) -> Loan | None:
        """A tree that is whole and holds the newest healthy generation. The lock need not be held for this."""
        healthy = self.ledger.last_healthy()
        trees = sorted(self._trees(), key=lambda tree: tree is not self.live)
        return self._loans.lend(trees, healthy.root, healthy.number, self._launches.of) if healthy is not None else None

    def launch(self) -> Launch | None:
        """What the live tree says to run, or None where it says nothing that can be read."""
        return self._launches.of(self.manifest)

    def manifest_of(self, root: str) -> Manifest | None:
        """A manifest that this target knows, by its root."""
        for tree in self._own:
            for manifest in (tree.manifest, tree.noted):
                if manifest is not None and manifest.root == root:
                    return manifest
        read = [self._manifests.read, *(source.read for source in self._sources)]
        return next((manifest for each in read if (manifest := each(root)) is not None), None)

    def _known(self, root: str) -> Manifest:
        manifest = self.manifest_of(root)
        if manifest is None:
            raise Refused("unknown-root", "this target no longer has that tree", to=root[:12], do="push it again")
        return manifest

    def stage(self, overlay: Overlay) -> Staged:
        """Verify ``overlay``. Where it is refused, nothing has changed."""
        before = self.manifest
        after = apply_overlay(overlay, before)
        with disk(self._folder):
            return self._staged(before, after, overlay.edits, self._verify(overlay))

    def stage_root(self, root: str) -> Staged:
        """The tree of a root that this target has run before, which its blobs make up."""
        before, after = self.manifest, self._known(root)
        edits = before.edits_to(after)
        wanted = {entry.blake3: entry.size for entry in edits.values() if entry is not None}
        with disk(self._folder):
            self.space.need("the rollback", self.space.taken([*wanted.values()] * 2), after.blobs())
            self.layers.ensure(self._launches.wanted(after).wheels, self.room)
            return self._staged(before, after, edits, {})

    def _verify(self, overlay: Overlay) -> dict[str, bytes]:
        """The blobs that ride in the overlay, each with the BLAKE3 and size that an edit names, none too many."""
        wanted = {entry.blake3: entry.size for entry in overlay.edits.values() if entry is not None}
        fresh: dict[str, bytes] = {}
        for name, blob in overlay.blobs.items():
            if name not in wanted:
                raise Malformed("nothing in the overlay needs this blob", to=f"blob {name[:12]}")
            size = len(blob) if isinstance(blob, bytes) else blob.delta.size_bytes
            if size != wanted[name]:
                raise Malformed(f"{size} bytes, the overlay says {wanted[name]}", to=f"blob {name[:12]}")
            content = blob if isinstance(blob, bytes) else blob.delta.apply(self.objects.read(blob.base))
            fresh[name] = verified(name, content)
        lacking = self.objects.missing((name, size) for name, size in wanted.items() if name not in fresh)
        lacking = [name for name in lacking if not self.objects.recover(name)]
        if lacking:
            raise Refused(
                "missing-blob",
                f"{len(lacking)} blobs are not on this target",
                to=lacking[0][:12],
                do="upload them first",
            )
        sizes = [*wanted.values(), *wanted.values(), *map(len, fresh.values())]  # in two trees; and as a blob
        self.space.need("the overlay", self.space.taken(sizes), wanted)
        return fresh

    def _staged(self, before: Manifest, after: Manifest, edits: Edits, fresh: dict[str, bytes]) -> Staged:
        launch = self._launches.wanted(after, fresh)
        self.layers.require(launch.wheels)
        return Staged(after, before, edits, launch, self._launches.of(before), fresh)

    def build(self, staged: Staged) -> Path:
        """Keep the blobs, make the tree in the idle place, and prepare the switch to it: its folder."""
        with disk(self._folder):
            for name, content in staged.fresh.items():
                self.objects.put(name, content)
            staged.tree = self._build(self._idle(), staged.manifest, staged.fresh)
            self._lead_to(staged.tree)
            if self.space.is_alone:
                self._note(staged.manifest, twice=True)  # later there may be no room for it
        return staged.tree.folder

    def _lead_to(self, tree: Tree) -> None:
        """Prepare the switch to ``tree``, so that it is one rename, and can't fail."""
        if not self._next_link.is_symlink():
            self._clear(self._next_link)
        self._next_link.unlink(missing_ok=True)
        self._next_link.symlink_to(Path("trees", tree.folder.name) if tree in self._own else tree.folder)

    def note(self, staged: Staged) -> None:
        """Write down what is in the staged tree, so that the next start knows it: before :meth:`switch`."""
        with disk(self._folder):
            self._note(staged.manifest)

    def _note(self, manifest: Manifest, *, twice: bool = False) -> None:
        self._unsynced |= dict.fromkeys(self._manifests.keep(manifest, twice=twice))

    def _idle(self) -> list[Tree]:
        """The trees to build in: not the live one; one that is dear comes last; the third where that costs no time."""
        free = [tree for tree in self._own if tree is not self.live and (tree is not self._third or tree.is_made)]
        if all(map(self._is_dear, free)) and self.space.has_room_for(self.manifest, at_once=True):
            return [self._third, *free]
        return sorted(free, key=self._is_dear)

    def _is_dear(self, tree: Tree) -> bool:
        """Whether the last healthy generation is in it, and another one is live."""
        healthy = self.ledger.last_healthy()
        root = healthy.root if healthy is not None and healthy.root != self.manifest.root else None
        return tree.noted is not None and tree.noted.root == root

    def _build(self, trees: list[Tree], wanted: Manifest, fresh: Mapping[str, bytes] | None = None) -> Tree:
        """Make one of ``trees`` the tree of ``wanted``."""
        with self._loans.building(trees) as tree:
            tree.become(wanted, self.objects, fresh or {}, self._is_named)
            return tree

    def room(self, sizes: Iterable[int]) -> None:
        """Make room for a layer's files of these sizes, or refuse."""
        with self.lock, disk(self._folder):
            self.space.need("what it requires", self.space.taken(sizes), ())

    def upload(self, name: str, offset: int, size_bytes: int, content: bytes) -> None:
        """Keep one blob, or a part of a large one, ahead of the overlay that needs it."""
        with disk(self._folder):
            self.space.need("this file", self.space.taken([size_bytes - offset] * 3), [name])
            self.space.await_blob(name)
            if offset == 0 and len(content) == size_bytes:
                self.objects.put(name, content)
            else:
                self.objects.append(name, offset, content, size_bytes)

    def switch(self, staged: Staged) -> None:
        """Make the tree live that was built, with one rename. Where that fails, nothing has changed."""
        self._next_link.replace(self.live_path)
        self.live, self.manifest = staged.tree, staged.manifest
        self.space.arrived()

    def record(self, staged: Staged, who: str, rung: str, why: str) -> Generation:
        """Write down that it is live. A bootloader that is cut off before finds that out at its next start."""
        return self.ledger.add(staged.manifest.root, who, rung, why, len(staged.edits))

    def settle(self) -> tuple[Path, ...]:
        """After the program runs: what is to be fsynced, which needs no lock, for the last switch to be durable."""
        if self.live is not None:
            with disk(self._folder):
                self._note(self.manifest, twice=True)
        return self._written()

    def _written(self) -> tuple[Path, ...]:
        paths = self._unsynced | dict.fromkeys((*self.ledger.paths, self._folder))
        self._unsynced = {}
        for tree in self._own:
            paths |= tree.unsynced
            tree.unsynced = {}
        return tuple(paths | dict.fromkeys(parent for path in paths for parent in list(path.parents)[:2]))

    def catch_up(self) -> None:
        """Once the live tree is durable: bring another one up to date, and forget what nobody will want.

        The tree of the last healthy generation stays, until the live one is healthy. If that has failed, and there is
        no tree to build its successor in, a third is made.
        """
        try:
            with disk(self._folder):
                trees = [tree for tree in self._idle() if not self._is_dear(tree)]
                failed = (last := self.ledger.last()) is not None and last.fate == "failed"
                if not trees and failed and self.space.has_room_for(self.manifest):
                    trees = [self._third]
                if trees and self.live is not None:
                    self._build(trees, self.manifest)
                self.space.tidy()
                self.ledger.compact()
        except Refused as refused:
            self._notice("idle-behind", f"the other tree could not be brought up to date: {refused}")
