"""Wheels for another platform than this one, by the real pip, from a folder that stands for the index."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from bootloader.wire.errors import Fault
from reactor.platforms import Platform
from reactor.wheels import Wheel, _fault, cache_folder, fetch

BOARD = Platform("aarch64", "glibc", (2, 36), (3, 11, 2))


def make(folder: Path, name: str, version: str = "1.0", tag: str = "py3-none-any", *needs: str) -> Path:
    """A wheel, as small as they come."""
    path, info = folder / f"{name}-{version}-{tag}.whl", f"{name}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", f"TAG = {tag!r}\n")
        wheel.writestr(f"{info}/METADATA", "\n".join([*metadata, *(f"Requires-Dist: {one}" for one in needs)]) + "\n")
        wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(folder), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setenv("REACTOR_HOME", str(tmp_path / "home"))
    return folder


def told(wheels: tuple[Wheel, ...]) -> list[str]:
    return [wheel.path.name for wheel in wheels]


def test_the_board_s_platform_and_python_decide_and_not_this_host_s(index: Path) -> None:
    for machine in ("x86_64", "aarch64", "armv7l"):
        make(index, "native", "1.0", f"cp311-cp311-manylinux_2_28_{machine}")
    make(index, "native", "2.0", "cp311-cp311-manylinux_2_39_aarch64")  # for a newer C library than it has
    make(index, "old")
    make(index, "new")
    conditions = ("old; python_version < '3.12'", "new; python_version >= '3.12' or platform_machine != 'aarch64'")
    make(index, "app", "1.0", "py3-none-any", "native", *conditions)
    assert told(fetch(["app"], BOARD)) == [
        "app-1.0-py3-none-any.whl",
        "native-1.0-cp311-cp311-manylinux_2_28_aarch64.whl",
        "old-1.0-py3-none-any.whl",
    ]


def test_the_second_board_asks_no_index_and_gets_the_very_same_unless_that_is_damaged(index: Path) -> None:
    first = make(index, "app")
    (one,) = fetch(["app"], BOARD)
    make(index, "app", "2.0")
    first.unlink()
    assert fetch(["app"], BOARD) == (one,)
    assert one.path == cache_folder() / "wheels" / one.blake3 / first.name
    one.path.write_bytes(one.path.read_bytes()[:-1])
    assert told(fetch(["app"], BOARD)) == ["app-2.0-py3-none-any.whl"]


def test_what_has_no_wheel_for_the_board_is_named_and_nothing_is_kept(index: Path) -> None:
    make(index, "native", "1.0", "cp311-cp311-manylinux_2_28_x86_64")
    make(index, "app", "1.0", "py3-none-any", "native>=1")
    with pytest.raises(Fault) as raised:
        fetch(["app"], BOARD)
    assert (raised.value.code, raised.value.to.split()[0]) == ("no-wheel", "native>=1")
    assert "aarch64, glibc 2.36, Python 3.11.2" in raised.value.what
    assert list(cache_folder().iterdir()) == []


def test_the_source_of_what_has_no_wheel_runs_here_only_where_a_wheel_is_to_be_made(index: Path) -> None:
    ran = index.parent / "ran"
    files = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: app\nVersion: 1.0\n",
        "pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = 'build'\nbackend-path = ['.']\n",
        "build.py": f"open({str(ran)!r}, 'w')\n",
    }
    with tarfile.open(index / "app-1.0.tar.gz", "w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"app-1.0/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    for build in (False, True):
        with pytest.raises(Fault) as raised:
            fetch(["app"], BOARD, build=build)
        assert (raised.value.code, ran.exists()) == ("no-wheel", build)


@pytest.mark.parametrize(("left", "code"), [(4, "no-wheel"), (0, "no-index")])
def test_an_index_is_unreached_only_if_the_last_try_failed(left: int, code: str) -> None:
    said = (
        f"WARNING: Retrying (Retry(total={left}, connect=None)) after connection broken by 'ProxyError()': /simple/a/"
    )
    assert _fault(f"{said}\nERROR: No matching distribution found for app", BOARD).code == code


def test_requirements_that_exclude_each_other_are_told(index: Path) -> None:
    make(index, "app", "1.0", "py3-none-any", "lib<2")
    make(index, "lib", "1.0")
    make(index, "lib", "2.0")
    with pytest.raises(Fault, match="exclude each other") as raised:
        fetch(["app", "lib>=2"], BOARD)
    assert raised.value.code == "no-agreement"
    assert "app 1.0 depends on lib<2" in raised.value.to


@pytest.mark.parametrize(
    ("platform", "some", "none"),
    [
        (BOARD, {"manylinux_2_36_aarch64", "manylinux2014_aarch64"}, {"manylinux_2_37_aarch64", "linux_x86_64"}),
        (
            Platform("x86_64", "glibc", (2, 31), (3, 12, 0)),
            {"manylinux1_x86_64", "manylinux_2_5_x86_64"},
            {"manylinux_2_32_x86_64"},
        ),
        (
            Platform("aarch64", "musl", (1, 2), (3, 12, 0)),
            {"musllinux_1_2_aarch64", "musllinux_1_1_aarch64"},
            {"manylinux2014_aarch64"},
        ),
        (Platform("armv6l", "glibc", (2, 36), (3, 11, 0)), {"linux_armv6l"}, {"manylinux2014_armv6l"}),
    ],
    ids=lambda value: str(value) if isinstance(value, Platform) else "",
)
def test_a_platform_takes_the_wheels_that_its_own_pip_would(platform: Platform, some: set[str], none: set[str]) -> None:
    assert some <= set(platform.tags)
    assert none.isdisjoint(platform.tags)


@pytest.mark.parametrize(
    "told",
    [
        ("x86_64 --index-url=http://evil", "glibc", (2, 36)),
        ("x86_64", "bionic", (2, 36)),
        ("x86_64", "musl", (1, 10**9)),
    ],
)
def test_a_platform_that_is_none_is_refused(told: tuple[str, str, tuple[int, int]]) -> None:
    with pytest.raises(Fault, match="nobody makes wheels"):
        Platform(*told, (3, 11, 2))
