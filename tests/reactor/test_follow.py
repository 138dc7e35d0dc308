"""Events as this host tells them: in order, once each, cleaned, with its own paths."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bootloader.journal import Journal
from bootloader.wire.errors import LinkDown, Malformed
from bootloader.wire.messages import Fields
from reactor.follow import CONTEXT_EVENTS, Follower, Paths, named, parse, shown, translate
from reactor.link import Link
from reactor.project import Project
from tests.reactor.simulated import Simulated

LIVE = "/var/lib/bootloader/live"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    for name in ("app", "drivers"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "main.py").touch()
    (tmp_path / "app" / "pyproject.toml").write_text('[tool.reactor]\nentry = "main"\ndepends = ["../drivers"]\n')
    return Project.open(tmp_path / "app")


# Paths


def test_what_a_reason_quotes_is_named_as_the_project_names_it(project: Project) -> None:
    told = "`.reactor/depends/drivers/main.py:3` changed: `x = 'a:b'`; `main.py:4`; `.reactor/depends/../../etc/passwd`"
    assert named(project, told) == told.replace(".reactor/depends/drivers/", "../drivers/")


@pytest.mark.parametrize(
    ("path", "file"),
    [
        (f"{LIVE}/main.py", "main.py"),
        (f"{LIVE}/src/a b/ü.py", "src/a b/ü.py"),
        (f"{LIVE}/.reactor/depends/drivers/main.py", "../drivers/main.py"),
        (f"{LIVE}/.reactor/launch.json", "pyproject.toml"),
        (f"{LIVE}/../../../etc/passwd", None),
        (f"{LIVE}//etc/passwd", None),
        (f"{LIVE}/a\x1b[1m.py", None),
        (f"{LIVE}x/main.py", None),
        ("/usr/lib/python3/json.py", None),
        ("", None),
    ],
)
def test_a_path_of_the_target_is_the_projects_file_or_none(project: Project, path: str, file: str | None) -> None:
    assert Paths(LIVE, project).file(path) == file


def test_paths_in_a_text_become_this_hosts(project: Project) -> None:
    text = f'File "{LIVE}/main.py", line 3\nFile "{LIVE}/.reactor/depends/drivers/a.py", line 1\n{LIVE} {LIVE}/x.py:4'
    drivers = project.folder.parent / "drivers" / "a.py"
    assert Paths(LIVE, project).text(text) == (
        f'File "{project.folder}/main.py", line 3\nFile "{drivers}", line 1\n{LIVE} {project.folder}/x.py:4'
    )


@pytest.mark.parametrize("live", ["", "relative/live", "/" + "a" * 5000, "/(a+)+$" * 400, "/" + "a" * 4000])
def test_whatever_the_target_says_its_folder_is_texts_are_searched_in_time(project: Project, live: str) -> None:
    paths = Paths(live, project)
    text = "/" + "a" * 2_000_000
    assert paths.text(text) == text
    assert paths.file(f"/elsewhere/{live}/main.py") is None


def test_a_file_of_a_sibling_is_shown_from_the_project(project: Project) -> None:
    assert shown(project, ".reactor/depends/drivers/a/b.py") == "../drivers/a/b.py"
    assert shown(project, "src/a.py") == "src/a.py"


# Events


TRANSLATED: list[tuple[dict[str, Any], dict[str, Any] | None]] = [
    (
        {"event": "log", "application": "m", "stream": "stderr", "text": f"in {LIVE}/a.py \x1b[31mred"},
        {"event": "log", "application": "m", "stream": "stderr", "text": "in HERE/a.py red"},
    ),
    (
        {"event": "log", "application": "m", "stream": "log", "text": "x", "level": "warning"},
        {"event": "log", "application": "m", "stream": "log", "text": "x", "level": "warning"},
    ),
    (
        {"event": "log", "stream": "\x1b[2J", "level": "worst"},
        {"event": "log", "application": "", "stream": "stdout", "text": "", "level": "debug"},
    ),
    (
        {"event": "state", "application": "m", "state": "failed", "why": "exited", "generation": 3},
        {"event": "state", "application": "m", "state": "failed", "why": "exited", "generation": 3},
    ),
    (
        {"event": "problem", "code": "c", "application": "m", "what": "ZeroDivisionError: x", "generation": 2,
         "frames": [{"file": f"{LIVE}/a.py", "line": 1}, {"file": f"{LIVE}/b.py", "line": 7}, {"file": "/usr/x.py"}],
         "traceback": f'File "{LIVE}/b.py"'},
        {"event": "problem", "code": "c", "application": "m", "message": "ZeroDivisionError: x", "generation": 2,
         "file": "b.py", "line": 7, "traceback": 'File "HERE/b.py"'},
    ),
    (
        {"event": "problem", "syntax": {"file": f"{LIVE}/a.py", "line": 2, "column": 10**40, "text": "def\x07"}},
        {"event": "problem", "code": "", "application": "", "message": "", "generation": 0, "traceback": "",
         "file": "a.py", "line": 2, "column": 0, "text": "def\ufffd"},
    ),
    (
        {"event": "notice", "code": "x", "text": "\u202ey", "more": 1},
        {"event": "notice", "code": "x", "text": "\ufffdy"},
    ),
    (
        {"event": "safe", "application": "m", "generation": 2, "entry": "m:o", "outcome": "done", "why": "", "ms": 1},
        {"event": "safe", "application": "m", "generation": 2, "entry": "m:o", "outcome": "done", "why": "", "ms": 1},
    ),
    (
        {"event": "handler", "entry": "\x1b[2J", "outcome": "best", "answer": "r\x07", "why": "\u202e", "ms": -1e300},
        {"event": "handler", "application": "", "generation": 0, "entry": "", "outcome": "died", "answer": "r\ufffd",
         "why": "\ufffd", "ms": 0.0},
    ),
    (
        {"event": "handover", "step": "take", "entry": "m:t", "outcome": "unfit", "size_bytes": -1, "given_by": 2},
        {"event": "handover", "application": "", "generation": 0, "entry": "m:t", "outcome": "unfit", "why": "",
         "ms": 0.0, "step": "take", "size_bytes": 0, "given_by": 2},
    ),
    ({"event": "link", "kind": "link-up"}, None),
    ({"event": "\x1b[2J"}, None),
    ({}, None),
]  # fmt: skip


@pytest.mark.parametrize(("event", "told"), TRANSLATED, ids=lambda value: str(value)[:50])
def test_an_event_of_the_target_becomes_one_of_this_host(
    project: Project, event: dict[str, Any], told: dict[str, Any] | None
) -> None:
    got = translate(Fields(event), Paths(LIVE, project))
    assert got == (json.loads(json.dumps(told).replace("HERE", str(project.folder))) if told else None)


@pytest.mark.parametrize(
    ("more", "hint"),
    [
        ({"missing_module": "numpy\x1b[1m"}, "'numpy' is not there where the target runs"),
        ({"missing_file": "data.csv"}, "'data.csv' is looked for in the application's working folder"),
        ({"missing_file": "/etc/x"}, None),
        ({}, None),
    ],
)
def test_what_is_missing_there_gets_a_hint(project: Project, more: dict[str, Any], hint: str | None) -> None:
    told = translate(Fields({"event": "problem", **more}), Paths(LIVE, project))
    assert told is not None
    assert told.get("hint", "").startswith(hint or "")
    assert ("hint" in told) == (hint is not None)


@pytest.mark.parametrize(
    "event",
    [
        {"event": "log", "text": 3},
        {"event": "log", "text": None},
        {"event": "state", "generation": "1"},
        {"event": "problem", "frames": {"file": "x"}},
        {"event": "problem", "frames": ["x"]},
        {"event": "safe", "ms": "soon"},
        {"event": "problem", "syntax": []},
        {"event": 7},
    ],
    ids=str,
)
def test_an_event_of_another_shape_is_malformed(project: Project, event: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        translate(Fields(event), Paths(LIVE, project))


@pytest.mark.parametrize(
    "line",
    [b"{", b"[]", b"7", b'"x"', b"\xff", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}", b"{}, {}", b"", b'"\n"'],
)
def test_a_line_that_is_no_event_costs_itself_and_no_other(line: bytes) -> None:
    events = list(parse([b'{"event": "log"}\n' + line + b'\n{"event": "state"}\n{"event": "cut off']))
    assert [event.text("event") for event in events if event is not None] == ["log", "state"]
    assert events.count(None) == 1 + line.count(b"\n")
    assert list(parse([])) == []


# Following


class Heard:
    """A follower of a simulated target's journal, and what it has heard."""

    def __init__(self, target: Simulated) -> None:
        self.target = target
        self.numbers: list[int] = []
        self.notices: list[tuple[str, str]] = []
        self.follower = Follower(self._hear, lambda code, text: self.notices.append((code, text)))

    def _hear(self, event: Fields, _at: float) -> None:
        if "bad" in event:
            raise Malformed("it makes no sense")
        self.numbers.append(event.integer("n"))

    def link(self) -> Link:
        return self.target.connect("events")


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[Heard]:
    target = Simulated(tmp_path / "device", tmp_path / "home")
    yield Heard(target)
    target.close()


def test_the_place_to_begin_is_fixed_before_anything_else_is_asked(heard: Heard) -> None:
    journal = heard.target.journal
    for _ in range(30):
        journal.add("log", {})
    with heard.link() as link:
        heard.follower.take_up(link, journal.boot)
        assert heard.numbers == list(range(31 - CONTEXT_EVENTS, 31))
        for _ in range(3 * CONTEXT_EVENTS):
            journal.add("log", {})
        assert heard.follower.pull(link, 0)
        assert not heard.follower.pull(link, 0)
    assert heard.numbers == list(range(31 - CONTEXT_EVENTS, 31 + 3 * CONTEXT_EVENTS))


def test_a_first_pull_that_was_cut_is_done_by_the_next_link(heard: Heard) -> None:
    journal = heard.target.journal
    journal.add("log", {})
    link = heard.link()
    link.close()
    with pytest.raises(Exception, match="closed"):
        heard.follower.take_up(link, journal.boot)
    with heard.link() as link:
        assert not heard.follower.take_up(link, journal.boot)
    assert heard.numbers == [1]


def test_a_new_link_goes_on_where_the_last_one_ended(heard: Heard) -> None:
    journal = heard.target.journal
    for _ in range(3):
        with heard.link() as link:
            assert not heard.follower.take_up(link, journal.boot)
            journal.add("log", {})
            assert heard.follower.pull(link, 0)
    assert heard.numbers == [1, 2, 3]


def test_another_start_of_the_target_is_heard_from_its_beginning(heard: Heard) -> None:
    heard.target.journal.add("log", {})
    with heard.link() as link:
        heard.follower.take_up(link, heard.target.journal.boot)
        heard.target.journal = Journal()
        for _ in range(2 * CONTEXT_EVENTS):
            heard.target.journal.add("log", {})
        with pytest.raises(LinkDown, match="started again"):
            heard.follower.pull(link, 0)
        assert heard.follower.take_up(link, heard.target.journal.boot)
        assert heard.follower.pull(link, 0)
    assert heard.numbers == [1, *range(1, 2 * CONTEXT_EVENTS + 1)]


def test_what_an_earlier_start_has_said_since_the_last_pull_is_heard_before_the_next_one(heard: Heard) -> None:
    past = heard.target.journal
    past.add("log", {})
    with heard.link() as link:
        heard.follower.take_up(link, past.boot)
        for _ in range(7000):
            past.add("log", {})
        heard.target.past, heard.target.journal = past, Journal()
        heard.target.journal.add("log", {})
        assert heard.follower.take_up(link, heard.target.journal.boot)
        assert heard.numbers == list(range(1, 7002))
        assert heard.follower.pull(link, 0)
    assert heard.numbers[7001:] == [1]
    assert not heard.notices


@pytest.mark.parametrize("clocks", [{}, {"now": 1.0}, {"now": 1e300, "mono": -1e300}, {"now": -5, "mono": 0}])
def test_whatever_a_target_says_of_its_clocks_times_are_texts(heard: Heard, clocks: dict[str, float]) -> None:
    with heard.link() as link:
        heard.follower.take_up(link, heard.target.journal.boot)
        heard.target.lies["events"] = {"boot": heard.target.journal.boot, "cursor": 0, "lost": 0, **clocks}, [b""]
        heard.follower.pull(link, 0)
    for at, mono in ((0.0, None), (1e300, 5.0), (-1e18, 1e300)):
        event = {"at": at, **({} if mono is None else {"mono": mono})}
        stamp = heard.follower.stamp(Fields(event))
        assert stamp.keys() == {"target_at", "host_at", "boot"}
        assert all(isinstance(value, str) for value in stamp.values())


def answer(heard: Heard, lines: list[Any], cursor: int, lost: int = 0) -> None:
    """Have the target answer exactly this from now on."""
    text = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    heard.target.lies["events"] = {"boot": heard.target.journal.boot, "cursor": cursor, "lost": lost}, [text]


def test_events_that_make_no_sense_are_left_out_and_counted_and_the_rest_is_heard(heard: Heard) -> None:
    with heard.link() as link:
        heard.follower.take_up(link, heard.target.journal.boot)
        one, four = {"n": 1}, {"n": 4}
        answer(heard, [one, one, b"junk", [], {"n": "2"}, {"n": 3, "bad": 1}, {"n": 2}, {"n": -1}, four, {"n": 99}], 4)
        assert heard.follower.pull(link, 0)
    assert heard.numbers == [1, 4]
    assert heard.notices == [("events-odd", "8 events of the target make no sense and are left out")]


def test_events_that_are_told_again_are_not_heard_again(heard: Heard) -> None:
    with heard.link() as link:
        heard.follower.take_up(link, heard.target.journal.boot)
        answer(heard, [{"n": 1}, {"n": 2}], 2)
        assert heard.follower.pull(link, 0)
        assert not heard.follower.pull(link, 0)
    assert heard.numbers == [1, 2]


def test_losses_are_summed_up_and_not_told_with_each_batch(heard: Heard) -> None:
    with heard.link() as link:
        heard.follower.take_up(link, heard.target.journal.boot)
        for number in range(1, 200):
            answer(heard, [], number, lost=2)
            heard.follower.pull(link, 0)
        answer(heard, [], 200)
        heard.follower.pull(link, 0)
    told = [int(text.split()[0]) for _, text in heard.notices]
    assert sum(told) == 398
    assert len(told) < 100


@pytest.mark.parametrize("cursor", [1, -5, 2**53, 10**400])
def test_a_cursor_that_goes_back_or_out_of_bounds_is_malformed(heard: Heard, cursor: int) -> None:
    with heard.link() as link:
        heard.follower.take_up(link, heard.target.journal.boot)
        answer(heard, [], 2)
        heard.follower.pull(link, 0)
        answer(heard, [], cursor)
        with pytest.raises(Malformed):
            heard.follower.pull(link, 0)


def test_more_than_was_asked_for_is_not_read(heard: Heard) -> None:
    with heard.link() as link:
        heard.follower.take_up(link, heard.target.journal.boot)
        answer(heard, [{"n": number} for number in range(1, 7000)], 7000)
        heard.follower.pull(link, 0)
        assert len(heard.numbers) == 5000
        answer(heard, [b"\n" * 9_000_000], 8000)
        with pytest.raises(Malformed):
            heard.follower.pull(link, 0)
