"""The target installs and runs without what the host needs: an environment of the project's own metadata, no more."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sysconfig
import tomllib
import venv
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

from tests.bootloader.target import Target, app

TOP = Path(__file__).parents[1]
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))["project"]
WAIT_S = 30.0


def name_of(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].replace("_", "-")


def needed(requirements: list[str]) -> set[str]:
    """The distributions that ``requirements`` lead to, without extras; what other Pythons need is not installed."""
    found: set[str] = set()
    todo = list(requirements)
    while todo:
        each = todo.pop()
        with suppress(PackageNotFoundError):
            if name_of(each) not in found and "extra ==" not in each:
                todo += distribution(name_of(each)).requires or ()
                found.add(name_of(each))
    return found


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment in which the package is installed as ``pip install live-reactor`` does it."""
    folder = tmp_path_factory.mktemp("board") / "venv"
    venv.create(folder, symlinks=True)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    for name in needed(PROJECT["dependencies"]):
        installed = distribution(name)
        for top in {file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}:
            (site / top).symlink_to(Path(str(installed.locate_file(top))))
    for package in ("bootloader", "reactor"):
        shutil.copytree(TOP / package, site / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder / "bin" / "python"


def run(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-I", *arguments], capture_output=True, text=True, cwd="/", timeout=WAIT_S, check=False
    )


def test_a_target_needs_two_packages_and_what_these_need(python: Path) -> None:
    assert set(map(name_of, PROJECT["dependencies"])) == {"rpyc", "blake3"}
    assert (TOP / "bootloader" / "requirements.txt").read_text().split() == PROJECT["dependencies"]
    assert needed(PROJECT["dependencies"]) <= {"rpyc", "blake3", "plumbum", "typing-extensions"}
    hosts = [*map(name_of, PROJECT["optional-dependencies"]["host"])]
    found = f"import importlib.util as u; print([name for name in {hosts!r} if u.find_spec(name)])"
    assert run(python, "-c", found).stdout == "[]\n"


def test_a_target_without_the_host_s_packages_boots_and_takes_a_push(python: Path, tmp_path: Path) -> None:
    class Board(Target):
        program = (str(python), "-P", "-m", "bootloader")

    target, entry = Board(tmp_path), app(entry="app")
    try:
        change = target.ship(
            "import json, sys, bootloader\nprint(json.dumps([sys.prefix, bootloader.__file__]))\n", entry
        )
        change.healthy()
        prefix, package = json.loads(target.logs(change)[0])
        assert Path(prefix) == python.parents[1]
        assert Path(package).is_relative_to(python.parents[1])
        target.ship("1 / 0\n", entry).fate("failed")
        target.roll_back().healthy()
    finally:
        target.close()


def test_the_host_s_command_says_there_what_it_lacks(python: Path) -> None:
    done = run(python, "-m", "reactor", "status")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"reactor: \w+ is missing; .*pip install '\.\[host\]'\n", done.stderr)
