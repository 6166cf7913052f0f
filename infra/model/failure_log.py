"""Finds what a log says of a failure: the exception, the first line of the app's own code, and the lines to show."""

from __future__ import annotations

import re
from collections.abc import Sequence

LONGEST = 2000
"""Characters of a line that are searched. Ruby writes no longer ones of its own."""

_CLASS = r"(?P<cls>(?:[A-Z]\w{0,80}::){0,6}[A-Z]\w{0,80})"

_PREFIX = re.compile(
    r"^(?:\x1b\[[0-9;]{0,20}m"  # colours
    r"|[DIWEF], \[[^\]]{0,80}\] {1,2}[A-Z]{4,5} -- [^:]{0,80}: "  # Ruby's Logger
    r"|\[[0-9a-f-]{8,40}\] "  # the request of a line of Rails
    r"|\[\d+\] )"  # the process of a line of Puma
)
_COLOR = re.compile(r"\x1b\[[0-9;]{0,20}m")

_EXCEPTIONS = tuple(
    re.compile(text)
    for text in (
        rf"^dyno\.yaml: [^:]+: cannot .*?: {_CLASS}: (?P<said>.*)$",
        rf"^Unexpected error while processing request: {_CLASS}: (?P<said>.*)$",  # Thin
        rf"Rack app \(.*\): #<{_CLASS}: (?P<said>.*?)>?$",  # Puma
        rf'^app error: "?(?P<said>.*?)"? \({_CLASS}\)$',  # Unicorn
        rf"^[0-9-]{{10}} [0-9:]{{8}} - {_CLASS} - (?P<said>.*?):?$",  # Sinatra
        rf"^(?P<at>[^\s:][^:]{{0,300}}:\d+):in [`'].*?': (?P<said>.*) \({_CLASS}\)$",  # an uncaught one
        rf"^(?P<at>[^\s:][^:]{{0,300}}:\d+): (?P<said>.*) \({_CLASS}\)$",
        rf"^{_CLASS} \((?P<said>.*?)\):?$",  # Rails
    )
)
_PLAIN = re.compile(rf"^{_CLASS}(?:: (?P<said>.*))?$")
"""One as Rake and others write it. It is one if its name says so, or if a backtrace follows."""

_NAMED = re.compile(r"(?:Error|Exception|NotFound|Timeout|Invalid)$")
_NOT_THE_CAUSE = ("SystemExit", "SignalException", "Interrupt")

_FRAME = re.compile(r"^\s*(?:from )?(?P<at>(?P<file>[^\s:]{1,400}):\d{1,9})(?::in [`'].*|:?$)")
_TIME = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} ")
"""What Thin and Puma write before a line."""

_IN_MESSAGE = re.compile(r"^(?P<at>(?P<file>/[^\s:]{1,400}):\d{1,9}): ")
"""The place that a syntax error begins with."""

_VARIES = re.compile(r"(?<!\d)(?<!answered )(?<!status )(?<!signal )\d+")
"""A number that may differ between failures with the same cause. An answer and an exit status are the cause."""

_ABSENT = re.compile(
    r"(?:dynoctl: cannot start (?P<launched>.{1,400}): No such file or directory"
    r"|\S{0,100}env: \W(?P<env>.{1,400})\W: No such file or directory"
    r"|\S{1,100}: (?:line )?\d{1,9}: (?:exec: )?(?P<shell>.{1,400}?): (?:command )?not found)"
)
"""What the launcher, env(1) and shells say of a program that does not exist."""

_APP = "/app/"
_FOREIGN = re.compile(r"^(?:<internal:|/(?!app/)|/app/(?:\.dynoctl|vendor)/|.*/gems/)")
"""The files that are not the app's own: of Ruby, of gems, of the rackup that dynoctl makes."""


def exception(lines: Sequence[str]) -> str:
    """The exception that a log ends with, as ``RuntimeError: message (app.rb:3)`` with the first line of the app's own
    code, if there is one; "" if the log has none. If it names its causes after it, it is the first of them."""
    bare = [_bare(line) for line in lines]
    found = [(index, match) for index, line in enumerate(bare) if (match := _match(bare, index, line)) is not None]
    causes = [pair for pair in found if pair[1]["cls"] not in _NOT_THE_CAUSE] or found
    if not causes:
        return ""
    last = len(causes) - 1
    while last > 0 and any(line.startswith("Caused by") for line in bare[causes[last - 1][0] : causes[last][0] + 1]):
        last -= 1
    index, match = causes[last]
    place = _place(bare, index, match)
    said = (match["said"] or "").strip()
    at = _IN_MESSAGE.match(said)
    if at is not None and at["at"] == place:
        said = said[at.end() :]
    shown = place.removeprefix(_APP)
    return f"{match['cls']}{': ' if said else ''}{said}{f' ({shown})' if shown else ''}"


def absent_program(lines: Sequence[str]) -> str:
    """The program that a log ends with not finding; "" if it says no such thing."""
    found = [match for line in lines if (match := _ABSENT.fullmatch(line[:LONGEST].strip())) is not None]
    return "" if not found else next(name for name in found[-1].groups() if name)


def shown(lines: Sequence[str], most: int) -> list[str]:
    """The last lines of a log. Long runs of a backtrace outside of the app are left out, and counted."""
    kept: list[str] = []
    foreign: list[str] = []
    for line in [*lines, ""]:
        frame = _FRAME.match(_bare(line))
        if frame is not None and _FOREIGN.match(frame["file"]):
            foreign.append(line)
            continue
        kept += foreign if len(foreign) <= 2 else [foreign[0], f"  ({len(foreign) - 1} more lines outside of the app)"]
        foreign = []
        kept.append(line)
    return kept[:-1][-most:]


def kind(detail: str) -> str:
    """What the details of failures with the same cause have in common: their first two lines, which are the cause and
    the exception or the first line of a log, without the numbers of times and processes."""
    return _VARIES.sub("0", "\n".join(detail.splitlines()[:2]))


def _bare(line: str) -> str:
    """A line without what loggers write before it."""
    line = line[:LONGEST]
    while (match := _PREFIX.match(line)) is not None:
        line = line[match.end() :]
    return _COLOR.sub("", line)


def _match(lines: Sequence[str], index: int, line: str) -> re.Match[str] | None:
    text = _TIME.sub("", line)
    for pattern in _EXCEPTIONS:
        if (match := pattern.search(text)) is not None:
            return match
    match = _PLAIN.match(text)
    if match is None:
        return None
    follows = any(_FRAME.match(after) for after in lines[index + 1 : index + 3])
    return match if follows or (match["said"] and _NAMED.search(match["cls"])) else None


def _place(lines: Sequence[str], index: int, match: re.Match[str]) -> str:
    """The first line of the app's own code in the backtrace of an exception, which may stand before it."""
    own = match.groupdict().get("at")
    if own and not _FOREIGN.match(own):
        return own
    if (at := _IN_MESSAGE.match(match["said"] or "")) is not None and not _FOREIGN.match(at["file"]):
        return at["at"]
    after = lines[index + 1 : index + 200]
    before = lines[max(0, index - 40) : index] if lines[index].startswith("dyno.yaml: ") else []
    for line in [*before, *after]:
        frame = _FRAME.match(line)
        if frame is not None and not _FOREIGN.match(frame["file"]):
            return frame["at"]
    return ""
