"""The pieces of a prompt for Python: colours, completion, history, keys, and when what is typed is whole.

For prompt_toolkit, so that a command of its own and the screen of another one use the same. Knows nothing of where
statements run: whoever completes is asked in a thread, and may take its time.
"""

from __future__ import annotations

import ast
import codeop
import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from prompt_toolkit.application import get_app
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, ThreadedCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.filters import Condition, has_selection
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.lexers import Lexer, PygmentsLexer
from prompt_toolkit.styles import Style
from pygments.lexers.python import PythonLexer

from .menu import PREFIX
from .menu import Completion as Found

HISTORY_BYTES = 512 * 1024
_INDENT = "    "
_INPUTRC = re.compile(r"^\s*set\s+editing-mode\s+(\w+)\s*$", re.MULTILINE)
_OPENS = re.compile(r":\s*(#.*)?$")
_LEAVES = re.compile(r"\s*(return|raise|break|continue|pass)\b")

STYLE = Style.from_dict(
    {
        "pygments.keyword": "ansiblue",
        "pygments.keyword.constant": "ansicyan",
        "pygments.literal.string": "ansigreen",
        "pygments.literal.string.doc": "ansigreen",
        "pygments.literal.number": "ansicyan",
        "pygments.comment": "ansibrightblack",
        "pygments.name.function": "bold",
        "pygments.name.class": "bold",
        "pygments.name.decorator": "ansimagenta",
        "pygments.operator.word": "ansiblue",
        "pygments.name.builtin": "",
        "order": "ansimagenta",
        "where": "bold",
        "more": "ansibrightblack",
    }
)
"""How the pieces look; the colours are the terminal's own."""


def is_whole(text: str) -> bool:
    """Whether ``text`` is to be run as it is: nothing is open in it, and a block has ended with an empty line.

    What can't be Python is whole, too: who runs it says what is wrong.
    """
    if text.startswith(PREFIX):
        return True
    lines = text.split("\n")
    if len(lines) > 1 and not lines[-1].strip():
        return _compiles(text) is not False
    in_block = len(lines) > 1 and lines[-1][:1].isspace()
    return _compiles(text) is not False and not in_block and not _OPENS.search(lines[-1])


def _compiles(text: str) -> bool | None:
    """Whether it is a program; None where it can't become one."""
    compiler = codeop.CommandCompiler()
    compiler.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    try:
        return compiler(text + "\n", "<repl>", "exec") is not None
    except (SyntaxError, ValueError, OverflowError, RecursionError):
        return None


def indent(text: str) -> str:
    """What the line after ``text`` begins with."""
    last = text.rpartition("\n")[2]
    spaces = last[: len(last) - len(last.lstrip())]
    if _OPENS.search(last):
        return spaces + _INDENT
    return spaces[: -len(_INDENT)] if _LEAVES.match(last) else spaces


def editing_mode() -> EditingMode:
    """Vi or Emacs keys, as the user's ``.inputrc`` has it for other programs."""
    path = Path(os.environ.get("INPUTRC") or "~/.inputrc").expanduser()
    with suppress(OSError, ValueError):
        modes = _INPUTRC.findall(path.read_text("utf-8"))
        if modes and modes[-1] == "vi":
            return EditingMode.VI
    return EditingMode.EMACS


class History(FileHistory):
    """What was entered, kept in ``file`` for the next time: for this user alone, and no more than the last of it."""

    def __init__(self, file: Path) -> None:
        with suppress(OSError):  # then nothing is kept, which the first entry's failure is not worth ending for
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
            file.chmod(0o600)
            if file.stat().st_size > HISTORY_BYTES:
                kept = file.read_bytes()[-HISTORY_BYTES // 2 :].partition(b"\n\n# ")[2]
                file.write_bytes(b"\n# " + kept)
        super().__init__(str(file))

    def load_history_strings(self) -> Iterable[str]:
        """Those of before, the newest first."""
        with suppress(OSError):
            yield from super().load_history_strings()

    def store_string(self, string: str) -> None:
        """Keep one more."""
        with suppress(OSError):  # the disk is full, or the folder is not to be written
            super().store_string(string)


class Completing(Completer):
    """Asks ``complete`` for what may stand at a place of a text. ``signature``: of the call that was found last."""

    def __init__(self, complete: Callable[[str, int], Found]) -> None:
        self._complete = complete
        self.signature = ""

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """What may stand at the cursor."""
        before = document.text_before_cursor
        if not complete_event.completion_requested and not _invites(before):
            self.signature = self.signature if "(" in before else ""
            return
        found = self._complete(document.text, document.cursor_position)
        self.signature = found.signature
        start = found.start - document.cursor_position
        for text, kind in found.items:
            yield Completion(text, start, display=text, display_meta=kind)


def _invites(before: str) -> bool:
    """Whether to look for completions unasked: after a dot, a bracket or a quote of a key, and within a name."""
    return bool(re.search(r"[\w.(\[\"',%]$", before)) and not re.search(r"(?<![\w.])\d[\w.]*$", before)


def completer(complete: Callable[[str, int], Found]) -> tuple[Completing, Completer]:
    """The completer, and it on a thread of its own."""
    made = Completing(complete)
    return made, ThreadedCompleter(made)


class Colours(Lexer):
    """Python's, and for an order the word in its own colour."""

    def __init__(self) -> None:
        self._python = PygmentsLexer(PythonLexer)

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        """The styled text of each line."""
        if not document.text.startswith(PREFIX):
            return self._python.lex_document(document)
        word, space, _ = document.text.partition(" ")
        python = self._python.lex_document(Document(document.text[len(word) + len(space) :]))
        return lambda row: [("class:order", word), ("", space), *python(0)] if row == 0 else python(row)


def keys(accept: Callable[[Buffer], None]) -> KeyBindings:
    """What Enter, Tab and Backspace do in Python. ``accept`` gets the buffer when what is in it is whole."""
    bound = KeyBindings()

    def buffer() -> Buffer:
        return get_app().current_buffer

    is_at_indent = Condition(lambda: not buffer().document.current_line_before_cursor.strip() and "\n" in buffer().text)

    @Condition
    def has_menu() -> bool:
        menu = buffer().complete_state
        return menu is not None and menu.current_completion is not None

    @bound.add("enter", filter=~has_menu)
    def _enter(event: KeyPressEvent) -> None:
        typed = event.current_buffer.document
        is_last = not typed.text_after_cursor.strip()
        has_ended = not typed.current_line.strip() and is_whole(typed.text.rstrip())
        if is_last and (has_ended or is_whole(typed.text)):
            accept(event.current_buffer)
        else:
            event.current_buffer.insert_text("\n" + indent(typed.text_before_cursor))

    @bound.add("enter", filter=has_menu)
    def _take(event: KeyPressEvent) -> None:
        event.current_buffer.complete_state = None

    @bound.add("escape", "enter")
    def _line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n" + indent(event.current_buffer.document.text_before_cursor))

    @bound.add("tab", filter=is_at_indent & ~has_selection)
    def _indent(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text(_INDENT)

    @bound.add("backspace", filter=is_at_indent & ~has_selection)
    def _dedent(event: KeyPressEvent) -> None:
        before = event.current_buffer.document.current_line_before_cursor
        event.current_buffer.delete_before_cursor(len(_INDENT) if before.endswith(_INDENT) else 1)

    return bound
