"""The texts of unit files: a shell function that prints them, and how its output is read."""

from __future__ import annotations

import re

PRINT = """\
texts() {
  for file; do shift; [ -d "$file" ] || set -- "$@" "$file"; done
  [ $# -eq 0 ] || sed -s '1F;s/^/=/' -- "$@" 2>/dev/null || [ $? -eq 2 ] || { echo 'sed cannot print them'; exit 1; }
  echo
}
"""
"""A shell function that prints the name of each file once, and its lines with a ``=`` before each: they are most of
what a server answers. (sed would end at a directory, says 2 if a file cannot be read, and adds no newline to the last
one.)"""

_FILE = re.compile(r"^([^ =\n]+)\n((?:=.*(?:\n|\Z))++)", re.MULTILINE)


def read(output: str, suffix: str) -> tuple[dict[str, str], str]:
    """The text of each file that is not empty, by its name without ``suffix``, and what else was printed."""
    texts: dict[str, str] = {}
    for match in _FILE.finditer(output):
        if match[1].endswith(suffix):
            texts[match[1].removesuffix(suffix)] = match[2][1:].replace("\n=", "\n")
    return texts, _FILE.sub("", output)
