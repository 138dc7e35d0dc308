"""The content-addressed delta between two trees: what changed, what is gone, where it starts, where it leads.

Pure. :func:`diff` makes one from two manifests; :func:`apply` takes a manifest along it; the target's store does the
same to a tree on disk. Blobs ride inside where they are few, as they are or as a delta against one that the target
has; the rest is uploaded before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .delta import Delta
from .errors import Malformed, Refused
from .limits import FILE_BYTES, MANIFEST_FILES
from .manifest import Edits, Entry, Manifest, check_hash, check_path
from .messages import Body, Fields, pack


@dataclass(frozen=True, slots=True)
class Splice:
    """A blob told as a change of the blob ``base``."""

    base: str
    delta: Delta


@dataclass(frozen=True, slots=True)
class Overlay:
    """From the tree ``base`` to the tree ``root`` by ``edits``; ``blobs`` are those that ride along, by name."""

    base: str
    root: str
    edits: Edits
    blobs: Mapping[str, bytes | Splice] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The overlay as one message."""
        return pack(*self.message())

    def message(self) -> tuple[Body, list[bytes]]:
        """The overlay as a message's body and blobs."""
        put = [[path, entry.blake3, entry.mode, entry.size] for path, entry in self.edits.items() if entry is not None]
        delete = [path for path, entry in self.edits.items() if entry is None]
        inline: list[list[str | int]] = []
        carried: list[bytes] = []
        for name, blob in self.blobs.items():
            if isinstance(blob, Splice):
                inline.append([name, blob.base, blob.delta.prefix, blob.delta.suffix])
                carried.append(blob.delta.middle)
            else:
                inline.append([name])
                carried.append(blob)
        body = {"base": self.base, "root": self.root, "put": put, "delete": delete, "inline": inline}
        return body, carried

    @classmethod
    def decode(cls, fields: Fields, carried: list[bytes]) -> Overlay:
        """The overlay in a message's fields and blobs; anything odd is :class:`Malformed`."""
        changes: list[tuple[str, Entry | None]] = [(path, None) for path in fields.texts("delete")]
        for row in fields.rows("put"):
            match row:
                case [str(path), str(name), int(mode), int(size)]:
                    changes.append((path, Entry(name, mode, size)))
                case _:
                    raise Malformed("not [path, blake3, mode, size]", to="the overlay's 'put'")
        if len(changes) > 2 * MANIFEST_FILES:
            raise Malformed(f"{len(changes)} changes in one overlay", do="exclude what need not be shipped")
        edits = {check_path(path): entry for path, entry in changes}
        if len(edits) != len(changes):
            raise Malformed("the overlay names a path twice")
        inline = fields.rows("inline")
        if len(inline) != len(carried):
            raise Malformed("the overlay's blobs do not match their list")
        blobs: dict[str, bytes | Splice] = {}
        for row, content in zip(inline, carried, strict=True):
            match row:
                case [str(name)]:
                    blobs[check_hash(name)] = content
                case [str(name), str(base), int(prefix), int(suffix)] if (
                    0 <= min(prefix, suffix) <= prefix + suffix <= FILE_BYTES
                ):
                    blobs[check_hash(name)] = Splice(check_hash(base), Delta(prefix, suffix, content))
                case _:
                    raise Malformed("not [blake3] or [blake3, base, prefix, suffix]", to="the overlay's 'inline'")
        if len(blobs) != len(inline):
            raise Malformed("the overlay carries a blob twice")
        return cls(check_hash(fields.text("base")), check_hash(fields.text("root")), edits, blobs)


def diff(old: Manifest, new: Manifest) -> Overlay:
    """The overlay from ``old`` to ``new``, without blobs."""
    return Overlay(old.root, new.root, old.edits_to(new))


def apply(overlay: Overlay, tree: Manifest) -> Manifest:
    """The tree that ``overlay`` leads to from ``tree``.

    :class:`Refused` with code ``stale-root`` (and this tree's ``root``) where it starts elsewhere, and with code
    ``wrong-root`` where its edits do not lead to the root that it names.
    """
    if overlay.base != tree.root:
        raise Refused(
            "stale-root",
            f"the overlay starts from {overlay.base[:12]}, the live tree is {tree.root[:12]}",
            do="compare with the live tree and send again",
            root=tree.root,
        )
    for path, entry in overlay.edits.items():
        if entry is None and path not in tree:
            raise Refused("malformed", "deletes a file that is not in the tree", to=repr(path))
    new = tree.edit(overlay.edits)
    if new.root != overlay.root:
        raise Refused("wrong-root", f"the edits lead to {new.root[:12]}, not to {overlay.root[:12]}")
    return new
