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

SUDO = """#!/bin/sh
[ "$*" != "-n true" ] || exit 1
while [ "$1" != sh ]; do shift; done
for each in 1 2 3; do
    IFS= read -r line || break
    echo "$line" >>"$0.tried"
    [ "$line" != "o'brien; exit" ] || exec "$@"
done
echo "sudo: no" >&2
exit 1
"""
"""Takes up to three lines for passwords, as the real one does with ``-S``."""


def program(file: Path, text: str) -> Path:
    file.write_text(text)
    file.chmod(0o700)
    return file


@pytest.fixture
def shell(tmp_path: Path) -> Ssh:
    return Ssh("porch", str(program(tmp_path / "ssh", '#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n')))


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


def test_sudo_hears_a_wrong_password_once_and_nothing_of_what_is_sent_behind_it(
    shell: Ssh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = Path(f"{program(tmp_path / 'sudo', SUDO)}.tried")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    board = Board(shell, 7717, sys.executable, lambda _facts: "wrong")
    board.facts = replace(board.facts, root="password")
    step, payload = plan.Step("code", "", "cat >/dev/null\n"), Payload({"a.py": b"a\n" * 9}, ())
    with pytest.raises(Fault) as raised:
        board.perform([step], payload, lambda _name: None)
    assert (raised.value.code, raised.value.to) == ("no-root", "porch")
    assert tried.read_text().splitlines() == ["wrong"]
    shell.password = "o'brien; exit"
    for _ in range(2):
        board.perform([step], payload, lambda _name: None)
    assert tried.read_text().splitlines()[1:] == ["o'brien; exit"] * 3  # it was tried alone only once
