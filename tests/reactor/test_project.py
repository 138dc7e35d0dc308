"""A project on disk: what may be one, what is around it, and where its files lie in a tree."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bootloader.wire.errors import Fault
from reactor.project import Project
from reactor.settings import BadSettings


def make(folder: Path, settings: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(f'[tool.reactor]\nentry = "main"\n{settings}')
    return folder


def refusal(path: Path | str) -> str:
    with pytest.raises(Fault) as caught:
        Project.open(path)
    assert caught.value.code in ("not-a-project", "bad-settings")
    return str(caught.value)


def test_a_folder_without_settings_is_refused_with_what_to_do(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    assert "is not a folder" in refusal(tmp_path / "file")
    assert "`reactor new NAME`" in refusal(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert "has no [tool.reactor]" in refusal(tmp_path)
    (tmp_path / "pyproject.toml").write_bytes(b"\xff")
    assert "is not UTF-8" in refusal(tmp_path)


def test_a_home_directory_is_refused_and_so_is_what_holds_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make(tmp_path / "homes" / "me")
    make(tmp_path / "homes")
    monkeypatch.setenv("HOME", str(home))
    assert "is a home directory" in refusal(home)
    assert "is a home directory" in refusal(tmp_path / "homes")
    (tmp_path / "link").symlink_to(home)
    assert "is a home directory" in refusal(tmp_path / "link")
    assert Project.open(make(home / "blinky")).settings.main.name == "blinky"


def test_the_root_of_a_file_system_is_refused() -> None:
    assert "is the root of a file system" in refusal("/")


def test_siblings_lie_in_the_tree_by_the_names_of_their_folders(tmp_path: Path) -> None:
    (tmp_path / "drivers/src").mkdir(parents=True)
    (tmp_path / "more/libs").mkdir(parents=True)
    folder = make(tmp_path / "blinky", 'depends = ["../drivers", "../more/libs"]\n')
    project = Project.open(folder)
    pairs = {
        "src/main.py": folder / "src/main.py",
        ".reactor/depends/drivers/src/d.py": tmp_path / "drivers/src/d.py",
        ".reactor/depends/libs/l.py": tmp_path / "more/libs/l.py",
    }
    for tree_path, path in pairs.items():
        assert project.host_path(tree_path) == path
        assert project.tree_path(path) == tree_path
    assert project.tree_path(tmp_path / "elsewhere.py") is None
    assert project.tree_path(tmp_path / "blinky-too/main.py") is None
    assert project.tree_path(folder) is None


@pytest.mark.parametrize(
    ("depends", "holds"),
    [
        ("../nowhere", "does not exist"),
        ("../file", "is not a folder"),
        ("~", "is a home directory"),
        ("/", "is the root of a file system"),
        ("..", "holds the project"),
        (".", "lies in the project"),
        ("src", "lies in the project"),
        ('../one", "../other/one', "has the same name as"),
    ],
)
def test_a_sibling_that_cannot_be_shipped_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depends: str, holds: str
) -> None:
    for name in ("home", "work/one", "work/other/one", "work/blinky/src"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "work/file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    message = refusal(make(tmp_path / "work/blinky", f'depends = ["{depends}"]\n'))
    assert message.startswith("pyproject.toml: 'depends' lists")
    assert holds in message


def test_the_rules_of_the_repository_around_count(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("*.o\n/examples/blinky/secret\n")
    (tmp_path / ".git/info/exclude").write_text("*.bak\n")
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples/.gitignore").write_text("/blinky/data\n")
    folder = make(tmp_path / "examples/blinky")
    (folder / ".gitignore").write_text("!keep.o\n")
    root = Project.open(folder).roots[0]
    ships = {path: root.rules.ships(path) for path in ("a.o", "keep.o", "secret", "a.bak", "data/x", "main.py")}
    assert ships == {"a.o": False, "keep.o": True, "secret": False, "a.bak": False, "data/x": False, "main.py": True}
    assert root.git == str(tmp_path / ".git")


def test_a_worktree_knows_its_git_directory(tmp_path: Path) -> None:
    main, tree = tmp_path / "main", tmp_path / "tree"
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C"]
    subprocess.run(["git", "init", "-q", str(main)], check=True)
    subprocess.run([*git, str(main), "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    subprocess.run([*git, str(main), "worktree", "add", "-q", str(tree)], check=True, capture_output=True)
    (main / ".git/info/exclude").write_text("*.bak\n")
    root = Project.open(make(tree)).roots[0]
    assert root.git == str(main / ".git/worktrees/tree")
    assert not root.rules.ships("a.bak")
    assert not root.rules.ships(".git")


def test_a_project_differs_by_its_settings_and_by_its_ignore_files(tmp_path: Path) -> None:
    folder = make(tmp_path / "blinky")
    first = Project.open(folder)
    first.roots[0].rules.ships("src/a.py")
    assert not first.differs(Project.open(folder))
    (folder / ".gitignore").write_text("x\n")
    second = Project.open(folder)
    second.roots[0].rules.ships("src/a.py")
    assert second.differs(first)
    make(folder, "settle_s = 2\n")
    assert Project.open(folder).differs(second)


def test_settings_that_are_wrong_say_so_when_the_project_is_opened(tmp_path: Path) -> None:
    folder = make(tmp_path / "blinky", "reload = 3\n")
    with pytest.raises(BadSettings, match=r"pyproject\.toml:3: 'reload'"):
        Project.open(folder)
