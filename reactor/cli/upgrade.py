"""``reactor upgrade``: ship this host's own bootloader to each target, and keep it there once it was reached.

The target starts it on trial. Only where this host has reached the new one, and it is well, is it kept; in any other
case the one of before comes back by itself, and this says so.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from bootloader.wire import limits
from bootloader.wire.errors import CallTimeout, Fault, LinkDown
from bootloader.wire.manifest import EMPTY, PLAIN, Entry, Manifest, blob_name
from bootloader.wire.overlay import Overlay, diff

from .. import __version__
from ..report import clean
from ..targets import Target
from ..targets.embedded import Embedded
from ..terminal import Terminal
from .ask import Asked, add, each

__all__ = ["add", "run"]

_SHIP_S = 180.0
_RETURN_S = 90.0
"""Longer than a target has for a release on trial, and for the way back."""

_CONFIRM_S = 30.0
_POLL_S = 0.1


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Upgrade: 0 if every target runs, and keeps, this host's bootloader."""
    contents = package()
    return each(arguments, terminal, lambda asked: _ask(asked, contents), start=False)


def package() -> dict[str, bytes]:
    """The bootloader that lies beside this host's own code: its Python files, by path."""
    top = Path(limits.__file__).parents[2]
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in sorted((top / "bootloader").rglob("*.py"))}


def release(contents: Mapping[str, bytes]) -> Overlay:
    """A whole release, as it is shipped."""
    tree = Manifest({path: Entry(blob_name(content), PLAIN, len(content)) for path, content in contents.items()})
    bare = diff(EMPTY, tree)
    return Overlay(bare.base, bare.root, bare.edits, {blob_name(content): content for content in contents.values()})


def _ask(asked: Asked, contents: Mapping[str, bytes]) -> bool:
    if isinstance(asked.target, Embedded):
        raise Fault("no-upgrade", "the embedded target runs this host's own bootloader as it is", to=asked.name)
    overlay = release(contents)
    hello, _ = asked.link.call("hello", {})
    root, before, boot = overlay.root, clean(hello.text("release", "")), hello.text("boot")
    if before != root:
        with suppress(LinkDown, CallTimeout):  # it ends to make room: the answer may have come too late
            asked.link.call("upgrade", *overlay.message(), timeout_s=_SHIP_S)
        _confirm(asked.target, root, boot)
    else:  # it may be on trial still, from a call that was cut
        asked.link.call("confirm", {"release": root}, timeout_s=_CONFIRM_S)
    told = {"release": root, "before": before, "changed": before != root}
    if asked.terminal.as_json:
        asked.terminal.tell({"event": "upgrade", "target": asked.name, **told})
    else:
        was = f"was {before[:12] or 'the installed one'}" if before != root else "runs it already"
        asked.terminal.line(f"{asked.name}: bootloader {__version__}, release {root[:12]} ({was})")
    return True


def _confirm(target: Target, root: str, boot: str) -> None:
    """Reach what comes after the bootloader ``boot``, and have it kept if it is the new one."""
    deadline = time.monotonic() + _RETURN_S
    while time.monotonic() < deadline:
        with suppress(LinkDown, CallTimeout), target.connect("upgrade") as link:  # it is on its way, or going back
            hello, _ = link.call("hello", {})
            if hello.text("boot") != boot and hello.text("release", "") == root:
                link.call("confirm", {"release": root}, timeout_s=_CONFIRM_S)
                return
            if hello.text("boot") != boot:
                status, _ = link.call("status", {})
                why = clean(status.child("keeper").text("undone", "")) or "the target runs another one"
                raise Fault("upgrade-undone", f"{why}; the one of before is back", to=target.name)
        time.sleep(_POLL_S)
    do = "it goes back by itself; look at `reactor status`"
    raise Fault("upgrade-undone", "the new bootloader could not be reached", to=target.name, do=do)
