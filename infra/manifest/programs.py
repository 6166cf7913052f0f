"""Where programs of the local machine are: only absolute entries of PATH count, as others depend on the directory."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def search_path() -> str:
    """The PATH without its relative and empty entries, which name directories of whatever repository one is in."""
    entries = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(entry for entry in entries if Path(entry).is_absolute())


def find(name: str) -> str | None:
    """The path of a program, as a shell would find it on that PATH; a name with a slash is returned as it is. None if
    there is no such program.

    Every program that dynoctl starts by its name is looked up here."""
    if "/" in name:
        return name
    found = shutil.which(name, path=search_path())
    return None if found is None or not Path(found).is_absolute() else found
