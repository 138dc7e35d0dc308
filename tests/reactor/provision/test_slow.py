"""BLAKE3 in Python alone is BLAKE3, and a target boots with it in the place of the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import blake3
from hypothesis import given
from hypothesis import strategies as st

from reactor.provision import slow
from reactor.provision.payload import Payload


@given(st.integers(0, 5000), st.integers(1, 3000), st.binary(min_size=1, max_size=8), st.integers(1, 64))
def test_it_is_blake3_however_the_bytes_come(size: int, step: int, some: bytes, length: int) -> None:
    data = (some * size)[:size]
    hasher = slow.blake3()
    for at in range(0, size, step):
        hasher.update(memoryview(data)[at : at + step])
    assert hasher.digest(length) == blake3.blake3(data).digest(length)
    assert slow.blake3(data).hexdigest() == blake3.blake3(data).hexdigest()


def test_many_chunks_are_a_tree() -> None:
    size = 70 * 1024 + 1
    data = bytes(range(251)) * (size // 251 + 1)
    for end in (2048, 2049, 16 * 1024, 31 * 1024, 64 * 1024, size):
        assert slow.blake3(data[:end]).hexdigest() == blake3.blake3(data[:end]).hexdigest()


def test_a_board_without_a_wheel_of_it_gets_it_and_says_so(tmp_path: Path) -> None:
    for path, content in Payload.of((), slow=True).contents.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    look = "import blake3; from bootloader.lacking import lacking; from bootloader.requirements import unmet\n"
    look += "print(blake3.__file__, *lacking(), *unmet('blake3>=1.0', ()), sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-P", "-c", look],
        env={"PYTHONPATH": str(tmp_path)}, cwd="/", capture_output=True, text=True, check=True,
    )  # fmt: skip
    file, told = done.stdout.splitlines()
    assert file == str(tmp_path / "blake3" / "__init__.py")
    assert told.startswith("'blake3' is Python alone here")
