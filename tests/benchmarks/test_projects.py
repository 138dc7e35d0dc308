"""The projects that the contestants run."""

from __future__ import annotations

import ast
import time
import tomllib
from pathlib import Path

import pytest

from benchmarks.projects import HEAVY, LIGHT, PATCHED, WAYS, make


@pytest.mark.parametrize("files", [10, 37])
@pytest.mark.parametrize("application", [LIGHT, HEAVY, PATCHED])
def test_a_project_has_as_many_files_as_it_was_asked_for_and_all_of_them_are_sound(
    tmp_path: Path, files: int, application: str
) -> None:
    make(tmp_path / "p", "floor", port=9, application=application, files=files)
    found = [path for path in (tmp_path / "p").rglob("*") if path.is_file()]
    assert len(found) == files
    for path in found:
        if path.suffix == ".py":
            ast.parse(path.read_text())
    settings = tomllib.loads((tmp_path / "p" / "pyproject.toml").read_text())["tool"]["reactor"]
    assert settings["reload"] == ("auto" if application == PATCHED else "restart")


def test_only_the_heavy_application_imports_numpy(tmp_path: Path) -> None:
    for application in (LIGHT, HEAVY, PATCHED):
        project = make(tmp_path / application, "floor", port=9, application=application, files=10)
        text = "".join(path.read_text() for path in (project.folder / "station").glob("*.py"))
        assert ("import numpy" in text) is (application == HEAVY) is ("numpy" in project.outside)


@pytest.mark.parametrize(("application", "words"), [(LIGHT, "VERSION = 12\n"), (PATCHED, "    return 12\n")])
@pytest.mark.parametrize("way", WAYS)
def test_a_save_leaves_the_new_version_and_nothing_else(tmp_path: Path, way: str, application: str, words: str) -> None:
    project = make(tmp_path / "p", "floor", port=9, application=application, files=10)
    before = sorted(path for path in project.folder.rglob("*"))
    inode = project.edited.stat().st_ino
    began_ns = project.save(12, way)
    assert began_ns <= time.monotonic_ns()
    assert sorted(path for path in project.folder.rglob("*")) == before
    assert words in project.edited.read_text()
    assert (project.edited.stat().st_ino == inode) is (way == "write")
