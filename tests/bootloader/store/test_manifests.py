"""What is kept of manifests, and how little a save adds to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootloader.aside import Aside
from bootloader.store.manifests import Manifests
from bootloader.wire.manifest import PLAIN, Entry, Manifest, blob_name


def entry(content: str) -> Entry:
    return Entry(blob_name(content.encode()), PLAIN, len(content))


LARGE = Manifest({f"parts/p{number // 10}/part_{number}.py": entry(str(number)) for number in range(3000)})
EDITED = LARGE.edit({"parts/p0/part_7.py": entry("another")})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "manifests"


def opened(folder: Path) -> Manifests:
    return Manifests(folder, Aside(folder.parent / "aside"))


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_save_among_many_files_adds_one_block_and_a_list(folder: Path) -> None:
    manifests = opened(folder)
    manifests.keep(LARGE, twice=True)
    before = files(folder)
    written = manifests.keep(EDITED)
    added = {path: text for path, text in files(folder).items() if path not in before}
    assert added.keys() == set(written)
    assert len(added) == 2
    assert sum(map(len, added.values())) < len(EDITED.text) / 10
    assert opened(folder).read(EDITED.root) == EDITED


def test_what_another_start_wrote_is_named_again_as_it_may_not_be_on_the_disk(folder: Path) -> None:
    first = opened(folder).keep(LARGE)
    before = {path: path.stat().st_mtime_ns for path in first}
    assert opened(folder).keep(LARGE) == first
    assert {path: path.stat().st_mtime_ns for path in first} == before


def test_forgetting_one_leaves_what_others_share_with_it(folder: Path) -> None:
    manifests = opened(folder)
    for manifest in (LARGE, EDITED):
        manifests.keep(manifest, twice=True)
    count = len(files(folder))
    manifests.forget([LARGE.root])
    assert manifests.read(LARGE.root) is None
    assert manifests.read(EDITED.root) == EDITED
    assert len(files(folder)) == count - 4, "a list and a block, twice"
    assert manifests.named([EDITED.root])[0] == EDITED.blobs().keys()
    manifests.keep(LARGE)
    assert manifests.read(LARGE.root) == LARGE


def test_damage_in_one_place_is_made_good_by_the_other(folder: Path) -> None:
    opened(folder).keep(LARGE, twice=True)
    for number, path in enumerate(sorted(path for path in files(folder) if "copy" not in path.parts)):
        damaged = path if number % 2 else folder / "copy" / path.relative_to(folder)
        damaged.write_bytes(b"junk")
    assert opened(folder).read(LARGE.root) == LARGE
    opened(folder).keep(LARGE, twice=True)
    assert all(blob_name(text) == path.name for path, text in files(folder).items())


def test_a_copy_is_kept_of_those_that_matter_alone(folder: Path) -> None:
    manifests = opened(folder)
    for manifest in (LARGE, EDITED):
        manifests.keep(manifest, twice=True)
    manifests.keep_copies({EDITED.root})
    assert {path.name for path in (folder / "copy").iterdir()} == {EDITED.root, "blocks"}
    assert set(manifests.roots()) == {LARGE.root, EDITED.root}
    (folder / LARGE.root).write_bytes(b"junk")
    assert manifests.read(LARGE.root) is None
