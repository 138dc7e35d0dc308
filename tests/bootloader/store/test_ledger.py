"""The ledger remembers, forgives what it can't read, and never stops the device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from bootloader.store.ledger import KEPT, MOST_LINES, Ledger

ROOT = "ab" * 32


class Told(list[str]):
    def __call__(self, why: str) -> None:
        self.append(why)


def opened(path: Path, told: Told | None = None) -> Ledger:
    return Ledger(path, told if told is not None else Told())


def fill(ledger: Ledger, fates: str) -> None:
    """A generation for each letter: h(ealthy), f(ailed), r(eplaced), or - for none yet."""
    for fate in fates:
        number = ledger.add(ROOT, "host", "restart", "code changed", 1).number
        if fate != "-":
            ledger.mark(number, {"h": "healthy", "f": "failed", "r": "replaced"}[fate], "why")


@given(st.lists(st.text("hfr-", max_size=3), max_size=5))
def test_it_tells_the_same_after_a_restart(tmp_path_factory: pytest.TempPathFactory, sessions: list[str]) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    for fates in sessions:
        ledger = opened(path)
        fill(ledger, fates)
        assert opened(path).newest_first() == ledger.newest_first()
    numbers = [one.number for one in opened(path).newest_first()]
    assert numbers == list(range(sum(map(len, sessions)), 0, -1))


def test_a_generation_was_healthy_whatever_became_of_it_later(tmp_path: Path) -> None:
    ledger = opened(tmp_path / "ledger")
    fill(ledger, "h")
    ledger.mark(1, "replaced")
    told = ledger.last()
    assert told is not None
    assert (told.fate, told.was_healthy) == ("replaced", True)
    fill(ledger, "f")
    assert ledger.last_healthy() == told


def test_a_rung_that_was_not_held_to_is_told_as_it_was_in_the_end(tmp_path: Path) -> None:
    ledger = opened(tmp_path / "ledger")
    ledger.add(ROOT, "host", "patch", "code changed", 1)
    ledger.mark(1, "failed", "it died")
    ledger.explain(1, "restart", "it could not")
    for one in (ledger.last(), opened(tmp_path / "ledger").last()):
        assert one is not None
        assert (one.rung, one.why, one.fate, one.fate_why) == ("restart", "it could not", "failed", "it died")


@pytest.mark.parametrize(
    "damage",
    [
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"generation": "two", "root": "x"}',
        b'{"generation": 2, "root": "../../etc/passwd", "at": 1}',
        b'{"generation": 1, "fate": "glorious"}',
        b'{"generation": true, "root": "' + ROOT.encode() + b'", "at": 1}',
        b"[" * 100_000,
    ],
)
@pytest.mark.parametrize("ending", [b"\n", b""])
@pytest.mark.parametrize("signed", [True, False])
def test_a_line_that_is_cut_or_odd_costs_itself_alone(
    tmp_path: Path, damage: bytes, ending: bytes, signed: bool
) -> None:
    path = tmp_path / "ledger"
    fill(opened(path), "h")
    if signed:  # it passes for one of ours, up to what it says
        body = b'{"n":3,' + damage[1:-1]
        damage = body + b',"sum":"%s"}' % blake3(body).hexdigest(4).encode()
    with open(path, "ab") as file:
        file.write(damage + ending)
    ledger = opened(path)
    assert ledger.damaged == 1
    assert ledger.mended
    fill(ledger, "f")
    again = opened(path)
    assert (again.damaged, again.mended) == (0, False)
    assert [(one.number, one.fate) for one in again.newest_first()] == [(2, "failed"), (1, "healthy")]


FILES = ("ledger.jsonl", "ledger.copy")


def damages(content: bytes) -> Iterator[bytes | None]:
    """What a disk may make of a file: nothing, zeros, a part, and each byte another one."""
    yield from (None, b"", bytes(len(content)), content[: len(content) // 2], content[1:])
    yield from (content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :] for at in range(0, len(content), 7))


@pytest.mark.parametrize("name", FILES)
def test_what_one_file_lost_the_other_tells(tmp_path: Path, name: str) -> None:
    ledger = opened(tmp_path / "ledger.jsonl")
    fill(ledger, "hf-")
    ledger.count_boot(3)
    before, content = ledger.newest_first(), (tmp_path / name).read_bytes()
    for damaged in damages(content):
        (tmp_path / name).write_bytes(damaged) if damaged is not None else (tmp_path / name).unlink()
        again = opened(tmp_path / "ledger.jsonl")
        assert again.newest_first() == before
        assert again.mended
        assert len({(tmp_path / each).read_bytes() for each in FILES}) == 1
        assert not opened(tmp_path / "ledger.jsonl").mended


def test_starts_at_boot_are_counted_per_root_healthy_or_not_until_it_is_forgiven(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    fill(opened(path), "--")
    other = opened(path).add("cd" * 32, "host", "restart", "", 1).number
    for number in (1, 1, 2, other):
        opened(path).count_boot(number)
    opened(path).mark(2, "healthy")
    assert [one.boots for one in opened(path).newest_first()] == [1, 1, 2]
    for _ in range(2):
        opened(path).forgive(2)
        assert [one.boots for one in opened(path).newest_first()] == [1, 0, 0]
    lines = path.read_bytes()
    opened(path).forgive(2)
    assert path.read_bytes() == lines, "nothing was to be forgiven"


def test_the_files_do_not_grow_without_bound(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = opened(path)
    fill(ledger, "hf")
    for _ in range(MOST_LINES):
        ledger.mark(2, "failed", "why " * 1000)
    before = ledger.newest_first()
    assert len(before[0].fate_why) < 1000
    ledger.compact()
    for name in ("ledger", "ledger.copy"):
        assert len((tmp_path / name).read_bytes().splitlines()) == 2
    fill(ledger, "-")
    assert opened(path).newest_first()[1:] == before


def test_the_oldest_are_forgotten_but_not_the_last_healthy_one(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = opened(path)
    fill(ledger, "hh" + "f" * (KEPT + 10))
    for each in (ledger, opened(path)):
        assert len(each.newest_first()) == KEPT
        healthy = each.last_healthy()
        assert healthy is not None
        assert healthy.number == 2
        assert each.get(1) is None


def test_a_disk_that_is_full_costs_lines_and_is_told(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    told = Told()
    ledger = opened(tmp_path / "ledger", told)
    (tmp_path / "ledger").symlink_to("/dev/full")
    fill(ledger, "h")
    assert [one.was_healthy for one in ledger.newest_first()] == [True]
    assert len(told) == 2
    assert "No space left" in told[0]


def test_lines_that_a_full_disk_has_cost_are_written_once_there_is_room(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    ledger = opened(tmp_path / "ledger.jsonl")
    fill(ledger, "h")
    for name in ("ledger.jsonl", "ledger.copy"):
        (tmp_path / name).rename(tmp_path / f"{name} of before")
        (tmp_path / name).symlink_to("/dev/full")
    fill(ledger, "h")
    ledger.compact()
    assert opened(tmp_path / "ledger.jsonl").newest_first() == ledger.newest_first()


@pytest.mark.parametrize("place", ["a folder", "below a file"])
def test_a_ledger_that_can_be_neither_read_nor_written_is_told(tmp_path: Path, place: str) -> None:
    told = Told()
    path = tmp_path / "ledger"
    if place == "a folder":
        path.mkdir()
    else:
        path.write_bytes(b"")
        path = path / "ledger"
    ledger = opened(path, told)
    fill(ledger, "h")
    assert ledger.last_healthy() is not None
    assert len(told) == (3 if place == "a folder" else 4)
