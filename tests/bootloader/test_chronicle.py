"""What happened is still there after the bootloader was killed, within bounds, and whatever became of the disk."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader import chronicle as module
from bootloader import segments
from bootloader.chronicle import Chronicle
from bootloader.journal import Block, Journal
from bootloader.segments import FILE_BYTES, MOST_BYTES, Writer, found, shorten
from tests.bootloader.target import SOON_S, Target, app

BOOT, OTHER, MACHINE = "a" * 16, "b" * 16, "c0ffee00"
MUCH = 1024 * 1024

LOUD = """
import sys, threading
def main():
    for number in range(2000): print("line", number)
    print("the last word", file=sys.stderr)
    threading.Event().wait()
"""


def block(first: int, count: int = 1, text: str = "x") -> Block:
    lines = "".join(f'{{"n": {number}, "text": "{text}"}}\n' for number in range(first, first + count))
    return Block(first + count - 1, first, lines.encode())


def written(folder: Path, *blocks: Block, boot: str = BOOT, number: int = 0) -> Path:
    """The file that these blocks make."""
    writer = Writer(folder, boot, MACHINE, number)
    for one in blocks:
        writer.append(one)
    writer.close()
    return found(folder)[-1].path


def read(folder: Path) -> list[Block]:
    return [one for segment in found(folder) for one in segment.blocks()]


@given(st.integers(0, 2**32), st.sampled_from(["cut", "flip", "zero", "insert", "drop"]))
def test_damage_costs_the_chunk_that_it_is_in_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, seed: int, damage: str
) -> None:
    chance = random.Random(seed)
    folder = tmp_path_factory.mktemp("logs")
    blocks = [block(1 + 3 * number, 3, chance.choice(["x", '{\\"chunk\\": 12', "y" * 50])) for number in range(8)]
    path = written(folder, *blocks)
    content = bytearray(path.read_bytes())
    at = chance.randrange(len(content))
    if damage == "cut":
        del content[at:]
    elif damage == "flip":
        content[at] ^= 1 << chance.randrange(8)
    elif damage == "zero":
        content[at : at + 20] = bytes(20)
    elif damage == "insert":
        content[at:at] = b'\n{"chunk": 10, "first": 1'
    else:
        del content[at : at + 5]
    path.write_bytes(content)
    left = read(folder)
    assert all(one in blocks for one in left)
    assert left == sorted(left)
    if damage != "cut":
        assert len(left) >= len(blocks) - 2
    else:
        assert left == blocks[: len(left)]


def test_the_disk_never_holds_more_than_the_bound_and_the_newest_is_there(tmp_path: Path) -> None:
    writer = Writer(tmp_path, BOOT, MACHINE, 0)
    for number in range(1, 3 * MOST_BYTES // FILE_BYTES * 20):
        writer.append(block(number, 1, "z" * (FILE_BYTES // 20)))
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= MOST_BYTES
    writer.close()
    assert read(tmp_path)[-1].last == number
    assert sum(len(one.lines) for one in read(tmp_path)) > MOST_BYTES // 2


def test_many_starts_are_bounded_too(tmp_path: Path) -> None:
    for number in range(segments.MOST_FILES + 20):
        written(tmp_path, block(1), boot=f"{number:016x}", number=number)
    assert len(found(tmp_path)) == segments.MOST_FILES
    shorten(tmp_path, 0)
    assert len(found(tmp_path)) == 1


def test_what_is_none_of_its_files_is_left_alone_and_never_waited_for(tmp_path: Path) -> None:
    path = written(tmp_path, block(1))
    name = path.name.removeprefix("00000001")
    (tmp_path / f"00000002{name}").mkdir()
    os.mkfifo(tmp_path / f"00000003{name}")
    (tmp_path / f"00000004{name}").symlink_to(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("mine")
    assert read(tmp_path) == [block(1)]
    shorten(tmp_path, 0, 0)
    assert (tmp_path / "notes.txt").exists()
    assert (tmp_path / f"00000002{name}").is_dir()


class Kept:
    """A chronicle of a journal, and what it noticed."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal()
        self.notices: list[tuple[str, str]] = []
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.chronicle = Chronicle(folder, self.journal, lambda *told: self.notices.append(told))
        self.chronicle.start()

    def close(self) -> None:
        self.journal.close(0)
        self.chronicle.close()

    def until(self, condition: Callable[[], object]) -> None:
        deadline = monotonic() + SOON_S
        while not condition():
            assert monotonic() < deadline, self.notices
            self.chronicle._closing.wait(0.01)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path / "logs")
    yield made
    made.close()


def test_what_the_journal_was_told_is_read_in_the_next_start_with_its_numbers(kept: Kept) -> None:
    kept.journal.add("state", {"application": "app"})
    kept.journal.add_lines("app", [("o", f"line {number}") for number in range(5000)])
    kept.close()
    later = Kept(kept.folder)
    (boot,) = later.chronicle.boots()
    assert boot == {"boot": kept.journal.boot, "first": 1, "last": 5001, "alike": boot["alike"]}
    seen: list[Any] = []
    cursor = 4000
    while True:
        told = later.chronicle.pull(kept.journal.boot, cursor, 100, MUCH)
        assert told is not None
        cursor, lost, lines = told
        assert lost == 0
        if not lines:
            break
        seen += map(json.loads, lines.splitlines())
    assert [event["n"] for event in seen] == list(range(4001, 5002))
    assert seen[-1]["text"] == "line 4999"
    assert later.chronicle.pull("f" * 16, 0, 100, MUCH) is None
    later.close()


def test_a_flood_that_goes_on_is_kept_in_part_and_its_end_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BURST_BYTES", 300_000)
    kept = Kept(tmp_path / "logs")
    text = "x" * 1000
    for _ in range(10):
        kept.journal.add_lines("app", [("o", text)] * 300)
    kept.journal.add_lines("app", [("o", "the end")])
    kept.until(lambda: b"the end" in b"".join(one.lines for one in read(kept.folder)))
    kept.close()
    assert sum(len(one.lines) for one in read(kept.folder)) < 1_000_000


def test_a_disk_that_can_not_be_written_is_told_once_and_tried_again(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AGAIN_S", 0.05)
    monkeypatch.setattr(module, "LEAST_FREE_BYTES", 2**62)
    for _ in range(3):
        kept.journal.add_lines("app", [("o", "before")])
        kept.until(lambda: kept.notices)
    assert [code for code, _ in kept.notices] == ["logs-not-kept"]
    assert "the disk is full" in kept.notices[0][1]
    monkeypatch.setattr(module, "LEAST_FREE_BYTES", 0)
    kept.until(lambda: read(kept.folder))
    assert b"before" in read(kept.folder)[0].lines


def test_a_full_disk_and_a_folder_that_is_gone_cost_what_would_have_been_kept(
    mount: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEAST_FREE_BYTES", 0)
    monkeypatch.setattr(module, "_AGAIN_S", 0.05)
    place = mount("size=256k")
    kept = Kept(place / "logs")
    (place / "fill").write_bytes(bytes(200_000))
    for _ in range(10):
        kept.journal.add_lines("app", [("o", "x" * 1000)] * 100)
    kept.until(lambda: kept.notices)
    (place / "fill").unlink()
    kept.journal.add_lines("app", [("o", "room again")])
    for path in kept.folder.iterdir():
        path.unlink()
    kept.until(lambda: read(kept.folder))
    kept.close()


def test_lines_before_a_kill_of_the_bootloader_are_there_after_it_with_their_start(target: Target) -> None:
    target.ship(LOUD, app(settle_s=0.0)).healthy()
    target.log("the last word")
    before = target.call("hello").text("boot")
    mark = target.event("log", text="the last word")["n"]
    deadline = monotonic() + SOON_S
    while not any(b"the last word" in one.lines for one in read(target.state / "logs")):
        assert monotonic() < deadline
    os.kill(target.pid, signal.SIGKILL)
    target.again()
    boots = target.call("boots").objects("boots")
    assert [(one.text("boot"), one.flag("alike")) for one in boots] == [(before, True)]
    assert boots[0].integer("last") >= mark
    texts: list[str] = []
    cursor, link = 0, target.link("past")
    while True:
        answer, blobs = link.call("events", {"boot": before, "cursor": cursor, "max_events": 700})
        assert (answer.text("boot"), answer.integer("lost")) == (before, 0)
        cursor = answer.integer("cursor")
        texts += [event["text"] for event in map(json.loads, blobs[0].splitlines()) if event["event"] == "log"]
        if answer.flag("ended"):
            break
    assert texts == [*(f"line {number}" for number in range(2000)), "the last word"]
    answer, _ = link.call("events", {"boot": "0" * 16, "cursor": 10**6})
    assert answer.text("boot") == target.call("hello").text("boot")
    link.close()


@pytest.mark.parametrize("damage", ["file", "junk", "folder"])
def test_whatever_became_of_what_was_kept_it_boots(target: Target, damage: str) -> None:
    target.ship(LOUD, app(settle_s=0.0)).healthy()
    target.log("the last word")
    target.end()
    logs = target.state / "logs"
    paths = list(logs.iterdir())
    assert paths
    for path in paths:
        path.unlink()
        if damage == "folder":
            path.mkdir()
        else:
            path.write_bytes(bytes(1000) + b'{"chunk": 5, "first": 1, "last": 2, "crc": 3}\nxxxxx')
    if damage == "file":
        for path in paths:
            path.unlink()
        logs.rmdir()
        logs.write_text("something else")
    target.start()
    target.log("the last word")
    assert target.call("boots").objects("boots") == []
