"""Whether this session has its target's lease, as the target says, and what of that is told.

A session asks for the lease when it begins, and with each save while nobody has it. Once another one has it, this one
looks on until somebody says otherwise: it takes nothing back by itself, and a lease that is free again only for a save;
one that it gave away itself, only at a word.
Of the thread that ships. Knows a link only while it uses it.
"""

from __future__ import annotations

import secrets
from contextlib import suppress

from bootloader.wire.errors import Fault, Refused

from .. import lease
from ..clocks import moment
from ..link import Link
from ..report import problem
from .delivery import Tell

_GIVE_S = 0.25
"""How long the end of a session waits for the target to hear that it is the end."""


class Tenure:
    """The lease of the target ``name``. ``watching``: for as long as somebody saves, not for one push."""

    def __init__(self, name: str, tell: Tell, *, watching: bool, take: bool) -> None:
        self.held = False
        self._name = name
        self._tell = tell
        self._watching = watching
        self._token = secrets.token_hex(16)
        self._do = "take" if take else "get"
        """What a new link begins with: whoever has lost the lease looks first."""
        self._holder: lease.Holder | None = None
        self._had = self._is_given = False
        self._told = ("yours", "", "")

    def mends(self) -> bool:
        """Whether somebody sits here who mends what fails."""
        return self._watching and self.held

    def join(self, link: Link) -> None:
        """There is a new link. Who pushes once has no use for a lease of somebody else's: a :class:`Fault`."""
        self._see(link, self._do)

    @property
    def why_not(self) -> str:
        """Why a save is not shipped."""
        return "the lease was given away" if self._is_given else "another session has the lease"

    def see(self, link: Link, do: str) -> None:
        """``look``: something has happened to it. Who took it may have ended, and that it is free makes it not ours.
        Or ``take`` it, whoever has it now; or ``give`` it to who saves next, and leave it there until it is taken.
        """
        if do != "give" or self.held:
            self._is_given = do == "give" or (self._is_given and do == "look")
            self._see(link, do)

    def _see(self, link: Link, do: str) -> None:
        try:
            self._ask(link, do)
        except Refused as refused:  # a change of the other session's is under way, and lasts
            if not self._watching:
                raise
            self._tell(problem(refused))
        if not self._watching and not self.held:
            raise lease.leased(self._holder, self._name)

    def claim(self, link: Link) -> bool:
        """Whether a save may be shipped: it is had, or was free."""
        if not (self.held or self._is_given):
            self._ask(link, "get")
        return self.held

    def give(self, link: Link) -> None:
        """The session ends, and with it this. From any thread."""
        if self.held:
            with suppress(Fault):  # then it ends with its link
                lease.ask(link, "give", self._token, timeout_s=_GIVE_S)

    def tell(self) -> None:
        """Tell of what has changed since that was told, if anything has."""
        who = None if self.held else self._holder
        told = ("yours" if self.held else "other" if who else "free", who.host if who else "", who.doing if who else "")
        if told == self._told:
            return
        lost, self._told = self._had and self._told[0] == "yours", told
        if who is not None:
            taken = f"{who} has taken the lease" if lost else f"leased to {who}"
            text = f"{taken}: saves stay here; %take, or --take, takes it"
        elif self.held:
            text = "the lease is this session's"
        elif self._is_given:
            text = "the lease is whoever's saves next: saves stay here until %take"
        else:
            free = "another session had the lease, and has ended" if lost else "the lease is free"
            text = f"{free}: the next save takes it, or %take"
        since = moment(who.since) if who is not None else ""
        about = {"holder": told[1], "doing": told[2], "since": since}
        self._tell({"event": "lease", "state": told[0], **about, "text": text})

    def _ask(self, link: Link, do: str) -> None:
        self._holder = lease.ask(link, do, self._token, "dev" if self._watching else "push")
        self.held = self._holder is not None and self._holder.yours
        self._had = self._had or self.held
        self._do = "get" if self.held else "look"
