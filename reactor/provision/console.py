"""A board's shell at the end of a serial line: it is logged in to, and driven by numbered orders, each with a sum.

Owns the port while it is open, and how what is sent is cut: pieces become smaller where the line spoils them, and
larger again where it does not. What a script prints is fetched from a file on the board, piece by piece, so that what
others say on the line costs time and nothing else. Leaves the board as it was: the folder for all that goes, and who
was logged in for it is logged out.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import lzma
import re
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from shlex import quote
from typing import Self

from bootloader.wire.errors import Fault

from ..console.port import Gone, Line, Port, is_remote
from ..report import clean
from ..targets.wired import split
from .exchange import BEGIN, LEAVE, LOOP, QUIET, SPOILT, Answers, lines_of, order, sum_of
from .login import Ask, Login

_BITS = 10
_LEAST_BYTES, _FIRST_BYTES, _MOST_BYTES = 48, 1536, 16 * 1024
"""How large a piece is. What does not go into a terminal's own 4 KiB at once, the kernel keeps, 64 KiB at least."""

_MOST_SAID_BYTES = 256 * 1024
_ERRORS_BYTES = 1500
_ANSWER_S, _LONGEST_ANSWER_S = 1.0, 20.0
_MORE, _LESS = 1.5, 0.97
"""How long an answer may take, beyond what the line does: longer where none came, as boards may be slow or busy."""

_MOST_TRIES = 16
_STALLED_S, _PUT_S, _SLACK = 60.0, 600.0, 20
"""For how long to wait for a line that stands still; for how long at least, and how many times longer than it should
take, to go on with one that loses what is sent.
"""

_POLL_S = 0.25
_SCRIPT_S = 300.0
_ENTER_S = 120.0
_SETTLE_S = 1.0
_SHORT = 300
_WHOLE = re.compile(r"\d{1,9}")
_PACKERS: dict[str, Callable[[bytes], bytes]] = {"xz": lzma.compress, "gzip": lambda data: gzip.compress(data, mtime=0)}


class Console:
    """That of the board at ``address``, ``serial:PORT`` or ``serial:PORT:BAUD``, while it is entered."""

    def __init__(self, address: str, user: str, ask: Callable[[], str]) -> None:
        """``user`` logs in, where a login is there, with the password that ``ask`` gives, where it is not known."""
        self.destination = f"{user}@{address}" if user else address
        self.password: str | None = None
        self.on_sent: Callable[[int, int], None] = lambda _done, _total: None
        self._ask = ask
        self._path, self._baud = split(address)
        self.is_remote = is_remote(self._path)
        """Whether what goes to the port goes over a network."""
        self._login = Login(user, self.destination)
        self._answers = Answers()
        self._number = 0
        self._is_spoilt = False
        """Whether the last order was, or its answer."""
        self._piece_bytes = _FIRST_BYTES
        self._wait_s = _ANSWER_S
        self._packer = "gzip"
        self._leave: list[bytes] = []
        """What is typed at the end, one after the other."""

    def __enter__(self) -> Self:
        """Open the port, log in, and have orders taken there."""
        self._port = Port(self._path, Line(self._baud))
        try:
            self._enter()
            self._begin()
            said = self._order("command -v xz >/dev/null && echo xz || echo gzip\n")
            self._packer = said if said in _PACKERS else self._packer
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Leave it: in bounded time, whatever is still there."""
        with suppress(Fault):
            for words in self._leave:
                self._send(words)
                self._settle()
        self._port.close()

    def address(self) -> str:
        """Nothing: the line leads to it without a network."""
        return ""

    def run(
        self,
        script: str,
        stdin: bytes = b"",
        *,
        root: str = "",
        password: str | None = None,
        on_line: Callable[[str], None] = lambda _line: None,
        most_s: float = _SCRIPT_S,
    ) -> str:
        """What ``script`` prints there, which ``on_line`` hears as it comes. ``root``: a command that makes it root's,
        and reads ``password`` first, where there is one.

        A :class:`Fault` where the line does not carry it, or the script fails, with what that said last.
        """
        self._put("script", script.encode())
        self._put("stdin", stdin)
        feed = [] if password is None else [f"printf '%s\\n' {quote(password)}"]
        feed.append(f'{self._packer} -dc <"$d/stdin"')
        self._order(
            f'rm -f "$d/code"; {self._packer} -dc <"$d/script" >"$d/plain"; : >"$d/out"\n'
            f'{{ {{ {"; ".join(feed)}; }} | {root} sh "$d/plain" >"$d/out" 2>"$d/err"\n'
            'echo $? >"$d/new"; mv "$d/new" "$d/code"; } >/dev/null 2>&1 &\n'
        )
        code, said = self._followed(on_line, most_s)
        if code:
            told = self._decoded(self._order(f'tail -c {_ERRORS_BYTES} "$d/err" | base64 | tr -d "\\n"\n'))
            lines = [clean(line).strip() for line in told.decode(errors="replace").splitlines() if line.strip()]
            raise Fault("step-failed", (lines or [f"exit code {code}"])[-1][:_SHORT], to=self.destination)
        return said.decode(errors="replace")

    def _followed(self, on_line: Callable[[str], None], most_s: float) -> tuple[int, bytes]:
        """What the script that was begun ends with, and what it prints until then."""
        said, heard = b"", 0
        deadline = time.monotonic() + most_s
        while True:
            code, _, letters = self._order(partial(self._question, len(said))).partition(" ")
            more = self._decoded(letters)
            said += more
            if len(said) > _MOST_SAID_BYTES:
                raise Fault("too-much", "the board says far more than it was asked", to=self.destination)
            whole = said.rfind(b"\n") + 1
            for line in said[heard:whole].splitlines():
                on_line(line.decode(errors="replace"))
            heard = max(heard, whole)
            ended = _WHOLE.fullmatch(code)
            if ended is not None and not more:
                return int(ended[0]), said
            if time.monotonic() > deadline:
                do = "look at what it does there (reactor console), and try again"
                raise Fault("step-failed", f"it did not end within {most_s:.0f} s", to=self.destination, do=do)
            if not more:
                time.sleep(_POLL_S)

    def _put(self, name: str, content: bytes) -> None:
        """Have ``content``, packed, in the file ``name`` there."""
        packed = _PACKERS[self._packer](content)
        self._order(f': >"$d/{name}"\n')
        at, deadline = 0, self._deadline(_PUT_S, len(packed))
        while at < len(packed):
            if time.monotonic() > deadline:
                raise self._lost("hardly anything comes through")
            told = self._order(partial(self._piece, name, packed, at)).strip()
            if _WHOLE.fullmatch(told) is None or not at < int(told) <= min(len(packed), at + _MOST_BYTES):
                do = "free some of its memory (/dev/shm) or of /tmp there"
                raise Fault("step-failed", "what is sent there can't be kept", to=self.destination, do=do)
            at = int(told)
            self.on_sent(at, len(packed))
        if self._order(f'sha256sum <"$d/{name}"\n').split(" ")[0] != hashlib.sha256(packed).hexdigest():
            raise self._lost("what came there is not what was sent")

    def _piece(self, name: str, content: bytes, at: int) -> str:
        """The order to add a piece of ``content``, and to tell how much there is then."""
        letters = lines_of(content[at : at + self._piece_bytes])
        return f'base64 -d >>"$d/{name}" <<\'E\'\n{letters}E\nwc -c <"$d/{name}"\n'

    def _question(self, at: int) -> str:
        """The order to tell how the script ended, if it did, and a piece of what it has printed."""
        take = f'tail -c +{at + 1} "$d/out" | head -c {self._piece_bytes} | base64 | tr -d "\\n"'
        return f'printf "%s " "$(cat "$d/code" || echo -)"\n{take}\n'

    def _order(self, text: str | Callable[[], str]) -> str:
        """The answer to an order, which is given until it comes; what is called makes it anew each time."""
        self._number += 1
        for attempt in range(_MOST_TRIES):
            said = order(self._number, text if isinstance(text, str) else text())
            self._send(said)
            on_line_s = 2 * (len(said) + self._piece_bytes) * _BITS / self._baud
            answer = self._answered(self._wait_s + on_line_s, self._number)
            if answer is not None:
                if not attempt:
                    self._piece_bytes = min(_MOST_BYTES, self._piece_bytes * 3 // 2)
                    self._wait_s = max(_ANSWER_S, self._wait_s * _LESS)
                return answer
            if self._is_spoilt:
                self._piece_bytes = max(_LEAST_BYTES, self._piece_bytes // 2)
            else:  # the line has lost it, or the board is slow
                self._piece_bytes = max(_LEAST_BYTES, self._piece_bytes * 3 // 4)
                self._wait_s = min(_LONGEST_ANSWER_S, self._wait_s * _MORE)
        raise self._lost("nothing that is said there is answered any more")

    def _answered(self, wait_s: float, number: int) -> str | None:
        """The answer to that order; None where one of the two was spoilt, or none comes."""
        deadline = time.monotonic() + wait_s
        self._is_spoilt = False
        while not self._is_spoilt and time.monotonic() < deadline:
            self._answers.feed(self._read())
            if (answer := self._answers.to(number)) is not None:
                return answer
            self._is_spoilt = self._answers.is_spoilt() if number else self._answers.says(SPOILT)
        return None

    def _enter(self) -> None:
        """Be in a shell."""
        login, last = self._login, time.monotonic()
        deadline = last + _ENTER_S
        while True:
            due = login.due(time.monotonic() - last)
            if due is Ask.SHELL:
                break
            if due is Ask.PASSWORD:
                if self.password is None:
                    self.password = self._ask()
                due = login.password(self.password)
                deadline = time.monotonic() + _ENTER_S
            if not isinstance(due, Ask):
                self._send(due.data)
                last = time.monotonic()
            if data := self._read():
                login.heard(data)
                last = time.monotonic()
            if last > deadline:
                raise login.lost()
        self._leave = [b"exit\n"] if login.has_logged_in else []

    def _begin(self) -> None:
        """Have a plain shell there, and in it the loop that takes orders."""
        out = [b"exit\n", *self._leave]
        self._leave = [b"\x03\n", *out]
        self._send(b"sh\n")
        self._settle()
        begin, loop = BEGIN.replace("SUM", sum_of(LOOP)).encode(), f"{LOOP}@\n".encode()
        for attempt in range(_MOST_TRIES):
            self._send(QUIET.encode())
            self._settle()
            self._send(begin)
            wait_s = _ANSWER_S * (2 + attempt / 2) + 2 * len(loop) * _BITS / self._baud
            for _ in range(_MOST_TRIES):
                if self._answered(wait_s, 0) is not None:
                    self._leave = [LEAVE, *out]
                    return
                if not self._is_spoilt:
                    break
                self._send(loop)
            self._send(b"\x03\n")
            self._settle()
        do = "look at it (reactor console): it needs sh, stty, mktemp, base64 and sha256sum"
        raise Fault("no-shell", "the shell there does not take orders", to=self.destination, do=do)

    def _settle(self) -> None:
        """Hear what is said to what was typed, until nothing more is: a shell may lose what is typed meanwhile."""
        deadline, has_heard = time.monotonic() + _SETTLE_S, False
        while time.monotonic() < deadline:
            data = self._read()
            if has_heard and not data:
                return
            self._answers.feed(data)
            has_heard = has_heard or bool(data)

    def _read(self) -> bytes:
        try:
            return self._port.read()
        except Gone as gone:
            raise self._lost(f"the port is gone: {gone}") from None

    def _send(self, data: bytes) -> None:
        """All of it, if the line takes it."""
        deadline = self._deadline(_STALLED_S, len(data))
        try:
            while data:
                data = data[self._port.write(data) :]
                if data and time.monotonic() > deadline:
                    raise self._lost("the line takes nothing any more, or next to nothing")
        except Gone as gone:
            raise self._lost(f"the port is gone: {gone}") from None

    def _deadline(self, least_s: float, size_bytes: int) -> float:
        """When that much should be over the line, whatever is lost of it on the way."""
        return time.monotonic() + least_s + _SLACK * size_bytes * _BITS / self._baud

    def _decoded(self, letters: str) -> bytes:
        try:
            return base64.b64decode(letters, validate=True)
        except binascii.Error:
            raise Fault("malformed", "the board's shell answers what makes no sense", to=self.destination) from None

    def _lost(self, what: str) -> Fault:
        do = "look at the cable and at the board, and do it again: what is done already stays"
        return Fault("line-lost", what, to=self.destination, do=do)
