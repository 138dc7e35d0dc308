from __future__ import annotations

import posixpath
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bootloader.wire import manifest as module
from bootloader.wire.errors import Malformed
from bootloader.wire.limits import FILE_BYTES, PATH_BYTES
from bootloader.wire.manifest import EMPTY, PLAIN, RUNNABLE, Entry, Manifest, blob_name, check_hash, check_path
from tests.bootloader.wire.trees import Tree, entry_of, is_path, manifest_of, pairs, paths, trees

HASH = "0123456789abcdef" * 4
ENTRY = Entry(HASH, PLAIN, 5)

ILLEGAL_PATHS = {
    "empty": "",
    "absolute": "/etc/passwd",
    "up": "..",
    "up at the start": "../a",
    "up in the middle": "a/../../b",
    "up at the end": "a/..",
    "here": "./a",
    "double slash": "a//b",
    "slash at the end": "a/",
    "NUL": "a\0b",
    "line end": "a\nb",
    "carriage return": "a\r",
    "escape": "\x1b[2J",
    "delete": "a\x7f",
    "C1 control": "a\x9b2J",
    "backslash": "a\\b",
    "drive": "c:\\b",
    "lone surrogate": "a\ud800",
    "too long": "a/" * (PATH_BYTES // 2) + "b",
    "part too long": "a" * 256,
    "part too long in UTF-8": "é" * 128,
}

NOT_CANONICAL = {
    "no line end": f"{HASH} 644 5 a",
    "two line ends": f"{HASH} 644 5 a\n\n",
    "blank first line": f"\n{HASH} 644 5 a\n",
    "carriage return": f"{HASH} 644 5 a\r\n",
    "byte order mark": f"\ufeff{HASH} 644 5 a\n",
    "upper-case hash": f"{HASH.upper()} 644 5 a\n",
    "short hash": f"{HASH[1:]} 644 5 a\n",
    "mode with a zero": f"{HASH} 0644 5 a\n",
    "mode of no file": f"{HASH} 777 5 a\n",
    "size with a zero": f"{HASH} 644 05 a\n",
    "size with a sign": f"{HASH} 644 +5 a\n",
    "size in other digits": f"{HASH} 644 ٥ a\n",
    "size too large": f"{HASH} 644 {FILE_BYTES + 1} a\n",
    "no path": f"{HASH} 644 5 \n",
    "tab": f"{HASH}\t644 5 a\n",
    "up": f"{HASH} 644 5 ../a\n",
    "not sorted": f"{HASH} 644 5 b\n{HASH} 644 5 a\n",
    "one path twice": f"{HASH} 644 5 a\n{HASH} 644 5 a\n",
    "a file and a folder": f"{HASH} 644 5 a\n{HASH} 644 5 a/b\n",
    "a file and a folder apart": f"{HASH} 644 5 a\n{HASH} 644 5 a b\n{HASH} 644 5 a/b\n",
}


@pytest.mark.parametrize("path", ILLEGAL_PATHS.values(), ids=ILLEGAL_PATHS.keys())
def test_a_path_that_could_leave_the_tree_or_confuse_a_reader_is_refused(path: str) -> None:
    with pytest.raises(Malformed):
        check_path(path)
    with pytest.raises(Malformed):
        Manifest({path: ENTRY})
    with pytest.raises(Malformed):
        EMPTY.edit({path: ENTRY})


@given(st.text())
def test_an_accepted_path_stays_inside_the_tree(path: str) -> None:
    if is_path(path):
        assert posixpath.normpath(posixpath.join("/tree", path)) == f"/tree/{path}"
        assert path.isprintable() or not any(
            ord(character) < 0xA0 and not character.isprintable() for character in path
        )
        assert path.encode().decode() == path


@pytest.mark.parametrize(
    "text", ["", HASH[1:], HASH + "0", HASH.upper(), HASH[:-1] + "\n", HASH + "\n", "../" + HASH[3:]]
)
def test_a_name_that_is_no_hash_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        check_hash(text)


@pytest.mark.parametrize(
    ("name", "mode", "size"),
    [
        ("x", PLAIN, 0),
        (HASH, 0o600, 0),
        (HASH, 0o4755, 0),
        (HASH, PLAIN, -1),
        (HASH, PLAIN, FILE_BYTES + 1),
        (HASH, PLAIN, True),
    ],
)
def test_an_impossible_entry_is_refused(name: str, mode: int, size: int) -> None:
    with pytest.raises(Malformed):
        Entry(name, mode, size)


@pytest.fixture(autouse=True, scope="module", params=[64, 2], ids=["blocks as they are", "small blocks"])
def _block_files(request: pytest.FixtureRequest) -> Iterator[None]:
    """The trees here are small: all that happens at the edges of blocks happens where blocks are tiny."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK_FILES", request.param)
        yield


def root_by_hand(text: bytes) -> str:
    """The root of a manifest's text, as docs/protocol.md tells it."""
    blocks: list[bytes] = []
    for line in text.splitlines(keepends=True):
        if not blocks or zlib.crc32(line.rstrip(b"\n").split(b" ", 3)[3]) % module._BLOCK_FILES == 0:
            blocks.append(b"")
        blocks[-1] += line
    return blob_name(b"".join(blob_name(block).encode() + b"\n" for block in blocks))


@given(trees)
def test_a_manifest_reads_back_as_written(tree: Tree) -> None:
    manifest = manifest_of(tree)
    again = Manifest.parse(manifest.text)
    assert again == manifest
    assert again.root == manifest.root == root_by_hand(manifest.text)
    assert dict(again.items()) == {path: entry_of(file) for path, file in tree.items()}


@given(trees)
def test_lines_are_sorted_by_the_bytes_of_their_paths(tree: Tree) -> None:
    written = [line.split(b" ", 3)[3] for line in manifest_of(tree).text.split(b"\n")[:-1]]
    assert written == sorted(path.encode() for path in tree)


@pytest.mark.parametrize("text", NOT_CANONICAL.values(), ids=NOT_CANONICAL.keys())
def test_a_text_that_is_not_canonical_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        Manifest.parse(text.encode())


@pytest.mark.parametrize("path", [b"\xff", b"\xed\xa0\x80", b"\xc0\xaf"], ids=["no UTF-8", "surrogate", "long slash"])
def test_a_text_that_is_not_utf8_is_refused(path: bytes) -> None:
    with pytest.raises(Malformed):
        Manifest.parse(f"{HASH} 644 5 ".encode() + path + b"\n")


@given(st.binary())
def test_arbitrary_bytes_are_a_manifest_or_malformed(text: bytes) -> None:
    assert _refused_or_canonical(text)


@given(trees.filter(bool), st.data())
def test_a_damaged_manifest_is_refused_or_another_canonical_one(tree: Tree, data: st.DataObject) -> None:
    text = manifest_of(tree).text
    at = data.draw(st.integers(0, len(text) - 1))
    cut = data.draw(st.integers(0, 2))
    put = data.draw(
        st.binary(max_size=2) | st.sampled_from([b"\n", b" ", b"/", b"0", b"a", text[: text.index(b"\n") + 1]])
    )
    assert _refused_or_canonical(text[:at] + put + text[at + cut :])


def _refused_or_canonical(text: bytes) -> bool:
    try:
        return Manifest.parse(text).text == text
    except Malformed:
        return True


@given(pairs())
def test_equal_roots_mean_equal_trees(pair: tuple[Tree, Tree]) -> None:
    old, new = manifest_of(pair[0]), manifest_of(pair[1])
    same = pair[0] == pair[1]
    assert (old == new) is same
    assert (old.root == new.root) is same
    assert not same or hash(old) == hash(new)


@given(pairs())
@example(({"a": (b"", PLAIN)}, {"a/b": (b"", PLAIN)}))
@example(({"a/b": (b"", PLAIN), "a/c": (b"", PLAIN)}, {"a": (b"", RUNNABLE)}))
def test_editing_equals_building_from_scratch(pair: tuple[Tree, Tree]) -> None:
    old, new = manifest_of(pair[0]), manifest_of(pair[1])
    before = old.text
    edited = old.edit(old.edits_to(new))
    assert edited == new
    assert edited.text == new.text
    assert edited.root == new.root
    assert list(edited) == sorted(pair[1])
    assert dict(edited.items()) == dict(new.items())
    assert b"".join(entry.line(path) for path, entry in old.items()) == before  # an edit leaves its tree alone


@given(pairs())
def test_what_must_change_is_what_differs(pair: tuple[Tree, Tree]) -> None:
    old, new = pair
    edits = manifest_of(old).edits_to(manifest_of(new))
    assert edits.keys() == {path for path in old.keys() | new.keys() if old.get(path) != new.get(path)}
    assert {path for path, entry in edits.items() if entry is None} == old.keys() - new.keys()


@pytest.mark.parametrize("new", ["a", "a/b/c/d", "a/b/c"], ids=["over a folder", "under a file", "over a far folder"])
def test_an_edit_that_makes_a_file_a_folder_too_is_refused(new: str) -> None:
    tree = Manifest({"a/b/c": ENTRY}) if new != "a/b/c" else Manifest({"a/b/c/d": ENTRY})
    with pytest.raises(Malformed, match="a file and a folder"):
        tree.edit({new: ENTRY})


def test_a_tree_of_too_many_files_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MANIFEST_FILES", 2)
    two = Manifest({"a": ENTRY, "b": ENTRY})
    with pytest.raises(Malformed, match="3 files"):
        Manifest({"a": ENTRY, "b": ENTRY, "c": ENTRY})
    with pytest.raises(Malformed, match="3 files"):
        two.edit({"c": ENTRY})
    with pytest.raises(Malformed, match="3 files"):
        Manifest.parse(two.text + ENTRY.line("c"))
    assert list(two.edit({"a": None, "c": ENTRY})) == ["b", "c"]


@given(trees, paths)
def test_below_lists_what_lies_in_a_folder(tree: Tree, folder: str) -> None:
    manifest = manifest_of(tree)
    assert list(manifest.below(folder)) == sorted(path for path in tree if path.startswith(f"{folder}/"))
    assert list(manifest.below("")) == sorted(tree)


@given(trees)
def test_the_blobs_of_a_tree_are_its_contents(tree: Tree) -> None:
    assert manifest_of(tree).blobs() == {blob_name(content): len(content) for content, _ in tree.values()}


@given(trees, paths)
def test_a_manifest_reads_like_a_mapping(tree: Tree, path: str) -> None:
    manifest = manifest_of(tree)
    assert len(manifest) == len(tree)
    assert (path in manifest) is (path in tree)
    assert manifest.get(path) == (entry_of(tree[path]) if path in tree else None)


def test_the_empty_tree_has_the_hash_of_nothing_as_its_root() -> None:
    assert EMPTY.root == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert Manifest.parse(b"") == EMPTY


def test_a_line_is_replaced_where_it_is_a_line_and_not_inside_a_path_that_spells_it() -> None:
    old, new = Entry(blob_name(b"old"), 0o644, 3), Entry(blob_name(b"new"), 0o755, 3)
    mimic = f"a {old.blake3} 644 3 b.py"
    before = Manifest({mimic: old, "b.py": old, "c.py": old})
    assert before.text  # known, so that an edit may splice it
    for path in (mimic, "b.py", "c.py"):
        after = before.edit({path: new})
        assert after.text == Manifest({**dict(before.items()), path: new}).text
