"""Trees as the tests see them: path to (content, mode). Strategies for them, and their manifests."""

from __future__ import annotations

from hypothesis import strategies as st

from bootloader.wire.errors import Malformed
from bootloader.wire.manifest import MODES, Entry, Manifest, blob_name, check_path

File = tuple[bytes, int]
Tree = dict[str, File]

# Few enough that two trees meet in most of them. "a b" and "a.b" sort between "a" and "a/…"; "é" has two spellings.
_PARTS = ("a", "A", "a.b", "a b", "b", "é", "é", "日本", "🙂", ".hidden", "main.py", "Main.py", "\u2028", " ")


def is_path(text: str) -> bool:
    """Whether a manifest takes ``text`` as a path."""
    try:
        check_path(text)
    except Malformed:
        return False
    return True


paths = st.one_of(
    st.lists(st.sampled_from(_PARTS), min_size=1, max_size=4).map("/".join),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(is_path),
)

# The longer ones are worth a delta, and share their beginnings and ends.
contents = st.one_of(
    st.binary(max_size=8),
    st.binary(max_size=40).map(lambda middle: b"begin" * 900 + middle + b"end" * 900),
)

files = st.tuples(contents, st.sampled_from(MODES))


def _without_conflicts(tree: Tree) -> Tree:
    """``tree`` less the files that lie below another file of it."""
    return {path: file for path, file in tree.items() if not any(path.startswith(f"{other}/") for other in tree)}


trees = st.dictionaries(paths, files, max_size=12).map(_without_conflicts)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Tree, Tree]:
    """Two trees that share some files: the second keeps a part of the first, and has some of its own."""
    old, other = draw(trees), draw(trees)
    kept = {path: old[path] for path in draw(st.sets(st.sampled_from(sorted(old)))) if old} if old else {}
    return old, _without_conflicts({**kept, **other})


def entry_of(file: File) -> Entry:
    """The manifest's entry of one file."""
    content, mode = file
    return Entry(blob_name(content), mode, len(content))


def manifest_of(tree: Tree) -> Manifest:
    """The manifest of a whole tree."""
    return Manifest({path: entry_of(file) for path, file in tree.items()})
