"""What ships: the rules by themselves, and beside git's own answer."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootloader.wire.manifest import Entry, Manifest, blob_name
from reactor.plan import Folder, Rules, pattern_problem, python_path


def rules(
    gitignores: Mapping[str, str] | None = None,
    include: list[str] | None = None,
    exclude: list[str] | None = None,
    environments: frozenset[str] = frozenset(),
) -> Rules:
    known = gitignores or {}
    return Rules(lambda path: Folder(known.get(path), path in environments), include=include, exclude=exclude or ())


DEFAULT = [
    ("src/a.py", True),
    ("a.py", True),
    ("pyproject.toml", True),
    (".gitignore", True),
    (".env", True),
    ("assets/model.bin", True),
    ("assets/tests/x", True),  # not at the top
    ("src/build/x.py", True),
    ("src/docs.py", True),
    ("tests.py", True),
    ("tests/test_a.py", False),
    ("test/a.py", False),
    ("docs/index.md", False),
    ("doc/x", False),
    ("build/lib/a.py", False),
    ("dist/a.whl", False),
    ("src/a.egg-info/PKG-INFO", False),
    (".idea/workspace.xml", False),
    (".git/HEAD", False),
    (".git", False),
    ("vendored/.git/HEAD", False),
    (".hg/x", False),
    (".venv/bin/python", False),
    ("venv/x", False),
    ("deep/er/.venv/x", False),
    ("src/__pycache__/a.cpython-311.pyc", False),
    ("a.pyc", False),
    (".mypy_cache/x", False),
    (".pytest_cache/x", False),
    (".ruff_cache/x", False),
    (".hypothesis/x", False),
    (".tox/x", False),
    (".nox/x", False),
    ("web/node_modules/x.js", False),
    (".reactor/launch.json", False),
    ("src/.a.py.swp", False),
    ("src/4913", False),
    ("src/a.py~", False),
    ("src/#a.py#", False),
    ("src/.#a.py", False),
    ("src/a.py___jb_tmp___", False),
    ("src/a.py___jb_old___", False),
    ("src/.a.py.kate-swp", False),
    ("src/.goutputstream-ABC", False),
    (".DS_Store", False),
]


@pytest.mark.parametrize(("path", "ships"), DEFAULT)
def test_by_default_the_project_ships_less_what_no_target_needs(path: str, ships: bool) -> None:
    assert rules().ships(path) is ships


def test_a_folder_that_holds_a_virtual_environment_is_none_of_the_project_whatever_its_name() -> None:
    known = rules(environments=frozenset({"env", "tools/py"}))
    assert not known.ships("env/lib/x.py")
    assert not known.ships("tools/py/lib/x.py")
    assert known.ships("tools/x.py")


IGNORED = [
    ({"": "*.log"}, "a/b.log", False),
    ({"": "*.log", "a": "!keep.log"}, "a/keep.log", True),
    ({"": "*.log", "a": "!keep.log"}, "keep.log", False),
    ({"": "logs/", "logs": "!keep.log"}, "logs/keep.log", False),
    ({"": "logs/*\n!logs/keep.log"}, "logs/keep.log", True),
    ({"": "/only_top"}, "a/only_top", True),
    ({"": "/only_top"}, "only_top/x", False),
    ({"a": "/x"}, "a/x", False),
    ({"a": "/x"}, "x", True),
    ({"": "a/b"}, "c/a/b", True),
    ({"": "data/**\n!data/**/\n!data/**/*.txt"}, "data/x/y.txt", True),
    ({"": "data/**\n!data/**/\n!data/**/*.txt"}, "data/x/y.bin", False),
    ({"": "*\n!*/\n!*.py"}, "src/a.py", True),
    ({"": "*\n!*/\n!*.py"}, "src/a.txt", False),
    ({"": "# *.py\n\n   \n"}, "a.py", True),
    ({"": "*.d/\n!/a/"}, "a/x.d/f", False),
    ({"": "[z-a]\n\\\n!\n*.log"}, "a.log", False),
    ({"": "a\r\nb.py\r\n"}, "b.py", False),
]


@pytest.mark.parametrize(("gitignores", "path", "ships"), IGNORED)
def test_ignore_files_mean_what_they_mean_to_git(gitignores: dict[str, str], path: str, ships: bool) -> None:
    assert rules(gitignores).ships(path) is ships


CHOSEN = [
    (["src/**"], None, "src/a/b.py", True),
    (["src/**"], None, "setup.py", False),
    (["src"], None, "src/a/b.py", True),
    (["*.py"], None, "a/b/c.py", True),
    (["/assets/*.bin"], None, "assets/x.bin", True),
    (["/assets/*.bin"], None, "assets/deeper/x.bin", False),
    (["tests/**"], None, "tests/a.py", True),
    (["dist/**"], None, "dist/x.whl", True),
    (["models/big.bin"], None, "models/big.bin", True),  # ignored by git, brought back
    (["models/big.bin"], None, "models/small.bin", False),
    (["src/**", "!*.txt"], None, "src/a.txt", False),
    (["**"], None, ".git/HEAD", False),
    (["**"], None, ".venv/x", False),
    (["**"], None, "src/__pycache__/a.pyc", False),
    (["**"], None, "env/lib/x.py", False),
    (["**"], None, ".reactor/launch.json", False),
    (["src/**"], ["*.md"], "src/a.md", False),
    (None, ["*.md"], "a/README.md", False),
    (None, ["/big/"], "big/x", False),
    (None, ["data/**", "!data/small.bin"], "data/small.bin", True),
    (None, ["data/**", "!data/small.bin"], "data/large.bin", False),
    (None, ["!models/big.bin"], "models/big.bin", False),  # exclude only takes away
]


@pytest.mark.parametrize(("include", "exclude", "path", "ships"), CHOSEN)
def test_include_says_exactly_what_ships_and_exclude_takes_away(
    include: list[str] | None, exclude: list[str] | None, path: str, ships: bool
) -> None:
    known = rules({"": "models/\n"}, include, exclude, frozenset({"env"}))
    assert known.ships(path) is ships


@given(st.lists(st.sampled_from(["src", "a", "/a", "a/b/*.py", "*/b", "a/**", "!a/b", "b/", "/b/a/"]), min_size=1))
def test_a_folder_with_something_to_ship_is_entered(include: list[str]) -> None:
    known = rules(include=include)
    for path in ("src/x", "a/b/c.py", "b/a/x", "a/x/y", "x/b/y"):
        if known.ships(path):
            parts = path.split("/")
            assert all(known.enters("/".join(parts[:end])) for end in range(len(parts)))


def test_include_keeps_out_of_folders_that_it_does_not_reach() -> None:
    known = rules(include=["src/app/**", "/assets/*.bin"])
    entered = {
        folder: known.enters(folder) for folder in ("src", "src/app", "src/app/x", "assets", "data", "src/other")
    }
    assert [folder for folder, enters in entered.items() if not enters] == ["data", "src/other"]


def test_what_was_forgotten_is_looked_at_again() -> None:
    gitignores = {"a": "x"}
    known = rules(gitignores)
    assert not known.ships("a/x")
    gitignores["a"] = "y"
    assert not known.ships("a/x")
    known.forget("b")
    assert not known.ships("a/x")
    known.forget("a")
    assert known.ships("a/x")
    assert not known.ships("a/y")


def test_each_folder_is_looked_at_once() -> None:
    looks: list[str] = []

    def look(path: str) -> Folder:
        looks.append(path)
        return Folder()

    known = Rules(look)
    for number in range(100):
        known.ships(f"src/app/m{number}.py")
    assert sorted(looks) == ["", "src", "src/app"]


def test_a_repository_that_ignores_the_whole_project_has_no_say_in_it() -> None:
    above = [("", "*\n")]  # a home directory under git, say
    known = Rules(lambda path: Folder("*.log") if not path else Folder(), inside="demo/blinky", above=above)
    assert known.ships("src/main.py")
    assert not known.ships("a.log")


def test_ignore_files_above_the_project_count_from_where_they_lie() -> None:
    above = [("", "*.o\n/demo/blinky/secret\n"), ("demo", "!keep.o\n/blinky/data\n")]
    known = Rules(lambda _: Folder(), inside="demo/blinky", above=above)
    answers = {path: known.ships(path) for path in ("a.o", "keep.o", "secret", "x/secret", "data/y", "main.py")}
    assert answers == {
        "a.o": False, "keep.o": True, "secret": False, "x/secret": True, "data/y": False, "main.py": True,
    }  # fmt: skip


@pytest.mark.parametrize("pattern", ["./src", "a/../b", "../x", "!", "\\", "# x", " ", "/", "[z-a]"])
def test_a_pattern_that_can_match_nothing_is_told(pattern: str) -> None:
    assert pattern_problem(pattern)


@pytest.mark.parametrize("pattern", ["src", "/src", "src/**", "!x", "*.py", "a b", "[ab]", "\\#x", "**/x/*.so"])
def test_a_good_pattern_is_good(pattern: str) -> None:
    assert pattern_problem(pattern) is None


NAMES = ["a", "b", "ab", "a.o", "b.o", "c d", ".h"]
SEGMENTS = [*NAMES, "*", "a*", "*.o", "?", "[ab]", "[!a]", "**", "*b*", "\\a", ".*", "???"]
PATTERNS = st.builds(
    lambda no, top, segments, folder: f"{no}{top}{'/'.join(segments)}{folder}",
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "", "/"]),
    st.lists(st.sampled_from(SEGMENTS), min_size=1, max_size=3),
    st.sampled_from(["", "", "/"]),
)
IGNORE_FILES = st.lists(PATTERNS, min_size=1, max_size=4).map("\n".join)
FILES = st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map(tuple), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(FILES, st.dictionaries(st.integers(0, 20), IGNORE_FILES, max_size=3), IGNORE_FILES)
def test_it_is_what_git_would_add(files: list[tuple[str, ...]], ignores: dict[int, str], excluded: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        environ = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        subprocess.run(["git", "init", "-q", folder], check=True, env=environ)
        (top / ".git/info/exclude").write_text(excluded)
        paths: set[str] = set()
        for parts in files:
            file = top.joinpath(*parts)
            if not file.is_dir() and not any(parent.is_file() for parent in file.parents):
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
                paths.add("/".join(parts))
        folders = sorted({"", *(path.rpartition("/")[0] for path in paths)})
        gitignores: dict[str, str] = {}
        for number, text in ignores.items():
            at = folders[number % len(folders)]
            gitignores[at] = text
            (top / at / ".gitignore").write_text(text)
            paths.add(f"{at}/.gitignore".lstrip("/"))
        listed = subprocess.run(
            ["git", "-C", folder, "ls-files", "-coz", "--exclude-standard"],
            check=True,
            env=environ,
            capture_output=True,
        )
        known = Rules(lambda path: Folder(gitignores.get(path)), above=[("", excluded)])
        assert sorted(filter(known.ships, paths)) == sorted(filter(None, listed.stdout.decode().split("\0")))


EMPTY_FILE = Entry(blob_name(b""), 0o644, 0)


@pytest.mark.parametrize(
    ("files", "path"),
    [
        (["main.py"], (".",)),
        (["src/app/main.py"], ("src", ".")),
        (["src/main.py"], ("src", ".")),
        (["src/data.bin"], (".",)),
        (["src/__init__.py", "src/main.py"], (".",)),
        (["srcs/main.py"], (".",)),
        ([], (".",)),
    ],
)
def test_src_is_on_the_path_where_it_holds_python(files: list[str], path: tuple[str, ...]) -> None:
    assert python_path(Manifest(dict.fromkeys(files, EMPTY_FILE)), ()) == path


def test_siblings_follow_the_project_on_the_path() -> None:
    files = ["src/a.py", ".reactor/depends/one/one.py", ".reactor/depends/two/src/two.py"]
    assert python_path(Manifest(dict.fromkeys(files, EMPTY_FILE)), ("one", "two")) == (
        "src", ".", ".reactor/depends/one", ".reactor/depends/two/src", ".reactor/depends/two",
    )  # fmt: skip
