"""What a host and a shell at the end of a serial line say to each other: one order, one answer. Pure.

The line may drop bytes, or have others talk into it. So a small loop in the board's shell reads whole orders, and does
one only where its sum is right, and each once, as it has a number. Its answer has a sum, too, and is said again where
the order comes again. Nothing that the line has spoilt is ever run.

    @                       forget what came before
    text of a shell script
    @NUMBER SUM             that is all of it
                            @NUMBER SUM WHAT-IT-PRINTED        or @?, where the sum is another one
    @.                      leave

Sums are the first 16 digits of a SHA-256: they are against accidents. Who holds the cable can say what it wants.
"""

from __future__ import annotations

import base64
import hashlib
import re

LEAVE = b"@\n@.\n"
ALIVE = "@-"
"""What the loop says to an empty line."""

SPOILT = "@?"
"""What it says where an order did not come whole."""

COLUMNS = 512
"""How long a line is at most: the kernel takes 4,095 bytes in one, and a small shell's editor 1,023."""

_ANSWER = re.compile(r"@(\d{1,9}) ([0-9a-f]{16}) ([A-Za-z0-9+/=., -]*)\r?\n")
_LONGEST_CHARS = 64 * 1024

QUIET = "s=${s:-$(stty -g)}; stty icanon -echo\n"
BEGIN = r"""while :; do m=; while IFS= read -r l && [ "$l" != @ ]; do m="$m$l
"; done; if [ "$(printf %s "$m" | sha256sum | cut -c1-16)" = SUM ]; then (eval "$m"); break; fi; echo @"?"; done
@
"""
"""What a person could type into any sh, so that it reads :data:`LOOP`, up to a ``@``, and runs it where it came whole,
in a shell of its own: what interrupts that leads back to where this was typed.

Short, as nothing tells whether it did so itself: it says ``@?`` to that last line then.
"""

LOOP = """\
set -f
umask 077
d=
trap 'stty "$s"; rm -rf "$d"' EXIT
trap 'exit 1' HUP INT TERM
d=$(mktemp -d -p /dev/shm || mktemp -d) || exit 1
stty -echo icanon icrnl -ixon
n=0 m= t= a=
sum() { t=$(printf %s "$1" | sha256sum); t=${t%"${t#????????????????}"}; }
say() { sum "$n $1"; a="@$n $t $1"; echo "$a"; }
say ready
while IFS= read -r l; do
case $l in
@) m= ;;
@.) exit 0 ;;
'') echo @- ;;
@*) l=${l#@}
sum "${l%% *} $m"
if [ "$t" != "${l#* }" ]; then echo '@?'
elif [ "${l%% *}" = "$n" ]; then echo "$a"
else n=${l%% *}; say "$(eval "$m" </dev/null 2>/dev/null)"; fi
m= ;;
*) m="$m$l
" ;;
esac
done
"""
"""Takes orders. They run in a shell of their own each, where ``$d`` is a folder that goes with the loop."""


def sum_of(text: str) -> str:
    """What tells whether ``text`` came as it was said."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def order(number: int, text: str) -> bytes:
    """``text``, which ends with a line end, as an order."""
    return f"@\n@\n{text}@{number} {sum_of(f'{number} {text}')}\n".encode()


def lines_of(content: bytes) -> str:
    """``content`` in letters, line by line."""
    letters = base64.b64encode(content).decode("ascii")
    return "".join(f"{letters[at : at + COLUMNS]}\n" for at in range(0, len(letters), COLUMNS))


class Answers:
    """The answers in what comes."""

    def __init__(self) -> None:
        self._text = ""

    def feed(self, data: bytes) -> None:
        """Hear ``data``."""
        self._text = (self._text + data.decode("ascii", "replace"))[-_LONGEST_CHARS:]

    def to(self, number: int) -> str | None:
        """The answer to order ``number``, once it has come whole."""
        for found in _ANSWER.finditer(self._text):
            if int(found[1]) == number and found[2] == sum_of(f"{number} {found[3]}"):
                self._text = self._text[found.end() :]
                return found[3]
        return None

    def is_spoilt(self) -> bool:
        """Whether a line has come, since that was asked, that was to be an answer, and is none."""
        *lines, self._text = self._text.split("\n")
        return any("@" in line and not _is_whole(f"{line}\n") for line in lines)

    def says(self, word: str) -> bool:
        """Whether that ``word`` has come, since this was asked."""
        _, said, after = self._text.partition(word)
        if said:
            self._text = after
        return bool(said)


def _is_whole(line: str) -> bool:
    found = _ANSWER.search(line)
    return found is not None and found[2] == sum_of(f"{found[1]} {found[3]}")
