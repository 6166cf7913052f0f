"""What systemd has loaded and runs: the output of ``systemctl show``, and whether a unit file is newer than that."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from infra.model import answer

Unit = Mapping[str, str]

ANY = "init.scope"
"""A unit without a file. If it needs a reload, the manager says so of all units."""

# From version 254 on, a manager that has enabled a unit without a reload says of every unit that it needs one.
SHOW = """\
show() {
  said=$(ask "$@"); printf '%s\\n\\n' "$said"
  case $said in *NeedDaemonReload=yes*)
    systemctl show --timestamp=us+utc -p UnitsLoadTimestamp,UnitsLoadFinishTimestamp; echo
    stat -c 'written %.Y %n' -- "$@" 2>/dev/null;;
  esac
}
"""
"""A shell function that prints what ``ask`` does, which asks systemd for the properties of units, among them those of
``ANY``, and if one is outdated also when each was written. Their files are in the working directory."""

NAMED = """\
named() { case ${1##*/} in *[!A-Za-z0-9:._\\\\-]*) return 1;; esac; }
"""
"""A shell function that tells whether a file may be a unit of ours. systemctl says nothing of the units after one with
another name: that of a template, or one that is too long once its blanks are escaped."""

_PROPERTY = re.compile(r"^([A-Za-z]\w*)=(.*)$", re.MULTILINE)


def parse(output: str) -> Mapping[str, Unit]:
    """Properties by unit name. Blocks are separated by empty lines; ``Id`` may be anywhere in its block, and lines that
    are no properties anywhere."""
    blocks = (dict(_PROPERTY.findall(block)) for block in output.split("\n\n"))
    return {block.get("Id", ""): block for block in blocks if block}


def words(text: str) -> list[str]:
    """The values of a list such as ``DropInPaths``. systemd quotes those with a backslash for a shell; older versions
    write it as ``\\x5c``. The names of mount units have backslashes."""
    if not text:
        return []
    found = re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', text)
    return [re.sub(r"\\(.)", r"\1", quoted) if quoted else plain.replace("\\x5c", "\\") for quoted, plain in found]


def outdated(units: Mapping[str, Unit], name: str, output: str) -> bool:
    """Whether systemd has loaded an older version of the file of a unit. ``output`` has all that ``show`` printed."""
    if units.get(name, {}).get("NeedDaemonReload") != "yes":
        return False
    # systemd also says so if it loaded the drop-ins in another order, as it appends those of set-property.
    several = len(words(units[name].get("DropInPaths", ""))) > 1
    if units.get(ANY, {}).get("NeedDaemonReload") != "yes" and not several:
        return True
    written = [line.partition(" ")[0] for line in answer.lines(output, "written") if line.endswith(f" {name}")]
    manager = units.get("", {})
    boot = manager.get("UnitsLoadFinishTimestamp", "") if "UnitsLoadTimestamp" in manager else ""
    loaded = _moment(manager.get("UnitsLoadTimestamp") or boot)
    if loaded is None or not written:
        return not several
    return answer.decimal(written[0]) > loaded


def _moment(text: str) -> float | None:
    """systemd's ``Tue 2026-11-24 03:00:00.123456 UTC`` in seconds since 1970, or None if ``text`` is not a time."""
    try:
        return datetime.strptime(text, "%a %Y-%m-%d %H:%M:%S.%f UTC").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def orphans(units: Mapping[str, Unit], suffix: str) -> Iterator[str]:
    """The names, without ``suffix``, of active units whose files are gone."""
    for name, unit in units.items():
        if name.endswith(suffix) and unit.get("LoadState") == "not-found" and unit.get("ActiveState") == "active":
            yield name.removesuffix(suffix)
