"""One small tree of errors, each with a stable code: what happened, to what, what to do now.

A fault is an exception inside a process and a value (plain text fields) on the wire. Nothing that the other
end sends chooses a class here: it fills the fields of :class:`Refused`, and no more.
"""

from __future__ import annotations

from collections.abc import Mapping

FIELD_CHARS = 4_000
_NUMBERS = ("line", "column")
_TEXTS = ("file", "text", "root")


class Fault(Exception):
    """The root of the tree.

    ``code``: stable, kebab-case; ``what``: what happened; ``to``: to what; ``do``: what to do now; ``fields``:
    more plain values that a code defines (``file``, ``line``, ``column``, ``text``, ``root``).
    """

    def __init__(self, code: str, what: str, *, to: str = "", do: str = "", **fields: str | int) -> None:
        super().__init__(what)
        self.code = code
        self.what = what
        self.to = to
        self.do = do
        self.fields = fields

    def __str__(self) -> str:
        text = f"{self.to}: {self.what}" if self.to else self.what
        return f"{text} ({self.do})" if self.do else text

    def as_fields(self) -> dict[str, str | int]:
        """The fault as plain values, for a message."""
        return {"code": self.code, "what": self.what, "to": self.to, "do": self.do, **self.fields}


class Refused(Fault):
    """The other end said no, and nothing changed there."""

    @classmethod
    def from_fields(cls, fields: Mapping[str, object]) -> Refused:
        """The fault that a peer's message describes; absent or odd fields become empty, long ones are cut."""

        def text(key: str) -> str:
            value = fields.get(key, "")
            return value[:FIELD_CHARS] if isinstance(value, str) else ""

        more: dict[str, str | int] = {key: text(key) for key in _TEXTS if isinstance(fields.get(key), str)}
        for key in _NUMBERS:
            number = fields.get(key)
            if isinstance(number, int) and not isinstance(number, bool):
                more[key] = number
        return cls(text("code") or "refused", text("what") or "refused", to=text("to"), do=text("do"), **more)


class Malformed(Fault):
    """A message, manifest or overlay that does not follow its format."""

    def __init__(self, what: str, *, to: str = "", do: str = "") -> None:
        super().__init__("malformed", what, to=to, do=do)


class OtherProtocol(Malformed):
    """A message of another version than this end speaks, of which no more was read. ``is_older``: than this end."""

    def __init__(self, theirs: int, ours: int) -> None:
        do = "install the same version of live-reactor on both"
        super().__init__(f"the other end speaks protocol {theirs}, this end speaks {ours}", do=do)
        self.code = "other-protocol"
        self.is_older = theirs < ours


class LinkDown(Fault):
    """The world broke the link (or it never came up): try again."""

    def __init__(self, what: str, *, to: str = "", do: str = "") -> None:
        super().__init__("link-down", what, to=to, do=do)


class LinkClosed(Fault):
    """This end closed the link: do not try again."""

    def __init__(self, what: str = "this end closed the link", *, to: str = "") -> None:
        super().__init__("link-closed", what, to=to)


class CallTimeout(Fault):
    """No answer in time. The call may still be running on the other end."""

    def __init__(self, what: str, *, to: str = "", do: str = "") -> None:
        super().__init__("call-timeout", what, to=to, do=do)


class Untrusted(Fault):
    """The peer is not the one that was expected, or does not obey this end."""

    def __init__(self, what: str, *, to: str = "", do: str = "") -> None:
        super().__init__("untrusted", what, to=to, do=do)
