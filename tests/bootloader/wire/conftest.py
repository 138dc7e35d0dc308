"""What the tests of the link share."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from bootloader.wire.stream import connect, fingerprint
from bootloader.wire.strict import Caller, serve
from tests.bootloader.wire.ends import SOON_S, Door, Keys, Pair, Target


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """The device's, the host's, and those of others."""
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads, ended with the test."""
    with ThreadPoolExecutor(12) as executor:
        yield executor


@pytest.fixture
def door(keys: Keys, pool: ThreadPoolExecutor) -> Iterator[Door]:
    """Where the device listens."""
    made = Door(keys, pool)
    yield made
    made.close()


@pytest.fixture
def pair(keys: Keys, door: Door) -> Iterator[Pair]:
    """One connection."""
    accepted = door.accept()
    host = connect(*door.where, keys.client("host", "device"), fingerprint(keys.pem("device")), SOON_S)
    yield host, accepted.result(SOON_S)
    host.close()


@pytest.fixture
def target() -> Iterator[Target]:
    """What the device answers."""
    made = Target()
    yield made
    made.release.set()


@pytest.fixture
def serving(pair: Pair, pool: ThreadPoolExecutor, target: Target) -> Future[None]:
    """The device's end, answering."""
    return pool.submit(serve, pair[1], target.methods, target.faults.append)


@pytest.fixture
def caller(pair: Pair, serving: Future[None]) -> Iterator[Caller]:
    """The host's end, calling."""
    made = Caller(pair[0], "test")
    yield made
    made.close()
