"""The bytecode that applications' modules were compiled to: kept from one start to the next only where it is whole.

Python does not verify what it finds in its cache: a file that a power cut tore keeps a module from being imported for
ever, and one with a flipped bit may do anything. So an orderly end notes the BLAKE3 of every file, and a start drops
what is not as noted; after any other end, all of it. What is dropped is compiled again.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from blake3 import blake3

from ..regular import regular
from .objects import file_name

MOST_FILES = 10_000
"""More than this is not noted: the end of a bootloader is waited for."""


def note(folder: Path, place: Path) -> None:
    """Write down in ``place`` what is in ``folder``, at the end."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    if len(files) <= MOST_FILES:
        text = "".join(f"{file_name(path)} {path.relative_to(folder)}\n" for path in files)
        place.write_text(f"{blake3(text.encode()).hexdigest()}\n{text}")


def check(folder: Path, place: Path) -> None:
    """Drop what is not as noted, and the note, which holds for one start."""
    noted = _noted(place)
    place.unlink(missing_ok=True)
    if not noted:
        shutil.rmtree(folder, ignore_errors=True)
        return
    try:
        for path in sorted(folder.rglob("*")):
            if path.is_symlink() or not path.is_dir():
                wanted = noted.get(str(path.relative_to(folder)))
                if path.is_symlink() or not path.is_file() or wanted != file_name(path):
                    path.unlink()
    except OSError:  # one that can't be read, or not be dropped: all of it costs no more than time
        shutil.rmtree(folder, ignore_errors=True)


def _noted(place: Path) -> dict[str, str]:
    """Each file's BLAKE3; nothing where the note is lost or damaged."""
    try:
        with open(place, encoding="utf-8", opener=regular) as note:
            whole, _, text = note.read().partition("\n")
    except (OSError, ValueError):
        return {}
    if whole != blake3(text.encode()).hexdigest():
        return {}
    lines = (line.partition(" ") for line in text.splitlines())
    return {name: hash_ for hash_, _, name in lines}
