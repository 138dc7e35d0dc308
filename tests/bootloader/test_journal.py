"""Events are numbered, bounded and pulled: a reader that resumes gets each one once, or is told how many it lost."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader import journal as module
from bootloader.journal import LOG_BYTES, OTHER_BYTES, Journal

MUCH = 1024 * 1024


def pulled(
    journal: Journal, cursor: int, events: int = 10_000, size: int = MUCH
) -> tuple[int, int, list[dict[str, Any]]]:
    cursor, lost, lines = journal.pull(cursor, events, size, 0)
    return cursor, lost, [json.loads(line) for line in lines.splitlines()]


pulls = st.tuples(st.just("pull"), st.integers(1, 6), st.integers(1, 1500))
adds = st.tuples(st.sampled_from(["log", "lines", "state"]), st.integers(1, 5), st.integers(0, 300))


@given(st.lists(st.one_of(pulls, adds), max_size=60), st.sampled_from([500, 2000, 100_000]))
def test_a_reader_that_resumes_has_no_gap_and_no_duplicate(steps: list[tuple[str, int, int]], most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LOG_BYTES", most)
        patch.setattr(module, "OTHER_BYTES", most)
        patch.setattr(module, "_BLOCK_CHARS", 700)
        check_that_nothing_is_missing(Journal(), steps, most)


def check_that_nothing_is_missing(journal: Journal, steps: list[tuple[str, int, int]], most: int) -> None:
    added: dict[int, str] = {}
    seen: list[int] = []
    cursor = lost = 0
    for kind, count, size in [*steps, ("pull", 10_000, MUCH)]:
        if kind == "pull":
            cursor, gone, events = pulled(journal, cursor, count, size)
            lost += gone
            seen += [event["n"] for event in events]
            assert len(events) <= count
            assert all(added[event["n"]] == event["text"] for event in events)
            continue
        text = "x" * size
        if kind == "lines":
            added.update(dict.fromkeys(range(len(added) + 1, len(added) + count + 1), text))
            journal.add_lines("app", [("o", text)] * count)
        else:
            added.update({journal.add(kind, {"text": text}): text for _ in range(count)})
    assert seen == sorted(set(seen))
    assert len(seen) + lost == cursor == len(added)
    if most == 100_000:
        assert lost == 0


def test_lines_that_come_together_are_events_like_those_that_come_alone() -> None:
    journal = Journal()
    texts = ["plain", 'quoted " \\ \x00 \u2028', "ü🙂", ""]
    journal.add_lines('my "app"', [("o", texts[0]), ("e", texts[1]), ("W", texts[2]), ("o", texts[3])])
    _, _, events = pulled(journal, 0)
    assert [(event["n"], event["text"]) for event in events] == list(enumerate(texts, 1))
    assert [(event["stream"], event.get("level")) for event in events] == [
        ("stdout", None),
        ("stderr", None),
        ("log", "warning"),
        ("stdout", None),
    ]
    assert {(event["event"], event["application"]) for event in events} == {("log", 'my "app"')}
    assert len({(event["at"], event["mono"]) for event in events}) == 1


def test_a_flood_of_logs_is_bounded_counts_what_it_lost_and_pushes_out_nothing_else() -> None:
    journal = Journal()
    first = journal.add("generation", {"state": "healthy"})
    line = "x" * 1000
    for _ in range(2 * LOG_BYTES // 1000):
        journal.add("log", {"text": line})
    last = journal.add("generation", {"state": "failed"})
    cursor = lost = size = 0
    others = []
    count = 0
    while True:
        cursor, gone, lines = journal.pull(cursor, 10_000, MUCH, 0)
        if not lines:
            break
        lost += gone
        size += len(lines)
        assert len(lines) <= MUCH
        told = [json.loads(line) for line in lines.splitlines()]
        count += len(told)
        others += [event["n"] for event in told if event["event"] != "log"]
    assert others == [first, last]
    assert LOG_BYTES // 2 < size <= LOG_BYTES + 1000
    assert cursor == last == count + lost


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 8), st.integers(1, 200)), min_size=1, max_size=40),
    st.integers(1, 8000),
    st.integers(300, 3000),
)
def test_who_wants_the_newest_lines_gets_all_else_in_its_place_with_no_more_lines_before_it(
    steps: list[tuple[bool, int, int]], newest: int, size: int
) -> None:
    journal = Journal()
    others = []
    for is_log, count, length in steps:
        if is_log:
            journal.add_lines("app", [("o", "x" * length)] * count)
        else:
            others.append(journal.add("generation", {}))
    cursor = lost = 0
    told: list[dict[str, Any]] = []
    while True:
        cursor, gone, lines = journal.pull(cursor, 10_000, size, 0, newest)
        if not lines:
            break
        lost += gone
        told += map(json.loads, lines.splitlines())
    assert [event["n"] for event in told] == sorted({event["n"] for event in told})
    assert [event["n"] for event in told if event["event"] == "generation"] == others
    assert len(told) + lost == cursor == sum(count if is_log else 1 for is_log, count, _ in steps)
    largest = max((count * (length + 200) for is_log, count, length in steps if is_log), default=0)
    logs = [event for event in told if event["event"] == "log"]
    assert sum(len(json.dumps(event)) for event in logs) <= max(newest, largest)


def test_a_flood_of_other_events_is_bounded_in_bytes_too() -> None:
    journal = Journal()
    for number in range(100):
        journal.add("problem", {"traceback": "x" * (OTHER_BYTES // 10), "number": number})
    size = lost = cursor = 0
    while True:
        cursor, gone, lines = journal.pull(cursor, 10, MUCH, 0)
        if not lines:
            break
        size, lost = size + len(lines), lost + gone
    assert size <= OTHER_BYTES
    assert lost > 85


def test_one_event_larger_than_the_batch_comes_alone() -> None:
    journal = Journal()
    journal.add("state", {"text": "x" * 5000})
    journal.add("state", {"text": "y"})
    _, lost, events = pulled(journal, 0, size=1024)
    assert (lost, [event["text"][0] for event in events]) == (0, ["x"])


@pytest.mark.parametrize(("cursor", "first"), [(0, 1), (7, 8), (-3, 8), (-100, 1), (10, None), (99, None)])
def test_a_cursor_says_where_to_go_on(cursor: int, first: int | None) -> None:
    journal = Journal()
    for _ in range(10):
        journal.add("log", {})
    after, lost, events = pulled(journal, cursor)
    assert (after, lost) == (10, 0)
    assert (events[0]["n"] if events else None) == first


def test_a_reader_waits_for_the_next_event() -> None:
    journal = Journal()
    asked = threading.Event()
    got: list[bytes] = []

    def read() -> None:
        asked.set()
        got.append(journal.pull(0, 10, MUCH, 20)[2])

    reader = threading.Thread(target=read)
    reader.start()
    assert asked.wait(20)
    journal.add("state", {})
    reader.join(20)
    assert json.loads(got[0])["event"] == "state"


def test_the_end_wakes_every_reader_and_is_told() -> None:
    journal = Journal()
    readers = [threading.Thread(target=journal.pull, args=(0, 10, MUCH, 3600)) for _ in range(3)]
    for reader in readers:
        reader.start()
    assert not journal.ended(0)
    journal.close(0)
    for reader in readers:
        reader.join(20)
        assert not reader.is_alive()
    assert journal.ended(0)


def test_the_end_has_not_come_for_a_reader_that_has_more_to_read() -> None:
    journal = Journal()
    last = journal.add("log", {})
    journal.close(0)
    assert not journal.ended(last - 1)
    assert journal.ended(last)


def test_closing_waits_for_the_readers_to_leave_but_not_for_ever() -> None:
    journal = Journal()
    journal.enter("one")
    journal.enter("two")
    journal.leave("one")
    closing = threading.Thread(target=journal.close, args=(3600,))
    closing.start()
    journal.pull(0, 10, MUCH, 3600)
    assert closing.is_alive()
    journal.leave("two")
    closing.join(20)
    assert not closing.is_alive()
    journal.enter("three")
    journal.close(0.01)


def test_text_that_is_no_unicode_does_not_harm_the_lines() -> None:
    journal = Journal()
    journal.add("log", {"text": "\ud800 \x00 \u2028 \n"})
    _, _, events = pulled(journal, 0)
    assert [event["text"] for event in events] == ["\ud800 \x00 \u2028 \n"]
