"""What goes over the link for a change: as little as will do, in bounded parts, and again where it got lost."""

from __future__ import annotations

import os
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bootloader.wire.errors import Malformed, Refused
from bootloader.wire.limits import INLINE_BYTES, PART_BYTES, UPLOAD_BLOBS
from bootloader.wire.manifest import EMPTY, Manifest, blob_name
from bootloader.wire.messages import Fields, pack
from bootloader.wire.overlay import Overlay
from reactor import shipment
from reactor.link import Link
from reactor.scan import KEPT_FILE_BYTES, FileChanged
from reactor.shipment import Shipment, fetch, look, send
from tests.reactor.board import Board, Desk
from tests.reactor.simulated import Simulated

MB = 1024 * 1024


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "app", {"main.py": "def main(): ...\n"})


class Ship:
    """A target, a link to it, and what goes over that."""

    def __init__(self, desk: Desk, target: Simulated | Board, link: Link) -> None:
        self.desk = desk
        self.target = target
        self.link = link
        self.has: Manifest = EMPTY
        self.progress: list[tuple[int, int]] = []

    def send(self) -> Fields:
        """Ship everything as it is now."""
        wanted = self.desk.scanner.full()
        parcel = Shipment(self.has, wanted, self.has.edits_to(wanted))
        answer = send(self.link, parcel, self.desk.scanner, lambda *step: self.progress.append(step))
        self.has = wanted
        return answer


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Simulated]:
    made = Simulated(tmp_path / "device", tmp_path / "home")
    yield made
    made.close()


@pytest.fixture
def ship(desk: Desk, target: Simulated) -> Iterator[Ship]:
    with target.connect("control") as link:
        yield Ship(desk, target, link)


@pytest.fixture
def real(desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Ship]:
    monkeypatch.setenv("REACTOR_HOME", str(tmp_path / "home"))
    board = Board(desk.folder)
    with board.connect("control") as link:
        yield Ship(desk, board, link)
    board.close()


def overlay_of(target: Simulated) -> list[Overlay]:
    """The overlays that the target gets, from now on."""
    got: list[Overlay] = []

    def apply(fields: Fields, blobs: list[bytes]) -> bytes:
        got.append(Overlay.decode(fields, blobs))
        return target.truth("apply", fields, blobs)

    target.lies["apply"] = apply
    return got


# One round trip


def test_a_small_change_is_one_call(ship: Ship, target: Simulated) -> None:
    ship.send()
    target.calls.clear()
    ship.desk.write("main.py", "def main(): print(1)\n")
    got = overlay_of(target)
    ship.send()
    assert target.calls == ["apply"]
    assert list(got[0].edits) == ["main.py"]
    assert list(got[0].blobs.values()) == [b"def main(): print(1)\n"]


def test_a_line_of_a_long_file_is_sent_as_a_line(ship: Ship, target: Simulated) -> None:
    text = random.Random(1).randbytes(2 * MB)
    ship.desk.write("long.bin", text)
    ship.send()
    target.calls.clear()
    got = overlay_of(target)
    ship.desk.write("long.bin", text[:MB] + b"a line" + text[MB:])
    ship.send()
    assert target.calls == ["apply"]
    (splice,) = got[0].blobs.values()
    assert not isinstance(splice, bytes)
    assert (splice.base, splice.delta.middle) == (blob_name(text), b"a line")


def test_a_file_that_only_moves_is_not_sent(ship: Ship, target: Simulated) -> None:
    content = random.Random(2).randbytes(3 * MB)
    file = ship.desk.write("old/model.bin", content)
    ship.send()
    got = overlay_of(target)
    target.calls.clear()
    file.rename(ship.desk.write("new/model.bin", ""))
    ship.send()
    assert target.calls == ["apply"]
    assert (sorted(got[0].edits), got[0].blobs) == (["new/model.bin", "old/model.bin"], {})


@pytest.mark.parametrize(
    ("count", "size"),
    [(1, INLINE_BYTES + 1), (3, INLINE_BYTES // 2), (shipment.INLINE_FILES + 1, 8)],
    ids=["long", "sum", "many"],
)
def test_what_is_too_much_for_one_call_is_uploaded_before(ship: Ship, target: Simulated, count: int, size: int) -> None:
    ship.send()
    target.calls.clear()
    got = overlay_of(target)
    for number in range(count):
        ship.desk.write(f"data/{number}.bin", random.Random(number).randbytes(size))
    ship.send()
    assert target.calls == ["missing", *["upload"] * (len(target.calls) - 2), "apply"]
    assert got[0].blobs == {}
    there = {name: bytes(content) for name, content in target.uploaded.items()}
    assert all(blob_name(content) == name for name, content in there.items())
    assert there.keys() >= {entry.blake3 for entry in got[0].edits.values() if entry is not None}


# Uploads


def test_an_upload_call_is_bounded_in_bytes_and_in_blobs(ship: Ship, target: Simulated) -> None:
    calls: list[tuple[int, int]] = []

    def upload(fields: Fields, blobs: list[bytes]) -> bytes:
        calls.append((len(blobs), sum(map(len, blobs))))
        return target.truth("upload", fields, blobs)

    target.lies["upload"] = upload
    for number in range(UPLOAD_BLOBS + 50):
        ship.desk.write(f"small/{number}", str(number))
    ship.desk.write("large.bin", random.Random(3).randbytes(2 * PART_BYTES + 5))
    ship.desk.write("empty", "")
    ship.send()
    assert all(count <= UPLOAD_BLOBS and size <= PART_BYTES for count, size in calls)
    total = sum(size for _, size in calls)
    assert ship.progress[-1] == (total, total)
    assert [done for done, _ in ship.progress] == sorted(done for done, _ in ship.progress)


def test_a_file_larger_than_memory_should_hold_is_read_in_parts(ship: Ship) -> None:
    size = 96 * MB
    with open(ship.desk.folder / "model.bin", "wb") as file:
        file.truncate(size)
    ship.desk.scanner.full()
    tracemalloc.start()
    try:
        ship.target.lies["upload"] = pack({})  # type: ignore[union-attr]  # it would keep all of it in this process
        ship.send()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert ship.progress[-1][1] >= size
    assert peak < size / 2


def test_a_target_that_has_most_of_it_gets_the_rest(ship: Ship, target: Simulated) -> None:
    for number in range(4):
        ship.desk.write(f"{number}.bin", random.Random(number).randbytes(MB))
    ship.send()
    ship.has, target.manifest, before = EMPTY, EMPTY, set(target.uploaded)
    del target.uploaded[blob_name(random.Random(2).randbytes(MB))]
    ship.progress.clear()
    ship.send()
    assert set(target.uploaded) == before
    assert ship.progress[-1] == (MB, MB)


def test_only_what_was_asked_for_is_sent_once_whatever_the_target_says_it_lacks(ship: Ship, target: Simulated) -> None:
    content = random.Random(4).randbytes(2 * MB)
    ship.desk.write("a.bin", content)
    name = blob_name(content)
    target.lies["missing"] = pack({"missing": [name] * 10_000 + ["ab" * 32, "../../etc/passwd", "\x1b"]})
    ship.send()
    assert list(target.uploaded) == [name]
    assert ship.progress[-1] == (2 * MB, 2 * MB)


# What got lost


def test_a_base_that_the_target_lost_costs_one_more_try(real: Ship) -> None:
    text = random.Random(5).randbytes(200_000)
    real.desk.write("long.bin", text)
    real.send()
    board = real.target
    assert isinstance(board, Board)
    damage(board, blob_name(text), "long.bin")
    real.desk.write("long.bin", text + b"more")
    assert real.send().text("root") == real.has.root
    assert (board.state / "live" / "long.bin").read_bytes() == text + b"more"


def test_a_blob_that_the_target_lost_is_sent_again_though_the_change_does_not_need_it_sent(real: Ship) -> None:
    content = random.Random(6).randbytes(50_000)
    file = real.desk.write("one.bin", content)
    real.send()
    board = real.target
    assert isinstance(board, Board)
    damage(board, blob_name(content), "one.bin")
    file.rename(real.desk.folder / "two.bin")
    assert real.send().text("root") == real.has.root
    assert (board.state / "live" / "two.bin").read_bytes() == content


def damage(board: Board, blob: str, path: str) -> None:
    """Take a blob away from the target, wherever it lies."""
    (board.state / "objects" / blob[:2] / blob[2:]).unlink()
    for tree in ("a", "b"):
        (board.state / "trees" / tree / path).unlink(missing_ok=True)


def test_an_upload_that_another_host_got_in_the_way_of_is_begun_again(ship: Ship, target: Simulated) -> None:
    content = random.Random(7).randbytes(2 * PART_BYTES)
    ship.desk.write("a.bin", content)
    target.uploaded[blob_name(content)] = bytearray(b"of another host")
    target.lies["missing"] = pack({"missing": [blob_name(content)]})
    ship.send()
    assert bytes(target.uploaded[blob_name(content)]) == content


def test_a_target_that_always_lacks_something_is_given_up(ship: Ship, target: Simulated) -> None:
    ship.desk.write("a.bin", bytes(2 * MB))

    def apply(_fields: Fields, _blobs: list[bytes]) -> bytes:
        raise Refused("missing-blob", "never enough")

    target.lies["apply"] = apply
    with pytest.raises(Refused, match="never enough"):
        ship.send()
    assert target.calls.count("apply") == 3


@pytest.mark.parametrize("code", ["stale-root", "disk-full", "syntax-error"])
def test_any_other_refusal_is_the_callers(ship: Ship, target: Simulated, code: str) -> None:
    def apply(_fields: Fields, _blobs: list[bytes]) -> bytes:
        raise Refused(code, "no")

    target.lies["apply"] = apply
    with pytest.raises(Refused) as caught:
        ship.send()
    assert (caught.value.code, target.calls.count("apply")) == (code, 1)


# What the target says that it has


def test_the_targets_manifest_is_believed_only_as_far_as_its_root_goes(ship: Ship, target: Simulated) -> None:
    ship.send()
    assert fetch(ship.link, ship.has.root) == ship.has
    assert fetch(ship.link, EMPTY.root) == EMPTY
    other = ship.has.edit({"main.py": None})
    lies: list[Any] = [
        ({}, []),
        ({}, [ship.has.text, ship.has.text]),
        ({}, [other.text]),
        ({}, [ship.has.text.replace(b"main.py", b"../x.py")]),
        ({}, [b"\xff" * 1000]),
    ]
    for lie in lies:
        target.lies["manifest"] = lie
        with pytest.raises(Malformed):
            fetch(ship.link, ship.has.root)


def test_what_is_live_is_told_with_who_made_it_and_why(real: Ship) -> None:
    assert look(real.link).generation == 0
    real.send()
    live = look(real.link)
    assert (live.root, live.generation, live.rung, live.why) == (real.has.root, 1, "restart", "first start")


# A file in parts


def test_a_files_parts_are_its_content(desk: Desk) -> None:
    content = random.Random(8).randbytes(KEPT_FILE_BYTES + 12_345)
    desk.write("large.bin", content)
    desk.write("small.bin", content[:1000])
    desk.write("empty", "")
    desk.scanner.full()
    for expected, size in ((content, 1_000_000), (content, len(content)), (content[:1000], 300), (b"", 10)):
        parts = list(desk.scanner.parts(blob_name(expected), size))
        assert b"".join(parts) == expected
        assert [len(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
        assert len(parts[-1]) <= size


def test_a_file_that_changes_while_its_parts_are_read_is_never_given_whole(desk: Desk) -> None:
    content = bytes(KEPT_FILE_BYTES + MB)
    file = desk.write("large.bin", content)
    desk.scanner.full()
    for at in (0, len(content) - 1):  # behind and before where the reading is
        desk.write("large.bin", content)
        parts = desk.scanner.parts(blob_name(content), MB)
        got = next(parts)
        with open(file, "r+b") as opened:
            opened.seek(at)
            opened.write(b"!")
        with pytest.raises(FileChanged) as caught:
            got += b"".join(parts)
        assert caught.value.fields["file"] == "large.bin"
        assert len(got) < len(content)


def test_a_file_whose_copy_is_gone_is_read_from_the_other_one(desk: Desk) -> None:
    content = bytes(KEPT_FILE_BYTES + 1)
    desk.write("a.bin", content)
    desk.write("b.bin", content)
    desk.scanner.full()
    for name in ("a.bin", "b.bin"):
        desk.write("a.bin", content)
        desk.write("b.bin", content)
        desk.write(name, "other")
        assert desk.scanner.content(blob_name(content)) == content
    desk.write("a.bin", "other")
    with pytest.raises(FileChanged):
        desk.scanner.content(blob_name(content))


@pytest.mark.parametrize("what", ["gone", "folder", "pipe"])
def test_a_file_that_is_something_else_by_now_has_changed(desk: Desk, what: str) -> None:
    content = bytes(KEPT_FILE_BYTES + 1)
    file = desk.write("a.bin", content)
    desk.scanner.full()
    file.unlink()
    if what == "folder":
        file.mkdir()
    elif what == "pipe":
        os.mkfifo(file)
    with pytest.raises(FileChanged):
        desk.scanner.content(blob_name(content))


def test_an_upload_that_was_cut_off_goes_on_where_it_was(real: Ship) -> None:
    content = random.Random(4).randbytes(2 * PART_BYTES + 1000)
    name = blob_name(content)

    class Source:
        def parts(self, _blob: str, part_bytes: int) -> Iterator[bytes]:
            for start in range(0, len(content), part_bytes):
                yield content[start : start + part_bytes]

    steps: list[tuple[int, int]] = []
    real.link.call("upload", {"parts": [[name, 0, len(content)]]}, [content[:PART_BYTES]])  # and no more of it came
    sent = shipment.upload(real.link, {name: len(content)}, Source(), lambda *step: steps.append(step))
    assert sent == len(content) - PART_BYTES
    assert steps[-1] == (len(content), len(content))
    assert steps[0][0] > PART_BYTES
    answer, _ = real.link.call("missing", {"names": [[name, len(content)]]})
    assert answer.texts("missing") == []


def test_what_a_target_says_to_have_in_part_is_not_believed_where_it_can_not_be(target: Simulated, ship: Ship) -> None:
    name = blob_name(b"12345")
    rows = [[name, 5], [name, -1], [name, "2"], ["0" * 64, 1], [name], [name, 2]]
    target.lies["missing"] = ({"missing": [name], "begun": rows}, [])
    got: list[list[Any]] = []

    def upload(fields: Fields, blobs: list[bytes]) -> bytes:
        got.extend([*row, blob] for row, blob in zip(fields.rows("parts"), blobs, strict=True))
        return pack({})

    target.lies["upload"] = upload

    class Source:
        def parts(self, _blob: str, _part_bytes: int) -> Iterator[bytes]:
            yield b"12345"

    assert shipment.upload(ship.link, {name: 5}, Source(), lambda *_: None) == 3
    assert got == [[name, 2, 5, b"345"]]
