"""What ``reactor new`` writes: a copy of ``reactor/template`` with the project's name in it.

Owns which names a project may have. Never overwrites: a file that is already there is a refusal.
"""

from __future__ import annotations

import keyword
import re
import sys
from pathlib import Path
from string import Template

from bootloader.wire.errors import Fault
from bootloader.wire.launch import NAME

TEMPLATE = Path(__file__).parents[1] / "template"
_PLACES = {"package": "{package}", "gitignore": ".gitignore"}
_TAKEN = sys.stdlib_module_names | {"bootloader", "reactor"}


def write(name: str, folder: Path) -> list[Path]:
    """Write a project called ``name`` into ``folder``, which is made, and return its files.

    :class:`Fault` where the name would not do (with one that would), or where ``folder`` has something in it.
    """
    if not _fits(name):
        raise Fault("bad-name", "does not do as a project's name", to=repr(name), do=f"try '{_suggestion(name)}'")
    package = _package(name)
    written: list[Path] = []
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise Fault("folder-in-use", "exists and is not an empty folder", to=str(folder), do="choose another name")
        for source in sorted(TEMPLATE.rglob("*")):
            if source.is_dir() or "__pycache__" in source.parts:
                continue
            parts = (_PLACES.get(part, part).format(package=package) for part in source.relative_to(TEMPLATE).parts)
            target = folder.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "x", encoding="utf-8") as file:
                file.write(Template(source.read_text("utf-8")).substitute(name=name, package=package))
            written.append(target)
    except OSError as error:
        what = f"can't be written: {error.strerror}"
        raise Fault("not-written", what, to=error.filename or str(folder), do="choose another place") from error
    return written


def _package(name: str) -> str:
    return name.replace("-", "_")


def _fits(name: str) -> bool:
    """Whether ``name`` can name an application, and its package can be imported and hides no other."""
    package = _package(name)
    legal = NAME.fullmatch(name) and name[-1].isalnum()
    return bool(legal) and not keyword.iskeyword(package) and package not in _TAKEN


def _suggestion(name: str) -> str:
    """A name like ``name`` that does."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "my-project"
    return next(short for each in (plain, f"my-{plain}") if _fits(short := each[:32].rstrip("-")))
