"""Every row of the corpus on a real target, over the real link: pushed, patched or restarted, probed where it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bootloader.guest.swap import probing
from tests.bootloader.guest.swap.rows import Row, rows
from tests.bootloader.target import Event, Target, app

ROWS = [row for row in rows() if row.is_for()]


class Board:
    """A target whose application has all rows in its tree, each in a folder of its own, before its edit or after it."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._files = {"probing.py": Path(probing.__file__).read_text("utf-8")}
        for row in ROWS:
            self._files |= self._in_tree(row, row.before)
        self._application = app(entry="probing:main", settle_s=0.0)
        target.ship(self._files, self._application, reload="auto")
        target.log("listening")

    @staticmethod
    def _in_tree(row: Row, files: dict[str, str]) -> dict[str, str]:
        return {f"rows/{row.name}/{path}": text for path, text in files.items()}

    def edit(self, row: Row) -> dict[str, Any]:
        """Push the edit; what the target answers."""
        kept = {path: text for path, text in self._files.items() if not path.startswith(f"rows/{row.name}/")}
        self._files = kept | self._in_tree(row, row.after)
        change = self._target.ship(self._files, self._application, reload="auto")
        change.healthy()
        return change.answer.plain()

    def run(self, row: Row, section: str) -> None:
        """Have the application run a section of the row; what goes wrong there is raised here."""
        order = {"row": row.name, "section": section}
        pipe = self._target.state / "data" / "app" / probing.ORDERS
        with pipe.open("w", encoding="utf-8") as orders:
            orders.write(json.dumps({**order, "text": getattr(row, section)}) + "\n")
        opening = json.dumps(order)[:-1]

        def told() -> Event | None:
            return next((one for one in self._target.events if str(one.get("text", "")).startswith(opening)), None)

        wrong = json.loads(self._target.wait(told, f"{row.name}: {section}")["text"])["wrong"]
        assert wrong == "", wrong


@pytest.fixture(scope="module")
def board(shared: Target) -> Board:
    return Board(shared)


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_push_does_what_the_row_says(row: Row, board: Board) -> None:
    board.run(row, "hold")
    answer = board.edit(row)
    assert answer["rung"] == row.told["rung"], answer["why"]
    if row.patched:
        board.run(row, "probe")
        board.run(row, "kept")
    else:
        assert [word for word in row.words("because") if word not in answer["why"]] == [], answer["why"]
