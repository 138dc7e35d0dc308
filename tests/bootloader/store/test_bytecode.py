"""Bytecode outlasts an orderly end, as it was, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootloader.store import bytecode


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    made = tmp_path / "pycache"
    (made / "package").mkdir(parents=True)
    for name in ("one.pyc", "package/two.pyc", "package/with space.pyc"):
        (made / name).write_bytes(name.encode())
    return made


def left(cache: Path) -> set[str]:
    return {path.relative_to(cache).as_posix() for path in cache.rglob("*") if not path.is_dir()}


def test_what_was_noted_stays_once(cache: Path) -> None:
    place = cache.with_suffix(".sums")
    before = left(cache)
    bytecode.note(cache, place)
    bytecode.check(cache, place)
    assert left(cache) == before
    bytecode.check(cache, place)
    assert left(cache) == set(), "the note holds for one start: what is written since is not in it"


def test_what_is_not_as_noted_goes(cache: Path) -> None:
    place = cache.with_suffix(".sums")
    bytecode.note(cache, place)
    (cache / "one.pyc").write_bytes(b"one.pyd")
    (cache / "new.pyc").write_bytes(b"new")
    (cache / "package" / "two.pyc").unlink()
    (cache / "package" / "two.pyc").symlink_to(cache / "one.pyc")
    bytecode.check(cache, place)
    assert left(cache) == {"package/with space.pyc"}


@pytest.mark.parametrize("damage", ["gone", "cut", "flipped", "empty"])
def test_without_a_whole_note_all_of_it_goes(cache: Path, damage: str) -> None:
    place = cache.with_suffix(".sums")
    bytecode.note(cache, place)
    content = place.read_bytes()
    match damage:
        case "gone":
            place.unlink()
        case "cut":
            place.write_bytes(content[:-20])
        case "flipped":
            place.write_bytes(content[:70] + bytes([content[70] ^ 1]) + content[71:])
        case "empty":
            place.write_bytes(b"")
    bytecode.check(cache, place)
    assert left(cache) == set()
    assert not place.exists()
