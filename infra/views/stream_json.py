"""The progress of an apply as JSON lines, format version 1: the plan, every event, and the report at the end."""

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
    """Writes one line to stdout per event. ``at`` is UTC in ISO 8601 with milliseconds."""

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
    """Write one line and flush it, so that a reader can follow. If the reader exits, the apply goes on without it."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    try:
        sys.stdout.write(json.dumps({"format_version": FORMAT_VERSION, "type": kind, "at": now, **values}) + "\n")
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
