"""Finds the line that makes a file invalid YAML, which is often not the line at which a parser stops.

A parser reports where it can go on no longer: after a lost colon or a wrong indentation, this is the next line. So
small repairs are tried on the lines around it; the one after which the file can be parsed tells what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

from infra.manifest import known_keys, yaml_leftovers

LARGEST = 1 << 16
"""Characters of a file in which repairs are tried."""

MOST_KEYS = 64
"""Keys of a line before which a comma is tried."""

BEFORE = 4
"""How many lines before the reported one are tried."""

Parses = Callable[[str], int | None]
"""Returns the line, from 0, at which a text is invalid, or None if it is valid."""


@dataclass(frozen=True)
class Fault:
    """What is wrong, with line and column from 0. It never holds text of the file, which may be secret."""

    line: int
    column: int
    summary: str
    hint: str


Repair = Callable[[list[str], int], Iterator[tuple[Fault, str]]]
"""Yields faults that a line may have, each with the line as it is without that fault."""


def find(lines: list[str], reported: int, parses: Parses, repairs: Sequence[Repair] = ()) -> Fault | None:
    """The fault behind an error at a line, or None if no repair helps. ``repairs`` are those to try, by default all;
    of some, one that does not make the whole text valid is none."""
    if sum(map(len, lines)) > LARGEST:
        return None
    if (found := yaml_leftovers.find(lines, parses)) is not None:
        return Fault(*found)
    last = min(reported, len(lines) - 1)
    near = [number for number in range(last, -1, -1) if _matters(lines[number])][: BEFORE + 1]
    better: tuple[int, Fault] | None = None
    for repair in repairs or _REPAIRS:
        valid: list[tuple[float, Fault]] = []
        for number in near:
            for fault, text in repair(lines, number):
                then = parses("\n".join([*lines[:number], text, *lines[number + 1 :]]) + "\n")
                if then is None:
                    valid.append((_likely(lines, fault, text), fault))
                elif then > max(reported, fault.line) + 1 and (better is None or then > better[0]):
                    better = (then, fault)
        if valid:
            return max(valid, key=lambda one: one[0])[1]  # the first of those that are as likely
    return None if better is None or repairs else better[1]


def _likely(lines: list[str], fault: Fault, text: str) -> float:
    """How likely a repair is: a key of the top level belongs at the margin, and other lines where most lines are."""
    column = len(text) - len(text.lstrip(" "))
    key = re.match(r"([a-z_]+):", text.lstrip(" "))
    if column == 0 or (key is not None and key[1] in known_keys.top()):
        return 1e9 if column == 0 and key is not None and key[1] in known_keys.top() else -1
    return sum(len(line) - len(line.lstrip(" ")) == column for line in lines)


def _matters(text: str) -> bool:
    return text.strip()[:1] not in ("", "#")


def _colon(lines: list[str], number: int) -> Iterator[tuple[Fault, str]]:
    """A key without its colon."""
    found = re.match(r"(\s*(?:- )*)([A-Za-z_][\w.-]*)(?=\s|$)", lines[number])
    if found is None:
        return
    end = found.end()
    hint = (
        f"add a colon after the key: {found[2]}:"
        if found[2] in known_keys.everywhere()
        else "add a colon after the key"
    )
    yield Fault(number, end, "missing colon after a key", hint), f"{lines[number][:end]}:{lines[number][end:]}"


_UNQUOTED = "a value with special characters is not quoted"


def _space(lines: list[str], number: int) -> Iterator[tuple[Fault, str]]:
    """A colon without a space after it."""
    found = re.match(r"(\s*(?:- )*)([A-Za-z_][\w.-]*):(?=[^\s:/])", lines[number])
    if found is not None:
        end = found.end()
        fault = Fault(number, end, "missing space after a colon", "add a space after the colon")
        yield fault, f"{lines[number][:end]} {lines[number][end:]}"


def _comma(lines: list[str], number: int) -> Iterator[tuple[Fault, str]]:
    """A key in braces without a comma before it. Words before a colon may as well be a value that is not quoted, unless
    the last of them is a key of a manifest, or what is before it cannot go on."""
    text = lines[number]
    above = "".join(lines[:number])
    if "{" not in above[above.rfind("}") + 1 :] + text:
        return
    starts = {found.start(1): found[2] for found in islice(_NEXT_KEY.finditer(text), MOST_KEYS)}
    here = {
        at: key
        for at, key in starts.items()
        if key in known_keys.everywhere() or _VARIABLE.fullmatch(key) or _CLOSED.search(text[:at])
    }
    below = re.match(r"\s*([A-Za-z_][\w.-]*):(?=\s|$)", lines[number + 1]) if number + 1 < len(lines) else None
    end = {} if below is None else {len(text.rstrip()): below[1]}
    for missing in (*({at: key} for at, key in here.items()), here, end, {**here, **end}):
        for at, key in [*missing.items()][:1]:
            hint = (
                f"add a comma before the key: {key}"
                if key in known_keys.everywhere()
                else "add a comma before the next key"
            )
            if _VARIABLE.fullmatch(key) and not _CLOSED.search(text[:at]):
                hint += ", or put the value in quotes"
            pieces = [text[start:stop] for start, stop in pairwise([0, *missing, len(text)])]
            yield Fault(number, at, "missing comma in a mapping", hint), ",".join(pieces)


_NEXT_KEY = re.compile(r"(?<=[^\s,:{\[])(\s+)([A-Za-z_][\w.-]*):(?=\s|$)")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
_CLOSED = re.compile(r"""(["'\]}]|: (\d+|true|false))$""")


COMMAS = (_comma,)


def _quote(lines: list[str], number: int) -> Iterator[tuple[Fault, str]]:
    """A value that only quotes make a string, such as one with ``: `` in it."""
    found = re.match(r"(\s*(?:- )*(?:[\w.-]+:\s+)?)(\S.*)$", lines[number])
    if found is None or found[2][0] in "'\"{[" or _BLOCK.fullmatch(found[2]):
        return
    fault = Fault(number, found.start(2), _UNQUOTED, "put the value in quotes")
    yield fault, found[1] + "'" + found[2].replace("'", "''") + "'"


def _quote_in_flow(lines: list[str], number: int) -> Iterator[tuple[Fault, str]]:
    """A value in braces or brackets that only quotes make a string."""
    for found in re.finditer(r"""(?<=: )[^\s'"{}\[\],][^'"{}\[\],]*""", lines[number]):
        special = found[0][0] in "*&!%@`|>"
        if ": " in found[0] or special:
            hint = "put the value in quotes" + ("" if special else ", or add a comma before the next key")
            fault = Fault(number, found.start(), _UNQUOTED, hint)
            yield fault, f"{lines[number][: found.start()]}'{found[0]}'{lines[number][found.end() :]}"


def _indent(lines: list[str], number: int) -> Iterator[tuple[Fault, str]]:
    """A line that starts at another column than its neighbours."""
    text = lines[number].lstrip(" ")
    own = len(lines[number]) - len(text)
    columns: list[int] = []
    for other in sorted(range(max(0, number - 6), min(len(lines), number + 4)), key=lambda other: abs(other - number)):
        if other != number and _matters(lines[other]):
            stripped = lines[other].lstrip(" ")
            columns.append(len(lines[other]) - len(stripped))
            if stripped.startswith("- "):
                columns.append(len(lines[other]) - len(stripped[1:].lstrip(" ")))
    for column in dict.fromkeys(columns):
        if column != own:
            spaces = "1 space" if own == 1 else f"{own} spaces"
            hint = f"indent it by {column}, as the lines beside it" if column else "remove the spaces before it"
            yield Fault(number, own, f"wrong indentation: {spaces}", hint), " " * column + text


def _dash(lines: list[str], number: int) -> Iterator[tuple[Fault, str]]:
    """An item of a list without its dash."""
    text = lines[number].lstrip(" ")
    own = len(lines[number]) - len(text)
    if not text.startswith("- ") and any(line.startswith(" " * own + "- ") for line in lines):
        yield (
            Fault(number, own, "missing dash before an item of a list", "add a dash and a space: - "),
            " " * own + "- " + text,
        )


_BLOCK = re.compile(r"[|>][+-]?[1-9]?[+-]?\s*(#.*)?")


def _equals(lines: list[str], number: int) -> Iterator[tuple[Fault, str]]:
    """``KEY=value`` or ``key = value``, as in a shell, in Heroku or in Terraform."""
    found = re.match(r"(\s*(?:- )*)([A-Za-z_][\w.-]*)(\s*=\s*)(?=\S)", lines[number])
    if found is not None:
        key = found[2] if found[2] in known_keys.everywhere() else "KEY"
        hint = f"write a colon and a space: {key}: ..."
        rest = lines[number][found.end() :].replace("'", "''")
        yield Fault(number, found.end(2), "= in place of a colon", hint), f"{found[1]}{found[2]}: '{rest}'"


def _comment(lines: list[str], number: int) -> Iterator[tuple[Fault, str]]:
    """A comment as in JSON or SQL."""
    text = lines[number].lstrip(" ")
    own = len(lines[number]) - len(text)
    if text.startswith(("//", "/*", "-- ", ";")):
        mark = text.split(maxsplit=1)[0][:2]
        yield Fault(number, own, f"{mark} in place of #", "start the comment with #"), " " * own + "#"


def _reference(lines: list[str], number: int) -> Iterator[tuple[Fault, str]]:
    """A reference without its braces, which quotes would turn into a text."""
    found = re.match(r"(\s*(?:- )*[\w.-]+:\s+)((from_env|from_file|from_command):\s.*)$", lines[number])
    if found is not None:
        sample = {"from_env": "NAME", "from_file": "PATH", "from_command": "[argv]"}[found[3]]
        fault = Fault(number, found.end(1), "a reference without braces", f"put it in braces: {{{found[3]}: {sample}}}")
        yield fault, f"{found[1]}{{{found[2]}}}"


def _after_quote(lines: list[str], number: int) -> Iterator[tuple[Fault, str]]:
    """Text after the quote that closes a value, such as in ``'it's'``."""
    found = re.match(r"""(\s*(?:- )*(?:[\w.-]+:\s+)?)(["'])([^"']*)\2(?=\s*[^\s,#\]}])""", lines[number])
    if found is not None:
        whole = lines[number][found.end(1) :].replace("'", "''")
        hint = "put all of the value in quotes; in single quotes, '' stands for '"
        yield Fault(number, found.end(), "text after a closing quote", hint), f"{found[1]}'{whole}'"


def _dash_space(lines: list[str], number: int) -> Iterator[tuple[Fault, str]]:
    """A dash without a space after it."""
    found = re.match(r"(\s*-)(?=[A-Za-z_{][\w.-]*(:\s|$|\w))", lines[number])
    if found is not None:
        fault = Fault(number, found.end(), "missing space after a dash", "add a space after the dash")
        yield fault, f"{found[1]} {lines[number][found.end() :]}"


def _block(lines: list[str], number: int) -> Iterator[tuple[Fault, str]]:
    """The first line of a text in several lines, which is not right of its key."""
    above = next((line for line in reversed(lines[:number]) if line.strip()), "")
    text = lines[number].lstrip(" ")
    own, key = len(lines[number]) - len(text), len(above) - len(above.lstrip(" "))
    if own <= key and re.search(r":\s+[|>][+-]?\s*$", above):
        fault = Fault(number, own, "a line of a text is not right of its key", f"indent the text by {key + 2}")
        yield fault, " " * (key + 2) + text


def _stray(lines: list[str], number: int) -> Iterator[tuple[Fault, str]]:
    """A bracket that closes nothing."""
    text = lines[number].rstrip()
    for opening, closing in ("{}", "[]"):
        if text.endswith(closing) and text.count(closing) > text.count(opening):
            yield Fault(number, len(text) - 1, f"{closing} without {opening}", "remove it"), text[:-1]


_REPAIRS: Sequence[Repair] = (
    *(_comment, _equals, _reference, _block, _colon, _space, _comma, _after_quote),
    *(_quote, _quote_in_flow, _dash_space, _indent, _dash, _stray),
)
"""In the order in which they are tried: the more particular ones first."""
