"""Which applications a change stops and starts, and what the user is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader.ladder import PATCH, RESTART, decide, fall
from bootloader.wire.errors import Refused
from bootloader.wire.launch import PATH, Application, Launch

APP = Application("app", "blinky.main:main")
NET = Application("net", "netkeeper:main", init=True)
BOTH = Launch((NET, APP))
ALL = ("net", "app")


@pytest.mark.parametrize(
    ("before", "after", "changed", "running", "stop", "start", "why"),
    [
        pytest.param(None, BOTH, ["blinky/main.py", PATH], (), (), ALL, "first start", id="first"),
        pytest.param(BOTH, BOTH, ["blinky/main.py"], ALL, ("app",), ("app",), "code changed", id="code"),
        pytest.param(BOTH, BOTH, ["blinky/logo.png"], ALL, ("app",), ("app",), "only assets changed", id="asset"),
        pytest.param(BOTH, BOTH, ["blinky/fast.so"], ALL, ("app",), ("app",), "code changed", id="compiled code"),
        pytest.param(BOTH, BOTH, ["netkeeper.py"], ALL, ALL, ALL, "code changed", id="init's module"),
        pytest.param(BOTH, BOTH, ["src/netkeeper/dhcp.py"], ALL, ALL, ALL, "code changed", id="init's package"),
        pytest.param(BOTH, BOTH, [".reactor/depends/x/y.py"], ALL, ALL, ALL, "code changed", id="a sibling"),
        pytest.param(BOTH, BOTH, ["my_netkeeper.py"], ALL, ("app",), ("app",), "code changed", id="alike"),
        pytest.param(BOTH, BOTH, [], ALL, ("app",), ("app",), "asked to", id="nothing changed"),
        pytest.param(BOTH, BOTH, ["blinky/main.py"], ("net",), (), ("app",), "it was not running", id="app was dead"),
        pytest.param(BOTH, BOTH, ["blinky/main.py"], ("app",), ("app",), ALL, "code changed", id="init was dead"),
        pytest.param(BOTH, Launch((APP,)), [PATH], ALL, ALL, ("app",), "its settings changed", id="init removed"),
        pytest.param(
            BOTH,
            Launch((replace(NET, env={"A": "1"}), APP)),
            [PATH],
            ALL,
            ALL,
            ALL,
            "its settings changed",
            id="init's settings",
        ),
        pytest.param(
            BOTH,
            Launch((NET, replace(APP, grace_s=9.0))),
            [PATH],
            ALL,
            ("app",),
            ("app",),
            "its settings changed",
            id="app's settings",
        ),
        pytest.param(BOTH, replace(BOTH, path=("src",)), [PATH], ALL, ALL, ALL, "its settings changed", id="path"),
        pytest.param(None, BOTH, [PATH], ALL, ALL, ALL, "its settings changed", id="old launch unreadable"),
    ],
)
def test_a_change_restarts_what_it_touches(
    before: Launch | None,
    after: Launch,
    changed: list[str],
    running: tuple[str, ...],
    stop: tuple[str, ...],
    start: tuple[str, ...],
    why: str,
) -> None:
    decision = decide(before, after, changed, running)
    assert decision.rung == RESTART
    assert (decision.stop, decision.start) == (stop, start)
    assert decision.why == why


ASSETS = "only assets changed"
HOOKED = Launch((NET, replace(APP, assets="blinky:changed")))
KEEPS = Launch((NET, replace(APP, assets="keep")))


@pytest.mark.parametrize(
    ("before", "after", "changed", "running", "patch", "start", "why"),
    [
        pytest.param(BOTH, BOTH, ["blinky/main.py"], ALL, ("app",), (), "code changed", id="code"),
        pytest.param(BOTH, BOTH, ["netkeeper.py"], ALL, ALL, (), "code changed", id="init's code"),
        pytest.param(BOTH, BOTH, ["netkeeper.py"], ("net",), ("net",), ("app",), "code changed", id="app was dead"),
        pytest.param(
            BOTH, replace(BOTH, reload="patch"), [PATH], ALL, ("app",), (), "code changed", id="how to reload"
        ),
        pytest.param(
            BOTH, BOTH, ["blinky/main.py"], ("net",), (), ("app",), "it was not running", id="nothing to patch"
        ),
        pytest.param(None, BOTH, ["blinky/main.py", PATH], (), (), ALL, "first start", id="first"),
        pytest.param(BOTH, BOTH, ["blinky/logo.png"], ALL, (), ("app",), ASSETS, id="asset"),
        pytest.param(HOOKED, HOOKED, ["blinky/logo.png"], ALL, ("app",), (), "code changed", id="it is told of assets"),
        pytest.param(KEEPS, KEEPS, ["blinky/logo.png"], ALL, ("app",), (), "code changed", id="assets do not matter"),
        pytest.param(
            HOOKED, HOOKED, ["netkeeper.csv", ".reactor/depends/x/y.csv"], ALL, (), ALL, ASSETS, id="one is not"
        ),
        pytest.param(BOTH, BOTH, ["a.py", "logo.png"], ALL, (), ("app",), "`logo.png` changed, too", id="asset, too"),
        pytest.param(BOTH, BOTH, ["a.py", "b.so"], ALL, (), ("app",), "`b.so` is native code", id="native"),
        pytest.param(BOTH, replace(BOTH, path=("src",)), [PATH], ALL, (), ALL, "its settings changed", id="path"),
        pytest.param(BOTH, Launch((APP,)), [PATH], ALL, (), ("app",), "its settings changed", id="init removed"),
    ],
)
def test_what_runs_takes_a_change_of_python_code_in_place(
    before: Launch | None,
    after: Launch,
    changed: list[str],
    running: tuple[str, ...],
    patch: tuple[str, ...],
    start: tuple[str, ...],
    why: str,
) -> None:
    decision = decide(before, after, changed, running, reload="auto")
    assert (decision.rung, decision.patch, decision.start) == (PATCH if patch else RESTART, patch, start)
    assert decision.why == why
    if decision.rung == RESTART and decision.stop and before is not None:
        with pytest.raises(Refused, match=why) as caught:
            decide(before, after, changed, running, reload="patch")
        assert caught.value.code == "not-patchable"


def test_what_says_that_it_can_not_be_patched_restarts_and_that_is_why() -> None:
    decision = decide(BOTH, BOTH, ["blinky/main.py"], ALL, reload="auto", unpatchable="it said so")
    assert (decision.rung, decision.why, decision.stop, decision.start) == (RESTART, "it said so", ("app",), ("app",))


names = st.sampled_from(["a", "b", "c", "d"])
launches = st.lists(
    st.builds(Application, names, st.sampled_from(["x:main", "y:main"]), st.booleans()), unique_by=lambda app: app.name
).map(lambda apps: Launch(tuple(apps)))


@given(st.none() | launches, launches, st.lists(st.sampled_from(["x.py", "y.py", "z.txt"])), st.sets(names))
def test_afterwards_exactly_the_new_applications_run(
    before: Launch | None, after: Launch, changed: list[str], running: set[str]
) -> None:
    decision = decide(before, after, changed, sorted(running))
    wanted = {app.name for app in after.applications}
    assert running - set(decision.stop) | set(decision.start) == wanted
    assert set(decision.stop) <= running
    assert not set(decision.start) & (running - set(decision.stop)), "one that runs is started again without a stop"


@pytest.mark.parametrize(
    ("live", "healthy", "base", "fallen", "roots"),
    [
        pytest.param("c", "cba", "", "", "ba", id="the last healthy one that is another"),
        pytest.param("d", "cba", "z", "", "cbaz", id="the base comes last"),
        pytest.param("d", "", "z", "", "z", id="only the base"),
        pytest.param("d", "d", "", "", "", id="nothing but itself"),
        pytest.param("c", "cba", "z", "d", "z", id="after one fall only the base"),
        pytest.param("c", "cba", "", "d", "", id="after one fall, without a base"),
        pytest.param("z", "zcba", "z", "dc", "", id="nothing below the base"),
        pytest.param("c", "zba", "z", "", "zba", id="the base was the last healthy one"),
        pytest.param("c", "cba", "z", "dz", "", id="the base has fallen"),
    ],
)
def test_what_is_given_up_falls_to_the_last_healthy_one_then_to_the_base_then_no_further(
    live: str, healthy: str, base: str, fallen: str, roots: str
) -> None:
    assert "".join(fall(live, healthy, base, fallen)) == roots
