"""Who is obeyed, and how far, while the bootloader runs: files that come, change and go, and their hosts' links."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from bootloader.trust import HOSTS, OBSERVERS, ROLES, SELF, Trust, admit, assign, dismiss, mark
from bootloader.wire.errors import Fault, LinkDown, Refused, Untrusted
from bootloader.wire.private import sealed
from bootloader.wire.stream import fingerprint
from reactor.link import Link
from reactor.trust import KeyPair, make_identity
from tests.bootloader.target import SOON_S, Change, Target, app

WAIT = "import threading\ndef main():\n    print('up')\n    threading.Event().wait()\n"


class Guest:
    """Another host, and its place at a target."""

    def __init__(self, target: Target, folder: Path, name: str) -> None:
        self._target, self.name = target, name
        made = make_identity(name)
        self.pem, self.fingerprint = made.cert_pem, made.fingerprint
        self.identity = KeyPair(folder / f"{name}.crt", folder / f"{name}.key")
        self.identity.certificate.write_text(made.cert_pem)
        self.identity.key.touch(0o600)
        self.identity.key.write_text(made.key_pem)

    def put(self, folder: str) -> None:
        place = self._target.state / "trust" / folder / f"{self.name}.crt"
        place.parent.mkdir(mode=0o700, exist_ok=True)
        place.write_text(sealed(self.pem))

    def take(self, folder: str) -> None:
        (self._target.state / "trust" / folder / f"{self.name}.crt").unlink()

    def link(self) -> Link:
        certificate = self._target.state / "trust" / "device.crt"
        return Link.connect("127.0.0.1", self._target.listening["port"], self.identity, certificate, SOON_S)

    def refusal(self) -> Fault:
        with self.link() as link, pytest.raises(Fault) as caught:
            link.call("hello", {})
        return caught.value


@pytest.fixture
def guest(target: Target, tmp_path: Path) -> Guest:
    return Guest(target, tmp_path, "bob")


def ends(link: Link) -> None:
    """Until the target has ended it, seen by a call that waits for events which do not come."""

    def wait() -> None:
        cursor, deadline = -1, monotonic() + SOON_S
        while monotonic() < deadline:
            told, _ = link.call("events", {"cursor": cursor, "wait_s": SOON_S}, timeout_s=2 * SOON_S)
            cursor = told.integer("cursor")

    with link, pytest.raises(LinkDown):
        wait()


def test_a_host_whose_file_comes_is_obeyed_and_one_whose_file_goes_is_not_and_its_links_end(
    target: Target, guest: Guest
) -> None:
    assert isinstance(guest.refusal(), Untrusted)
    guest.put("hosts")
    assert target.notice("host-added")["text"].startswith("bob ")
    waiting, idle = guest.link(), guest.link()
    waiting.call("hello", {})
    idle.call("hello", {})
    guest.take("hosts")
    ends(waiting)
    assert target.notice("host-removed")["text"].startswith("bob ")
    with pytest.raises(LinkDown):
        idle.call("hello", {})
    idle.close()
    assert isinstance(guest.refusal(), Untrusted)
    assert target.call("hello").text("name"), "whoever else is linked keeps the link"


def test_a_removed_host_s_streams_end_with_its_links(target: Target, guest: Guest) -> None:
    target.ship(WAIT, app(settle_s=0.0)).healthy()
    target.call("lease", do="give")
    guest.put("hosts")
    target.notice("host-added")
    with guest.link() as link:
        opened, _ = link.call("open", {"kind": "repl", "more": {"width": 80}}, timeout_s=SOON_S)
        guest.take("hosts")
        target.notice("host-removed")
    guest.put("hosts")
    target.event("notice", code="host-added", text="bob is of the hosts of this device now")
    deadline = monotonic() + SOON_S
    while True:
        try:
            with guest.link() as link, pytest.raises(Refused) as caught:
                link.call("read", {"stream": opened.text("stream"), "at": 0})
            break
        except (LinkDown, Untrusted):
            assert monotonic() < deadline
    assert caught.value.code == "no-stream"


SLOW_TO_STOP = """
import os, signal, sys, threading, time
def stop(*_):
    print("stopping", flush=True)
    while not os.path.exists(os.environ["GO"]):
        time.sleep(0.01)
    sys.exit()
def main():
    signal.signal(signal.SIGTERM, stop)
    print("up")
    threading.Event().wait()
"""


def test_what_a_removed_host_has_asked_for_and_waits_is_not_done_and_its_window_is_over(
    target: Target, guest: Guest, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    slow = app(settle_s=0.0, grace_s=SOON_S, env={"GO": str(go)})
    target.ship(SLOW_TO_STOP, slow).healthy()
    target.call("lease", do="give")
    guest.put("hosts")
    target.notice("host-added")
    with guest.link() as one, guest.link() as other, ThreadPoolExecutor(2) as pool:
        for link in (one, other):
            link.call("lease", {"do": "get", "session": "bob's"})
        other.call("invite", {})
        pool.submit(one.call, "restart", {})
        target.log("stopping")
        waiting = pool.submit(other.call, "restart", {})
        guest.take("hosts")
        removed = target.notice("host-removed")
        assert "bob" in target.notice("pairing-closed")["text"]
        go.touch()
        assert isinstance(waiting.exception(SOON_S), LinkDown)
        target.event("log", after=removed, text="up")
        Change(target, target.call("restart")).healthy()
    starts = [each for each in target.events if each.get("state") == "starting" and each["n"] > removed["n"]]
    assert len(starts) == 2, "of bob's first, which was under way, and of ours"


LOOKS: dict[str, dict[str, Any]] = {
    "hello": {},
    "status": {},
    "history": {},
    "boots": {},
    "events": {"cursor": -1},
}


def test_an_observer_may_look_and_is_refused_whatever_could_change_something(target: Target, guest: Guest) -> None:
    target.ship(WAIT, app(settle_s=0.0)).healthy()
    guest.put("observers")
    target.notice("host-added")
    before = target.call("history").objects("generations")[0].plain()
    with guest.link() as link:
        for method, request in LOOKS.items():
            link.call(method, request)
        for method in CHANGES:
            with pytest.raises(Refused) as caught:
                link.call(method, {})
            assert (caught.value.code, caught.value.to) == ("observer", "bob"), method
        with pytest.raises(Refused) as caught:
            link.call("events", {"cursor": -1, "attached": True})
        assert caught.value.code == "observer"
    assert target.call("history").objects("generations")[0].plain() == before


CHANGES = (
    "lease", "missing", "layer", "upload", "manifest", "apply", "start", "restart", "stack", "rollback", "upgrade",
    "confirm", "open", "write", "read", "close", "trust", "role", "distrust", "invite",
)  # fmt: skip


def test_a_method_that_is_new_is_not_an_observer_s_until_somebody_says_so() -> None:
    from bootloader import service

    assert set(LOOKS) == service._LOOKS
    answers = Path(service.__file__).read_text("utf-8").partition("dict[str, Answer] = {")[2].partition("}")[0]
    assert {*LOOKS, *CHANGES} == set(re.findall(r'"(\w+)": self', answers)), "each is tried by an observer here"


@pytest.mark.parametrize(("was", "becomes"), [("hosts", "observers"), ("observers", "hosts")])
def test_a_host_that_becomes_something_else_has_to_link_again(
    target: Target, guest: Guest, was: str, becomes: str
) -> None:
    guest.put(was)
    target.notice("host-added")
    link = guest.link()
    link.call("hello", {})
    guest.take(was)
    guest.put(becomes)
    ends(link)
    target.event("notice", code="host-added", text=f"bob is of the {becomes} of this device now")
    with guest.link() as again:
        if becomes == "hosts":
            again.call("missing", {"names": []})
        else:
            with pytest.raises(Refused):
                again.call("missing", {"names": []})


def test_who_is_in_both_folders_may_look(target: Target, guest: Guest) -> None:
    guest.put("hosts")
    target.notice("host-added")
    guest.put("observers")
    target.event("notice", code="host-added", text="bob is of the observers of this device now")
    with guest.link() as link, pytest.raises(Refused):
        link.call("restart", {})


def test_a_trust_that_can_t_be_loaded_leaves_whom_it_obeys_as_it_was(target: Target) -> None:
    trust = target.state / "trust"
    kept = trust.stat().st_mode
    trust.chmod(0o777)
    (trust / "device.key").chmod(0o644)
    assert target.notice("trust-not-renewed")
    with target.link("again") as link:
        link.call("hello", {})
    (trust / "device.key").chmod(0o600)
    trust.chmod(kept)


def test_the_device_reaches_itself_with_a_key_that_took_the_place_of_its_own(target: Target, guest: Guest) -> None:
    trust = target.state / "trust"
    pid = target.call("hello").integer("pid")
    for name, path in (("device.key", guest.identity.key), ("device.crt", guest.identity.certificate)):
        (trust / name).write_text(sealed(path.read_text()))
    deadline = monotonic() + SOON_S
    while True:
        try:
            with target.link("new") as link:  # which knows the device by the new certificate
                assert link.call("hello", {})[0].integer("pid") == pid
            break
        except Fault:
            assert monotonic() < deadline
            threading.Event().wait(0.05)


# on the disk


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "trust"
    (made / "hosts").mkdir(parents=True, mode=0o700)
    made.chmod(0o700)
    device = make_identity("device")
    for name, text in (("device.crt", device.cert_pem), ("device.key", device.key_pem)):
        (made / name).touch(0o600)
        (made / name).write_text(sealed(text))
    return made


def test_admitted_is_obeyed_dismissed_is_not_and_stays_away(folder: Path) -> None:
    anna, twin = make_identity("anna"), make_identity("anna")
    assert admit(folder, "anna", anna.cert_pem) == "anna"
    assert admit(folder, "anna", anna.cert_pem) == "anna", "it is obeyed already"
    other = admit(folder, "anna", twin.cert_pem)
    assert other == f"anna-{twin.fingerprint[:8]}"
    assert {row[0] for row in Trust.load(folder).rows()} == {"anna", other}
    assert dismiss(folder, "anna")
    assert not dismiss(folder, "anna")
    for _ in range(2):
        assert [row[:2] for row in Trust.load(folder).rows()] == [(other, twin.fingerprint)]


@pytest.mark.parametrize("name", ["", ".", "..", "../device", "hosts/anna", "*", "anna\0", "x" * 5000])
def test_a_name_that_is_no_host_s_changes_nothing(folder: Path, name: str) -> None:
    admit(folder, "anna", make_identity("anna").cert_pem)
    before = mark(folder)
    assert not dismiss(folder, name)
    assert not any(assign(folder, name, role) for role in ROLES)
    assert mark(folder) == before


def test_a_host_is_of_one_role_at_a_time_and_its_copy_does_not_bring_the_other_back(folder: Path) -> None:
    anna = make_identity("anna")
    admit(folder, "anna", anna.cert_pem)
    for role in (OBSERVERS, HOSTS, HOSTS, OBSERVERS):
        Trust.load(folder)  # which has a copy made
        assert assign(folder, "anna", role)
        for _ in range(2):
            assert Trust.load(folder).rows() == [("anna", anna.fingerprint, role)]
    assert admit(folder, "another name", anna.cert_pem) == "anna", (
        "by its key it is known, and it does everything again"
    )
    assert Trust.load(folder).rows() == [("anna", anna.fingerprint, HOSTS)]


def test_two_keys_of_one_name_in_both_folders_are_two_hosts_when_one_changes_its_role(folder: Path) -> None:
    anna, twin = make_identity("anna"), make_identity("anna")
    admit(folder, "anna", anna.cert_pem)
    (folder / OBSERVERS).mkdir()
    (folder / OBSERVERS / "anna.crt").write_text(sealed(twin.cert_pem))
    assert assign(folder, "anna", OBSERVERS)
    names = {which: (name, role) for name, which, role in Trust.load(folder).rows()}
    assert names == {
        twin.fingerprint: ("anna", OBSERVERS),
        anna.fingerprint: (f"anna-{anna.fingerprint[:8]}", OBSERVERS),
    }


def test_an_observer_s_damaged_file_is_made_anew_from_its_copy(folder: Path) -> None:
    (folder / "observers").mkdir()
    file = folder / "observers" / "carl.crt"
    carl = make_identity("carl")
    file.write_text(sealed(carl.cert_pem))
    Trust.load(folder)
    file.write_bytes(b"\0" * 100)
    trust = Trust.load(folder)
    assert trust.observes(carl.fingerprint)
    assert trust.rows() == [("carl", carl.fingerprint, "observers")]


def test_the_device_s_own_key_among_the_observers_costs_its_heart_nothing(folder: Path) -> None:
    (folder / "observers").mkdir()
    own = (folder / "device.crt").read_text()
    (folder / "observers" / "self.crt").write_text(own)
    trust = Trust.load(folder)
    which = fingerprint(own)
    assert (trust.host_of(which), trust.observes(which), trust.rows()) == (SELF, False, [])
