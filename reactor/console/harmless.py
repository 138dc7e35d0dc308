"""What a device may do to the user's terminal, while a user works on it as on a terminal. Pure: bytes in, text out.

Passed: text, colours, the cursor's motion, erasing, scrolling, the alternate screen: what a shell, an editor or a
pager on the board needs. Not passed: whatever sets titles, touches the clipboard, prints, resizes, makes the mouse
send something, or has the terminal answer with more than where its cursor is (the one question that ``resize`` and
busybox ask; the answer is two numbers, and goes to the device). What was passed and would stay is undone at the end.

This is a list of what is allowed, so a sequence that nobody thought of is left out. Nothing longer than
``_SEQUENCE_CHARS`` is held back.
"""

from __future__ import annotations

import codecs
import re

from ..report import clean

_SEQUENCE_CHARS = 256
_REPEAT_MOST = 512

_PLAIN = re.compile(r"[^\x00-\x1f\x7f]+")
_CSI = re.compile(r"\x1b\[([<-?]?)([0-9:;]*)([ -/]*)([@-~])")
_CSI_BEGUN = re.compile(r"\x1b\[[0-?]*[ -/]*")
_STRING = re.compile(r"\x1b[\]PX^_][^\x07\x1b\x18\x1a\n]*")
_SHORT = re.compile(r"\x1b([ -/]*)([0-Z\\`-~])")
_SHORT_BEGUN = re.compile(r"\x1b[ -/]*")

_CONTROLS = frozenset("\a\b\t\n\v\f\r")
_MOVES = frozenset("ABCDEFGHIJKLMPXZ`adefm@")
_MODES = {
    "1": "l",
    "5": "l",
    "6": "l",
    "7": "h",
    "25": "h",
    "47": "l",
    "1047": "l",
    "1048": "",
    "1049": "l",
    "2004": "l",
}
"""The private modes that may be changed, and what a terminal that is nobody's has; for 1048 there is no such thing."""

_SHORTS = {"7": "", "8": "", "D": "", "E": "", "M": "", "=": "\x1b>", ">": ""}


class Harmless:
    """A stream of bytes from one device."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._begun = ""
        self._in_string = 0
        self._undo: dict[str, str] = {}

    def feed(self, data: bytes) -> str:
        """What of ``data``, and of what was held back before, the terminal may get."""
        text = self._begun + self._decode(data)
        self._begun = ""
        passed: list[str] = []
        at = 0
        while at < len(text):
            if self._in_string:
                at = self._skip(text, at)
            elif plain := _PLAIN.match(text, at):
                passed.append(clean(plain[0]))
                at = plain.end()
            elif text[at] != "\x1b":
                passed.append(text[at] if text[at] in _CONTROLS else "" if text[at] in "\0\x05" else "\ufffd")
                at += 1
            else:
                at = self._sequence(text, at, passed)
        return "".join(passed)

    def undo(self) -> str:
        """What gives the terminal back as it was; once."""
        ends, self._undo = self._undo, {}
        return "\x1b[0m" + "".join(reversed(ends.values()))

    def _sequence(self, text: str, at: int, passed: list[str]) -> int:
        """Judge the sequence that begins ``at``; where to go on. One that is not all there yet is held back."""
        if found := _CSI.match(text, at):
            if found.end() - at <= _SEQUENCE_CHARS and self._is_allowed(*found.groups()):
                passed.append(found[0])
            return found.end()
        if text.startswith(("\x1b]", "\x1bP", "\x1bX", "\x1b^", "\x1b_"), at):
            self._in_string = _SEQUENCE_CHARS * 16
            return at + 2
        if text[at + 1 : at + 2] != "[" and (found := _SHORT.match(text, at)):
            if self._is_short_allowed(*found.groups()):
                passed.append(found[0])
            return found.end()
        begun = _CSI_BEGUN.match(text, at) or _SHORT_BEGUN.match(text, at)
        assert begun is not None
        if begun.end() == len(text) and len(begun[0]) <= _SEQUENCE_CHARS:
            self._begun = begun[0]
            return len(text)
        return begun.end()  # no end can make this a sequence

    def _skip(self, text: str, at: int) -> int:
        """Go on in a string that is not shown, up to its end: none holds a line end, and none is endless."""
        end = re.compile(r"[\x07\x1b\x18\x1a\n]").search(text, at)
        stop = min(len(text) if end is None else end.start(), at + self._in_string)
        self._in_string -= stop - at
        if end is not None and stop == end.start():
            self._in_string = 0
            if text.startswith("\x1b\\", stop):
                return stop + 2
            return stop if end[0] in "\x1b\n" else stop + 1
        return stop

    def _is_allowed(self, private: str, numbers: str, between: str, kind: str) -> bool:
        if between:
            return False
        if private:
            return private == "?" and kind in "hl" and self._is_mode_allowed(numbers.split(";"), kind)
        if kind == "J":
            return numbers in ("", "0", "1", "2")  # 3 is what the user has scrolled away
        if kind in "ST":
            return ";" not in numbers
        if kind == "b":
            return (numbers or "1").isdecimal() and int(numbers or "1") <= _REPEAT_MOST
        if kind in "hl":
            if numbers == "4":
                self._undo["4"] = "\x1b[4l"
            return numbers == "4"
        if kind == "r":
            self._undo["r"] = "\x1b7\x1b[r\x1b8"
            return True
        return kind in _MOVES or (kind in "su" and not numbers) or (kind == "n" and numbers == "6")

    def _is_mode_allowed(self, modes: list[str], kind: str) -> bool:
        if not all(mode in _MODES for mode in modes):
            return False
        for mode in modes:
            usual = _MODES[mode]
            self._undo.pop(mode, None)
            if usual and usual != kind:
                self._undo[mode] = f"\x1b[?{mode}{usual}"
        return True

    def _is_short_allowed(self, between: str, kind: str) -> bool:
        if between == "(" and kind in "0B":
            self._undo["("] = "\x1b(B"
            return True
        if between or kind not in _SHORTS:
            return False
        if kind in "=>":
            self._undo["="] = "\x1b>"
        return True
