"""Parses a moment in the past as people write it, such as ``10m`` or ``yesterday``."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from infra.errors import DynoctlError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SPAN = re.compile(r"(\d+)\s*(s|m|h|d|w)[a-z]*")
_SPANS = re.compile(r"-?(\d+\s*(s|sec|seconds?|m|mins?|minutes?|h|hours?|d|days?|w|weeks?)\s*)+(ago)?")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")


def since(text: str, now: datetime) -> float:
    """Parse ``10m``, ``1h 30m``, ``2 hours ago``, ``today``, ``yesterday``, ``14:30`` or an ISO 8601 time.

    Returns seconds since 1970. A time without a zone is in the zone of ``now``. Raises DynoctlError."""
    word = text.strip().lower()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        if _SPANS.fullmatch(word):
            return (now - timedelta(seconds=sum(int(n) * _UNITS[unit] for n, unit in _SPAN.findall(word)))).timestamp()
        if word in ("now", "today", "yesterday"):
            return {"now": now, "today": midnight, "yesterday": midnight - timedelta(days=1)}[word].timestamp()
        if clock := _CLOCK.fullmatch(word):
            moment = midnight.replace(hour=int(clock[1]), minute=int(clock[2]), second=int(clock[3] or 0))
        else:
            moment = datetime.fromisoformat(text.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=now.tzinfo)
        return max(0.0, moment.timestamp())
    except (ValueError, OverflowError, OSError):
        raise DynoctlError(
            f"invalid time for --since: {text}",
            "such as 10m, 2h, 1d, today, 14:30, 2026-01-31T14:30 or 2026-01-31T14:30+01:00",
        ) from None
