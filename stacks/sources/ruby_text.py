"""Read the statements of a Ruby configuration file without running it: calls with literal arguments, in linear time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from stacks.sources.ruby_values import Reader, Token, Value, joined

MOST_BLOCKS = 20
"""Blocks around a statement that it is told of."""

LARGEST = 128 * 1024
"""Characters of a file that are read."""

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t]+|\\\n)
  | (?P<comment>\#[^\n]*)
  | (?P<newline>\n|;)
  | (?P<single>'(?:[^'\\\n]|\\.|\\$)*(?:'|$))
  | (?P<double>"(?:[^"\\\n]|\\.|\\$)*(?:"|$))
  | (?P<words>%[wi](?:\[[^\]\n]*(?:\]|$)|\([^)\n]*(?:\)|$)|\{[^}\n]*(?:\}|$)))
  | (?P<label>[A-Za-z_]\w*:(?!:))
  | (?P<symbol>:[A-Za-z_]\w*[?!]?)
  | (?P<number>\d[\d_]*(?:\.\d+)?)
  | (?P<word>[A-Za-z_]\w*(?:::[A-Za-z_]\w*)*[?!]?)
  | (?P<arrow>=>|->|\|\||&&|[=!<>]=)
  | (?P<other>.)
    """,
    re.VERBOSE | re.MULTILINE,
)

_OPENERS = {"if", "unless", "case", "while", "until", "begin", "class", "module", "def"}


@dataclass(frozen=True)
class Statement:
    """A call. ``name`` is "=" for an assignment, with the variable and its value as arguments. ``inside`` are the
    openers of the blocks around it, such as ``if``, ``namespace`` or ``group``, each with its arguments."""

    name: str
    line: int
    args: Sequence[Value] = ()
    options: Mapping[str, Value] = field(default_factory=dict)
    inside: tuple[Statement, ...] = ()
    condition: str = ""
    """The tokens after an ``if`` or ``unless`` that follows it, and after ``if`` itself."""
    opens: bool = False
    """Whether it has a block."""


def statements(text: str, known: Mapping[str, Value] | None = None) -> Iterator[Statement]:
    """The calls of a file. Assigned variables are replaced by their values; ``known`` are values by name."""
    variables: dict[str, Value] = dict(known or {})
    blocks: list[Statement] = []
    deeper = 0  # blocks inside of the innermost one that is told of
    for tokens in _lines(text[:LARGEST]):
        first = tokens[0]
        if first.kind == "word" and first.text == "end":
            if deeper:
                deeper -= 1
            elif blocks:
                blocks.pop()
            continue
        found = _statement(tokens, variables, tuple(blocks))
        if found is None:
            continue
        if found.name == "=":
            variables[str(found.args[0])] = found.args[1]
        elif found.name not in ("else", "elsif", "when", "rescue", "ensure"):
            yield found
        if found.opens and len(blocks) < MOST_BLOCKS:
            blocks.append(found)
        elif found.opens:
            deeper += 1


def for_development(statement: Statement) -> bool:
    """Whether a statement, or a block around it, is only for the environment development or test."""
    return any(
        one.name != "unless" and re.search(r"""==["'](development|test)["']$|\.(development|test)\?$""", one.condition)
        for one in (statement, *statement.inside)
    )


def _tokens(text: str) -> Iterator[Token]:
    line = 1
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "other"
        if kind not in ("space", "comment"):
            yield Token(kind, match[0], line)
        line += match[0].count("\n")


def _lines(text: str) -> Iterator[list[Token]]:
    """The tokens of each statement, which ends with its line unless a bracket is open or a comma is last."""
    depth, current = 0, list[Token]()
    for token in _tokens(_without_comments(text)):
        if token.kind == "newline":
            open_ = depth > 0 or (current and current[-1].text in (",", "=>", "||", "&&", "=", ".", "+"))
            if current and not open_:
                yield current
                current, depth = [], 0
            continue
        if token.kind == "other" and token.text in "([{":
            depth += 1
        elif token.kind == "other" and token.text in ")]}":
            depth = max(0, depth - 1)
        current.append(token)
    if current:
        yield current


def _without_comments(text: str) -> str:
    """The text with blank lines for ``=begin`` to ``=end``, and without what follows ``__END__``."""
    lines, hidden = [], False
    for line in text.split("\n"):
        if line.startswith("=begin"):
            hidden = True
        if line.rstrip() == "__END__":
            break
        lines.append("" if hidden else line)
        if line.startswith("=end"):
            hidden = False
    return "\n".join(lines)


def _statement(tokens: list[Token], variables: Mapping[str, Value], inside: tuple[Statement, ...]) -> Statement | None:
    first, opens = tokens[0], _opens(tokens)
    if first.kind != "word":
        return Statement("", first.line, inside=inside, opens=opens) if opens else None
    if first.text in _OPENERS:
        condition = joined(tokens[1:])
        return Statement(first.text, first.line, inside=inside, condition=condition, opens=tokens[-1].text != "end")
    if len(tokens) > 2 and tokens[1].text == "=":
        rest, _ = _until_modifier(tokens[2:])
        reader = Reader(rest, variables)
        return Statement("=", first.line, (first.text, reader.whole()), inside=inside, opens=opens)
    rest, condition = _until_modifier(tokens[1:])
    if (rest and rest[0].text == ".") or (rest and rest[0].text == "["):
        return Statement(joined(tokens), first.line, inside=inside, opens=opens)
    if rest and rest[0].text == "(":
        rest = _bracketed(rest)
    args, options = Reader(rest, variables).arguments()
    return Statement(first.text, first.line, args, options, inside, condition=condition, opens=opens)


def _opens(tokens: list[Token]) -> bool:
    """Whether ``do`` or ``do |x|`` is at the end, with no ``end`` after it."""
    for token in reversed(tokens[-8:]):
        if token.kind == "word" and token.text == "do":
            return True
        if token.kind == "word" and token.text == "end":
            return False
    return (tokens[-1].kind == "word" and tokens[-1].text in ("do", "then", "begin")) or (
        len(tokens) > 2 and tokens[1].text == "=" and tokens[2].text in _OPENERS
    )


def _until_modifier(tokens: list[Token]) -> tuple[list[Token], str]:
    """The tokens before a block, or before an ``if`` at the end of the line."""
    depth = 0
    for index, token in enumerate(tokens):
        if token.kind == "other" and token.text in "([{":
            depth += 1
        elif token.kind == "other" and token.text in ")]}":
            depth -= 1
        elif depth == 0 and token.kind == "word" and token.text in ("if", "unless", "rescue", "while"):
            return tokens[:index], joined(tokens[index + 1 :])
        elif depth == 0 and token.kind == "word" and token.text == "do":
            return tokens[:index], ""
    return tokens, ""


def _bracketed(tokens: list[Token]) -> list[Token]:
    """The tokens inside the first pair of parentheses."""
    depth = 0
    for index, token in enumerate(tokens):
        if token.kind == "other" and token.text in "([{":
            depth += 1
        elif token.kind == "other" and token.text in ")]}":
            depth -= 1
            if depth == 0:
                return tokens[1:index]
    return tokens[1:]
