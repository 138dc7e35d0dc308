"""Where benchmarks do their work."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_MEMORY = Path("/dev/shm")


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder in memory, where there is some: targets fsync a lot."""
    with tempfile.TemporaryDirectory(dir=memory()) as folder:
        yield Path(folder)


def memory() -> Path | None:
    """Where folders in memory are made, if anywhere."""
    return _MEMORY if os.access(_MEMORY, os.W_OK) else None
