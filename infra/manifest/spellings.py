"""What a name, a path or a constant in another spelling is likely meant to be."""

from __future__ import annotations

import re
from collections.abc import Iterator

from infra.manifest.document import masked


def nearest(text: str, key: str, pattern: str) -> str:
    """The text in the nearest spelling that a pattern accepts; "" if none of those that are tried is."""
    if not pattern or masked(text) != text:
        return ""
    found = [one for one in _spellings(text, key) if one != text and re.search(re.sub(r"\$$", r"\\Z", pattern), one)]
    absolute = pattern.startswith("^/")
    return next((one for one in found if absolute or not one.startswith("/")), "")


def _spellings(text: str, key: str) -> Iterator[str]:
    if key == "name":
        yield re.sub(r"[ _]+|--+", "-", text)
        yield re.sub(r"[ _.]+", "-", text.lower())
        yield re.sub(r"[^a-z0-9]+", "", text.lower())
    elif key == "version":
        series = re.fullmatch(r"(?:ruby[ -])?([0-9]+(?:\.[0-9]+)*)\.[xX*]", text)
        yield f"~> {series[1]}.0" if series else ""
        yield re.sub(r"^(ruby[ -]|v)", "", text)
        yield re.sub(r"^\^", "~> ", text)
    elif key in ("app", "use"):
        yield re.sub(r"(\.new|\(\))+$", "", text)
        yield re.sub(r"(?:^|_)([a-z])", lambda found: found[1].upper(), text)
    elif key in ("path", "map"):
        yield f"/{text.removeprefix('./')}" if re.fullmatch(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*", text) else ""
        yield re.sub(r"^https?://[^/]*", "", text)
        yield re.sub(r"^(/app)?/(?=[^/]+/?$)|^/app/|^\./", "", text)
        yield text.rstrip("/").rpartition("/")[2] if text.startswith("/") else ""
