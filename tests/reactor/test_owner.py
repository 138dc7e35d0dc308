"""What root keeps in another user's home belongs to that user, and is written in their name."""

from __future__ import annotations

import getpass
import os
import tempfile
from pathlib import Path

import pytest

from reactor import trust
from reactor.owner import as_owner

NOBODY = 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write in another's home")
def test_what_root_keeps_in_another_s_home_is_theirs_and_root_is_root_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "root")
    trust.make_identity("imports what root alone may read here")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        own = Path(folder) / "ada"
        own.mkdir()
        os.chown(own, NOBODY, NOBODY)
        home = own / ".config" / "reactor"
        with as_owner(home):
            assert getpass.getuser() != "root"
            pem = trust.host_identity(home).certificate.read_text()
            trust.remember(home, "porch", pem, "porch.local")
        assert {path.lstat().st_uid for path in own.rglob("*")} == {NOBODY}
        assert {path.lstat().st_gid for path in own.rglob("*")} == {NOBODY}
    assert (os.geteuid(), os.getegid(), getpass.getuser()) == (0, 0, "root")


def test_one_s_own_home_is_written_as_before(tmp_path: Path) -> None:
    before = os.geteuid(), os.getegid(), dict(os.environ)
    with as_owner(tmp_path / "not" / "there"):
        assert (os.geteuid(), os.getegid(), dict(os.environ)) == before
