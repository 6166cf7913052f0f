"""Redact known secrets in text from a server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

from infra.manifest.urls import is_secret
from infra.model import spellings
from infra.sensitive import REDACTED, Sensitive

SHORTEST = 4
"""Shorter secrets are redacted only if they are a word of their own: they would match in most lines."""


def redactor(environments: Iterable[Mapping[str, str | Sensitive]]) -> Callable[[str], str]:
    """A function that redacts every secret of the environments, and every password in their URLs, in all spellings of
    ``infra.model.spellings``."""
    values: set[str] = set()
    lines: set[str] = set()
    for environment in environments:
        for value in environment.values():
            if isinstance(value, Sensitive) and not value.common:
                plain = value.reveal()
                values |= {plain, plain.strip(), *_passwords(plain)}
                lines |= {part for line in plain.splitlines() for part in (line, line.strip())}
    values.discard("")
    whole = {value for value in values if len(value) >= SHORTEST}
    parts = whole | {line for line in lines if len(line) >= SHORTEST}
    literal = sorted(parts | {way for value in parts for way in spellings.urls(value)}, key=len, reverse=True)
    written = {piece for part in parts if not spellings.is_plain(part) for piece in spellings.pieces(part)}
    spelled = _regex(sorted(written, key=len, reverse=True))
    short = _regex(sorted(values - whole), r"(?<![A-Za-z0-9])(?:{})(?![A-Za-z0-9])")
    cores = {core for value in whole for core in spellings.base64_cores(value) if len(core) >= SHORTEST}
    digits = {spellings.hexadecimal(value) for value in whole}

    def redact(text: str) -> str:
        lower = text.lower()
        for part, regex in spelled:
            if part in lower:
                text = regex.sub(REDACTED, text)
        for secret in literal:
            text = text.replace(secret, REDACTED)
        for _, regex in short:
            text = regex.sub(REDACTED, text)
        return spellings.mask_encoded(text, cores, digits, REDACTED)

    return redact


def _regex(values: list[str], form: str = "{}") -> list[tuple[str, re.Pattern[str]]]:
    """For each value a part of it that a text contains in every spelling, and its regular expression."""
    return [
        (spellings.always(value), re.compile(form.format(spellings.pattern(value)), re.IGNORECASE)) for value in values
    ]


def _passwords(value: str) -> set[str]:
    """The passwords in a URL, as they are written and decoded, and what may be one if the URL is not valid."""
    if "://" not in value:
        return set()
    login = value.partition("://")[2].rpartition("@")[0]
    found = {login.partition(":")[2], login if value.startswith("redis") else ""}
    try:
        parts = urlsplit(value)
        found.add(parts.password or "")
        found |= {text for name, text in parse_qsl(parts.query) if is_secret(name)}
    except ValueError:
        pass
    return {*found, *map(unquote, found)}
