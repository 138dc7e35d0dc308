"""The prompt of a screen: one line, edited as prompt_toolkit edits, and the keys that stand for lines.

Knows nothing of what the lines mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prompt_toolkit.application import get_app
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.filters import Condition, has_focus
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import Dimension, Float, FloatContainer, Window
from prompt_toolkit.layout.controls import BufferControl
from prompt_toolkit.layout.menus import CompletionsMenu
from prompt_toolkit.layout.processors import AppendAutoSuggestion, BeforeInput
from prompt_toolkit.styles import Style

_SIGN: StyleAndTextTuples = [("class:prompt", "› ")]
_MENU_LINES = 8


class Prompt:
    """``enter`` gets each line, and says whether it takes it; ``leave`` is called to end. Both must not wait.

    ``keys`` maps a key to the line that it stands for; ``words`` are completed.
    """

    def __init__(
        self, enter: Callable[[str], bool], leave: Callable[[], None], keys: Mapping[str, str], words: list[str]
    ) -> None:
        self.echo: Callable[[StyleAndTextTuples], None] = lambda _fragments: None
        self.style = Style.from_dict({"prompt": "bold"})
        self._enter = enter
        self._leave = leave
        self._buffer = Buffer(
            multiline=False,
            completer=WordCompleter(words, WORD=True),
            auto_suggest=AutoSuggestFromHistory(),
            accept_handler=self._accept,
        )
        control = BufferControl(self._buffer, [BeforeInput(_SIGN), AppendAutoSuggestion()], focus_on_click=False)
        window = Window(control, height=self._height, wrap_lines=True, dont_extend_height=True)
        menu = Float(CompletionsMenu(max_height=_MENU_LINES), xcursor=True, ycursor=True)
        self.container = FloatContainer(window, [menu])
        self.keys = self._bound(keys)

    def _height(self) -> Dimension:
        """A menu hangs below the line, and nothing is drawn beyond what is ours."""
        return Dimension(min=_MENU_LINES + 1 if self._buffer.complete_state is not None else 1)

    def _accept(self, buffer: Buffer) -> bool:
        """Whether the line stays where it is: there is no room for it yet."""
        is_taken = self._enter(buffer.text)
        if is_taken:
            self.echo([*_SIGN, ("", buffer.text)])
        return not is_taken

    def _bound(self, lines: Mapping[str, str]) -> KeyBindings:
        keys = KeyBindings()
        is_empty = Condition(lambda: not get_app().current_buffer.text)

        for key, line in lines.items():

            @keys.add(key)
            def _stand_for(_event: KeyPressEvent, line: str = line) -> None:
                self._enter(line)

        @keys.add("c-c")
        def _drop_or_leave(_event: KeyPressEvent) -> None:
            if self._buffer.text:
                self._buffer.reset()
            else:
                self._leave()

        @keys.add("c-d", filter=is_empty & has_focus(self._buffer))
        def _end(_event: KeyPressEvent) -> None:
            self._leave()

        return keys
