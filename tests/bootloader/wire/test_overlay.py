from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bootloader.wire import delta
from bootloader.wire.errors import Malformed, Refused
from bootloader.wire.manifest import EMPTY, PLAIN, RUNNABLE, Entry, Manifest, blob_name
from bootloader.wire.messages import pack, unpack
from bootloader.wire.overlay import Overlay, Splice, apply, diff
from tests.bootloader.wire.trees import Tree, entry_of, manifest_of, pairs

HASH = "0123456789abcdef" * 4
ENTRY = Entry(HASH, PLAIN, 5)
LONG = b"long" * 2000


def overlay_with_blobs(old: Tree, new: Tree) -> Overlay:
    """The overlay from ``old`` to ``new`` with all that a target lacks, as deltas where these pay."""
    bare = diff(manifest_of(old), manifest_of(new))
    has = {blob_name(content): content for content, _ in old.values()}
    blobs: dict[str, bytes | Splice] = {}
    for content, _ in new.values():
        name = blob_name(content)
        if name not in has:
            deltas = ((base, delta.make(old_content, content)) for base, old_content in has.items())
            blobs[name] = next((Splice(base, made) for base, made in deltas if made), content)
    return Overlay(bare.base, bare.root, bare.edits, blobs)


def rebuilt(overlay: Overlay, old: Tree) -> Tree:
    """``old`` taken along ``overlay`` as a target would: its blobs and the overlay's, each verified by its name."""
    has = {blob_name(content): content for content, _ in old.values()}
    for name, blob in overlay.blobs.items():
        has[name] = blob.delta.apply(has[blob.base]) if isinstance(blob, Splice) else blob
        assert blob_name(has[name]) == name
    after = apply(overlay, manifest_of(old))
    return {path: (has[entry.blake3], entry.mode) for path, entry in after.items()}


CASES: dict[str, tuple[Tree, Tree]] = {
    "nothing": ({}, {}),
    "first sync": ({}, {"a": (b"1", PLAIN), "b/c": (LONG, RUNNABLE)}),
    "everything deleted": ({"a": (b"1", PLAIN), "b/c": (b"2", PLAIN)}, {}),
    "rename": ({"a": (b"1", PLAIN)}, {"b": (b"1", PLAIN)}),
    "swap": ({"a": (b"1", PLAIN), "b": (b"2", PLAIN)}, {"a": (b"2", PLAIN), "b": (b"1", PLAIN)}),
    "case-only rename": ({"Main.py": (b"1", PLAIN)}, {"main.py": (b"1", PLAIN)}),
    "case-only rename of a folder": ({"Src/a": (b"1", PLAIN)}, {"src/a": (b"1", PLAIN)}),
    "another spelling of a letter": ({"é": (b"1", PLAIN)}, {"é": (b"1", PLAIN)}),
    "a file becomes a folder": ({"a": (b"1", PLAIN)}, {"a/a": (b"1", PLAIN), "a/b/c": (b"2", PLAIN)}),
    "a folder becomes a file": ({"a/a": (b"1", PLAIN), "a/b/c": (b"2", PLAIN)}, {"a": (b"1", PLAIN)}),
    "a run bit": ({"a": (b"1", PLAIN)}, {"a": (b"1", RUNNABLE)}),
    "a run bit lost": ({"a": (b"1", RUNNABLE)}, {"a": (b"1", PLAIN)}),
    "emptied": ({"a": (b"1", PLAIN)}, {"a": (b"", PLAIN)}),
    "one line of a long file": ({"a": (LONG, PLAIN)}, {"a": (LONG[:99] + b"new" + LONG[99:], PLAIN)}),
}


@pytest.mark.parametrize(("old", "new"), CASES.values(), ids=CASES.keys())
def test_an_overlay_leads_from_one_tree_to_the_other(old: Tree, new: Tree) -> None:
    assert rebuilt(overlay_with_blobs(old, new), old) == new


@given(pairs())
def test_an_overlay_leads_from_any_tree_to_any_other(pair: tuple[Tree, Tree]) -> None:
    old, new = manifest_of(pair[0]), manifest_of(pair[1])
    assert apply(diff(old, new), old) == new
    assert apply(diff(new, old), new) == old


@given(pairs())
def test_an_overlay_crosses_the_link_whole(pair: tuple[Tree, Tree]) -> None:
    old, new = pair
    sent = overlay_with_blobs(old, new)
    fields, carried = unpack(sent.encode())
    received = Overlay.decode(fields, carried)
    assert received == sent
    assert rebuilt(received, old) == new


def test_a_one_line_edit_of_a_long_file_ships_the_line() -> None:
    old: Tree = {"a": (LONG, PLAIN)}
    new: Tree = {"a": (LONG[:4000] + b"one new line\n" + LONG[4000:], PLAIN)}
    assert len(overlay_with_blobs(old, new).encode()) < 600


@given(pairs().filter(lambda pair: pair[0] != pair[1]))
def test_a_stale_overlay_is_refused_with_the_root_that_is_live(pair: tuple[Tree, Tree]) -> None:
    old, new = manifest_of(pair[0]), manifest_of(pair[1])
    with pytest.raises(Refused) as refused:
        apply(diff(old, new), new)
    assert refused.value.code == "stale-root"
    assert refused.value.fields["root"] == new.root


@given(pairs())
def test_an_overlay_that_leads_elsewhere_is_refused(pair: tuple[Tree, Tree]) -> None:
    old, new = manifest_of(pair[0]), manifest_of(pair[1])
    overlay = diff(old, new)
    with pytest.raises(Refused) as refused:
        apply(Overlay(overlay.base, HASH, overlay.edits), old)
    assert refused.value.code == "wrong-root"


def test_deleting_what_is_not_there_is_refused() -> None:
    with pytest.raises(Refused, match="not in the tree"):
        apply(Overlay(EMPTY.root, EMPTY.root, {"a": None}), EMPTY)


def test_an_overlay_that_makes_a_file_a_folder_too_is_refused() -> None:
    tree = Manifest({"a": ENTRY})
    with pytest.raises(Malformed, match="a file and a folder"):
        apply(Overlay(tree.root, HASH, {"a/b": ENTRY}), tree)


ROW = ["a", HASH, PLAIN, 5]
ILLEGAL: dict[str, tuple[dict[str, object], list[bytes]]] = {
    "no base": ({"base": None}, []),
    "base of another form": ({"base": "latest"}, []),
    "root of another form": ({"root": "../../etc"}, []),
    "put up": ({"put": [["../a", HASH, PLAIN, 5]]}, []),
    "put absolute": ({"put": [["/etc/passwd", HASH, PLAIN, 5]]}, []),
    "put with NUL": ({"put": [["a\0", HASH, PLAIN, 5]]}, []),
    "put another mode": ({"put": [["a", HASH, 0o4755, 5]]}, []),
    "put a size of true": ({"put": [["a", HASH, PLAIN, True]]}, []),
    "put a size below zero": ({"put": [["a", HASH, PLAIN, -5]]}, []),
    "put short": ({"put": [["a", HASH, PLAIN]]}, []),
    "put long": ({"put": [[*ROW, 0]]}, []),
    "put twice": ({"put": [ROW, ROW]}, []),
    "put no list": ({"put": {"a": 1}}, []),
    "delete up": ({"delete": ["a/../.."]}, []),
    "delete twice": ({"delete": ["a", "a"]}, []),
    "put and delete": ({"put": [ROW], "delete": ["a"]}, []),
    "blob without its name": ({}, [b"x"]),
    "name without its blob": ({"inline": [[HASH]]}, []),
    "blob with a path as its name": ({"inline": [["../../x"]]}, [b"x"]),
    "blob twice": ({"inline": [[HASH], [HASH]]}, [b"x", b"x"]),
    "splice from a path": ({"inline": [[HASH, "/etc/passwd", 0, 0]]}, [b"x"]),
    "splice below zero": ({"inline": [[HASH, HASH, -1, 1]]}, [b"x"]),
    "splice without its end": ({"inline": [[HASH, HASH, 0]]}, [b"x"]),
}


@pytest.mark.parametrize(("body", "carried"), ILLEGAL.values(), ids=ILLEGAL.keys())
def test_an_illegal_overlay_is_refused(body: dict[str, object], carried: list[bytes]) -> None:
    fields, blobs = unpack(pack({"base": HASH, "root": HASH, **body}, carried))
    with pytest.raises(Malformed):
        Overlay.decode(fields, blobs)


def test_an_overlay_without_changes_is_legal() -> None:
    fields, blobs = unpack(pack({"base": HASH, "root": HASH}))
    assert Overlay.decode(fields, blobs) == Overlay(HASH, HASH, {})


atoms = (
    st.none()
    | st.booleans()
    | st.integers(-1, 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([HASH, "a", "..", PLAIN, ""])
)
rows = st.lists(st.lists(atoms, max_size=5) | atoms, max_size=3)


@given(
    st.fixed_dictionaries(
        {"base": st.just(HASH) | atoms, "root": st.just(HASH) | atoms},
        optional={"put": rows, "delete": rows, "inline": rows},
    ),
    st.lists(st.binary(max_size=3), max_size=3),
)
@example({"base": HASH, "root": HASH, "put": [["a", HASH, PLAIN, 2**70]]}, [])
def test_any_overlay_is_decoded_or_malformed_and_what_was_decoded_encodes(
    body: dict[str, object], carried: list[bytes]
) -> None:
    fields, blobs = unpack(pack(body, carried))
    try:
        overlay = Overlay.decode(fields, blobs)
    except Malformed:
        return
    assert Overlay.decode(*unpack(overlay.encode())) == overlay
    for path, entry in overlay.edits.items():
        assert entry is None or Manifest.parse(entry.line(path)).get(path) == entry


def test_the_entry_of_a_file_names_its_content() -> None:
    assert entry_of((b"x", RUNNABLE)) == Entry(blob_name(b"x"), RUNNABLE, 1)
