"""One overlay on its way: which blobs ride along, which are uploaded before, and the call that applies it.

Small overlays carry their blobs, so that a save is one round trip; a blob that the target has an older version of
goes as a delta. Anything larger asks first which blobs are missing, and uploads those in bounded batches, read from
the disk as they go.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from bootloader.wire import delta
from bootloader.wire.errors import Malformed, Refused
from bootloader.wire.limits import FILE_S, INLINE_BYTES, UPLOAD_BLOBS
from bootloader.wire.manifest import EMPTY, Edits, Manifest
from bootloader.wire.messages import Fields
from bootloader.wire.overlay import Overlay, Splice

from .link import Link
from .report import clean, whole
from .room import LEAST_BYTES, Room
from .scan import KEPT_FILE_BYTES, Scanner

INLINE_FILES = 256
CALL_S = 180.0
_ASK = 20_000
_TRIES = 3

Progress = Callable[[int, int], None]
"""Told (bytes uploaded, bytes to upload)."""


class Source(Protocol):
    """Where the content of blobs is read from, in parts; an empty one is one empty part."""

    def parts(self, blob: str, part_bytes: int) -> Iterator[bytes]:
        """The content of ``blob``."""
        ...


@dataclass(frozen=True, slots=True)
class Shipment:
    """From the tree ``base``, which the target has, to ``manifest`` by ``edits``."""

    base: Manifest
    manifest: Manifest
    edits: Edits


@dataclass(frozen=True, slots=True)
class Live:
    """What a target runs: its root, and the newest generation with who made it, on which rung, and why."""

    root: str
    generation: int
    who: str
    rung: str
    why: str


def look(link: Link) -> Live:
    """What the target runs now."""
    answer, _ = link.call("history", {"limit": 1})
    newest = next(iter(answer.objects("generations")), Fields({}))
    who, rung, why = (clean(newest.text(key, "")) for key in ("who", "rung", "why"))
    return Live(answer.text("root"), whole(newest.integer("generation", 0)), who, rung, why)


def fetch(link: Link, root: str) -> Manifest:
    """The target's manifest for ``root``, checked against it."""
    if root == EMPTY.root:
        return EMPTY
    _, blobs = link.call("manifest", {"root": root}, timeout_s=CALL_S)
    if len(blobs) != 1:
        raise Malformed("the answer holds no manifest")
    manifest = Manifest.parse(blobs[0])
    if manifest.root != root:
        raise Malformed("the target's manifest is not of the root it was asked for")
    return manifest


def send(
    link: Link,
    shipment: Shipment,
    source: Scanner,
    progress: Progress,
    *,
    restart: bool = False,
) -> Fields:
    """Ship it; the target's answer. ``restart``: it is not to be tried as a patch.

    Blobs that turn out to be lost there are sent again, whichever they are.
    """
    blobs = _inline(shipment, source, min(INLINE_BYTES, link.room.size_bytes))
    wanted = {entry.blake3: entry.size for entry in shipment.edits.values() if entry is not None}
    tries = _TRIES
    while True:
        tries -= 1
        try:
            if blobs is None:
                upload(link, wanted, source, progress)
            overlay = Overlay(shipment.base.root, shipment.manifest.root, shipment.edits, blobs or {})
            body, inline = overlay.message()
            most_s = CALL_S + 2 * FILE_S * len(shipment.edits)
            answer, _ = link.call("apply", {**body, "restart": restart}, inline, most_s)
            return answer
        except Refused as refused:
            if refused.code not in ("missing-blob", "wrong-part") or not tries:
                raise
            # Which one is not known: it may be of the tree that the target has, as far as that is remembered here.
            kept = {name: size for name, size in shipment.base.blobs().items() if source.kept(name) is not None}
            blobs, wanted = None, {**kept, **shipment.manifest.blobs()}


def _inline(shipment: Shipment, source: Scanner, left: int) -> dict[str, bytes | Splice] | None:
    """The blobs to send inside the overlay, or None where they are too many or too large for that."""
    new = _new_blobs(shipment)
    if len(new) > INLINE_FILES:
        return None
    blobs: dict[str, bytes | Splice] = {}
    for name, (path, size) in new.items():
        old = shipment.base.get(path)
        known = source.kept(old.blake3) if old is not None and size <= KEPT_FILE_BYTES else None
        if size > left and known is None:
            return None
        content = source.content(name)
        change = delta.make(known, content) if known is not None else None
        blobs[name] = Splice(old.blake3, change) if change is not None and old is not None else content
        left -= len(change.middle) if change is not None else size
        if left < 0:
            return None
    return blobs


def _new_blobs(shipment: Shipment) -> dict[str, tuple[str, int]]:
    """The blobs that the base may lack, by name: a path that has it, and its size."""
    before = {entry.blake3 for path in shipment.edits if (entry := shipment.base.get(path)) is not None}
    return {
        entry.blake3: (path, entry.size)
        for path, entry in shipment.edits.items()
        if entry is not None and entry.blake3 not in before
    }


def upload(link: Link, wanted: Mapping[str, int], source: Source, progress: Progress) -> int:
    """Send those of the blobs ``wanted`` (name to size) that the target lacks, each from where it was cut off; how many
    bytes that took.
    """
    names = list(wanted.items())
    missing: dict[str, int] = {}
    begun: dict[str, int] = {}
    for start in range(0, len(names), _ASK):
        answer, _ = link.call("missing", {"names": names[start : start + _ASK]}, timeout_s=CALL_S)
        missing |= {name: wanted[name] for name in answer.texts("missing") if name in wanted}
        begun |= _begun(answer, wanted)
    total = sum(missing.values())
    before = done = sum(begun.get(name, 0) for name in missing)
    for rows, blobs in _batches(missing, begun, source, link.room):
        size, asked = sum(map(len, blobs)), time.monotonic()
        link.call("upload", {"parts": rows}, blobs, timeout_s=CALL_S)
        link.room.took(size, time.monotonic() - asked)
        done += size
        progress(done, total)
    return done - before


Row = tuple[str, int, int]


def _begun(answer: Fields, wanted: Mapping[str, int]) -> dict[str, int]:
    """How much of which blobs the target says to have; what can't be is left out."""
    found = {}
    for row in answer.rows("begun"):
        match row:
            case [str(name), int(size)] if 0 < size < wanted.get(name, 0):
                found[name] = size
    return found


def _batches(
    blobs: Mapping[str, int], begun: Mapping[str, int], source: Source, room: Room
) -> Iterator[tuple[list[Row], list[bytes]]]:
    """Upload calls: (name, offset, size) and the bytes, each call bounded in blobs and bytes."""
    rows: list[Row] = []
    parts: list[bytearray] = []
    held = 0
    for name, size in blobs.items():
        offset, skip = 0, begun.get(name, 0)
        for read in source.parts(name, LEAST_BYTES):
            piece = read[max(0, skip - offset) :]
            start, offset = offset + len(read) - len(piece), offset + len(read)
            if skip and not piece:
                continue
            if rows and (held + len(piece) > room.size_bytes or len(rows) == UPLOAD_BLOBS):
                yield rows, [bytes(part) for part in parts]
                rows, parts, held = [], [], 0
            if rows and rows[-1][0] == name:
                parts[-1] += piece
            else:
                rows.append((name, start, size))
                parts.append(bytearray(piece))
            held += len(piece)
    if rows:
        yield rows, [bytes(part) for part in parts]
