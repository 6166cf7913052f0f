"""Turn a command of the manifest or of the user into the argv of a process."""

from __future__ import annotations


def argv(line: str | tuple[str, ...]) -> tuple[str, ...]:
    """The argv for a command: a string is run by a shell, a list is run directly, with its program found on the
    PATH."""
    return ("/bin/sh", "-c", line) if isinstance(line, str) else ("/usr/bin/env", *line)
