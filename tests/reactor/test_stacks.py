"""A dump becomes threads, an answer becomes an event, an event becomes lines; whatever a target says, harmless ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader.wire.errors import Malformed
from bootloader.wire.messages import Fields
from reactor.follow import Paths
from reactor.look import read
from reactor.project import Project
from reactor.report import lines
from reactor.stacks import dumped
from tests.reactor.test_report import HOSTILE, RAW

LIVE = "/var/lib/bootloader/live"
DUMP = f"""Thread 0x00007f827acc06c0 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 327 in wait
  File "/usr/lib/python3.11/threading.py", line 1045 in _bootstrap_inner
  File "/usr/lib/python3.11/threading.py", line 1002 in _bootstrap

Current thread 0x00007f827b4c56c0 [orders] (most recent call first):
  File "/opt/bootloader/guest/channel.py", line 146 in _next
  File "/opt/bootloader/guest/channel.py", line 133 in _run

Thread 0x00007f827c400b80 (most recent call first):
  File "{LIVE}/app.py", line 2 in hold
  File "{LIVE}/app.py", line ??? in main
  File "/opt/bootloader/guest/entry.py", line 228 in _run
  File "<frozen runpy>", line 198 in _run_module_as_main
"""


def test_a_dump_is_the_application_s_threads_the_main_one_first() -> None:
    main, other = dumped(DUMP)
    assert (main["name"], main["main"]) == ("MainThread", True)
    assert main["frames"] == [(f"{LIVE}/app.py", 0, "main"), (f"{LIVE}/app.py", 2, "hold")]
    assert (other["main"], other["frames"]) == (False, [("/usr/lib/python3.11/threading.py", 327, "wait")])


@given(
    st.text()
    | st.lists(st.sampled_from([*DUMP.splitlines(), "Thread 0x1 [x] (most recent call first):"])).map("\n".join)
)
def test_whatever_is_in_a_dump_it_is_threads(text: str) -> None:
    for thread in dumped(text):
        assert all(isinstance(line, int) for _, line, _ in thread["frames"])


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    (tmp_path / "app.py").write_text("def main():\n    hold()\n")
    (tmp_path / "pyproject.toml").write_text('[tool.reactor]\nentry = "app:main"\n')
    return Paths(LIVE, Project.open(tmp_path))


def shown(event: dict[str, Any]) -> str:
    return "\n".join("".join(text for text, _ in line) for line in lines(event, verbose=False, many=False))


def answer(**stacks: Any) -> Fields:
    system = [{"id": 7, "name": "python", "state": "sleeping", "waits_in": "do_poll"}]
    return Fields({"pid": 7, "why": "" if stacks else "did not answer", "stacks": stacks, "system": system})


def test_a_frame_of_the_project_is_told_with_its_file_and_line_here(paths: Paths) -> None:
    event = read(answer(), [DUMP.encode()], "app", paths)
    frame = event["threads"][0]["frames"][1]
    assert frame == {"file": "app.py", "line": 2, "function": "hold", "text": "hold()", "own": True}
    assert "    app.py:2 in hold\n      hold()\n" in shown(event)
    assert "! app did not answer\n" in shown(event)
    assert "    threading.py:327 in wait\n" in shown(event)
    assert event["threads"][0]["waits_in"] == "do_poll", "the main thread has the process's number"


def test_tasks_are_shown_with_what_they_wait_for(paths: Paths) -> None:
    thread = {"name": "MainThread", "ident": 5, "id": 7, "main": True, "daemon": False, "frames": [], "cut": 3}
    task = {"name": "Task-1", "coroutine": "main", "state": "waiting", "waits_for": "Future", "thread": 5, "cut": 0}
    task["frames"] = [[0, 1, "main", ""]]
    event = read(answer(threads=[thread], tasks=[task], files=[f"{LIVE}/app.py"], more=2), [], "app", paths)
    assert event["tasks"][0]["thread"] == "MainThread"
    assert shown(event) == (
        "● app (pid 7): 1 thread, 1 task\n"
        "  thread MainThread (sleeping, in do_poll)\n"
        "    … 3 frames outside of these\n"
        "    no Python code\n"
        "  task Task-1 main() (waiting for Future)\n"
        "    app.py:1 in main\n"
        "      def main():\n"
        "  and 2 more"
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["frames", "name", "id"]), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["pid", "why", "stacks", "system"]), JSON))
def test_an_answer_of_another_shape_is_malformed_and_nothing_else(body: dict[str, Any]) -> None:
    try:
        read(Fields(body), [], "app", Paths(LIVE, None))
    except Malformed:
        return


@pytest.mark.parametrize("row", [[1, 1, "f", ""], [-1, 1, "f", ""], ["0", 1, "f", ""], [0, 1, "f"], [0, None, "f", ""]])
def test_a_frame_that_makes_no_sense_is_malformed(paths: Paths, row: list[Any]) -> None:
    thread = {"name": "", "ident": 5, "frames": [row]}
    with pytest.raises(Malformed):
        read(answer(threads=[thread], files=["/a.py"]), [], "app", paths)


def test_nothing_raw_of_what_a_target_says_reaches_the_screen(paths: Paths) -> None:
    frame = [0, 1, HOSTILE, HOSTILE]
    thread = {"name": HOSTILE, "ident": 5, "frames": [frame]}
    task = {"name": HOSTILE, "coroutine": HOSTILE, "waits_for": HOSTILE, "frames": [frame]}
    system = [{"id": 5, "name": HOSTILE, "state": HOSTILE, "waits_in": HOSTILE}]
    stacks = {"threads": [thread], "tasks": [task], "files": [f"{LIVE}/{HOSTILE}"]}
    told = Fields({"pid": 7, "why": HOSTILE, "stacks": stacks, "system": system})
    dump = f'Thread 0x1 [{HOSTILE}] (most recent call first):\n  File "{HOSTILE}", line 1 in {HOSTILE}\n'.encode(
        "utf-8", "replace"
    )
    for blobs in ([], [dump]):
        assert not RAW.search(shown(read(told, blobs, "app", paths)).replace("\n", ""))
