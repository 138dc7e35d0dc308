"""`reactor provision --to` as it is run: as root, by sudo, with the home of the user who has this host's keys."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reactor.provision.test_card import root_of

from .conftest import Bench
from .ssh_board import wheels

WAIT_S = 60.0
NOBODY = 65534


def why_not() -> str:
    """Why this can't be tried here; empty where it can."""
    if os.geteuid() != 0:
        return "only root writes a card"
    code = f"import os; os.setegid({NOBODY}); os.seteuid({NOBODY}); import email, rpyc"
    if subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode:
        return "no other user can read this Python, which is root's own"
    return ""


@pytest.fixture
def street() -> Iterator[Path]:
    """A folder that all may read, and in it the home of another user."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        home = Path(folder) / "home"
        home.mkdir()
        os.chown(home, NOBODY, NOBODY)
        yield Path(folder)


def test_what_is_kept_in_another_s_home_is_that_user_s_and_they_are_who_is_obeyed(bench: Bench, street: Path) -> None:
    if why := why_not():
        pytest.skip(why)
    card, home, index = root_of(street / "card", "arm", "raspbian"), street / "home", street / "index"
    wheels(index)
    env = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index), "PIP_CONFIG_FILE": "/dev/null"}
    env |= {"REACTOR_HOME": "", "HOME": str(home), "LOGNAME": "root", "USER": "root"}
    code, told = bench.run("provision", "--to", str(card), "--name", "porch", wait_s=WAIT_S, env=env)
    assert code == 0, told
    assert any("slow" in one.get("text", "") for one in told if one["event"] == "notice")
    kept = {path: path.lstat().st_uid for path in home.rglob("*")}
    assert set(kept.values()) == {NOBODY}, kept
    assert {"host.key", "porch.crt", "porch.address"} <= {path.name for path in kept}
    assert any("wheels" in path.parts for path in kept)
    (obeyed,) = (card / "var/lib/bootloader/trust/hosts").iterdir()
    assert not obeyed.name.startswith("root@")
