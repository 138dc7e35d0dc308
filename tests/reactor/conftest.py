"""What several files here test with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reactor.board import Bench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A project, a board, and sessions between them."""
    monkeypatch.setenv("REACTOR_HOME", str(tmp_path / "home"))
    made = Bench(tmp_path / "app")
    yield made
    made.close()
