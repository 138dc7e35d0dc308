"""Links that are cut at any byte, half open, slow or stalled: an apply happens once, what arrived is not sent again."""

from __future__ import annotations

import random

import pytest

from bootloader.wire.limits import PART_BYTES
from reactor import session as module
from reactor.session import Session
from tests.reactor.board import Bench
from tests.reactor.proxy import Shape, Way

MB = 1_000_000


def noise(size: int, seed: int = 1) -> bytes:
    """What nothing makes smaller."""
    return random.Random(seed).randbytes(size)


def once(bench: Bench, session: Session, content: bytes, since: int) -> None:
    """Save, and see that this became one generation with one result."""
    before = bench.board.generations()[0]
    save = bench.desk.save("noise.bin", content)
    session.submit(save)
    result = bench.told.wait("result", since=since)
    assert (result["healthy"], result["root"], result["generation"]) == (True, save.manifest.root, before + 1)
    assert bench.board.generations()[:2] == [before + 1, before]
    assert bench.board.root() == save.manifest.root


@pytest.mark.parametrize("way", ["there", "back"])
def test_an_apply_that_is_cut_at_whichever_byte_happens_once(bench: Bench, way: Way) -> None:
    """Before the first byte, in the middle of a record and of a frame, and before the last; all in one session."""
    session = bench.healthy()
    for turn, cut in enumerate((0, 1, 23, 60, 300, 4000) if way == "there" else (0, 1, 40, 150)):
        mark = bench.told.mark()
        bench.board.proxy.wire("control").cut_after(way, cut)
        once(bench, session, noise(5000, turn), mark)
        assert len(bench.told.all("result", since=mark)) == 1
        assert bench.told.all("link", since=mark, state="down")


def test_a_save_that_is_cut_while_its_blobs_are_uploaded_goes_on_where_it_was(bench: Bench) -> None:
    """All of it passes once, and of what had passed before a cut, at most the part again that was under way."""
    session = bench.healthy()
    size, cuts = 8 * MB, (3 * MB, 4 * MB)
    proxy = bench.board.proxy
    proxy.wire("control").cut_after("there", cuts[0])
    proxy.cuts.append(("control", "there", cuts[1]))
    before, mark = proxy.passed("there", "control"), bench.told.mark()
    once(bench, session, noise(size), mark)
    passed = proxy.passed("there", "control") - before
    assert size < passed < size + PART_BYTES < size + sum(cuts)
    assert len([wire for wire in proxy.wires if wire.purpose == "control"]) > len(cuts)


def test_a_link_that_is_half_open_is_found_out_and_the_save_is_shipped_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EVENTS_WAIT_S", 0.1)
    monkeypatch.setattr(module, "SILENCE_S", 0.5)
    session = bench.healthy()
    halves: list[tuple[Way, ...]] = [("there", "back"), ("back",), ("there",)]
    for turn, ways in enumerate(halves):
        mark = bench.told.mark()
        for purpose in ("control", "events"):
            bench.board.proxy.wire(purpose).hold(*ways)
        once(bench, session, noise(5000, turn), mark)


def test_a_stall_in_the_middle_of_an_apply_is_waited_out(bench: Bench) -> None:
    """As a lost packet is, on a link with 300 ms there and back: the rest waits for it."""
    session = bench.healthy()
    proxy = bench.board.proxy
    proxy.slow(Shape(10_000_000, delay_s=0.15, stalls=0.05, stall_s=0.6, seed=7))
    for turn in range(3):
        once(bench, session, noise(60_000, turn), bench.told.mark())
    assert not bench.told.all("link")
