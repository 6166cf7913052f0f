"""A value of the manifest: text, or a reference to what is not in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Reference:
    """A value that is not in the manifest: an environment variable, a file, or the output of a command.

    ``value`` is a name for ``from_env``, a path for ``from_file`` and an argv tuple for ``from_command``.
    The resolved value is always sensitive.
    """

    kind: Literal["from_env", "from_file", "from_command"]
    value: str | tuple[str, ...]


Value = str | Reference
