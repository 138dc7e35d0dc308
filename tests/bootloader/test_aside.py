"""What was in the way is kept, within bounds, whatever it was and whatever the clock says."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootloader import aside as module
from bootloader.aside import Aside


def taken(aside: Aside) -> list[str]:
    """The names of what is kept, the oldest first."""
    places = sorted(aside.folder.iterdir(), key=lambda place: int(place.name.partition("-")[0]))
    return [path.name for place in places for path in place.iterdir()]


def made(folder: Path, name: str, size_bytes: int = 1) -> Path:
    path = folder / name
    path.write_bytes(b"x" * size_bytes)
    return path


def test_anything_can_be_taken_and_keeps_its_name_and_content(tmp_path: Path) -> None:
    aside = Aside(tmp_path / "aside")
    (tmp_path / "folder").mkdir()
    made(tmp_path / "folder", "inner")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("folder", "link", "n" * 255):
        aside.take(tmp_path / name if name != "n" * 255 else made(tmp_path, name))
    assert taken(aside) == ["folder", "link", "n" * 255]
    assert len(list(aside.folder.glob("*/folder/inner"))) == 1


def test_the_newest_are_kept(tmp_path: Path) -> None:
    aside = Aside(tmp_path / "aside")
    for number in range(module.MOST + 5):
        aside.take(made(tmp_path, str(number)))
    assert taken(aside) == [str(number) for number in range(5, module.MOST + 5)]


def test_what_is_large_pushes_out_what_is_older_but_never_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 100)
    aside = Aside(tmp_path / "aside")
    for name, size_bytes in (("a", 60), ("b", 30), ("c", 30)):
        aside.take(made(tmp_path, name, size_bytes))
    assert taken(aside) == ["b", "c"]
    aside.take(made(tmp_path, "d", 1000))
    assert taken(aside) == ["d"]
    aside.keep(0, 0)
    assert taken(aside) == []


def test_a_file_in_its_own_place_goes(tmp_path: Path) -> None:
    made(tmp_path, "aside")
    aside = Aside(tmp_path / "aside")
    aside.take(made(tmp_path, "taken"))
    assert taken(aside) == ["taken"]
