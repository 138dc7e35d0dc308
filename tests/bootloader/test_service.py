"""What the link answers: refusals that change nothing, uploads, rollbacks, history, events."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from bootloader.wire.delta import Delta
from bootloader.wire.errors import Refused
from bootloader.wire.launch import PATH
from bootloader.wire.manifest import EMPTY, Entry, blob_name
from bootloader.wire.overlay import Overlay, Splice
from tests.bootloader.target import SOON_S, Change, Files, Target, app

WAIT = "import threading\ndef main(): threading.Event().wait()\n"
DONE = "def main(): print('done')\n"
STEADY = app(settle_s=0.0)


@contextmanager
def unchanged(target: Target) -> Iterator[None]:
    """What a refusal leaves as it is, and that the next good overlay works."""
    hello, live, history = target.call("hello"), target.live(), target.history()
    running = target.standing()
    yield
    assert target.call("hello").plain() == hello.plain()
    assert target.live() == live
    assert target.history() == history
    assert target.standing() == running
    target.ship(f"def main(): print({os.urandom(4).hex()!r})\n").healthy()


# refusals


def entry(content: bytes) -> Entry:
    return Entry(blob_name(content), 0o644, len(content))


def with_app(overlay: Overlay, blob: bytes | Splice | None) -> Overlay:
    """``overlay`` with another blob for ``app.py``."""
    edit = overlay.edits["app.py"]
    assert edit is not None
    blobs = {name: kept for name, kept in {**overlay.blobs, edit.blake3: blob}.items() if kept is not None}
    return replace(overlay, blobs=blobs)


def with_edit(path: str) -> Callable[[Target, Overlay], Overlay]:
    return lambda _, good: replace(good, edits={**good.edits, path: entry(b"escaped")})


REFUSALS: dict[str, tuple[str, Callable[[Target, Overlay], Overlay]]] = {
    "another content": ("malformed", lambda _, good: with_app(good, DONE.swapcase().encode())),
    "a short blob": ("malformed", lambda _, good: with_app(good, b"")),
    "a long blob": ("malformed", lambda _, good: with_app(good, DONE.encode() * 2)),
    "a blob that nobody needs": (
        "malformed",
        lambda _, good: replace(good, blobs={**good.blobs, blob_name(b"x"): b"x"}),
    ),
    "a missing blob": ("missing-blob", lambda _, good: with_app(good, None)),
    "a delta against nothing": (
        "missing-blob",
        lambda _, good: with_app(good, Splice("ab" * 32, Delta(0, 0, DONE.encode()))),
    ),
    "a stale root": ("stale-root", lambda _, good: replace(good, base=EMPTY.root)),
    "a wrong root": ("wrong-root", lambda _, good: replace(good, root="ab" * 32)),
    "a path that climbs": ("malformed", with_edit("../escaped")),
    "a path that climbs inside": ("malformed", with_edit("package/../../escaped")),
    "an absolute path": ("malformed", with_edit("/tmp/escaped")),
    "a path with a NUL": ("malformed", with_edit("esc\0aped")),
    "a path with a backslash": ("malformed", with_edit("..\\escaped")),
    "a path that is its own folder": ("malformed", with_edit("./escaped")),
    "no launch file": ("no-launch", lambda target, _: without_launch(target)),
}


def without_launch(target: Target) -> Overlay:
    files = {"app.py": DONE.encode()}
    after = target.tree.edit({**dict.fromkeys(target.tree), "app.py": entry(files["app.py"])})
    return Overlay(
        target.tree.root, after.root, target.tree.edits_to(after), {blob_name(files["app.py"]): files["app.py"]}
    )


@pytest.mark.parametrize("why", REFUSALS)
def test_a_refusal_changes_nothing_and_the_next_good_overlay_works(shared: Target, why: str) -> None:
    shared.ship(WAIT, STEADY).healthy()
    code, make = REFUSALS[why]
    with unchanged(shared):
        bad = make(shared, shared.overlay({"app.py": DONE}))
        refused = shared.refused(bad)
        assert refused.code == code
        if code == "stale-root":
            assert refused.fields["root"] == shared.tree.root


@pytest.mark.parametrize(
    ("source", "line", "text"),
    [
        ("x = 1\ndef main(:\n", 2, "def main(:"),
        ("def main():\npass\n", 2, "pass"),
        ("x = '\n", 1, "x = '"),
        ("# coding: nonsense\n", 1, ""),
        ("x = 1\n\0\n", 1, ""),
        ("return 1\n", 1, "return 1"),
    ],
)
def test_what_does_not_compile_is_refused_and_what_runs_goes_on(
    shared: Target, source: str, line: int, text: str
) -> None:
    shared.ship(WAIT, STEADY).healthy()
    pid = shared.status()["pid"]
    with unchanged(shared):
        refused = shared.refused(shared.overlay({"app.py": WAIT, "package/broken.py": source}, STEADY))
        assert refused.code == "syntax-error"
        assert refused.fields["file"] == "package/broken.py"
        if text:
            assert (refused.fields["line"], refused.fields["text"]) == (line, text)
        assert shared.status()["pid"] == pid


def test_what_does_not_compile_is_refused_among_thousands_too(shared: Target) -> None:
    shared.ship(WAIT, STEADY).healthy()
    files: dict[str, bytes | str] = {f"package/m{number}.py": f"x = {number}\n" for number in range(3000)}
    with unchanged(shared):
        refused = shared.refused(shared.overlay({**files, "app.py": DONE, "package/m1234.py": "def main(:\n"}))
        assert (refused.code, refused.fields["file"]) == ("syntax-error", "package/m1234.py")


def test_a_symlink_in_the_way_is_refused_and_changes_nothing(target: Target) -> None:
    target.ship({"app.py": WAIT}, STEADY).healthy()
    for tree in ("a", "b"):
        place = target.state / "trees" / tree
        place.mkdir(exist_ok=True)
        (place / "package").symlink_to("/tmp")
    with unchanged(target):
        refused = target.refused(target.overlay({"app.py": DONE, "package/escaped.py": "x = 1\n"}))
        assert refused.code == "symlink-in-the-way"


@pytest.mark.parametrize(
    "method", ["upload", "missing", "manifest", "apply", "history", "rollback", "events", "nonsense"]
)
@pytest.mark.parametrize(
    "body",
    [
        {"parts": [[]], "names": [[]], "limit": "x", "generation": "x", "cursor": "x", "root": 7, "put": [[]]},
        {"parts": 7, "names": 7, "limit": None, "generation": None, "cursor": None, "root": "../x", "put": 7},
        {
            "parts": [["../../x", 0, 1]],
            "names": [["../../x", 1]],
            "limit": True,
            "generation": -1,
            "cursor": 0,
            "root": "A" * 64,
            "wait_s": "x",
            "put": [["x", "../../x", 7, -1]],
        },
    ],
    ids=["empty", "wrong types", "hostile"],
)
def test_a_request_that_makes_no_sense_is_refused_and_the_link_goes_on(
    shared: Target, method: str, body: dict[str, Any]
) -> None:
    with pytest.raises(Refused) as caught:
        shared.control.call(method, body, timeout_s=SOON_S)
    assert caught.value.code in ("malformed", "unknown-generation", "unknown-method", "unknown-root")
    assert not [event for event in shared.events if event.get("code") == "internal-error"]
    assert shared.call("hello").text("name")


# uploads


def test_blobs_that_were_uploaded_need_not_ride_along(shared: Target) -> None:
    model = os.urandom(3_000_000)
    text = f"small {os.urandom(8).hex()}".encode()
    sizes = {blob_name(content): len(content) for content in (model, text)}
    names = list(sizes.items())
    assert shared.call("missing", names=names).texts("missing") == list(sizes)
    for offset in range(0, len(model), 1_000_000):
        part = [blob_name(model), offset, len(model)]
        shared.control.call("upload", {"parts": [part]}, [model[offset : offset + 1_000_000]])
    shared.control.call("upload", {"parts": [[blob_name(text), 0, len(text)]]}, [text])
    assert shared.call("missing", names=names).texts("missing") == []
    source = "import pathlib\ndef main(): print(len(pathlib.Path(__file__).with_name('model.bin').read_bytes()))\n"
    overlay = shared.overlay({"app.py": source, "model.bin": model, "text": text})
    lean = replace(overlay, blobs={name: blob for name, blob in overlay.blobs.items() if name not in sizes})
    assert shared.logs(shared.send(lean)) == ["3000000"]


def test_a_wrong_upload_is_refused_and_can_be_sent_again(shared: Target) -> None:
    content = os.urandom(100)
    name = blob_name(content)
    for part, sent, code in [
        ([name, 50, 100], content[50:], "wrong-part"),
        ([name, 0, 100], content[::-1], "malformed"),
        ([name, 0, 10], content, "wrong-part"),
        ([name, 0, -1], b"", "wrong-part"),
    ]:
        with pytest.raises(Refused) as caught:
            shared.control.call("upload", {"parts": [part]}, [sent])
        assert caught.value.code == code
    shared.control.call("upload", {"parts": [[name, 0, 100]]}, [content])
    assert shared.call("missing", names=[[name, 100]]).texts("missing") == []


def test_a_delta_makes_the_blob_that_its_name_says(shared: Target) -> None:
    lines = "".join(f"x{number} = {number}\n" for number in range(1000))
    shared.ship(lines + DONE).healthy()
    after = lines + "def main(): print('changed')\n"
    overlay = shared.overlay({"app.py": after})
    kept = len(lines) + len("def main(): print('")
    base = blob_name((lines + DONE).encode())
    spliced = with_app(overlay, Splice(base, Delta(kept, len("')\n"), b"changed")))
    assert shared.logs(shared.send(spliced)) == ["changed"]


# rollbacks


def test_a_rollback_goes_to_a_number_or_to_the_last_that_was_healthy_and_other(target: Target) -> None:
    first = target.ship("def main(): print('first')\n").healthy()
    second = target.ship("def main(): print('second')\n").healthy()
    broken = target.ship("def main(): raise ValueError\n")
    assert broken.fate()["state"] == "failed"
    back = target.roll_back()
    assert target.logs(back) == ["second"]
    assert target.logs(target.roll_back()) == ["first"]
    assert target.logs(target.roll_back(second.generation)) == ["second"]
    assert target.roll_back(broken.generation).fate()["state"] == "failed"
    assert target.logs(target.roll_back(first.generation)) == ["first"]
    told = target.history()
    assert [one["generation"] for one in told] == list(range(8, 0, -1))
    assert [one["rung"] for one in told] == ["rollback"] * 5 + ["restart"] * 3
    assert told[4]["why"] == "to generation 2: asked to, from generation 3"
    assert [one["fate"] for one in told] == ["healthy", "failed", *["healthy"] * 3, "failed", *["healthy"] * 2]
    assert target.call("hello").text("root") == told[-1]["root"]


def test_a_rollback_brings_the_settings_of_its_time_back(target: Target) -> None:
    source = "import os\ndef main(): print(os.environ['MODE'])\n"
    first = target.ship(source, app(env={"MODE": "old"})).healthy()
    target.ship(source, app(env={"MODE": "new"})).healthy()
    assert target.logs(target.roll_back(first.generation)) == ["old"]


@pytest.mark.parametrize("healthy", [False, True])
def test_a_rollback_to_nothing_is_refused(target: Target, healthy: bool) -> None:
    if healthy:
        target.ship(DONE).healthy()
    with pytest.raises(Refused) as caught:
        target.roll_back()
    assert caught.value.code == "no-generation"
    with pytest.raises(Refused) as caught:
        target.roll_back(99)
    assert caught.value.code == "unknown-generation"


def test_with_that_policy_the_last_healthy_generation_takes_the_place_of_one_that_fails(target: Target) -> None:
    good = target.ship("def main(): print('good')\n").healthy()
    bad = target.ship("def main(): raise ValueError\n", on_failure="rollback")
    assert bad.fate()["state"] == "failed"
    target.event("generation", generation=bad.generation + 1, state="healthy")
    newest = target.history()[0]
    assert (newest["rung"], newest["who"]) == ("rollback", "bootloader")
    assert newest["root"] == target.history()[-1]["root"]
    assert newest["why"] == f"to generation {good.generation}: generation 2 failed: app exited with status 1"
    assert len([event for event in target.events if event.get("text") == "good"]) == 2


def test_with_that_policy_and_nothing_healthy_before_the_failure_is_held(target: Target) -> None:
    bad = target.ship("def main(): raise ValueError\n", on_failure="rollback")
    assert bad.fate()["state"] == "failed"
    assert target.notice("stays-down")
    assert len(target.history()) == 1
    target.ship(DONE).healthy()


# several hosts, and what they hear


def test_of_two_overlays_from_one_root_the_second_is_stale(target: Target) -> None:
    target.call("lease", do="get", session="one")
    target.ship(DONE).healthy()
    overlays = [target.overlay({"app.py": f"def main(): print({number})\n"}) for number in range(4)]
    told: list[str] = []

    def send(overlay: Overlay) -> None:
        with target.link("another") as link:
            try:
                link.call("lease", {"do": "get", "session": "one"})
                link.call("apply", *overlay.message(), timeout_s=SOON_S)
                told.append("taken")
            except Refused as refused:
                told.append(refused.code)

    senders = [threading.Thread(target=send, args=(overlay,)) for overlay in overlays]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(SOON_S)
    assert sorted(told) == ["stale-root"] * 3 + ["taken"]


def test_events_resume_where_a_reader_stopped_and_begin_anew_for_another_boot(target: Target) -> None:
    target.logs(target.ship("def main():\n    for n in range(500): print(n)\n"))
    boot = target.listening["boot"]
    last = target.events[-1]["n"]
    cursor, seen = 0, []
    while cursor < last:
        told, (lines,) = target.control.call("events", {"boot": boot, "cursor": cursor, "max_events": 7})
        assert told.integer("lost") == 0
        events = [json.loads(line) for line in lines.splitlines()]
        assert 0 < len(events) <= 7
        seen += [event["n"] for event in events]
        cursor = told.integer("cursor")
    assert seen[:last] == list(range(1, last + 1))
    told, (lines,) = target.control.call("events", {"boot": "another", "cursor": last, "max_events": 1})
    assert (told.text("boot"), json.loads(lines)["n"]) == (boot, 1)
    told, (lines,) = target.control.call("events", {"cursor": -1})
    assert json.loads(lines.splitlines()[0])["n"] >= last


def test_a_flood_of_output_is_bounded_what_was_lost_is_counted_and_the_link_stays_quick(target: Target) -> None:
    flood = target.ship(
        "def main():\n    for n in range(100_000): print(n, 'x' * 100)\n",
    )
    assert target.call("hello").text("name")
    end = flood.state("finished")
    flood.healthy()
    with target.link("late") as link:
        cursor = lost = seen = 0
        while cursor < end["n"]:
            told, (lines,) = link.call("events", {"cursor": cursor})
            cursor, lost, seen = told.integer("cursor"), lost + told.integer("lost"), seen + len(lines.splitlines())
    assert lost + seen == cursor
    assert lost > 10_000
    fates = [event["state"] for event in target.events if event["event"] == "generation"]
    assert fates == ["running", "healthy"]


def test_what_is_asked_of_a_new_target_has_an_answer(target: Target) -> None:
    hello = target.call("hello")
    assert (hello.text("root"), hello.integer("generation")) == (EMPTY.root, 0)
    assert hello.text("live") == str(target.state / "live")
    assert target.call("status").objects("applications") == []
    assert target.history() == []
    with pytest.raises(Refused) as caught:
        target.call("start")
    assert caught.value.code == "nothing-live"


def test_start_starts_what_does_not_run_and_names_the_change_that_does(target: Target) -> None:
    first = target.ship(WAIT, STEADY).healthy()
    again = target.call("start")
    assert (again.texts("started"), again.integer("change")) == ([], first.number)
    broken = target.ship("def main(): raise ValueError\n")
    assert broken.fate()["state"] == "failed"
    started = Change(target, target.call("start"))
    assert started.answer.texts("started") == ["app"]
    assert started.number == broken.number + 1
    assert started.fate()["state"] == "failed"
    assert target.history()[0]["generation"] == broken.generation


def test_settings_ride_in_the_tree_and_its_root(target: Target) -> None:
    files: Files = {"app.py": DONE}
    roots = [target.ship(files, app(grace_s=grace)).healthy().answer.text("root") for grace in (1.0, 2.0)]
    assert roots[0] != roots[1]
    assert PATH in target.live()


# a restart


def test_a_restart_stops_and_starts_what_runs_and_what_does_not_and_makes_no_generation(shared: Target) -> None:
    steady, brief = app("steady", "one:main", settle_s=0.0), app("brief", "two:main")
    change = shared.ship({"one.py": WAIT, "two.py": DONE}, steady, brief).healthy()
    history, pid = shared.history(), shared.status("steady")["pid"]
    again = Change(shared, shared.call("restart"))
    assert sorted(again.answer.texts("started")) == ["brief", "steady"]
    assert again.healthy().generation == change.generation
    assert again.number > change.number
    status = shared.status("steady")
    assert (status["state"], status["generation"]) == ("healthy", change.generation)
    assert status["pid"] not in (None, pid)
    assert [one["root"] for one in shared.history()] == [one["root"] for one in history]


def test_a_restart_starts_what_was_held_and_begins_a_new_count_of_deaths(shared: Target) -> None:
    change = shared.ship("raise SystemExit(3)\n")
    assert change.fate()["state"] == "failed"
    held = shared.event("death", change.state("failed"), next="hold")
    shared.call("restart")
    shared.event("death", held, deaths=1, next="hold")


def test_where_nothing_is_live_there_is_nothing_to_restart(target: Target) -> None:
    with pytest.raises(Refused) as caught:
        target.call("restart")
    assert caught.value.code == "nothing-live"
