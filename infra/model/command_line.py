"""How a command of the manifest, or of a user, becomes the argv of a process."""

from __future__ import annotations


def argv(line: str | tuple[str, ...]) -> tuple[str, ...]:
    """The argv of a process type: a shell that is given its line as data, or its own words, found on the PATH."""
    return ("/bin/sh", "-c", line) if isinstance(line, str) else ("/usr/bin/env", *line)
