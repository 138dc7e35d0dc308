"""Which file systems tell of no changes, by the system's table of mounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from reactor.watch.mounts import file_system, without_events

TABLE = """\
/dev/sda1 / ext4 rw 0 0
proc /proc proc rw 0 0
C:\\134 /mnt/c 9p rw 0 0
host /media/my\\040share nfs4 rw 0 0
/dev/sdb1 /media/my\\040share/local xfs rw 0 0
first /twice tmpfs rw 0 0
second /twice cifs rw 0 0
short line
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/", "ext4"),
        ("/home/me/blinky", "ext4"),
        ("/mnt/c/blinky", "9p"),
        ("/mnt/c", "9p"),
        ("/mnt/cc", "ext4"),
        ("/media/my share/blinky", "nfs4"),
        ("/media/my share/local/blinky", "xfs"),
        ("/twice/x", "cifs"),
    ],
)
def test_the_file_system_of_a_folder_is_that_of_the_nearest_mount(folder: str, kind: str) -> None:
    assert file_system(folder, TABLE) == kind


def test_a_poll_can_be_asked_for_and_is_not_without_need(tmp_path: Path) -> None:
    assert without_events([str(tmp_path)], {"REACTOR_WATCH": "poll"}) == "REACTOR_WATCH=poll"
    assert without_events([str(tmp_path)], {}) is None
