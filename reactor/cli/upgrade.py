"""``reactor upgrade``: ship this host's own bootloader to each target, and keep it there once it was reached.

The target starts it on trial. Only where this host has reached the new one, and it is well, is it kept; in any other
case the one of before comes back by itself, and this says so.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from bootloader.wire.errors import CallTimeout, Fault, LinkDown, Refused
from bootloader.wire.manifest import EMPTY, PLAIN, Entry, Manifest, blob_name
from bootloader.wire.overlay import Overlay, diff

from .. import __version__, lease
from ..provision.payload import package, python_files
from ..report import clean
from ..targets import Target
from ..targets.embedded import Embedded
from ..terminal import Terminal
from . import ask, options
from .ask import Asked, each

__all__ = ["add", "package", "run"]

_SHIP_S = 180.0
_RETURN_S = 90.0
"""Longer than a target has for a release on trial, and for the way back."""

_CONFIRM_S = 30.0
_POLL_S = 0.1


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    ask.add(parser)
    options.add_take(parser)


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Upgrade: 0 if every target runs, and keeps, this host's bootloader."""
    contents = package()
    releases = release(contents), release({**contents, **carried()})
    return each(arguments, terminal, lambda asked: _ask(asked, releases, take=arguments.take), start=False)


def carried() -> dict[str, bytes]:
    """What this host runs itself of that, for a target that has another version and needs it."""
    found = find_spec("rpyc")
    return python_files(Path(found.origin).parent) if found is not None and found.origin else {}


def release(contents: Mapping[str, bytes]) -> Overlay:
    """A whole release, as it is shipped."""
    tree = Manifest({path: Entry(blob_name(content), PLAIN, len(content)) for path, content in contents.items()})
    bare = diff(EMPTY, tree)
    return Overlay(bare.base, bare.root, bare.edits, {blob_name(content): content for content in contents.values()})


def _ask(asked: Asked, releases: Sequence[Overlay], *, take: bool) -> bool:
    if isinstance(asked.target, Embedded):
        raise Fault("no-upgrade", "the embedded target runs this host's own bootloader as it is", to=asked.name)
    lease.have(asked.link, "upgrade", take=take)
    hello, _ = asked.link.call("hello", {})
    before, boot = clean(hello.text("release", "")), hello.text("boot")
    root = next((one.root for one in releases if one.root == before), "")
    if not root:
        root = _send(asked, releases)
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


def _send(asked: Asked, releases: Sequence[Overlay]) -> str:
    """Have it try the first of ``releases`` for which it has what that needs; the root of that one."""
    *lighter, last = releases
    for overlay in lighter:
        try:
            return _sent(asked, overlay)
        except Refused as refused:
            if refused.code != "missing-requirement":
                raise
    return _sent(asked, last)


def _sent(asked: Asked, overlay: Overlay) -> str:
    with suppress(LinkDown, CallTimeout):  # it ends to make room: the answer may have come too late
        asked.link.call("upgrade", *overlay.message(), timeout_s=_SHIP_S)
    return overlay.root


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
