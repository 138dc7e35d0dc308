"""A shell over another ssh, which runs what it is told on this machine."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bootloader.wire.errors import Fault
from reactor.provision import plan
from reactor.provision.board import Board
from reactor.provision.payload import Payload
from reactor.provision.ssh import Ssh

from .test_plan import PYTHON, WISH


@pytest.fixture
def shell(tmp_path: Path) -> Ssh:
    command = tmp_path / "ssh"
    command.write_text('#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n')
    command.chmod(0o700)
    return Ssh("porch", str(command))


def test_what_is_sent_comes_whole_behind_a_password(shell: Ssh) -> None:
    content = os.urandom(100_000).hex()
    assert shell.run("cat", content.encode(), root="env A=1", password="o'brien; exit") == f"o'brien; exit\n{content}"


def test_a_script_that_ends_before_it_has_read_all_is_told_with_what_it_said_last(shell: Ssh) -> None:
    with pytest.raises(Fault) as raised:
        shell.run("echo '\x1b[31mno space left' >&2; exit 3", bytes(1_000_000))
    assert (raised.value.code, raised.value.what) == ("step-failed", "no space left")


def test_how_much_lies_on_a_board_is_told_file_by_file_and_its_own_lists_are_none(
    shell: Ssh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "CODE", str(tmp_path / "code"))
    payload = Payload({"a.py": b"a = 1\n", "b/__init__.py": b"", "b/c.py": b"# 8 more"}, ())
    board = Board(shell, 7717, sys.executable)
    board.facts = replace(board.facts, root="root")  # so that nobody has to be, as only a folder is written
    (code, *_) = plan.steps(board.facts, WISH, PYTHON, payload.root, (), payload.size_bytes)
    done, told = list[str](), list[tuple[int, int]]()
    board.perform([code], payload, done.append, lambda *amount: told.append(amount))
    assert done == ["code"]
    assert told == [(6, 14), (6, 14), (14, 14)]
    assert (tmp_path / "code" / payload.root / "b" / "c.py").read_bytes() == b"# 8 more"
