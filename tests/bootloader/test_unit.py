"""Which systemd unit a bootloader is of, and whether a boot starts it, from the files of a system."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootloader.unit import told

UNIT = "bootloader.service"


@pytest.mark.parametrize(
    ("groups", "name"),
    [
        (f"0::/system.slice/{UNIT}\n", UNIT),
        (f"0::/system.slice/{UNIT}/bootloader\n", UNIT),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/board@1.service\n", ""),
        ("0::/user.slice/user-1000.slice/user@1000.service/init.scope\n", ""),
        ("0::/user.slice/session-3.scope\n", ""),
        ("", ""),
    ],
)
def test_the_unit_is_that_of_the_group_that_it_runs_in(tmp_path: Path, groups: str, name: str) -> None:
    file = tmp_path / "proc" / "self" / "cgroup"
    file.parent.mkdir(parents=True)
    file.write_text(groups)
    assert told(tmp_path) == {"name": name, "enabled": False}
    wants = tmp_path / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / (name or UNIT)).symlink_to("/nowhere")
    assert told(tmp_path)["enabled"] is bool(name)


def test_without_such_files_there_is_none(tmp_path: Path) -> None:
    assert told(tmp_path) == {"name": "", "enabled": False}
