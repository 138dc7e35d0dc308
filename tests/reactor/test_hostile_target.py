"""A target that somebody has taken over: it speaks the link's TLS with the right key, and means harm.

Whatever it answers, nothing raw reaches the screen, nothing is written on this host, time and memory are bounded, and
the session goes on or ends with a line that says why.
"""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bootloader.wire.errors import Refused
from bootloader.wire.limits import PROTOCOL
from bootloader.wire.manifest import EMPTY, Entry, Manifest, blob_name
from bootloader.wire.messages import Fields, pack
from reactor import follow, shipment
from reactor import link as link_module
from reactor import session as module
from reactor.session import Save, Session, outage
from reactor.terminal import Terminal
from tests.reactor.board import Desk, Told, until
from tests.reactor.simulated import Lie, Simulated
from tests.reactor.test_report import HOSTILE, RAW

HUGE = 10**4000
LONG = "x" * 3_000_000


class Siege:
    """A hostile target, a session with it, and everything that came of it."""

    def __init__(self, tmp_path: Path) -> None:
        self.desk = Desk(tmp_path / "app", {"main.py": "def main(): ...\n"})
        self.target = Simulated(tmp_path / "device", tmp_path / "home")
        self.told = Told()
        self.screen, self.lines = io.StringIO(), io.StringIO()
        self.people = Terminal(as_json=False, verbose=True, output=self.screen)
        self.people.many = True
        self.programs = Terminal(as_json=True, output=self.lines)
        self.session = Session(self.target, self.desk.scanner, self.tell, lambda: None, watching=True)
        self.outside = tmp_path
        self.before = self.files()

    def tell(self, event: dict[str, Any]) -> None:
        self.people.tell(event)
        self.programs.tell(event)
        self.told(event)

    def files(self) -> dict[str, int]:
        """All files of the host, and when they changed."""
        return {str(path): path.lstat().st_mtime_ns for path in self.outside.rglob("*") if path.is_file()}

    def begin(self) -> None:
        self.session.start()
        self.session.submit(self.desk.first())

    def save(self, text: str) -> Save:
        """The user saves."""
        save = self.desk.save("main.py", text)
        self.before = self.files()
        self.session.submit(save)
        return save

    def ends(self) -> str:
        """The reason for which the session ended."""
        until(lambda: self.session.fatal is not None)
        until(lambda: not self.session._runner.is_alive())
        return str(self.told.all("problem")[-1]["message"])

    def close(self) -> None:
        """The end; and what is true of every siege."""
        self.session.close()
        self.target.close()
        self.session._runner.join(20)
        assert not self.session._runner.is_alive()
        assert self.files() == self.before
        assert not RAW.search(self.screen.getvalue())
        assert not RAW.search(self.lines.getvalue())
        for line in self.lines.getvalue().splitlines():
            assert all(not RAW.search(text) for text in texts(json.loads(line))), line[:1000]
            assert len(line) < 1_000_000
        assert all(not row or row[0] in "d " for row in self.screen.getvalue().split("\n")), "a line that is not ours"


def texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value, keys too."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    elif isinstance(value, str):
        yield value


@pytest.fixture
def siege(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Siege]:
    monkeypatch.setattr(outage, "PAUSES_S", (0.01,))
    made = Siege(tmp_path)
    yield made
    made.close()


def hello(siege: Siege, **odd: Any) -> Lie:
    """A greeting with something odd in it; what is None is left out."""
    told = {"protocol": PROTOCOL, "boot": siege.target.journal.boot, "python": [3, 11, 0], "live": "/device/live"}
    told |= {"root": EMPTY.root, "generation": 0, **odd}
    return {key: value for key, value in told.items() if value is not None}, []


# Greetings


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ({"protocol": 2}, "it speaks protocol 2, this host speaks 1 (install the same version"),
        ({"protocol": HUGE}, "it speaks protocol 0"),
        ({"protocol": "1"}, "expected int, got str"),
        ({"protocol": None}, "expected int, got NoneType"),
        ({"boot": None}, "expected str"),
        ({"boot": ""}, "does not say which start of its this is"),
        ({"boot": LONG}, "does not say which start of its this is"),
        ({"python": "3.11"}, "expected list"),
        ({"python": [3, "x\x1b"]}, "expected a list of int"),
        ({"live": 7}, "expected str"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_greeting_that_makes_no_sense_ends_the_session(siege: Siege, odd: dict[str, Any], reason: str) -> None:
    siege.target.lies["hello"] = hello(siege, **odd)
    siege.begin()
    assert reason in siege.ends()


@pytest.mark.parametrize(
    "odd",
    [
        {"python": [HUGE, -HUGE, 3]},
        {"python": []},
        {"python": [2, 7]},
        {"python": [3] * 100_000},
        {"live": HOSTILE},
        {"live": "/" + "(a+)+" * 100_000},
        {"live": "/etc"},
        {"root": LONG},
        {"name": HOSTILE, "version": HOSTILE, "interpreter": HOSTILE, HOSTILE: HOSTILE},
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_greeting_that_is_only_odd_is_lived_with(siege: Siege, odd: dict[str, Any]) -> None:
    siege.target.lies["hello"] = hello(siege, **odd)
    siege.begin()
    assert siege.told.wait("result")["healthy"]
    assert len(siege.told.wait("ready")["python"]) < 100


# Answers of other shapes, for each call

RUBBISH: list[Lie] = [
    b"",
    b"junk" * 1000,
    pack({})[:-1],
    pack({}) + b"more",
    b"RL\x01" + (2**32 - 1).to_bytes(4, "big"),
    ({}, []),
    ({"refused": HOSTILE}, []),
    ({"refused": {"code": HOSTILE, "what": HOSTILE, "to": LONG, "do": HOSTILE, "file": HOSTILE, "line": HUGE}}, []),
    ({"refused": {"code": "stale-root", "root": HOSTILE}}, []),
    ({"refused": {"code": "syntax-error", "file": "../../etc/passwd", "text": HOSTILE, "column": HUGE}}, []),
]


@pytest.mark.parametrize("rubbish", RUBBISH, ids=lambda value: repr(value)[:30])
@pytest.mark.parametrize("call", ["hello", "history", "manifest", "missing", "upload", "apply", "events"])
def test_rubbish_for_an_answer_ends_the_session_or_holds_the_save(siege: Siege, call: str, rubbish: Lie) -> None:
    siege.desk.write("large.bin", bytes(2_000_000))  # so that there is an upload
    if call == "manifest":
        siege.target.manifest = Manifest({"a": Entry(blob_name(b""), 0o644, 0)})
    siege.target.lies[call] = rubbish
    siege.before = siege.files()
    siege.begin()
    until(lambda: siege.told.all("problem") or siege.told.all("result", healthy=True))
    assert not [one for one in siege.told.all("problem") if ".." in one.get("file", "")]


@pytest.mark.parametrize(
    "answer",
    [
        {"change": HUGE, "generation": -9, "rung": HOSTILE, "why": HOSTILE, "stages_ms": {HOSTILE: 1, "stop": 9e300}},
        {"change": 1, "generation": HUGE, "rung": LONG, "why": LONG, "stages_ms": {f"{n}": 1 for n in range(9999)}},
        {"change": -1, "generation": 0, "rung": "", "why": "", "root": LONG},
    ],
    ids=["huge", "long", "negative"],
)  # fmt: skip
def test_an_answer_that_is_only_odd_is_bounded_and_cleaned(siege: Siege, answer: dict[str, Any]) -> None:
    siege.target.lies["apply"] = answer, []
    siege.begin()
    siege.told.wait("ready")
    siege.target.lies.clear()
    siege.save("x = 2\n")
    siege.told.wait("result")
    siege.session.close()
    for result in siege.told.all("result"):
        assert 0 <= result["generation"] < 2**53
        assert len(json.dumps(result)) < 400_000
        assert all(value < 1e9 for value in result["stages_ms"].values())


@pytest.mark.parametrize(
    "answer",
    [{"started": 7}, {"started": [None]}, {"started": ["main"]}, {"change": 1, "started": [HOSTILE] * 100_000}],
    ids=lambda value: str(value)[:40],
)
def test_what_it_says_it_started_is_only_read(siege: Siege, answer: dict[str, Any]) -> None:
    save = siege.desk.first()
    siege.target.manifest = save.manifest
    siege.target.lies["start"] = answer, []
    siege.session.start()
    siege.session.submit(save)
    until(lambda: siege.session.fatal is not None or siege.told.all("ready"))


def test_a_status_that_lies_is_only_read(siege: Siege) -> None:
    save = siege.desk.first()
    siege.target.manifest = save.manifest
    siege.target.lies["start"] = {"started": [], "generation": HUGE}, []
    siege.target.lies["status"] = {"applications": [{"application": HOSTILE, "state": HOSTILE, "why": HOSTILE}]}, []
    siege.session.start()
    siege.session.submit(save)
    assert not siege.told.wait("result")["healthy"]


# Trees that lie


def test_a_manifest_of_paths_that_lead_out_ends_the_session(siege: Siege) -> None:
    text = b"".join(f"{blob_name(b'')} 644 0 ../{number}\n".encode() for number in range(3))
    siege.target.lies["history"] = {"root": blob_name(text), "generations": []}, []
    siege.target.lies["manifest"] = {}, [text]
    siege.begin()
    assert "'..' part" in siege.ends()


def test_a_target_that_is_always_somewhere_else_is_given_up_for_this_save(siege: Siege) -> None:
    count = 0

    def history(_fields: Fields, _blobs: list[bytes]) -> bytes:
        nonlocal count
        count += 1
        manifest = Manifest({f"{count}": Entry(blob_name(b""), 0o644, 0)})
        siege.target.known[manifest.root] = manifest
        return pack({"root": manifest.root, "generations": [{"generation": count, "who": HOSTILE, "why": HOSTILE}]})

    def apply(_fields: Fields, _blobs: list[bytes]) -> bytes:
        raise Refused("stale-root", HOSTILE, root="ab" * 32)

    siege.target.lies |= {"history": history, "apply": apply}
    siege.begin()
    result = siege.told.wait("result")
    assert (result["healthy"], result["rung"], result["reason"]) == (False, "hold", "it was refused")
    assert siege.target.calls.count("apply") < 10


def test_a_target_that_wants_files_that_are_not_of_the_tree_gets_none(siege: Siege) -> None:
    secret = siege.outside / "secret"
    secret.write_bytes(b"secret" * 1_000_000)
    (siege.desk.folder / ".gitignore").write_text("ignored.bin\n")
    ignored = siege.desk.write("ignored.bin", b"ignored" * 1_000_000)
    siege.desk.write("large.bin", bytes(2_000_000))
    siege.before = siege.files()
    names = [blob_name(secret.read_bytes()), blob_name(ignored.read_bytes()), "../../secret", str(secret)]
    siege.target.lies["missing"] = {"missing": names * 100}, []
    siege.begin()
    until(lambda: siege.told.all("result"))
    assert not siege.target.uploaded


# Events

FIELDS = ("application", "stream", "text", "level", "state", "why", "code", "what", "traceback", "missing_module",
          "missing_file")  # fmt: skip


def raw_lines(lines: list[Any]) -> bytes:
    return b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)


def test_no_text_of_an_event_reaches_the_screen_as_it_is(siege: Siege) -> None:
    siege.begin()
    siege.told.wait("result")
    hostile: dict[str, Any] = dict.fromkeys(FIELDS, HOSTILE)
    place = {"file": f"/device/live/{HOSTILE}", "line": HUGE, "column": HUGE, "text": HOSTILE}
    own = {**place, "file": "/device/live/main.py"}
    for kind in ("log", "state", "problem", "notice", "link", HOSTILE):
        siege.target.journal.add(kind, {**hostile, "frames": [place, own], "generation": HUGE})
        siege.target.journal.add(kind, {**hostile, "syntax": own, "generation": -HUGE, HOSTILE: HOSTILE})
        siege.target.journal.add(kind, {**dict.fromkeys(FIELDS, LONG[:300_000]), "frames": [own] * 100})
    for state in ("running", "healthy", "failed", "replaced", HOSTILE):
        odd = {"change": HUGE, "generation": HUGE, "state": state, "why": HOSTILE, "stages_ms": {HOSTILE: 1, "stop": 1}}
        siege.target.journal.add("generation", odd)
    siege.target.journal.add("notice", {"code": "last", "text": "the last one"})
    siege.told.wait("notice", text="the last one")
    siege.told.wait("notice", code="events-odd")
    assert siege.session.fatal is None


@pytest.mark.parametrize(
    "answer",
    [
        {"cursor": -1},
        {"cursor": HUGE},
        {"cursor": "1"},
        {"cursor": None},
        {"cursor": 1, "lost": "many"},
        {"cursor": 1, "boot": 7},
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_place_in_the_events_that_can_not_be_ends_the_session(siege: Siege, answer: dict[str, Any]) -> None:
    siege.begin()
    siege.told.wait("result")
    siege.target.lies["events"] = {"boot": siege.target.journal.boot, **answer}, []
    siege.target.journal.add("log", {})  # ends the pull that is under way
    assert siege.ends()


def test_lost_events_beyond_counting_are_told_in_a_line(siege: Siege) -> None:
    siege.begin()
    siege.told.wait("result")
    siege.target.lies["events"] = {"boot": siege.target.journal.boot, "cursor": 2**52, "lost": 2**52}, []
    siege.target.journal.add("log", {})
    siege.told.wait("notice", code="events-lost")


def test_a_target_that_tells_of_nothing_without_waiting_is_not_asked_in_circles(
    siege: Siege, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_S", 60.0)
    same = raw_lines([{"n": 1, "event": "log", "text": "again"}])
    siege.begin()
    siege.told.wait("result")
    for blobs in ([], [same]):
        siege.target.lies["events"] = {"boot": siege.target.journal.boot, "cursor": 10}, blobs
    siege.target.journal.add("log", {})
    until(lambda: siege.told.all("notice", code="events-odd"))
    before = siege.target.calls.count("events")
    for number in range(30):
        save = siege.save(f"x = {number}\n")
        until(lambda save=save: siege.target.manifest.root == save.manifest.root)  # type: ignore[misc]
    assert siege.target.calls.count("events") <= before + 2


def test_a_flood_of_events_is_held_in_bounds(siege: Siege) -> None:
    sent = 0

    def events(fields: Fields, _blobs: list[bytes]) -> bytes:
        nonlocal sent
        sent += 1
        cursor = max(0, fields.integer("cursor"))
        flood = [{"n": cursor + number, "event": "log", "text": "x" * 100} for number in range(1, 3000)]
        return pack({"boot": siege.target.journal.boot, "cursor": cursor + 2999}, [raw_lines(flood)])

    siege.target.lies["events"] = events
    siege.begin()
    siege.told.wait("ready")
    until(lambda: sent > 5)
    save = siege.save("x = 2\n")
    until(lambda: siege.target.manifest.root == save.manifest.root)  # saves get through all the same
    siege.session.close()
    siege.told.events.clear()


@pytest.mark.parametrize(
    "blob",
    [b"\n" * 20_000_000, b"{" * 9_000_000, b"[" * 1_000_000 + b"\n", b"\xff\n" * 100_000],
    ids=["empty", "one", "deep", "many"],
)
def test_events_that_are_only_bytes_are_counted_or_end_the_session(siege: Siege, blob: bytes) -> None:
    siege.target.lies["events"] = {"boot": siege.target.journal.boot, "cursor": 5}, [blob]
    siege.begin()
    until(lambda: siege.session.fatal is not None or siege.told.all("ready"))


def test_generations_that_race_ahead_are_looked_at_and_not_chased(siege: Siege) -> None:
    siege.begin()
    siege.told.wait("result")
    for number in range(500):
        fate = {"change": 10 + number, "generation": 2**40 + number, "state": "running", "why": HOSTILE}
        siege.target.journal.add("generation", fate)
    siege.target.journal.add("notice", {"code": "last", "text": "the last one"})
    siege.told.wait("notice", text="the last one")
    save = siege.save("x = 2\n")
    siege.told.wait("result", root=save.manifest.root)
    until(lambda: not siege.session._delivery.is_overtaken)
    calls = siege.target.calls.count("history")
    siege.save("x = 3\n")
    until(lambda: len(siege.told.all("result")) == 3)
    assert siege.target.calls.count("history") <= calls + 2


# Answers that never come, and links that never hold


@pytest.mark.parametrize("call", ["hello", "history", "manifest", "missing", "upload", "apply", "events"])
def test_an_answer_that_never_comes_is_waited_for_in_bounds_and_told(
    siege: Siege, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(shipment, "CALL_S", 0.2)
    monkeypatch.setattr(module, "EVENTS_WAIT_S", 0.1)
    monkeypatch.setattr("reactor.session.SILENCE_S", 0.1)
    monkeypatch.setattr(link_module.Link.call, "__defaults__", ((), 0.2))
    monkeypatch.setattr(follow.Follower.pull, "__defaults__", (0.2,))
    siege.desk.write("large.bin", bytes(2_000_000))
    siege.before = siege.files()
    if call == "manifest":
        siege.target.manifest = Manifest({"a": Entry(blob_name(b""), 0o644, 0)})

    def silence(_fields: Fields, _blobs: list[bytes]) -> bytes:
        siege.target.ending.wait(60)
        return b""

    siege.target.lies[call] = silence
    siege.begin()
    assert "no answer in" in siege.told.wait("link", state="retrying")["why"]
    until(lambda: siege.target.calls.count(call) > 2)
    assert siege.session.fatal is None


def test_a_target_that_falls_silent_in_the_middle_of_a_call_is_told_before_that_is_over(
    siege: Siege, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EVENTS_WAIT_S", 0.1)
    monkeypatch.setattr(module, "SILENCE_S", 0.1)

    def silence(_fields: Fields, _blobs: list[bytes]) -> bytes:
        siege.target.lies["events"] = silence
        siege.target.ending.wait(60)
        return b""

    siege.target.lies["apply"] = silence
    siege.begin()
    assert "no answer in 0.2 s" in siege.told.wait("link")["why"]
    assert siege.target.calls.count("apply") == 1
    assert siege.told.all("link") == siege.told.all("link", state="retrying")


def test_a_target_that_drops_each_link_is_tried_at_a_slower_and_slower_pace(
    siege: Siege, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "PAUSES_S", (0.001, 60.0))
    dropped = threading.Event()

    def apply(_fields: Fields, _blobs: list[bytes]) -> bytes:
        if dropped.is_set():
            siege.target.ending.wait(60)
        dropped.set()
        siege.session._hang_up()
        return b""

    siege.target.lies["apply"] = apply
    siege.begin()
    siege.told.wait("link", state="down")
    siege.told.wait("link", state="up")
    until(lambda: siege.target.calls.count("apply") == 2)
    siege.session._hang_up()
    until(lambda: len(siege.told.all("link", state="down")) == 2)
    began = time.monotonic()
    siege.session.close()
    assert time.monotonic() - began < 40  # the pause is 60 s, and does not hold up the end
    assert siege.target.calls.count("apply") == 2
