"""What a release needs is compared with what is installed, number by number."""

from __future__ import annotations

from importlib import metadata

import pytest

from bootloader.requirements import unmet

HERE = metadata.version("rpyc")
MAJOR = int(HERE.split(".")[0])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", []),
        (f"rpyc=={HERE}", []),
        (f"rpyc=={HERE}.0.0", []),
        (f"rpyc>={MAJOR}", []),
        (f"rpyc>={MAJOR - 1}.99", []),
        (f"rpyc=={MAJOR}", [f"rpyc=={MAJOR} (it has {HERE})"]),
        (f"rpyc>={MAJOR * 10}", [f"rpyc>={MAJOR * 10} (it has {HERE})"]),
        ("what-is-not-there>=1\nrpyc>=1\n", ["what-is-not-there>=1 (it has none)"]),
        ("carried==99", []),
    ],
)
def test_a_version_is_there_or_told_with_what_is(text: str, told: list[str]) -> None:
    assert list(unmet(text, {"carried"})) == told


@pytest.mark.parametrize("text", ["rpyc", "rpyc<6", "rpyc>=six", "rpyc >= 6", "-r more.txt"])
def test_what_names_no_version_is_no_requirement(text: str) -> None:
    with pytest.raises(ValueError, match="names no version"):
        list(unmet(text, ()))
