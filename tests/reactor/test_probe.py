"""Which links are given up that nothing comes over: those that are dead, and not those of a target that stood still."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from bootloader.wire.errors import Fault
from reactor.link import Link
from reactor.session.probe import Probe
from tests.bootloader.target import SOON_S, Target


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    made = Target(tmp_path_factory.mktemp("target"))
    yield made
    made.close()


def test_a_link_that_a_frozen_target_still_uses_is_not_given_up_when_it_goes_on(target: Target) -> None:
    """New links come up at the same moment."""
    given_up: list[Fault] = []
    connected = threading.Event()

    def connect() -> Link:
        link = target.link("another")
        connected.set()
        return link

    with target.link("control") as link:
        link.call("hello", {})
        pid = target.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            Probe("target", connect, given_up.append).outdo(link)
            (probing,) = [thread for thread in threading.enumerate() if thread.name == "target probe"]
        finally:
            os.kill(pid, signal.SIGCONT)
        assert connected.wait(SOON_S)
        probing.join(SOON_S)
        assert not probing.is_alive()
        assert given_up == []
        link.call("hello", {})


def test_of_a_link_that_has_ended_nothing_is_said(target: Target) -> None:
    given_up: list[Fault] = []
    link = target.link("control")

    def connect() -> Link:
        link.close()
        return target.link("another")

    Probe("target", connect, given_up.append).outdo(link)
    for thread in threading.enumerate():
        if thread.name == "target probe":
            thread.join(SOON_S)
    assert given_up == []
