"""``reactor devices``: which there are, what each runs, who has its lease, whether it and this host trust each other.

Two sources: who announces itself on the network, which anybody can do, and the devices that this host knows, which are
asked, each on a thread of its own. They are joined by the key: two devices of one name are two rows.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Collection
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from bootloader.wire.errors import Fault, Untrusted
from bootloader.wire.presence import Presence

from .. import lease, trust
from ..discovery import Discovery, Found
from ..report import clean, whole
from ..settings import RESERVED
from ..targets.linked import Linked
from ..terminal import Terminal
from . import options

_LIST_S = 0.5
"""When the list is told, whoever has not answered yet. Announcements come within 0.3 s; the start of the command takes
some of the second as well.
"""

_MOMENT_S = 0.5
"""How long a device has to answer before others, with ``--watch``."""

_ANSWER_S = 3.0
"""How long one may take once there is a link, and how soon one that takes longer is asked again if it tells of news."""

_AGAIN_S = 2.0
"""How often the network is looked at again, with ``--watch``."""

_ASK_EVERY_S = 5.0
"""How often a device is asked again that announces nothing new."""

_MOST_ASKED = 32
_SHORT_ID = 8

Told = dict[str, Any]


@dataclass(slots=True)
class _Asked:
    """A question under way, and what came of it."""

    found: Found | None
    """What it announced when it was asked."""

    at: float = field(default_factory=time.monotonic)
    done: threading.Event = field(default_factory=threading.Event)
    trust: str = "no-answer-yet"
    told: Told = field(default_factory=dict)


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("--watch", action="store_true", help="go on, and tell what comes, changes and goes")
    options.add_output(parser)


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Look, ask and show: 0."""
    changed = threading.Event()
    around = _Around(changed.set)
    around.ask([])  # those whose addresses are known, while the network is asked
    with closing(_Network(changed.set, around.known)) as network:
        if network.fault is not None and not (around.known or arguments.watch):
            raise network.fault
        network.tell(terminal)
        until = time.monotonic() + _LIST_S  # from here on it is heard who is there, however long that took to begin
        while (left_s := until - time.monotonic()) > 0:
            changed.wait(left_s)
            changed.clear()
            around.ask(network.found)
        rows = around.rows(network.found)
        _show(terminal, rows, watch=arguments.watch)
        while arguments.watch:
            changed.wait(_AGAIN_S)
            changed.clear()
            network.refresh()
            network.tell(terminal)
            around.ask(network.found)
            around.wait()
            before, rows = rows, around.rows(network.found)
            _tell_changes(terminal, before, rows)
    return 0


class _Network:
    """Who announces himself, as far as the network can be searched."""

    def __init__(self, on_change: Callable[[], None], wanted: Collection[str]) -> None:
        self._on_change, self._wanted = on_change, wanted
        self._discovery: Discovery | None = None
        self._told = ""
        self.fault: Fault | None = None
        """Why it can't be; it is tried again with each :meth:`refresh`."""
        self.refresh()

    @property
    def found(self) -> list[Found]:
        """They."""
        return self._discovery.found if self._discovery is not None else []

    def refresh(self) -> None:
        """Follow the network."""
        try:
            if self._discovery is None:
                self._discovery = Discovery(self._on_change, self._wanted)
            else:
                self._discovery.refresh()
            self.fault = None
        except Fault as fault:
            self._discovery, self.fault = None, fault

    def tell(self, terminal: Terminal) -> None:
        """Say why it can't be searched, once."""
        before, self._told = self._told, str(self.fault or "")
        if self.fault is not None and self._told != before:
            terminal.notice(self.fault.code, clean(self._told))

    def close(self) -> None:
        """Look no more."""
        if self._discovery is not None:
            self._discovery.close()


class _Around:
    """The devices that this host knows, and what they have answered."""

    def __init__(self, on_answer: Callable[[], None]) -> None:
        self._on_answer = on_answer
        self._devices = {device.fingerprint: device for device in trust.known(trust.default_home())[:_MOST_ASKED]}
        self._asked: dict[str, _Asked] = {}

    @property
    def known(self) -> list[str]:
        """Their keys."""
        return list(self._devices)

    def ask(self, found: list[Found]) -> None:
        """Ask each known device what it runs, unless what it announces is what it was when it was asked lately."""
        announced = {one.presence.id: one for one in _joined(found)}
        for key, device in self._devices.items():
            asked, one = self._asked.get(key), announced.get(key)
            if asked is not None and asked.found is None and asked.trust == "trusted":
                asked.found = one  # it has answered before it was heard
            if asked is None or self._is_due(asked, one):
                before = asked or _Asked(None)
                asked = self._asked[key] = _Asked(one, trust=before.trust, told=before.told)  # until it answers
                where = (asked, device, self._on_answer)
                threading.Thread(target=_ask, args=where, name=f"{device.name} ask", daemon=True).start()

    def _is_due(self, asked: _Asked, found: Found | None) -> bool:
        """Whether to ask again. While that is under way only where more is known now, and now and then."""
        lasted_s = time.monotonic() - asked.at
        if asked.done.is_set():
            return asked.found != found or lasted_s > _ASK_EVERY_S
        return asked.found != found and (asked.found is None or lasted_s > _ANSWER_S)

    def wait(self) -> None:
        """Until each has answered, or had a moment to."""
        for asked in self._asked.values():
            asked.done.wait(max(0.0, asked.at + _MOMENT_S - time.monotonic()))

    def rows(self, found: list[Found]) -> dict[str, Told]:
        """What is known of each device now, by its key."""
        rows = {one.presence.id: self._row(one.presence, one.addresses) for one in _joined(found)}
        for key, device in self._devices.items():
            if key not in rows:
                rows[key] = self._row(None, tuple(map(clean, device.addresses)), key)
        return dict(sorted(rows.items(), key=lambda item: (item[1]["name"], item[0])))

    def _row(self, presence: Presence | None, addresses: tuple[str, ...], key: str = "") -> Told:
        key = presence.id if presence is not None else key
        device, asked = self._devices.get(key), self._asked.get(key)
        own = asked.told if asked is not None else {}
        told = presence.told() if presence is not None else {}
        return {
            "event": "device",
            "target": device.name if device is not None else "",
            "name": own.get("name") or told.get("name") or (device.name if device is not None else ""),
            "id": key,
            "addresses": list(addresses),
            "announced": presence is not None,
            "trust": asked.trust if asked is not None else "unknown",
            "gone": False,
            "root": own["root"] if own else told.get("root", ""),
            "generation": own.get("generation", 0),
            "fate": own.get("fate", ""),
            "lease": own.get("lease"),
            **{one: own.get(one) or told.get(one, "") for one in ("version", "python", "machine")},
        }


def _joined(found: list[Found]) -> list[Found]:
    """One for each key: anybody may announce somebody else's, so all places that are told of it count."""
    joined: dict[str, Found] = {}
    for one in found:
        before = joined.get(one.presence.id)
        addresses = one.addresses if before is None else tuple(dict.fromkeys((*before.addresses, *one.addresses)))
        joined[one.presence.id] = Found(one.presence if before is None else before.presence, addresses)
    return list(joined.values())


def _ask(asked: _Asked, device: trust.Device, on_answer: Callable[[], None]) -> None:
    """What the device says that it runs, to this host."""
    announced = asked.found.addresses if asked.found is not None else ()
    verdict: str = "no-answer"
    told: Told = {}
    try:
        target = Linked(device.name, device.address or announced[0], more=announced, search=False, wires=False)
        with target.connect("ask") as link:
            try:
                answer, _ = link.call("status", {}, timeout_s=_ANSWER_S)
            except Untrusted:
                verdict = "refuses"
                return
        newest = answer.child("generation")
        told = {
            **{one: clean(answer.text(one)) for one in ("name", "version", "python", "machine", "root")},
            "generation": whole(newest.integer("generation", 0)),
            "fate": clean(newest.text("fate", "")),
            "lease": _lease(lease.read(answer.child("lease"))),
        }
        verdict = "trusted"
    except Untrusted:
        verdict = "other-key"
    except (Fault, OSError, IndexError):
        verdict = "no-answer"
    finally:
        asked.trust, asked.told = verdict, told
        asked.done.set()
        on_answer()


def _lease(holder: lease.Holder | None) -> Told | None:
    """Without since when, which is told anew with each answer, and is never quite the same."""
    return {"holder": holder.host, "doing": holder.doing, "yours": holder.yours} if holder is not None else None


def _show(terminal: Terminal, rows: dict[str, Told], *, watch: bool) -> None:
    if terminal.as_json:
        for row in rows.values():
            terminal.tell(row)
    elif rows:
        columns = ("device", "id", "address", "runs", "lease", "bootloader", "trust")
        terminal.table(columns, [_cells(row) for row in rows.values()])
    elif not watch:
        terminal.line("no device announces itself here, and this host knows none: a device's address may do")


def _tell_changes(terminal: Terminal, before: dict[str, Told], rows: dict[str, Told]) -> None:
    """What came, changed or went."""
    changed = [row for key, row in rows.items() if row != before.get(key)]
    gone = [{**row, "announced": False, "gone": True} for key, row in before.items() if key not in rows]
    for row in (*changed, *gone):
        if terminal.as_json:
            terminal.tell(row)
        else:
            name, key, address, runs, _, _, trusted = _cells(row)
            leased = _leased(row)
            what = "is gone" if row["gone"] else f"{address}, {runs}{leased and f', leased to {leased}'}, {trusted}"
            terminal.line(f"{name} {key}: {what}")


def _cells(row: Told) -> tuple[str, ...]:
    """A row for people."""
    name = row["target"] or (row["name"] if row["name"] not in RESERVED else row["id"][:_SHORT_ID])
    runs = f"generation {row['generation']} ({row['fate']})" if row["generation"] else ""
    root = f"root {row['root'][:12]}" if row["root"] else ""
    return (
        f"{name} ({row['name']})" if row["name"] not in ("", name) else name,
        row["id"][:_SHORT_ID],
        (row["addresses"][0] if row["addresses"] else "-") + ("" if row["announced"] else ", not announced"),
        ", ".join(filter(None, (runs, root))) or "-",
        _leased(row) or "-",
        f"{row['version']}, Python {row['python']}, {row['machine']}" if row["version"] else "-",
        row["trust"].replace("-", " "),
    )


def _leased(row: Told) -> str:
    """To whom, and for what; empty where it is not."""
    told = row["lease"]
    if told is None:
        return ""
    return f"{told['holder']} ({told['doing']})" if told["doing"] else str(told["holder"])
