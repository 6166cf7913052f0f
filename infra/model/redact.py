"""Redact known secrets in text from a server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from urllib.parse import quote, unquote, urlsplit

from infra.sensitive import REDACTED, Sensitive

SHORTEST = 4
"""Shorter secrets are not redacted: they would match in most lines."""


def redactor(environments: Iterable[Mapping[str, str | Sensitive]]) -> Callable[[str], str]:
    """A function that redacts every secret of the environments, and every password in their URLs."""
    secrets: set[str] = set()
    for environment in environments:
        for value in environment.values():
            if isinstance(value, Sensitive) and not value.common:
                plain = value.reveal()
                secrets.add(plain)
                secrets.update(plain.splitlines())
                secrets.update(_passwords(plain))
                secrets.update(_spellings(plain))
    longest_first = sorted((secret for secret in secrets if len(secret) >= SHORTEST), key=len, reverse=True)

    def redact(text: str) -> str:
        for secret in longest_first:
            text = text.replace(secret, REDACTED)
        return text

    return redact


def _spellings(value: str) -> tuple[str, ...]:
    """The secret as Ruby's ``inspect`` and as a URL write it: error messages contain these forms."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("#{", "\\#{").replace("#$", "\\#$")
    for character, letter in (("\n", "n"), ("\t", "t"), ("\r", "r"), ("\x1b", "e")):
        escaped = escaped.replace(character, f"\\{letter}")
    return escaped, quote(value, safe=""), quote(value)


def _passwords(value: str) -> tuple[str, ...]:
    try:
        password = urlsplit(value).password
    except ValueError:
        return ()
    return () if password is None else (password, unquote(password))
