"""Releases of the bootloader that lie beside the installed one, and which of them is to run.

    bootloaders/<root>/bootloader/…   a release: its code, with the bytecode of this Python
    bootloaders/<root>/seal           what each of these files has to be, as `sha256sum` writes it
    bootloaders/kept                  the release to run, the SHA-256 of its seal, and beside which installed one

Owns that folder. A release counts only while every file of it is what its seal says, and nothing else lies there but
another Python's bytecode: one byte that has changed, and the installed one runs. So it does, too, once that is another
one than the release was kept beside: it was updated by other means, and later. The keeper reads this, so it is of the
standard library alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..regular import regular


class Unusable(Exception):
    """Why a release is not to run."""


@dataclass(frozen=True, slots=True)
class Release:
    """One release. ``seal``: the SHA-256 of its seal."""

    root: str
    folder: Path
    seal: str

    def verify(self) -> None:
        """:class:`Unusable` where it is not what it was when it was sealed."""
        try:
            text = _content(self.folder / "seal")
            if hashlib.sha256(text).hexdigest() != self.seal:
                raise Unusable("its seal was changed")
            wanted = {path: digest for digest, path in (line.split("  ", 1) for line in text.decode().splitlines())}
            for path in _files(self.folder):
                sealed = wanted.pop(path, "")
                if sealed != _digest(self.folder / path) and (sealed or not path.endswith(".pyc")):
                    raise Unusable(f"'{path}' was changed, or added")
        except (OSError, ValueError) as error:
            raise Unusable(f"it can't be read ({error})") from error
        if wanted:
            raise Unusable(f"'{min(wanted)}' is missing")


def place(state: Path, root: str) -> Path:
    """Where the release ``root`` lies, or is to lie."""
    return state / "bootloaders" / root


def seal(state: Path, root: str) -> Release:
    """Write down what lies in a new release's folder, and see all of it onto the disk."""
    folder = place(state, root)
    paths = sorted(_files(folder))
    text = "".join(f"{_digest(folder / path)}  {path}\n" for path in paths).encode()
    (folder / "seal").write_bytes(text)
    folders = {parent for path in paths for parent in (folder / path).parents if parent.is_relative_to(folder)}
    for each in (*(folder / path for path in paths), folder / "seal", *folders, folder.parent, state):
        _sync(each)
    return Release(root, folder, hashlib.sha256(text).hexdigest())


def keep(state: Path, release: Release) -> None:
    """Have ``release`` be the one to run from now on."""
    kept = state / "bootloaders" / "kept"
    aside = kept.with_suffix(".new")
    aside.write_text(json.dumps({"root": release.root, "seal": release.seal, "installed": installed()}))
    _sync(aside)
    aside.replace(kept)
    _sync(kept.parent)


def kept(state: Path) -> Release | None:
    """The release to run, verified; None where that is the installed one, :class:`Unusable` where it should not be."""
    try:
        note = json.loads(_content(state / "bootloaders" / "kept"))
        release = Release(note["root"], place(state, note["root"]), note["seal"])
        is_same = note["installed"] == installed()
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unusable(f"which one is to run can't be read ({error})") from error
    if not is_same:
        raise Unusable("the installed one was updated since it was kept")
    release.verify()
    return release


def installed() -> str:
    """The SHA-256 of the code that this very process runs."""
    package = Path(__file__).parents[1]
    digests = (f"{path}{_digest(package / path)}" for path in sorted(_files(package)) if path.endswith(".py"))
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _files(folder: Path) -> Iterator[str]:
    """Every file of a release but its seal, relative to ``folder``, links as well."""
    for base, _, names in os.walk(folder):
        for name in names:
            path = os.path.relpath(os.path.join(base, name), folder)  # noqa: PTH118 - os.walk has texts
            if path != "seal":
                yield path


def _content(path: Path) -> bytes:
    with open(path, "rb", opener=regular) as file:
        return file.read()


def _digest(path: Path) -> str:
    with open(path, "rb", opener=regular) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
