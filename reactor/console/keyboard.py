"""What the keys mean while they go to a serial port: all of them to the port, but what follows the escape key. Pure.

The escape key is a control key, such as ``^]``, which counts anywhere; or a character, such as ``~``, which counts at
the beginning of a line only, as ssh has it. Typed twice it is sent, once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum

DEFAULT = "^]"


class Do(Enum):
    """What a key after the escape key asks for."""

    QUIT = "leave"
    BREAK = "send a break"
    STAMPS = "show when each line began, or don't"
    HELP = "this help"
    UNKNOWN = "nothing"


COMMANDS = {".": Do.QUIT, "q": Do.QUIT, "b": Do.BREAK, "t": Do.STAMPS, "?": Do.HELP}


def escape_key(text: str) -> bytes:
    """The key that ``text`` names, as a terminal sends it: ``^]``, ``ctrl-t`` or ``~``. ValueError where it is none."""
    if control := re.fullmatch(r"(?:\^|[Cc](?:trl)?[-+])([@-_a-z?])", text):
        key = control[1].upper()
        code = bytes([ord(key) ^ 0x40])
        if code in b"\r\n\x1b\x7f":  # return, and what arrow keys begin with
            raise ValueError(text)
        return code
    if re.fullmatch(r"[!-/:-@\[-`{-~]", text):
        return text.encode()
    raise ValueError(text)


def name(escape: bytes) -> str:
    """An escape key as people call it."""
    return f"Ctrl-{chr(escape[0] ^ 0x40)}" if escape < b" " else escape.decode()


def help_lines(escape: bytes) -> list[str]:
    """What can be typed after ``escape``."""
    key = name(escape)
    where = "" if escape < b" " else " (at the beginning of a line)"
    return [
        f"{key}{where}, then:",
        *(f"  {command}  {do.value}" for command, do in COMMANDS.items()),
        f"  {key}  send {key} itself",
    ]


class Keyboard:
    """The keys of one user."""

    def __init__(self, escape: bytes) -> None:
        self._escape = escape
        self._is_anywhere = escape < b" "
        self._at_begin = True
        self._escaped = False

    def feed(self, keys: bytes) -> Iterator[bytes | Do]:
        """What ``keys`` ask for, in order: bytes for the port, and what is for this program."""
        send = bytearray()
        for code in keys:
            key = bytes([code])
            if self._escaped:
                self._escaped = False
                if key == self._escape:
                    send += key
                    self._at_begin = False
                    continue
                if send:
                    yield bytes(send)
                    send.clear()
                yield COMMANDS.get(chr(code), Do.UNKNOWN)
            elif key == self._escape and (self._is_anywhere or self._at_begin):
                self._escaped = True
            else:
                send += key
                self._at_begin = key in b"\r\n"
        if send:
            yield bytes(send)
