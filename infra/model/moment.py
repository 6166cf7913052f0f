"""Moments as people read them: in the time zone of this computer, and with its name. JSON has UTC."""

from __future__ import annotations

from datetime import datetime, tzinfo


def local(when: str, zone: tzinfo | None = None) -> str:
    """``2026-11-29 11:22 CET`` for a moment in ISO 8601; a text that is none, as it is."""
    try:
        moment = datetime.fromisoformat(when)
        return when if moment.tzinfo is None else f"{moment.astimezone(zone):%Y-%m-%d %H:%M %Z}"
    except (ValueError, OverflowError):  # such as the year 1
        return when
