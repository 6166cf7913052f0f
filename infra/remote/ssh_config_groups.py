"""Hosts that ssh_config cannot tell apart: OpenSSH is asked about two of them, and the answer holds for the others.

An answer is shared only if nothing in it can depend on the host:

- every file that OpenSSH reads was read here as well, and has nothing that looks at a host but ``Host`` lines in their
  simplest form, each of which matches all these hosts or none;
- the answers for the first two hosts are equal in every setting that is used, so none of them has a token of the host;
- the name to connect to is the one asked for, or a value of HostName whose only token is ``%h``.

All other hosts are asked about one by one, such as those of files with ``Match host``, ``Match exec`` or
CanonicalizeHostname.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from infra.errors import DynoctlError
from infra.remote.ssh_config_file import USED, host_line_matches
from infra.remote.ssh_settings import Raw, home

SYSTEM = Path("/etc/ssh")

MOST_FILES = 500

LONGEST = 1000
"""Characters of a line. Old versions of OpenSSH read a longer one in pieces."""

_LINE = re.compile(r"[ \t]*([A-Za-z0-9]+)(.*)", re.DOTALL)
_VALUES = re.compile(r"[ \t]+([^\s\"'\\#=]+(?:[ \t]+[^\s\"'\\#=]+)*)[ \t\r]*")
"""What follows a keyword, without quotes, comments and whatever else versions of OpenSSH read differently."""

_PATTERN = re.compile(r"!?[a-z0-9_.:*?-]+")
_FILE = re.compile(r"(?:~/|/)?[A-Za-z0-9_.*?/-]+")
_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
_HOST_NAME = re.compile(r"(?:[A-Za-z0-9_.:-]|%h|%%)+")

_ALONE = frozenset({"all", "final", "canonical"})
_WITH_VALUE = frozenset({"user", "localuser", "tagged"})
"""Conditions of ``Match`` that look at anything but the host."""


@dataclass(frozen=True)
class Answer:
    """What OpenSSH says about a host, and the files that it read for that."""

    raw: Raw
    files: frozenset[str]


class Individual(Exception):
    """A line after which every host is asked about by itself."""


@dataclass
class Files:
    """What the files of ssh_config, and those that they include, say about hosts."""

    read: set[str] = field(default_factory=set)
    patterns: list[list[str]] = field(default_factory=list)
    """Those of each ``Host`` line with a wildcard or a negation."""
    literal: dict[str, list[int]] = field(default_factory=dict)
    """The numbers of the other ``Host`` lines, by name."""
    literal_lines: int = 0
    host_names: set[str] = field(default_factory=set)
    """The values of HostName."""
    twice: bool = False
    """OpenSSH may read the files again, with the name to connect to (``Match final``)."""

    def side(self, host: str) -> Hashable:
        """Equal for hosts that the same ``Host`` lines match."""
        wild = (number for number, patterns in enumerate(self.patterns) if host_line_matches(host, patterns))
        return tuple(wild), tuple(self.literal.get(host, ()))


def look(files: Sequence[Path]) -> Files:
    """Read ``files`` and all that they include. Raises Individual."""
    found = Files()
    waiting = list(files)
    while waiting:
        file = waiting.pop()
        if str(file) in found.read:
            continue
        found.read.add(str(file))
        if len(found.read) > MOST_FILES:
            raise Individual
        try:
            text = file.read_bytes().decode("latin-1")  # any bytes; those that are not ASCII are no simple line
        except FileNotFoundError:
            continue
        except OSError:
            raise Individual from None
        for line in text.split("\n"):
            waiting += _line(line, found)
    return found


def _line(line: str, found: Files) -> list[Path]:
    """Take in one line; returns the files that it includes. Raises Individual."""
    if not line.strip(" \t\r") or line.lstrip(" \t").startswith("#"):
        return []
    match = _LINE.fullmatch(line)
    if match is None or len(line) > LONGEST:
        raise Individual
    keyword = match[1].lower()
    if keyword not in ("host", "match", "include", "hostname", "canonicalizehostname"):
        return []
    values = _VALUES.fullmatch(match[2])
    if values is None:
        raise Individual
    words = values[1].split()
    if keyword == "host":
        _host(words, found)
    elif keyword == "match":
        found.twice |= _match(words)
    elif keyword == "hostname":
        found.host_names.update(word for word in words if _HOST_NAME.fullmatch(word))
    elif keyword == "include":
        return [path for word in words for path in _included(word)]
    else:
        raise Individual
    return []


def _host(words: Sequence[str], found: Files) -> None:
    if not all(_PATTERN.fullmatch(word) for word in words):
        raise Individual
    if any(set(word) & set("!*?") for word in words):
        found.patterns.append(list(words))
        return
    found.literal_lines += 1
    for word in words:
        found.literal.setdefault(word, []).append(found.literal_lines)


def _match(words: Sequence[str]) -> bool:
    """Whether a ``Match`` line that does not look at the host may have the files read twice. Raises Individual."""
    rest, twice = iter(words), False
    for word in rest:
        condition = word.lower().removeprefix("!")
        twice |= condition in ("final", "canonical")
        if condition not in _ALONE and (condition not in _WITH_VALUE or next(rest, None) is None):
            raise Individual
    return twice


def _included(word: str) -> Iterator[Path]:
    """The files of an ``Include``: those of a relative name in both places that it may have. Raises Individual."""
    if not _FILE.fullmatch(word):
        raise Individual
    bases = [home()] if word.startswith("~/") else [home() / ".ssh", SYSTEM]
    for base in bases:
        pattern = (base / word.removeprefix("~/")).relative_to("/")
        try:
            yield from Path("/").glob(str(pattern))
        except ValueError:
            raise Individual from None


def kind(host: str) -> str:
    """What a name is for OpenSSH, if it takes it as it is: a ``name``, or an address in its usual form; "" if not."""
    if _NAME.fullmatch(host):
        return "name"
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            if socket.inet_ntop(family, socket.inet_pton(family, host)) == host:
                return family.name
        except OSError:
            continue
    return ""


@dataclass(frozen=True)
class Rule:
    """What holds for all hosts of a group: the settings, the ways to make the name to connect to, and its kind."""

    settings: Raw
    templates: tuple[str, ...]
    kind: str

    def answer(self, host: str) -> Raw | None:
        """The answer for ``host``; None if it must be asked for."""
        names = {_made(template, host) for template in self.templates}
        jumps = "".join(self.settings.get("proxyjump", ()))
        if len(names) != 1 or kind(name := names.pop()) != self.kind or host in jumps or name in jumps:
            return None  # OpenSSH refuses a jump over the host itself
        return {**self.settings, "hostname": [name]}


def rule(files: Files, first: tuple[str, Answer], second: tuple[str, Answer]) -> Rule | None:
    """The rule for a group, by two of its hosts and the answers for them; None if it cannot be certain."""
    pair = (first, second)
    if any(not answer.files or not answer.files <= files.read for _, answer in pair):
        return None
    settings, others = ({key: values for key, values in answer.raw.items() if key in USED} for _, answer in pair)
    names = [settings.pop("hostname", [""])[0], others.pop("hostname", [""])[0]]
    templates = tuple(
        template for template in {"%h", *files.host_names} if [_made(template, host) for host, _ in pair] == names
    )
    if settings != others or not templates or (files.twice and names != [host for host, _ in pair]):
        return None
    return Rule(settings, templates, kind(names[0]))


def _made(template: str, host: str) -> str:
    return re.sub(r"%(.)", lambda token: host if token[1] == "h" else "%", template).lower()


@dataclass
class _Group:
    asking: threading.Lock = field(default_factory=threading.Lock)
    answers: list[tuple[str, Answer]] = field(default_factory=list)
    rule: Rule | None = None
    decided: bool = False


class Groups:
    """The groups of hosts that were asked about so far, by the settings of the question and by ``Files.side``."""

    def __init__(self) -> None:
        self._groups: dict[Hashable, _Group] = {}
        self._files: dict[tuple[Path, ...], Files | None] = {}
        self._reading = threading.Lock()

    def answer(self, host: str, question: Hashable, files: Sequence[Path], ask: Callable[[], Answer]) -> Raw:
        """What OpenSSH says about ``host``; ``ask`` asks it. ``question`` is everything else that it is told. Raises
        what ``ask`` raises."""
        found = self._look(tuple(files))
        if found is None or not (kind_ := kind(host)):
            return ask().raw
        with self._reading:
            group = self._groups.setdefault((question, tuple(files), kind_, found.side(host)), _Group())
        with group.asking:
            if not group.decided:
                return self._learn(group, host, found, ask)
        shared = group.rule.answer(host) if group.rule else None
        return ask().raw if shared is None else shared

    def _learn(self, group: _Group, host: str, files: Files, ask: Callable[[], Answer]) -> Raw:
        """Ask about one of the first two hosts of a group."""
        try:
            answer = ask()
        except DynoctlError:
            group.decided = True  # each host has its own error
            raise
        group.answers.append((host, answer))
        if len(group.answers) == 2:
            group.decided, group.rule = True, rule(files, *group.answers)
        return answer.raw

    def _look(self, files: tuple[Path, ...]) -> Files | None:
        with self._reading:
            if files not in self._files:
                try:
                    self._files[files] = look(files)
                except Individual:
                    self._files[files] = None
            return self._files[files]
