"""What is typed at a serial console until there is a shell: a name, a password, a question that only a shell answers.

Pure: what was heard, and for how long nothing was, in; what to type, out. Getty's and login's prompts are known by how
they end. A wrong password is typed once and no more, as some systems lock an account after three.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from bootloader.wire.errors import Fault

from ..report import clean

QUESTION = "sh -c 'echo @$((6*7))@'\n"
ANSWER = "@42@"
"""What a shell says to it; a terminal that shows what is typed, or a login, does not."""

_PROMPT = re.compile(r"[$#%>] *$")
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""What sets a colour, or asks for the cursor, around a prompt."""

_SETTLED_S = 0.5
_QUIET_S = 2.0
_SILENT_S = 6.0
_LOGIN_S = 20.0
"""How long a login may take to say anything after the password."""

_MOST_TYPED = 10
_MOST_KNOCKS = 3
"""At a line that says nothing at all."""

_MOST_CHARS = 8192
_SHORT_CHARS = 80
_NAME = re.compile(r"login: *$", re.IGNORECASE)
_LAST = re.compile(r"last login: *$", re.IGNORECASE)
_SECRET = re.compile(r"passw[^\n]{0,40}: *$", re.IGNORECASE)
_COLON = re.compile(r"\S[^\n]{0,60}: *$")
_REFUSED = re.compile(r"login incorrect|authentication failure|permission denied|login timed out", re.IGNORECASE)


class State(Enum):
    """What was typed last."""

    NOTHING = auto()
    KNOCK = auto()
    NAME = auto()
    PASSWORD = auto()
    QUESTION = auto()


@dataclass(frozen=True, slots=True)
class Type:
    """These bytes are to be typed."""

    data: bytes


class Ask(Enum):
    """What else is to be done. ``WAIT``: nothing yet; ``PASSWORD``: give it to :meth:`Login.password`."""

    WAIT = auto()
    PASSWORD = auto()
    SHELL = auto()


class Login:
    """One, as ``name``, at what the user calls ``to``."""

    def __init__(self, name: str, to: str) -> None:
        self._name = name
        self._to = to
        self._heard = ""
        """Since something was typed."""
        self._state = State.NOTHING
        self._typed = self._knocks = 0
        self._is_tried = False
        self._secret = ""
        self.has_logged_in = False
        """Whether a name was typed, so that who leaves has to log out."""

    def heard(self, data: bytes) -> None:
        """Hear ``data``."""
        self._heard = (self._heard + data.decode("utf-8", "replace").replace("\r", ""))[-_MOST_CHARS:]

    def password(self, text: str) -> Type:
        """It is known now."""
        self._is_tried, self._secret = True, text
        return self._type(State.PASSWORD, f"{text}\r")

    def due(self, quiet_s: float) -> Type | Ask:
        """What is to be done, after ``quiet_s`` without a word of either side. A :class:`Fault` where nothing helps."""
        said = _ESCAPE.sub("", self._heard)
        if self._state is State.QUESTION and ANSWER in self._heard:
            return Ask.SHELL
        if self._state is State.NOTHING:
            return self._type(State.KNOCK, "\r")
        if self._state is State.PASSWORD and _REFUSED.search(said):
            raise self._refused()
        if quiet_s < _SETTLED_S:
            return Ask.WAIT
        if _NAME.search(said) and not _LAST.search(said):
            return self._at_name()
        if _SECRET.search(said) or (self._state is State.NAME and _COLON.search(said)):
            return self._at_secret()
        if self._state is State.KNOCK and said.endswith("@-\n"):  # ours, left there by one that was killed
            return self._type(State.NOTHING, "@.\n")
        if quiet_s < self._patience_s(said):
            return Ask.WAIT
        if not said.strip() and self._state is State.KNOCK:
            self._knocks += 1
            if self._knocks == _MOST_KNOCKS:
                raise self.lost()
            return self._type(State.KNOCK, "\r")
        return self._type(State.QUESTION, QUESTION)

    def _patience_s(self, said: str) -> float:
        """For how long more may come of what ends in no known way."""
        if said.strip():
            return _SETTLED_S if _PROMPT.search(said) else _QUIET_S
        return _LOGIN_S if self._state is State.PASSWORD else _SILENT_S

    def _at_name(self) -> Type:
        if self._is_tried:
            raise self._refused()
        if not self._name:
            do = "say who is to log in: USER@serial:PORT"
            raise Fault("login-failed", "a login asks for a name there", to=self._to, do=do)
        self.has_logged_in = True
        return self._type(State.NAME, f"{self._name}\r")

    def _at_secret(self) -> Type | Ask:
        if self._state is State.NAME:
            return Ask.PASSWORD
        if self._state is State.PASSWORD:  # a new one, as the old one is too old
            do = "log in there yourself, reactor console, and give it what it asks for"
            raise Fault("login-failed", f"it asks for more: {self._last()!r}", to=self._to, do=do)
        return self._type(State.KNOCK, "\r")  # somebody has begun to log in

    def _type(self, state: State, text: str) -> Type:
        self._typed += 1
        if self._typed > _MOST_TYPED:
            raise self.lost()
        self._state, self._heard = state, ""
        return Type(text.encode())

    def _refused(self) -> Fault:
        return Fault("login-failed", f"it does not let {self._name!r} in with that password", to=self._to)

    def lost(self) -> Fault:
        """Why there is no shell."""
        said = self._last()
        if not said:
            do = "check the cable, its baud rate (serial:PORT:BAUD), and that a login runs on that port there"
            return Fault("no-shell", "nothing answers there", to=self._to, do=do)
        do = "look at it, reactor console, and leave a login or a shell there"
        return Fault("no-shell", f"no login and no shell answers there, but: {said!r}", to=self._to, do=do)

    def _last(self) -> str:
        """The last line that was heard, without the password, which a console may have shown."""
        heard = clean(self._heard)
        heard = heard.replace(self._secret, "…") if self._secret else heard
        lines = [line for line in heard.splitlines() if line.strip()]
        return lines[-1].strip()[-_SHORT_CHARS:] if lines else ""
