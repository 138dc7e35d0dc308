from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bootloader.wire.errors import Malformed
from bootloader.wire.launch import ASSETS, FAILURES, READIES, RELOADS, Application, Launch

NET = {"name": "net", "entry": "net:main", "init": True, "settle_s": 0, "grace_s": 0}
LAUNCH = Launch((Application("net", "net:main", init=True), Application("app", "blinky.main:main", env={"LED": "17"})))

names = st.from_regex(r"[a-z][a-z0-9_-]{0,31}", fullmatch=True)
words = st.from_regex(r"[A-Za-z_][A-Za-z_0-9]{0,8}", fullmatch=True)
dotted = st.lists(words, min_size=1, max_size=3).map(".".join)
entries = dotted | st.tuples(dotted, dotted).map(":".join)
characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
environments = st.dictionaries(
    st.text(characters, min_size=1, max_size=8).filter(lambda key: "=" not in key),
    st.text(characters, max_size=8),
    max_size=3,
)
callables = st.just("") | st.tuples(dotted, dotted).map(":".join)
applications = st.builds(
    Application,
    names,
    entries,
    st.booleans(),
    environments,
    settle_s=st.floats(0, 3600),
    grace_s=st.floats(0, 60),
    ready=st.sampled_from(READIES),
    ready_s=st.floats(0.1, 3600),
    safe=callables,
    safe_s=st.floats(0.1, 60),
    memory_mb=st.integers(0, 2**20),
    processes=st.integers(0, 2**15),
    give=callables,
    take=callables,
    handover_s=st.floats(0.1, 60),
    assets=st.sampled_from(ASSETS) | entries.filter(lambda entry: ":" in entry),
    assets_s=st.floats(0.1, 30),
)


def in_order(apps: list[Application]) -> tuple[Application, ...]:
    """With each after all those before it that it may wait for."""
    return tuple(
        replace(app, after=tuple(one.name for one in apps[:at] if one.init or not app.init))
        for at, app in enumerate(apps)
    )


launches = st.builds(
    Launch,
    st.lists(applications, max_size=4, unique_by=lambda app: app.name).map(in_order),
    st.lists(st.sampled_from([".", "src", ".reactor/depends/sensorkit/src"]), max_size=3).map(tuple),
    st.sampled_from(RELOADS),
    st.sampled_from(FAILURES),
    callables,
    st.floats(0.1, 60),
    st.integers(1, 1000),
    st.floats(1, 86400),
)


def edited(**changes: object) -> bytes:
    """The launch file of :data:`LAUNCH` with some of its first application's keys, or of its own, changed."""
    body: dict[str, Any] = json.loads(LAUNCH.encode())
    for key, value in changes.items():
        (body if key in body else body["applications"][0])[key] = value
    return json.dumps(body).encode()


@given(launches)
@example(LAUNCH)
def test_a_launch_reads_back_as_written(launch: Launch) -> None:
    assert Launch.decode(launch.encode()) == launch


@given(launches)
def test_equal_launches_have_equal_texts(launch: Launch) -> None:
    assert Launch.decode(launch.encode()).encode() == launch.encode()


ILLEGAL = {
    "nothing": b"",
    "not JSON": b"{",
    "not UTF-8": b'"\xff"',
    "a list": b"[]",
    "nested too deep": b"[" * 100_000,
    "another version": edited(version=2),
    "no version": edited(version=None),
    "no entry": edited(entry=""),
    "an entry that is a path": edited(entry="blinky/main.py"),
    "an entry that is code": edited(entry="os:system('x')"),
    "an entry of two callables": edited(entry="a:b:c"),
    "an entry of two lines": edited(entry="a\n"),
    "a name that is a path": edited(name="../app"),
    "a name in capitals": edited(name="App"),
    "a name too long": edited(name="a" * 33),
    "one name twice": edited(
        applications=[{"name": "a", "entry": "a", "settle_s": 0, "grace_s": 0, "init": False}] * 2
    ),
    "too many applications": edited(
        applications=[{"name": f"a{i}", "entry": "a", "settle_s": 0, "grace_s": 0, "init": False} for i in range(33)]
    ),
    "applications that are no objects": edited(applications=["app"]),
    "an environment of numbers": edited(env={"LED": 17}),
    "an environment with '=' in a name": edited(env={"A=B": "1"}),
    "an environment without a name": edited(env={"": "1"}),
    "an environment with NUL": edited(env={"A": "\0"}),
    "an environment that no process can have": edited(env={"A": "\ud800"}),
    "a settle time below zero": edited(settle_s=-0.1),
    "a settle time without an end": edited(settle_s=float("inf")),
    "a settle time that is none": edited(settle_s=float("nan")),
    "a grace time of minutes": edited(grace_s=61),
    "a grace time past any number": edited(grace_s=10**400),
    "a grace time in words": edited(grace_s="3"),
    "init in words": edited(init="yes"),
    "another reload": edited(reload="never"),
    "another on_failure": edited(on_failure="panic"),
    "ready in another way": edited(ready="soon"),
    "ready after no time": edited(ready_s=0),
    "a safe state that is a module": edited(safe="blinky"),
    "a safe state that is a path": edited(safe="../blinky:off"),
    "a safe state without an end": edited(safe_s=61),
    "a hand-over that is a module": edited(give="blinky"),
    "a hand-over without an end": edited(handover_s=61),
    "assets in another way": edited(assets="panic"),
    "memory below zero": edited(memory_mb=-1),
    "memory in halves": edited(memory_mb=0.5),
    "processes without a bound": edited(processes=2**15 + 1),
    "a handler that is a module": edited(handler="blinky"),
    "a display that is a module": edited(display="blinky"),
    "a handler without an end": edited(handler_s=1e9),
    "no deaths at all": edited(deaths=0),
    "a window without a width": edited(window_s=0),
    "after one that is not there": edited(after=["wifi"]),
    "after itself": edited(after=["net"]),
    "an init application after one that is none": edited(after=["app"]),
    "after a number": edited(after=[1]),
    "a circle": edited(applications=[{**NET, "after": ["b"]}, {**NET, "name": "b", "after": ["net"]}]),
    "a folder above": edited(path=["../lib"]),
    "a folder above within": edited(path=["src/../../lib"]),
    "an absolute folder": edited(path=["/usr/lib"]),
    "a folder with NUL": edited(path=["a\0"]),
}


def test_a_launch_file_of_before_a_setting_came_has_its_default() -> None:
    old = {"version": 1, "path": ["."], "reload": "auto", "on_failure": "hold"}
    apps = [{"name": "app", "entry": "app", "init": False, "env": {}, "settle_s": 0.5, "grace_s": 3.0}]
    assert Launch.decode(json.dumps({**old, "applications": apps}).encode()) == Launch((Application("app", "app"),))


@pytest.mark.parametrize("text", ILLEGAL.values(), ids=ILLEGAL.keys())
def test_an_illegal_launch_file_is_refused(text: bytes) -> None:
    with pytest.raises(Malformed):
        Launch.decode(text)


@given(st.binary())
def test_arbitrary_bytes_are_a_launch_or_malformed(text: bytes) -> None:
    try:
        Launch.decode(text)
    except Malformed:
        pass


@given(st.integers(0, len(LAUNCH.encode())), st.integers(0, 3), st.binary(max_size=3))
def test_a_damaged_launch_file_is_read_or_malformed(at: int, cut: int, put: bytes) -> None:
    text = LAUNCH.encode()
    try:
        Launch.decode(text[:at] + put + text[at + cut :])
    except Malformed:
        pass
