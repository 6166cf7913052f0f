"""Log lines in the format of Heroku's logs, and as JSON lines."""

from __future__ import annotations

import json
import re
import zlib
from datetime import UTC, datetime

from infra.ops.journal import Line
from infra.views import json_text
from infra.views.style import printable

# Terminal colours that are readable on black and on white. Neighbours are far apart.
_COLORS = (33, 208, 35, 170, 37, 166, 99, 71, 203, 31, 136, 133, 67, 107, 168, 63)

_SGR = re.compile(r"\x1b\[[0-9;:]*m")


def text(line: Line, *, color: bool) -> str:
    """``2026-01-31T10:00:00.123456+00:00 app[web.1]: message``; every line of a message has the same prefix."""
    head = f"{_when(line)} {line.source}[{line.dyno}]:"
    if color:
        head = f"\x1b[38;5;{color_of(line.dyno)}m{head}\x1b[0m"
    return "\n".join(f"{head} {part}".rstrip() for part in _clean(line.message).split("\n"))


def color_of(dyno: str) -> int:
    """The colour of a dyno, always the same. Dynos of one type have consecutive colours of the palette."""
    type_, _, number = dyno.partition(".")
    start = zlib.crc32(type_.encode())
    return _COLORS[(start + (int(number) if number.isdecimal() else zlib.crc32(number.encode()))) % len(_COLORS)]


def as_json(line: Line) -> str:
    """A line of JSON, format version 1, in ASCII."""
    return json_text.inert(
        json.dumps(
            {
                "format_version": 1,
                "time": _when(line),
                "server": line.server,
                "dyno": line.dyno,
                "source": line.source,
                "priority": line.priority,
                "message": line.message,
            }
        )
    )


def _when(line: Line) -> str:
    seconds, micros = divmod(line.time, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros).isoformat(timespec="microseconds")


def _clean(message: str) -> str:
    """The message without the app's colours, and with other control characters escaped."""
    message = message.rstrip("\r\n")
    return message if message.isprintable() else printable(_SGR.sub("", message).replace("\r\n", "\n"))
