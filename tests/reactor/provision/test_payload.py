"""What is sent to a board, of wheels that may be anything."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from bootloader.wire.errors import Fault
from reactor.provision.payload import Payload
from reactor.wheels import Wheel


@pytest.mark.parametrize("damage", [b"\xff" * 20, b""], ids=["other bytes", "none"])
def test_a_damaged_wheel_is_a_fault_that_names_it(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "app-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("app.py", bytes(range(256)) * 9)
    content = path.read_bytes()
    path.write_bytes(content[:40] + damage + content[60:])
    with pytest.raises(Fault) as raised:
        Payload.of([Wheel("app", "1.0", path, "", 0)])
    assert (raised.value.code, raised.value.to) == ("bad-wheel", str(path))
