"""The bootloader's own update: takes a new release in, and has the keeper try it.

Installs beside what runs, and says so to the keeper, which ends this bootloader and starts the new one on trial: that
one is kept once a host has called `confirm` on it and its heart beats, and the one of before comes back by itself in
any other case. Owns no state but what the keeper told at the start.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from .keeper import release
from .requirements import unmet
from .tether import Tether
from .wire.errors import Refused
from .wire.manifest import EMPTY, Manifest, blob_name
from .wire.overlay import Overlay, apply

_COMPILE_S = 120.0
_CONFIRM_S = 20.0
_SPARE_BYTES = 4 * 1024 * 1024
_MAIN = "bootloader/__main__.py"
_NEEDS = "bootloader/requirements.txt"
_PACKAGES = ("bootloader", "rpyc")
"""What a release may hold. The link overrides what is rpyc's own, so it needs one certain version, which is all Python
and can be brought along; another one that is installed here stays there for the installed bootloader.
"""


class Upgrade:
    """``root`` is of the release that runs, empty for the installed one; ``trial``, whether it is not kept yet."""

    def __init__(self, state: Path, tether: Tether) -> None:
        self._state = state
        self._tether = tether
        self.root = tether.told.text("release", "")
        self.trial = tether.told.flag("trial", False)
        self._confirming = threading.Lock()

    def told(self) -> dict[str, Any]:
        """For ``status``: the release, and how the bootloader fares with its keeper."""
        told = self._tether.told
        return {
            "release": self.root,
            "trial": self.trial,
            "undone": told.text("undone", ""),
            "restarts": told.integer("restarts", 0),
            "why": told.text("why", ""),
        }

    def take(self, overlay: Overlay) -> str:
        """Install the release that ``overlay`` holds, whole, and have it tried; its root."""
        manifest = apply(overlay, EMPTY)
        if self.trial:
            raise Refused("busy", "another release is on trial", do="confirm that one, or wait until it is given up")
        if manifest.root == self.root:
            raise Refused("same-release", "this release runs already", to=manifest.root[:12])
        try:
            contents = _contents(manifest, overlay)
            _require(contents)
            sealed = self._install(manifest, contents)
        except Refused:
            self._discard(manifest.root)
            raise
        except OSError as error:
            self._discard(manifest.root)
            do = "free space on the target, or look at its disk"
            raise Refused("disk-failed", error.strerror or str(error), to=str(error.filename or ""), do=do) from error
        self._tether.tell({"upgrade": sealed.root, "seal": sealed.seal})
        return manifest.root

    def _discard(self, root: str) -> None:
        shutil.rmtree(release.place(self._state, root), ignore_errors=True)

    def _install(self, manifest: Manifest, contents: dict[str, bytes]) -> release.Release:
        folder = release.place(self._state, manifest.root)
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        old = [each for each in folder.parent.glob("*/") if each.name != self.root]
        free = shutil.disk_usage(folder.parent).free + sum(map(_size_bytes, old))
        needed = 4 * sum(map(len, contents.values())) + _SPARE_BYTES
        if free < needed:
            what = f"{free // 1024} KB are free, the release needs {needed // 1024} KB"
            raise Refused("disk-full", what, to=str(self._state), do="free space on the target")
        for each in old:
            shutil.rmtree(each)
        folder.mkdir(mode=0o700)
        for path, content in contents.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        _compile(folder)
        return release.seal(self._state, manifest.root)

    def confirm(self, root: str) -> None:
        """A host has reached the release ``root``: have it kept, if it is well."""
        if root != self.root:
            raise Refused("not-this-release", "another release runs here", to=root[:12], do="look at `reactor status`")
        with self._confirming:
            self._confirm(root)

    def _confirm(self, root: str) -> None:
        if self.trial:
            answer = self._tether.ask({"confirm": root}, _CONFIRM_S)
            if answer.text("kept", "") != root:
                raise Refused("not-kept", answer.text("not-kept", "the keeper does not answer"), to=root[:12])
            self.trial = False


def _size_bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))


def _contents(manifest: Manifest, overlay: Overlay) -> dict[str, bytes]:
    """The files of a release by path, each with the BLAKE3 that the manifest names."""
    contents: dict[str, bytes] = {}
    for path, entry in manifest.items():
        content = overlay.blobs.get(entry.blake3)
        if not isinstance(content, bytes) or blob_name(content) != entry.blake3:
            raise Refused("missing-blob", "a file is not inside, or is not what it says", to=path)
        if path.split("/")[0] not in _PACKAGES or "/" not in path:
            raise Refused("no-release", "a file lies outside of the package", to=path)
        contents[path] = content
    if _MAIN not in contents:
        raise Refused("no-release", "what was sent is no bootloader", to=_MAIN)
    return contents


def _require(contents: dict[str, bytes]) -> None:
    """Refuse a release that needs what is not here: its trial would end with that, and stop the applications first."""
    try:
        needs = contents.get(_NEEDS, b"").decode()
        missing = list(unmet(needs, {path.split("/")[0] for path in contents}))
    except ValueError as error:
        raise Refused("no-release", f"what it needs can't be read: {error}", to=_NEEDS) from error
    if missing:
        do = "install that on the target, then upgrade again"
        raise Refused("missing-requirement", f"the release needs {', '.join(missing)}", do=do)


def _compile(folder: Path) -> None:
    """Write the bytecode, which the seal covers too. In a process of its own: the compiler may die of what it reads."""
    how = ["-P", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(folder)]
    try:
        done = subprocess.run(
            [sys.executable, *how], stdin=subprocess.DEVNULL, capture_output=True, timeout=_COMPILE_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Refused("no-release", "its compilation takes too long", to=folder.name[:12]) from error
    if done.returncode:
        raise Refused(
            "no-release", "it does not compile", to=folder.name[:12], text=done.stdout.decode(errors="replace")
        )
