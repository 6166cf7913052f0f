"""The last step of all output to a terminal: nothing gets through but text and colours, whatever a view has forgotten.

Text of servers, apps and manifests may hold sequences that move the cursor, set the title or the clipboard, hide text
or reverse its direction. Views escape it where they know of it; here it cannot be forgotten, as every command writes to
these streams."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING, Any

from infra.views.style import printable

if TYPE_CHECKING:
    from rich.console import Console

_COLOR = re.compile(r"(\x1b\[[0-9;]{0,24}m)")
_SUSPECT = re.compile(r"[^\n\t\x20-\x7e]")


def passed(text: str) -> str:
    """The text as it may reach a terminal: with colours, and with all other control characters escaped."""
    if _SUSPECT.search(text) is None:
        return text
    return "".join(part if number % 2 else printable(part) for number, part in enumerate(_COLOR.split(text)))


class Gate:
    """A text stream in front of another one, which takes its place in ``sys``."""

    def __init__(self, behind: IO[str]) -> None:
        self.behind = behind
        self.used = False
        """Whether anything was written."""

    def write(self, text: str) -> int:
        self.used = self.used or bool(text)
        self.behind.write(passed(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.behind, name)


def behind(stream: Any) -> IO[str]:
    """The stream behind a gate, for a view that moves the cursor, and has a gate of its own."""
    found: IO[str] = stream.behind if isinstance(stream, Gate) else stream
    return found


def switch_screen(*, own: bool) -> None:
    """Go to the screen of this program, without a cursor, or back to that of the shell, past all buffers, as a signal
    handler has to."""
    os.write(sys.stdout.fileno(), b"\x1b[?1049h\x1b[?25l" if own else b"\x1b[?1049l\x1b[?25h")


def console(*, hides_cursor: bool = True, **options: Any) -> Console:
    """A console of rich. What it draws itself may move the cursor; the texts in it may not. If it never hides the
    cursor, the terminal needs no repair, however the process ends."""
    from rich.console import Console
    from rich.segment import Segment

    class Guarded(Console):
        def show_cursor(self, show: bool = True) -> bool:
            return hides_cursor and super().show_cursor(show)

        def _render_buffer(self, buffer: Iterable[Segment]) -> str:
            return super()._render_buffer(
                segment if segment.control else Segment(printable(segment.text), segment.style) for segment in buffer
            )

    return Guarded(**options)
