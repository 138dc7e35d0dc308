"""A host at the other end of one link, until that ends: who it is, whether it may only look, of which session it is.

Knows nothing of what it asks for.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from .lease import Session
from .wire.errors import LinkClosed, Refused
from .wire.messages import Fields

_TOKEN_BYTES = 16
_TOKEN_CHARS = 64
_DOING_CHARS = 32


@dataclass(eq=False)
class Peer:
    """One link's host."""

    host: str
    observes: bool
    is_dismissed: Callable[[], bool]
    """Whether this host is not obeyed any more, or is something else now."""
    asked_at: float = 0.0
    """When the request came that is being answered, by the monotonic clock."""
    session: Session = field(init=False)
    """Of this link alone, until it says of which one it is."""

    def __post_init__(self) -> None:
        self.session = Session(self.host, secrets.token_hex(_TOKEN_BYTES), lasts=False)

    def check(self) -> None:
        """Called before something is done that had to wait: whoever was removed meanwhile has nothing done any more."""
        if self.is_dismissed():
            raise LinkClosed("what this host may do here was changed", to=self.host)

    @property
    def any_session(self) -> Session:
        """All sessions of this host, one of which is at a prompt or in a debugger."""
        return Session(self.host, "", "repl")

    def join(self, said: Fields) -> bool:
        """Be of the ``session`` that is ``said``, if one is; whether that is another one now."""
        token, doing = said.text("session", ""), said.text("doing", "")[:_DOING_CHARS]
        if len(token) > _TOKEN_CHARS:
            raise Refused("malformed", f"longer than {_TOKEN_CHARS} characters", to="'session'")
        if token in ("", self.session.token):
            self.session = replace(self.session, doing=doing)
            return False
        self.session = Session(self.host, token, doing)
        return True
