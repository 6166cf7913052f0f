"""An apply as JSON lines while it happens: the plan, every event, and at the end the report; format version 1."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime

from infra.model.events import Event

FORMAT_VERSION = 1


class StreamProgress:
    """Writes one line to stdout for each event. ``at`` is UTC in ISO 8601 with milliseconds."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()

    def __enter__(self) -> StreamProgress:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __call__(self, event: Event) -> None:
        values = {
            "event": event.kind,
            "server": event.server,
            "subject": event.subject,
            "text": event.text,
            "total": event.total,
        }
        with self._mutex:
            write("event", values)


def write(kind: str, values: Mapping[str, object]) -> None:
    """One line, at once: whoever reads it follows the apply. Where the reader left, the apply goes on without."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    try:
        sys.stdout.write(json.dumps({"format_version": FORMAT_VERSION, "type": kind, "at": now, **values}) + "\n")
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
