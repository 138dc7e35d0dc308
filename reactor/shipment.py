"""One overlay on its way: which blobs ride along, which are uploaded before, and the call that applies it.

Small overlays carry their blobs, so that a save is one round trip; a blob that the target has an older version of
goes as a delta. Anything larger asks first which blobs are missing, and uploads those in bounded batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bootloader.wire import delta
from bootloader.wire.errors import Malformed, Refused
from bootloader.wire.limits import INLINE_BYTES, PART_BYTES, UPLOAD_BLOBS
from bootloader.wire.manifest import Edits, Manifest
from bootloader.wire.messages import Fields
from bootloader.wire.overlay import Overlay, Splice

from .link import Link
from .scan import Scanner

INLINE_FILES = 256
_ASK = 20_000
_TRIES = 3
_CALL_S = 180.0

Progress = Callable[[int, int], None]
"""Told (bytes uploaded, bytes to upload)."""


@dataclass(frozen=True, slots=True)
class Shipment:
    """From the tree ``base``, which the target has, to ``manifest`` by ``edits``."""

    base: Manifest
    manifest: Manifest
    edits: Edits


def send(link: Link, shipment: Shipment, source: Scanner, progress: Progress) -> Fields:
    """Ship it; the target's answer. Starts over from the target's own root where that turns out to be another."""
    lean = True
    for _ in range(_TRIES):
        try:
            blobs = _inline(shipment, source, deltas=lean)
            if blobs is None:
                _upload(link, shipment, source, progress)
            overlay = Overlay(shipment.base.root, shipment.manifest.root, shipment.edits, blobs or {})
            answer, _ = link.call("apply", *overlay.message(), timeout_s=_CALL_S)
            return answer
        except Refused as refused:
            if refused.code == "stale-root":
                base = fetch(link, str(refused.fields.get("root", "")))
                shipment = Shipment(base, shipment.manifest, base.edits_to(shipment.manifest))
            elif refused.code == "missing-blob" and lean:
                lean = False
            else:
                raise
    raise Refused("busy", "the target's tree changes while we ship", do="is somebody else pushing to it?")


def fetch(link: Link, root: str) -> Manifest:
    """The target's manifest for ``root``, checked against it."""
    _, blobs = link.call("manifest", {"root": root}, timeout_s=_CALL_S)
    if len(blobs) != 1:
        raise Malformed("the answer holds no manifest")
    manifest = Manifest.parse(blobs[0])
    if manifest.root != root:
        raise Malformed("the target's manifest is not of the root it was asked for")
    return manifest


def _new_blobs(shipment: Shipment) -> dict[str, tuple[str, int]]:
    """The blobs that the base may lack, by name: a path that has it, and its size."""
    before = {entry.blake3 for path in shipment.edits if (entry := shipment.base.get(path)) is not None}
    return {
        entry.blake3: (path, entry.size)
        for path, entry in shipment.edits.items()
        if entry is not None and entry.blake3 not in before
    }


def _inline(shipment: Shipment, source: Scanner, *, deltas: bool) -> dict[str, bytes | Splice] | None:
    """The blobs to send inside the overlay, or None where they are too many or too large for that."""
    new = _new_blobs(shipment)
    if len(new) > INLINE_FILES:
        return None
    blobs: dict[str, bytes | Splice] = {}
    left = INLINE_BYTES
    for name, (path, size) in new.items():
        old = shipment.base.get(path)
        known = source.kept(old.blake3) if deltas and old is not None else None
        if size > left and known is None:
            return None
        content = source.content(name)
        change = delta.make(known, content) if known is not None else None
        blobs[name] = Splice(old.blake3, change) if change is not None and old is not None else content
        left -= len(change.middle) if change is not None else size
        if left < 0:
            return None
    return blobs


def _upload(link: Link, shipment: Shipment, source: Scanner, progress: Progress) -> None:
    sizes = {entry.blake3: entry.size for entry in shipment.edits.values() if entry is not None}
    names = list(sizes.items())
    missing: list[str] = []
    for start in range(0, len(names), _ASK):
        answer, _ = link.call("missing", {"names": names[start : start + _ASK]}, timeout_s=_CALL_S)
        missing += [name for name in answer.texts("missing") if name in sizes]
    total = sum(sizes[name] for name in missing)
    done = 0
    progress(0, total)
    for rows, blobs in _batches(missing, sizes, source):
        link.call("upload", {"parts": rows}, blobs, timeout_s=_CALL_S)
        done += sum(map(len, blobs))
        progress(done, total)


Row = tuple[str, int, int]


def _batches(names: list[str], sizes: dict[str, int], source: Scanner) -> Iterator[tuple[list[Row], list[bytes]]]:
    """Upload calls: (name, offset, size) and the bytes, each call bounded in blobs and bytes."""
    rows: list[Row] = []
    blobs: list[bytes] = []
    held = 0
    for name in names:
        content = source.content(name)
        for offset in range(0, max(1, len(content)), PART_BYTES):
            part = content[offset : offset + PART_BYTES]
            if rows and (held + len(part) > PART_BYTES or len(rows) == UPLOAD_BLOBS):
                yield rows, blobs
                rows, blobs, held = [], [], 0
            rows.append((name, offset, sizes[name]))
            blobs.append(part)
            held += len(part)
    if rows:
        yield rows, blobs
