"""Whose the lease is: one session's at a time, kept over a broken link, given up with a whole one, never cut in two."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest

from bootloader import lease as module
from bootloader.lease import Lease, Session
from bootloader.wire.errors import Refused

SOON_S = 20.0
ANNA, BOB = Session("anna", "a", "dev"), Session("bob", "b", "dev")


class Told:
    """A lease, and what it told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.alone: list[str] = []
        self._more = threading.Condition()
        self.lease = Lease(self._tell, self.alone.append)

    def _tell(self, event: Any) -> None:
        with self._more:
            self.events.append((event["state"], event["holder"]))
            self._more.notify_all()

    def wait(self, state: str, holder: str) -> None:
        with self._more:
            assert self._more.wait_for(lambda: (state, holder) in self.events, SOON_S), self.events

    def holder(self) -> str:
        return str(self.lease.told(ANNA).get("holder", ""))


@pytest.fixture
def told() -> Iterator[Told]:
    made = Told()
    yield made
    made.lease.close()


def change(told: Told, link: str, session: Session) -> None:
    with told.lease.during(link, session):
        pass


def refused(told: Told, link: str, session: Session) -> str:
    with pytest.raises(Refused) as caught:
        change(told, link, session)
    return caught.value.code


def test_the_first_that_changes_something_has_it_until_it_gives_it_up(told: Told) -> None:
    change(told, "1", ANNA)
    assert refused(told, "2", BOB) == "leased"
    told.lease.get("2", BOB)
    told.lease.give(BOB)
    assert told.lease.told(BOB) == {**told.lease.told(BOB), "holder": "anna", "doing": "dev", "yours": False}
    told.lease.give(ANNA)
    change(told, "2", BOB)
    assert told.events == [("held", "anna"), ("free", "anna"), ("held", "bob")]


def test_two_sessions_of_one_host_are_two(told: Told) -> None:
    change(told, "1", ANNA)
    assert refused(told, "2", Session("anna", "another")) == "leased"


def test_it_can_be_taken_and_who_had_it_is_refused_from_then_on(told: Told) -> None:
    change(told, "1", ANNA)
    told.lease.get("2", BOB, take=True)
    assert refused(told, "1", ANNA) == "leased"
    told.lease.left("1")
    assert told.holder() == "bob"
    assert told.alone == ["anna", "bob"]


def test_the_lease_of_a_link_that_names_no_session_ends_with_it(told: Told) -> None:
    change(told, "1", Session("anna", "of the link", lasts=False))
    told.lease.left("1")
    assert told.holder() == ""


def test_a_session_that_comes_back_in_time_has_kept_it_and_one_that_does_not_has_lost_it(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(told, "1", ANNA)
    told.lease.left("1")
    assert (told.holder(), told.lease.told(ANNA)["linked"]) == ("anna", False)
    assert refused(told, "2", BOB) == "leased"
    told.lease.get("3", ANNA)
    assert told.lease.told(ANNA)["linked"]
    monkeypatch.setattr(module, "GRACE_S", 0.01)
    told.lease.left("3")
    told.wait("free", "anna")
    change(told, "2", BOB)


def test_one_of_several_links_keeps_it(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE_S", 0.0)
    for link in ("1", "2"):
        change(told, link, ANNA)
    told.lease.left("1")
    assert told.lease.told(ANNA)["linked"]


def test_what_reaches_into_what_runs_goes_with_its_host_and_holds_the_lease_where_nobody_has_it(told: Told) -> None:
    stream = Session("anna", "")
    change(told, "1", stream)
    assert refused(told, "2", BOB) == "leased"
    change(told, "3", ANNA)
    change(told, "1", stream)
    told.lease.give(stream)
    assert told.lease.told(ANNA)["yours"]
    assert refused(told, "2", Session("bob", "")) == "leased"
    assert told.alone == ["anna"], "what goes on of that host went on"


def test_a_host_that_is_obeyed_no_more_has_no_lease(told: Told) -> None:
    change(told, "1", ANNA)
    told.lease.forget("bob")
    assert told.holder() == "anna"
    told.lease.forget("anna")
    change(told, "2", BOB)


def test_it_is_not_taken_in_the_middle_of_a_change(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    taking = threading.Thread(target=told.lease.get, args=("2", BOB), kwargs={"take": True})
    with told.lease.during("1", ANNA):
        monkeypatch.setattr(module, "BUSY_S", 0.0)
        with pytest.raises(Refused) as caught:
            told.lease.get("2", BOB, take=True)
        assert caught.value.code == "busy"
        monkeypatch.setattr(module, "BUSY_S", SOON_S)
        taking.start()
        assert told.holder() == "anna"
    taking.join(SOON_S)
    assert told.holder() == "bob"


def test_who_takes_it_is_not_kept_out_by_changes_that_overlap(told: Told) -> None:
    """As those of two links of one session can, for ever."""
    over = threading.Event()
    taking = threading.Thread(target=told.lease.get, args=("2", BOB), kwargs={"take": True})
    refusals: list[str] = []

    def work(link: str, other: threading.Semaphore, own: threading.Semaphore) -> None:
        """One change after the other, of which none ends before the next one of the other link has begun."""
        try:
            while not over.is_set():
                with told.lease.during(link, ANNA):
                    own.release()
                    other.acquire(timeout=0.1)
        except Refused as refusal:
            refusals.append(refusal.code)

    first, second = threading.Semaphore(0), threading.Semaphore(0)
    workers = [threading.Thread(target=work, args=args) for args in (("1", first, second), ("3", second, first))]
    for thread in (*workers, taking):
        thread.start()
    taking.join(SOON_S)
    over.set()
    for worker in workers:
        worker.join(SOON_S)
    assert told.holder() == "bob"
    assert set(refusals) <= {"leased"}


def test_who_is_removed_while_it_waits_does_not_get_it(told: Told) -> None:
    failed: list[str] = []

    def check() -> None:
        raise Refused("dismissed", "what this host may do here was changed")

    def take() -> None:
        try:
            told.lease.get("2", BOB, check, take=True)
        except Refused as refusal:
            failed.append(refusal.code)

    taking = threading.Thread(target=take)
    with told.lease.during("1", ANNA):
        taking.start()
    taking.join(SOON_S)
    assert (failed, told.holder()) == (["dismissed"], "anna")


def test_nobody_changes_anything_beside_somebody_else_s_change_however_many_take_it(told: Told) -> None:
    """Also not where who has it goes in the middle of its change."""
    inside: set[str] = set()
    worst: list[int] = []
    codes: set[str] = set()
    deadline = monotonic() + SOON_S

    def work(host: str) -> None:
        chance = random.Random(host)
        for turn in range(40):
            link, session = f"{host} {turn}", Session(host, "one", lasts=chance.random() < 0.5)
            told.lease.get(link, session, take=chance.random() < 0.5)
            try:
                with told.lease.during(link, session):
                    inside.add(host)
                    worst.append(len(inside))
                    told.lease.left(link)
                    worst.append(len(inside))
                    inside.discard(host)
            except Refused as refusal:
                codes.add(refusal.code)
            if chance.random() < 0.3:
                told.lease.give(session)

    workers = [threading.Thread(target=work, args=(host,)) for host in ("anna", "bob", "carol", "dave")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(deadline - monotonic())
    assert worst
    assert (max(worst), codes) == (1, {"leased"})
