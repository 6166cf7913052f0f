"""What a server has of its units: their files, what systemd has loaded of them, and what is laid over them. One prelude
of shell functions prints it, and one function reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infra.model import answer
from providers import drop_ins, ini, shown

PRINT = """\
texts() {
  for file; do
    shift
    printf 'file %s\\n' "$file"
    [ -d "$file" ] || set -- "$@" "$file"
  done
  [ $# -eq 0 ] || sed -s '1F;s/^/=/' -- "$@" 2>/dev/null || [ $? -eq 2 ] || { echo 'sed cannot print them'; exit 1; }
  echo
}
"""
"""A shell function that prints which files there are, and of each its name once and its lines with a ``=`` before each:
they are most of what a server answers. (sed would end at a directory, says 2 if a file cannot be read, and adds no
newline to the last one.)"""

PRELUDE = shown.SHOW + drop_ins.LIST + PRINT

_FILE = re.compile(r"^([^ =\n]+)\n((?:=.*(?:\n|\Z))++)", re.MULTILINE)


@dataclass(frozen=True)
class ObservedUnits:
    """The units of a type on a server, by names with a suffix."""

    texts: Mapping[str, str]
    """The text of each file; "" of one that is empty or cannot be read."""
    states: Mapping[str, shown.Unit]
    rest: str
    """What was printed besides the texts."""
    _others: drop_ins.DropIns

    def settings(self, name: str) -> dict[str, str]:
        return ini.parse(self.texts.get(name, ""))

    def state(self, name: str) -> shown.Unit:
        return self.states.get(name, {})

    def drop_ins(self, *names: str) -> tuple[str, ...]:
        """What changes these units and is not part of them."""
        return self._others.of_all({name: self.state(name) for name in names})

    def outdated(self, *names: str) -> bool:
        """Whether systemd has loaded an older version of one of their files."""
        return any(shown.outdated(self.states, name, self.rest) for name in names)

    def lines(self, word: str) -> Sequence[str]:
        """The lines that begin with ``word``, without it."""
        return answer.lines(self.rest, word)


def read(output: str) -> ObservedUnits:
    """What the functions of the prelude printed."""
    parts = _FILE.split(output)
    rest = "".join(parts[::3])
    texts = dict.fromkeys(answer.lines(rest, "file"), "")
    for name, lines in zip(parts[1::3], parts[2::3], strict=True):
        texts[name] = lines[1:].replace("\n=", "\n")
    return ObservedUnits(texts, shown.parse(rest), rest, drop_ins.parse(rest))
