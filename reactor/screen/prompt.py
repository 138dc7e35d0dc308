"""The prompt of a screen: what is typed, edited as prompt_toolkit edits, and the keys that stand for lines.

Knows nothing of what the lines mean, nor of their language: who makes it brings colours, completions, history and the
keys that edit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prompt_toolkit.application import get_app
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import Completer
from prompt_toolkit.document import Document
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import History
from prompt_toolkit.key_binding import KeyBindings, KeyBindingsBase, KeyPressEvent, merge_key_bindings
from prompt_toolkit.key_binding.bindings.auto_suggest import load_auto_suggest_bindings
from prompt_toolkit.layout import Dimension, Float, FloatContainer, Window
from prompt_toolkit.layout.controls import BufferControl
from prompt_toolkit.layout.menus import CompletionsMenu
from prompt_toolkit.layout.processors import (
    AppendAutoSuggestion,
    HighlightMatchingBracketProcessor,
    HighlightSelectionProcessor,
)
from prompt_toolkit.lexers import Lexer
from prompt_toolkit.styles import BaseStyle

_MENU_LINES = 8


@dataclass(frozen=True)
class Language:
    """How what is typed is shown, completed, kept and edited. ``keys`` gets what accepts the buffer."""

    lexer: Lexer
    completer: Completer
    history: History
    keys: Callable[[Callable[[Buffer], None]], KeyBindingsBase]
    style: BaseStyle
    editing_mode: EditingMode


@dataclass(frozen=True)
class Hands:
    """What becomes of what is typed. None of them may wait.

    ``enter`` gets what was typed, or what a key stands for, and says whether there was room for it; ``interrupt`` says
    whether something ran; ``leave`` ends; ``begun`` hears that somebody types; ``lasts`` says whether Ctrl-C at an
    empty prompt is no end.
    """

    enter: Callable[[str], bool]
    interrupt: Callable[[], bool]
    leave: Callable[[], None]
    begun: Callable[[], None]
    lasts: Callable[[], bool]


class Prompt:
    """``sign`` is what stands before the first line; ``lines`` maps a key to the line that it stands for."""

    def __init__(self, language: Language, hands: Hands, sign: Callable[[], str], lines: Mapping[str, str]) -> None:
        self.echo: Callable[[StyleAndTextTuples], None] = lambda _fragments: None
        """Shows what was entered, above."""
        self.style = language.style
        self.editing_mode = language.editing_mode
        self._lexer = language.lexer
        self._hands = hands
        self._sign = sign
        self._buffer = Buffer(
            multiline=True,
            completer=language.completer,
            complete_while_typing=True,
            history=language.history,
            enable_history_search=False,
            auto_suggest=AutoSuggestFromHistory(),
            accept_handler=self._accept,
            on_text_changed=lambda _buffer: hands.begun(),
        )
        control = BufferControl(
            self._buffer,
            [HighlightSelectionProcessor(), HighlightMatchingBracketProcessor(), AppendAutoSuggestion()],
            lexer=language.lexer,
            focus_on_click=False,
        )
        window = Window(
            control, height=self._height, wrap_lines=True, dont_extend_height=True, get_line_prefix=self._prefix
        )
        menu = Float(CompletionsMenu(max_height=_MENU_LINES, scroll_offset=1), xcursor=True, ycursor=True)
        self.container = FloatContainer(window, [menu])
        own, of_language = self._keys(lines), language.keys(lambda buffer: buffer.validate_and_handle())
        self.keys = merge_key_bindings([load_auto_suggest_bindings(), of_language, own])

    @property
    def is_typed(self) -> bool:
        """Whether something is typed that was not entered yet."""
        return bool(self._buffer.text)

    def _height(self) -> Dimension:
        """A menu hangs below the line, and nothing is drawn beyond what is ours."""
        menu = self._buffer.complete_state
        below = min(_MENU_LINES, len(menu.completions)) if menu is not None else 0
        return Dimension(min=self._buffer.document.line_count + below if below else 1)

    def _prefix(self, row: int, wrap: int) -> StyleAndTextTuples:
        sign = self._sign()
        if wrap:
            return [("", " " * len(sign))]
        return [("class:where", sign) if row == 0 else ("class:more", f"{'.' * (len(sign) - 1)} ")]

    def _accept(self, buffer: Buffer) -> bool:
        """Whether what is typed stays where it is: there is no room for it yet."""
        if not self._hands.enter(buffer.text):
            return True
        typed = Document(buffer.text.rstrip())
        if typed.text:
            line_of = self._lexer.lex_document(typed)
            shown: StyleAndTextTuples = []
            for row in range(typed.line_count):
                shown += [*([("", "\n")] if row else []), *self._prefix(row, 0), *line_of(row)]
            self.echo(shown)
        return False

    def _keys(self, lines: Mapping[str, str]) -> KeyBindings:
        keys = KeyBindings()
        is_empty = Condition(lambda: not get_app().current_buffer.text)

        for key, line in lines.items():

            @keys.add(key)
            def _stand_for(_event: KeyPressEvent, line: str = line) -> None:
                self._hands.enter(line)

        @keys.add("c-c")
        def _interrupt(_event: KeyPressEvent) -> None:
            if self._hands.interrupt():
                return
            if self._buffer.text:
                self._buffer.reset()
            elif not self._hands.lasts():
                self._hands.leave()

        @keys.add("c-d", filter=is_empty)
        def _end(_event: KeyPressEvent) -> None:
            self._hands.leave()

        return keys
