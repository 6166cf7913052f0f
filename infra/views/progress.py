"""The progress of an apply: one live line per server on a terminal, plain lines everywhere else."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

from infra.model.events import Event
from infra.views.style import one_line

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table


class PlainProgress:
    """One line on stderr per dyno or resource that was changed or failed."""

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __call__(self, event: Event) -> None:
        words = {
            "done": f"{event.subject} {event.text}",
            "failed": f"{event.subject} FAILED: {event.text}",
            "note": event.text,
            "upload": f"{event.subject}: {event.text}",
        }.get(event.kind)
        if words is not None:
            sys.stderr.write(f"{one_line(f'{event.server}  {words}')}\n")


class LiveProgress:
    """A spinner per server with its current step and the number of finished groups of changes."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, str | int]] = {}
        self._mutex = threading.Lock()
        self._live: Live | None = None
        self._spinner = "dots" if "utf" in (sys.stderr.encoding or "").lower() else "line"

    def __enter__(self) -> LiveProgress:
        from rich.live import Live

        from infra.views.gate import behind, console

        terminal = console(file=behind(sys.stderr))
        self._live = Live(self._table(), console=terminal, refresh_per_second=12, transient=True)
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        if self._live is not None:
            with suppress(OSError, ValueError):  # the terminal may be gone, and the report is still to come
                self._live.stop()

    def __call__(self, event: Event) -> None:
        if not event.server:
            return
        with self._mutex:
            row = self._rows.setdefault(event.server, {"done": 0, "failed": 0, "step": ""})
            if event.kind == "done":
                row["done"] = int(row["done"]) + 1
                row["step"] = f"{event.subject} {event.text}"
            elif event.kind == "failed":
                row["failed"] = int(row["failed"]) + 1
                row["step"] = f"{event.subject} failed"
            else:
                row["step"] = f"{event.subject}: {event.text or event.kind}"
            if self._live is not None:
                self._live.update(self._table())

    def _table(self) -> Table:
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for server, row in sorted(self._rows.items()):
            mark = Text("✗", style="red") if row["failed"] else Spinner(self._spinner, style="cyan")
            table.add_row(
                mark,
                Text(server, style="bold"),
                Text(f"{row['done']} done", style="green"),
                Text(one_line(str(row["step"]))),
            )
        return table


def progress() -> PlainProgress | LiveProgress:
    """The progress view that fits stderr: live on a terminal, plain otherwise."""
    from infra.views.style import wanted

    return LiveProgress() if wanted(sys.stderr) else PlainProgress()
