"""A store on a disk, and what it should hold."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bootloader.store.objects import sync
from bootloader.store.staged import Staged
from bootloader.store.store import Store
from bootloader.store.triage import Rung
from bootloader.wire.launch import PATH, Application, Launch
from bootloader.wire.manifest import blob_name
from bootloader.wire.overlay import Overlay, diff
from tests.bootloader.wire.trees import Tree as Files
from tests.bootloader.wire.trees import manifest_of

LAUNCH = (Launch((Application("app", "app"),)).encode(), 0o644)


class Disk:
    """A store, and what it should hold."""

    def __init__(self, folder: Path, source: Path | None = None) -> None:
        """With ``source``, on a copy of that folder."""
        if source is not None:
            shutil.copytree(source, folder, symlinks=True)
        self.folder = folder
        self.notices: list[tuple[str, str]] = []
        self.store = self.opened()

    def opened(self, **more: Path) -> Store:
        return Store(self.folder, lambda code, text: self.notices.append((code, text)), **more)

    def reopen(self, **more: Path) -> Rung | None:
        """As a start of the bootloader does: what is to be started then."""
        self.store = self.opened(**more)
        return self.store.recover()

    @property
    def codes(self) -> list[str]:
        return [code for code, _ in self.notices]

    def overlay(self, files: Files) -> Overlay:
        """From what is live to ``files`` and a launch file, with all blobs."""
        files = {PATH: LAUNCH, **files}
        bare = diff(self.store.manifest, manifest_of(files))
        edited = [files[path][0] for path, entry in bare.edits.items() if entry is not None]
        return replace(bare, blobs={blob_name(content): content for content in edited})

    def stage(self, overlay: Overlay) -> Staged:
        return self._built(self.store.stage(overlay))

    def stage_root(self, root: str) -> Staged:
        return self._built(self.store.stage_root(root))

    def _built(self, staged: Staged) -> Staged:
        self.store.build(staged)
        return staged

    def switch(self, staged: Staged) -> int:
        self.store.note(staged)
        self.store.switch(staged)
        return self.store.record(staged, "host", "restart", "code changed").number

    def become(self, files: Files) -> int:
        return self.switch(self.stage(self.overlay(files)))

    def sync(self) -> None:
        """What is live is on the disk for certain; the other trees are as they were."""
        sync(self.store.settle())

    def settle(self) -> None:
        self.sync()
        self.store.catch_up()
        sync(self.store.settle())

    def healthy(self, files: Files) -> int:
        """A generation that is good to go back to, and on the disk for certain."""
        number = self.become(files)
        self.store.ledger.mark(number, "healthy")
        self.settle()
        return number

    def live(self) -> Files:
        return on_disk(self.folder / "live")

    def state(self) -> object:
        """All that a refusal must leave as it is."""
        ledger = self.folder / "ledger.jsonl"
        lines = ledger.read_bytes() if ledger.exists() else b""
        link = (self.folder / "live").readlink() if (self.folder / "live").is_symlink() else None
        return link, self.live(), lines, self.store.manifest, self.store.live

    def idle(self) -> Path:
        return next(self.folder / "trees" / name for name in "ab" if name != (self.folder / "live").readlink().name)


def on_disk(top: Path) -> Files:
    """The files below ``top``; there must be no empty folder, and nothing but files."""
    found: Files = {}
    for folder, names, files in os.walk(top):
        assert names or files or Path(folder) == top, f"{folder} is empty"
        for name in files:
            path = Path(folder, name)
            assert not path.is_symlink()
            found[path.relative_to(top).as_posix()] = path.read_bytes(), path.stat().st_mode & 0o7777
    return found


def text(*names: str) -> Files:
    return {name: (name.encode(), 0o644) for name in names}


def in_place(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """The damage that something else, which ``make`` makes, is where a file was."""

    def damage(file: Path) -> None:
        file.unlink()
        make(file)

    return damage
