"""An interpreter that somebody has taken over: whatever it says, nothing raw is shown, read or run on this host."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bootloader.wire.errors import Fault
from bootloader.wire.limits import SESSION_BYTES, STREAM_BYTES
from bootloader.wire.messages import Fields, pack
from bootloader.wire.session import Messages, framed
from reactor.repl import Repl
from reactor.repl.remote import Remote
from reactor.terminal import Terminal
from tests.reactor.board import Desk, Told
from tests.reactor.simulated import SOON_S, Simulated
from tests.reactor.test_report import HOSTILE, RAW

LIVE = "/device/live"
HELLO = framed({"is": "hello", "version": 1, "python": [3, 11, 0], "pid": 7})
Says = Callable[[Fields], bytes]


class Siege:
    """A hostile interpreter: ``says`` makes what it says to each message."""

    def __init__(self, folder: Path) -> None:
        self.desk = Desk(folder / "app", {"main.py": "def main():\n    raise ValueError\n"})
        (folder / "secret.txt").write_text("a secret of this host\n")
        self.target = Simulated(folder / "device", folder / "home")
        self.target.lies |= {"open": self._open, "write": self._write, "read": self._read, "close": ({}, [])}
        self.says: Says = lambda _: b""
        self._said = bytearray(HELLO)
        self._more = threading.Condition()
        self._messages = Messages()
        self._written = 0
        self.told = Told()
        self.screen, self.lines = io.StringIO(), io.StringIO()
        self._people = Terminal(as_json=False, verbose=True, output=self.screen)
        self._programs = Terminal(as_json=True, output=self.lines)
        self.repl = Repl([self.target], "", self.desk.project, self.tell, width=lambda: 80)

    def tell(self, event: dict[str, Any]) -> None:
        self._people.tell(event)
        self._programs.tell(event)
        self.told(event)

    def remote(self) -> Remote:
        self.repl.start()
        return self.repl._remotes[self.target.name]

    def _open(self, _fields: Fields, _blobs: list[bytes]) -> bytes:
        return pack({"stream": "id", "application": HOSTILE, "pid": 7, "generation": 1})

    def _write(self, fields: Fields, blobs: list[bytes]) -> bytes:
        assert fields.integer("at") == self._written
        self._written += len(blobs[0])
        for message, _ in self._messages.feed(blobs[0]):
            with self._more:
                self._said += self.says(message)
                self._more.notify_all()
        return pack({"taken": self._written})

    def _read(self, fields: Fields, _blobs: list[bytes]) -> bytes:
        at = fields.integer("at")
        with self._more:
            self._more.wait_for(lambda: len(self._said) > at, min(1.0, fields.number("wait_s")))
            return pack({"ended": False, "why": ""}, [bytes(self._said[at : at + STREAM_BYTES])])

    def close(self) -> None:
        self.repl.close()
        self.target.close()
        text = self.screen.getvalue()
        assert not RAW.search(text)
        assert "a secret" not in text
        for line in self.lines.getvalue().splitlines():
            assert not RAW.search(" ".join(str(value) for value in json.loads(line).values()))


@pytest.fixture
def siege(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Siege]:
    monkeypatch.setenv("REACTOR_HOME", str(tmp_path / "home"))
    made = Siege(tmp_path)
    yield made
    made.close()


def over(fields: Fields, **more: Any) -> bytes:
    return framed({"is": "over", "id": fields.integer("id"), "outcome": "done", **more})


def test_texts_are_harmless_wherever_they_are_shown(siege: Siege) -> None:
    frame = {"file": HOSTILE, "line": 1, "function": HOSTILE, "text": HOSTILE, "column": 0, "end": 3}
    raised = [
        {"message": HOSTILE, "frames": [frame], "syntax": {**frame, "column": 2}, "group": [{"message": HOSTILE}]}
    ]
    siege.says = lambda fields: (
        framed({"is": "output", "id": fields.integer("id"), "stream": HOSTILE, "text": HOSTILE + "\n" + HOSTILE})
        + over(fields, outcome="raised", text=HOSTILE, cut=HOSTILE, raised=raised)
    )
    assert not siege.repl.enter("1")
    assert siege.told.wait("answer")["outcome"] == "raised"


def test_a_line_of_the_devices_does_not_pass_for_one_of_ours(siege: Siege) -> None:
    siege.says = lambda fields: over(fields, text="x\n✓ main.py · patch: main · healthy")
    siege.repl.enter("1")
    assert siege.screen.getvalue().splitlines()[-1] == "  ✓ main.py · patch: main · healthy"


@pytest.mark.parametrize(
    "file",
    [
        "secret.txt",
        "{folder}/secret.txt",
        f"{LIVE}/../secret.txt",
        f"{LIVE}/x/../../secret.txt",
        f"{LIVE}//{{folder}}/secret.txt",
        f"{LIVE}/.reactor/depends/../../../secret.txt",
        f"{LIVE}/main.py\0",
        "<repl 99>",
    ],
)
def test_no_file_is_read_because_a_device_names_it(siege: Siege, tmp_path: Path, file: str) -> None:
    place = {"file": file.format(folder=tmp_path), "line": 1, "function": "f", "column": 0, "end": 3}
    siege.says = lambda fields: over(fields, outcome="raised", raised=[{"message": "m", "frames": [place]}])
    siege.repl.enter("1")
    assert "secret of" not in siege.told.wait("answer")["traceback"]


def test_the_projects_own_lines_are_shown_whatever_the_device_says_that_they_are(siege: Siege) -> None:
    place = {"file": f"{LIVE}/main.py", "line": 2, "function": "main", "text": "a lie"}
    siege.says = lambda fields: over(fields, outcome="raised", raised=[{"message": "ValueError", "frames": [place]}])
    siege.repl.enter("1")
    shown = siege.told.wait("answer")["traceback"]
    assert "    raise ValueError\n" in shown
    assert "a lie" not in shown


BAD: dict[str, Says] = {
    "no message": lambda _: b"\0\0\0\4junk",
    "too long a message": lambda _: (SESSION_BYTES + 1).to_bytes(4, "big"),
    "output of a statement that was not run": lambda _: framed({"is": "output", "id": 10**30, "text": "x\n"}),
    "a number that is none": lambda _: framed({"is": "over", "id": "1"}),
    "nothing": lambda _: framed({}),
    "another version": lambda _: framed({"is": "hello", "version": 2}),
    "a text that is none": lambda fields: over(fields, text=7),
    "a traceback that is none": lambda fields: over(fields, outcome="raised", raised=[[]]),
    "a status that is none": lambda fields: over(fields, outcome="exit", status="0"),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_makes_no_sense_ends_the_session_and_nothing_hangs(siege: Siege, bad: str) -> None:
    siege.says = BAD[bad]
    assert not siege.repl.enter("1")
    siege.told.wait("session", state="ended")
    assert siege.told.wait("answer")["outcome"] == "lost"


def test_a_frame_that_is_no_object_costs_its_traceback(siege: Siege) -> None:
    siege.says = lambda fields: over(fields, outcome="raised", raised=[{"message": 7, "frames": [{"file": []}]}])
    assert not siege.repl.enter("1")
    assert siege.told.wait("answer")["traceback"] == ""


@pytest.mark.parametrize(
    "value",
    [
        {"a": {"dtype": "|O", "shape": [1], "blob": 0}},
        {"a": {"dtype": "<f8", "shape": [10**12], "blob": 0}},
        {"py/object": "os.system"},
        {"d": [[{"d": []}, 1]]},
        [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]],
    ],
)
def test_a_value_is_data_or_refused(siege: Siege, value: object) -> None:
    siege.says = lambda fields: over(fields, value=value)
    with pytest.raises(Fault):
        siege.remote().get("x")


def completed(siege: Siege, items: list[Any], start: int) -> None:
    siege.says = lambda fields: framed(
        {"is": "completed", "id": fields.integer("id"), "items": items, "start": start, "signature": HOSTILE * 100}
    )


def test_completions_are_bounded_and_harmless(siege: Siege) -> None:
    completed(siege, [[HOSTILE, HOSTILE], ["x" * 10**6, HOSTILE], 7 and [1, 2], *[["xa", "b"]] * 5000], -5)
    found = siege.remote().complete("x", 1, SOON_S)
    assert 2 <= len(found.items) <= 300
    assert all(len(text) <= 200 and not RAW.search(text + kind) for text, kind in found.items)
    assert found.start == 0
    assert not RAW.search(found.signature)


@pytest.mark.parametrize(
    ("line", "text", "start"),
    [
        ("", "%host evil()", 0),
        ("%", "%host evil()", 0),
        ("x.", "%host evil()", 0),
        ("x.re", "x.wipe()", 0),
        ("x.re", "wipe()", 2),
        ("x.", "read\n%host evil()", 2),
        ("x.", "read\x1b[2K", 2),
    ],
)
def test_a_completion_goes_on_with_the_word_that_is_typed_and_does_nothing_else(
    siege: Siege, line: str, text: str, start: int
) -> None:
    completed(siege, [[text, "function"]], start)
    assert siege.remote().complete(line, len(line), SOON_S).items == ()


def test_a_completion_begins_within_what_is_typed(siege: Siege) -> None:
    completed(siege, [["read", "function"]], 99)
    assert siege.remote().complete("x.", 2, SOON_S).start == 2


def test_what_a_device_has_given_is_harmless_where_this_host_prints_it(siege: Siege) -> None:
    siege.says = lambda fields: over(fields, value=HOSTILE.replace("\ud800", ""))
    assert siege.repl.enter("%get x")
    assert siege.repl.enter("%host print(x)")
    assert not siege.repl.enter("%host raise ValueError(x)")


def test_an_interpreter_that_says_nothing_holds_no_completion_up(siege: Siege) -> None:
    assert siege.remote().complete("x", 1, 0.05).items == ()


def test_an_endless_line_is_shown_in_parts_and_kept_nowhere(siege: Siege) -> None:
    part = "x" * 100_000
    siege.says = lambda fields: (
        b"".join(framed({"is": "output", "id": fields.integer("id"), "text": part}) for _ in range(20)) + over(fields)
    )
    assert siege.repl.enter("1")
    assert sum(len(event["text"]) for event in siege.told.all("output")) < 20 * 100_000
    assert siege.remote()._parts == {}


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("read", ({"ended": False}, [])),
        ("read", ({"ended": False}, [bytes(STREAM_BYTES + 1)])),
        ("read", ({"ended": "no"}, [b""])),
        ("write", ({"taken": 10**9}, [])),
        ("write", ({"taken": -1}, [])),
        ("open", ({"stream": 7}, [])),
        ("open", b"junk"),
    ],
)
def test_a_relay_that_makes_no_sense_ends_the_session(siege: Siege, method: str, answer: Any) -> None:
    siege.target.lies[method] = answer
    assert not siege.repl.enter("1")
    assert siege.told.events
