"""The lease as sessions have it: one ships, the others look on, and it moves when a person says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bootloader.wire.errors import Refused
from reactor.session import Session
from tests.reactor.board import COUNT, Bench, Desk, Told, until

VERSION_2 = COUNT.replace("version 1", "version 2")


def second(bench: Bench, folder: Path) -> tuple[Session, Desk, Told]:
    """Another session of the same board, with a tree of its own, which looks on; its desk, and what it is told."""
    desk, told = Desk(folder, {"main.py": COUNT.replace("version 1", "of another")}), Told()
    other = Session(bench.board, desk.scanner, told, lambda: None, watching=True)
    bench.sessions.append(other)
    other.start()
    other.submit(desk.first())
    return other, desk, told


def test_of_two_sessions_the_second_looks_on_until_it_takes_the_lease_and_then_the_first_does(
    bench: Bench, tmp_path: Path
) -> None:
    session = bench.healthy()
    other, _, told = second(bench, tmp_path / "other")
    assert told.wait("lease")["state"] == "other"
    assert told.wait("result")["rung"] == "hold"
    mine = bench.board.root()

    other.lease("take")
    assert told.wait("result", healthy=True)["root"] != mine
    assert bench.told.wait("lease", state="other")["doing"] == "dev"
    mark = bench.told.mark()
    session.submit(bench.desk.save("main.py", VERSION_2))
    assert bench.told.wait("result", since=mark)["rung"] == "hold"
    assert bench.board.root() != mine

    session.lease("take")
    assert bench.told.wait("result", since=mark, healthy=True)["root"] == bench.board.root()
    until(lambda: len(told.all("lease", state="other")) == 2)


def test_a_lease_that_was_given_away_is_the_next_savers_and_comes_back_only_at_a_word(
    bench: Bench, tmp_path: Path
) -> None:
    session = bench.healthy()
    other, desk, told = second(bench, tmp_path / "other")
    assert told.wait("result")["rung"] == "hold"

    session.lease("give")
    assert "until %take" in bench.told.wait("lease", state="free")["text"]
    told.wait("lease", state="free")
    mine, mark = bench.board.root(), bench.told.mark()
    session.submit(bench.desk.save("main.py", VERSION_2))
    assert bench.told.wait("result", since=mark)["reason"] == "the lease was given away"
    assert bench.board.root() == mine
    other.submit(desk.save("main.py", COUNT.replace("version 1", "of another, again")))
    assert told.wait("result", healthy=True)["root"] == bench.board.root() != mine
    bench.told.wait("lease", state="other")

    session.lease("take")
    assert bench.told.wait("result", since=mark, healthy=True)["root"] == bench.board.root()


def test_who_lost_the_lease_leaves_it_where_it_is_free_again_until_the_next_save(bench: Bench) -> None:
    """Also where it hears of that only when it is over."""
    session = bench.healthy()
    with bench.board.direct() as link:
        link.call("lease", {"do": "take", "doing": "push"})
        assert bench.told.wait("lease", state="other")["doing"] == "push"
    bench.told.wait("lease", state="free")
    session.lease("take")
    bench.told.wait("lease", state="yours")
    events = bench.board.proxy.wire("events")
    events.hold("back")
    mark = bench.told.mark()
    with bench.board.direct() as link:
        link.call("lease", {"do": "take"})
    events.release("back")
    bench.told.wait("lease", since=mark, state="free")
    with bench.board.direct() as link:
        assert link.call("lease", {"do": "look"})[0].child("lease").plain() == {}
    mark = bench.told.mark()
    session.submit(bench.desk.save("main.py", VERSION_2))
    assert bench.told.wait("result", since=mark)["healthy"]
    assert bench.told.all("lease", since=mark, state="yours")


def test_a_session_whose_link_breaks_keeps_the_lease_and_gives_it_up_at_its_end(bench: Bench) -> None:
    session = bench.healthy()
    bench.board.away = True
    bench.board.proxy.cut()
    bench.told.wait("link", state="down")
    with bench.board.direct() as link:

        def lease() -> dict[str, Any]:
            return link.call("lease", {"do": "get"})[0].child("lease").plain()

        until(lambda: not lease()["linked"])
        for method in ("start", "restart", "rollback", "apply", "upload", "upgrade"):
            with pytest.raises(Refused) as caught:
                link.call(method, {})
            assert caught.value.code == "leased"
        bench.board.away = False
        bench.told.wait("link", state="up")
        assert lease()["linked"]
        assert not lease()["yours"]
        session.close()
        assert lease()["yours"]
    assert not bench.told.all("lease")
