"""A shell over another ssh, which runs what it is told on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bootloader.wire.errors import Fault
from reactor.provision.ssh import Ssh


@pytest.fixture
def shell(tmp_path: Path) -> Ssh:
    command = tmp_path / "ssh"
    command.write_text('#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n')
    command.chmod(0o700)
    return Ssh("porch", str(command))


def test_what_is_sent_comes_whole_behind_a_password_and_how_much_is_told(shell: Ssh) -> None:
    content, told = os.urandom(100_000).hex(), list[tuple[int, int]]()
    shell.on_sent = lambda done, total: told.append((done, total))
    assert shell.run("cat", content.encode(), root="env A=1", password="o'brien; exit") == f"o'brien; exit\n{content}"
    assert [total for _, total in told] == [200_000] * len(told)
    assert [done for done, _ in told] == [65_536, 131_072, 196_608, 200_000]


def test_a_script_that_ends_before_it_has_read_all_is_told_with_what_it_said_last(shell: Ssh) -> None:
    with pytest.raises(Fault) as raised:
        shell.run("echo '\x1b[31mno space left' >&2; exit 3", bytes(1_000_000))
    assert (raised.value.code, raised.value.what) == ("step-failed", "no space left")
