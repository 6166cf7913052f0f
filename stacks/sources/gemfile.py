"""Gemfile and Gemfile.lock: the gems, the version of Ruby, the platforms."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stacks.requirement import parse
from stacks.sources.found import Found, Note
from stacks.sources.ruby_text import Statement, statements

LARGEST = 1 << 20
"""Characters of a lock file that are read."""

_LOCKED = re.compile(r"^    ([\w.-]+) \(([^)\n]*)\)$")
_BOUND = re.compile(r"(?:(?:=|!=|>=|<=|~>|>|<) )?\d+(?:\.[0-9A-Za-z]+)*")
_DEVELOPMENT = {"development", "test"}


@dataclass(frozen=True)
class Lock:
    """A Gemfile.lock: versions by gem, and platforms."""

    gems: Mapping[str, str] = field(default_factory=dict)
    platforms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gems:
    """A Gemfile: the gems of production with their lines, those of development and test only, and the requirement for
    Ruby ("" if there is none)."""

    gems: Mapping[str, int] = field(default_factory=dict)
    development: frozenset[str] = frozenset()
    ruby: str = ""
    notes: tuple[Note, ...] = ()


def lock(text: str) -> Lock:
    """The content of a Gemfile.lock. Unknown lines are skipped."""
    section, gems, platforms = "", dict[str, str](), []
    for line in text[:LARGEST].splitlines():
        if line and not line.startswith(" "):
            section = line.strip()
        elif section in ("GEM", "PATH", "GIT") and (found := _LOCKED.match(line)):
            gems.setdefault(found[1], found[2])
        elif section == "PLATFORMS" and line.strip():
            platforms.append(line.strip())
    return Lock(gems, tuple(platforms))


def gemfile(text: str, files: Mapping[str, str]) -> Gems:
    """The content of a Gemfile. ``files`` may hold the file that ``ruby file:`` names."""
    gems: dict[str, int] = {}
    development: set[str] = set()
    ruby, notes = "", list[Note]()
    for statement in statements(text):
        if statement.name == "ruby":
            ruby = _ruby(statement, files)
            if not ruby:
                notes.append(Note("the version of Ruby is computed, and not carried over", "Gemfile", statement.line))
        elif statement.name == "gem" and statement.args and isinstance(statement.args[0], str):
            groups = _groups(statement)
            if groups and groups <= _DEVELOPMENT:
                development.add(statement.args[0])
            else:
                gems.setdefault(statement.args[0], statement.line)
    return Gems(gems, frozenset(development - gems.keys()), ruby, tuple(notes))


def _groups(statement: Statement) -> set[str]:
    """The groups that a gem is in: its own, or those of the block around it. None is the default group."""
    own = [statement.options.get(key) for key in ("group", "groups")]
    found = {str(name) for value in own for name in (value if isinstance(value, list) else [value]) if value}
    for block in statement.inside:
        if block.name == "group":
            found |= {str(name) for name in block.args}
    return found


def _ruby(statement: Statement, files: Mapping[str, str]) -> str:
    if "file" in statement.options:
        file = str(statement.options["file"])
        text = files.get(file, "")
        if file.endswith(".tool-versions"):
            found = re.search(r"^ruby[ \t]+(\S+)", text, re.MULTILINE)
            return requirement(found[1] if found else "")
        return requirement(text.strip())
    if statement.options.get("engine") not in (None, "ruby", "mri"):
        return ""
    bounds = [bound for arg in statement.args for bound in (arg if isinstance(arg, list) else [arg])]
    return requirement(", ".join(str(bound) for bound in bounds)) if all(isinstance(b, str) for b in bounds) else ""


def requirement(text: str) -> str:
    """The text as a requirement with all its bounds, without the prefix ruby-; "" if it is none."""
    text = re.sub(r"(^|,\s*)ruby-", r"\1", text.strip())
    parts = [" ".join(part.split()) for part in text.split(",")][:8]
    parts = [re.sub(r"^(=|!=|>=|<=|~>|>|<)(?=\d)", r"\1 ", part) for part in parts]
    parts = [re.sub(r"-p\d+$", "", part) for part in parts]
    try:
        parse(", ".join(parts))
    except ValueError:
        return ""
    # A prerelease with a dash is a version of RubyGems, but none that the manifest allows.
    right = len(text) < 200 and all(_BOUND.fullmatch(part) for part in parts)
    return ", ".join(parts) if right else ""


class Bundle:
    """The gems, and with a lock file their versions."""

    name = "bundler"
    files: Sequence[str] = ("Gemfile", "Gemfile.lock", ".ruby-version", ".tool-versions")
    platform = False

    def read(self, files: Mapping[str, str]) -> Found:
        found = gemfile(files.get("Gemfile", ""), files)
        if "Gemfile" not in files:
            return Found()
        if "Gemfile.lock" not in files:
            # Nothing enforces an exact version without a bundle, and a distribution has one patch of a minor version.
            return Found(gems=dict.fromkeys(found.gems, ""), ruby=minor(found.ruby), notes=found.notes)
        locked = lock(files["Gemfile.lock"])
        gems = {name: version for name, version in locked.gems.items() if name not in found.development}
        return Found(gems={**dict.fromkeys(found.gems, ""), **gems}, locked=True, ruby=found.ruby, notes=found.notes)


def minor(text: str) -> str:
    """``~> 3.2.0`` for 3.2.4; another requirement as it is."""
    version = re.fullmatch(r"(?:= )?(\d+)\.(\d+)(?:\.\d+)?", text)
    return f"~> {version[1]}.{version[2]}.0" if version else text
