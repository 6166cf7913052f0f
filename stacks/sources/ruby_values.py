"""The values of Ruby literals, from tokens: strings, numbers, lists, hashes, and what ENV holds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

DEEPEST = 8
"""Nesting of a literal that is read."""


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    line: int


@dataclass(frozen=True)
class Unknown:
    """A value that only Ruby could compute."""

    text: str = ""


@dataclass(frozen=True)
class Env:
    """A value from the environment, with the value that it has without the variable."""

    variable: str
    default: object = None


Value = object
"""A str, int, float, bool, None, list or dict of values, ``Unknown`` or ``Env``."""


class Reader:
    """A cursor over the tokens of arguments. Every step moves it, so that reading is linear."""

    def __init__(self, tokens: Sequence[Token], variables: Mapping[str, Value]) -> None:
        self._tokens = tokens
        self._at = 0
        self._variables = variables

    def whole(self) -> Value:
        """The value, if it is all that is there."""
        value = self._value(0)
        return value if self._at >= len(self._tokens) else Unknown(joined(self._tokens))

    def arguments(self) -> tuple[list[Value], dict[str, Value]]:
        args: list[Value] = []
        options: dict[str, Value] = {}
        while self._at < len(self._tokens):
            before = self._at
            self._entry(args, options, ("",), 0)
            self._skip(",")
            if self._at == before:
                self._at += 1
        return args, options

    def _entry(self, args: list[Value], options: dict[str, Value], ends: tuple[str, ...], depth: int) -> None:
        token = self._peek()
        if token is not None and token.kind == "label":
            self._at += 1
            options[token.text[:-1]] = self._item(ends, depth)
            return
        if token is not None and token.kind == "double" and self._text(1) == ":":  # "key": value
            self._at += 2
            options[_string(token.text) or ""] = self._item(ends, depth)
            return
        value = self._item((*ends, "=>"), depth)
        if self._text() == "=>":
            self._at += 1
            options[str(value)] = self._item(ends, depth)
        else:
            args.append(value)

    def _item(self, ends: tuple[str, ...], depth: int) -> Value:
        """A value up to the next comma or end; unknown if there is more than the value."""
        start, value = self._at, self._value(depth)
        if self._text() in (",", *ends) or self._at >= len(self._tokens):
            return value
        nested = 0
        while self._at < len(self._tokens):
            text = self._text()
            if nested == 0 and text in (",", *ends):
                break
            if self._tokens[self._at].kind == "other" and text in "([{":
                nested += 1
            elif self._tokens[self._at].kind == "other" and text in ")]}":
                nested -= 1
            self._at += 1
        return Unknown(joined(self._tokens[start : self._at]))

    def _value(self, depth: int) -> Value:
        token = self._peek()
        if token is None or depth > DEEPEST:
            return Unknown()
        self._at += 1
        value: Value = Unknown(token.text)
        if token.kind in ("single", "double"):
            text = _string(token.text)
            value = Unknown(token.text) if text is None else text
        elif token.kind == "words":
            value = token.text[3:-1].split()
        elif token.kind == "symbol":
            value = token.text[1:]
        elif token.kind == "number":
            value = _number(token.text)
        elif token.text in ("true", "false", "nil"):
            value = {"true": True, "false": False, "nil": None}[token.text]
        elif token.text in ("[", "{", "(") and token.kind == "other":
            value = self._collection(token.text, depth)
        elif token.text == "ENV":
            value = self._environment(depth)
        elif token.text in ("Integer", "Float", "String") and self._text() == "(":
            self._at += 1
            value = self._item((")",), depth + 1)
            self._skip(")")
        elif token.kind == "word" and token.text in self._variables:
            value = self._variables[token.text]
        while self._text() == "." and self._text(1) in ("to_i", "to_s", "to_sym", "freeze"):
            self._at += 2
        if self._text() == "||" and isinstance(value, Env) and value.default is None:
            self._at += 1
            value = Env(value.variable, self._value(depth + 1))
        return value

    def _collection(self, opener: str, depth: int) -> Value:
        end = {"[": "]", "{": "}", "(": ")"}[opener]
        args: list[Value] = []
        options: dict[str, Value] = {}
        while self._at < len(self._tokens) and self._text() != end:
            before = self._at
            self._entry(args, options, (end,), depth + 1)
            self._skip(",")
            if self._at == before:
                self._at += 1
        self._skip(end)
        if opener == "(":
            return args[0] if len(args) == 1 and not options else Unknown()
        return options if opener == "{" else args

    def _environment(self, depth: int) -> Value:
        if self._text() == "[":
            self._at += 1
            name = self._value(depth + 1)
            self._skip("]")
            return Env(str(name))
        if self._text() != "." or self._text(1) != "fetch":
            return Unknown("ENV")
        self._at += 2
        args: list[Value] = []
        if self._text() == "(":
            self._at += 1
            while self._at < len(self._tokens) and self._text() != ")":
                before = self._at
                args.append(self._item((")",), depth + 1))
                self._skip(",")
                if self._at == before:
                    self._at += 1
            self._skip(")")
        default = args[1] if len(args) > 1 else None
        if self._text() == "{":
            self._at += 1
            default = self._item(("}",), depth + 1)
            self._skip("}")
        return Env(str(args[0]) if args else "", default)

    def _peek(self) -> Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _text(self, ahead: int = 0) -> str:
        index = self._at + ahead
        return self._tokens[index].text if index < len(self._tokens) else ""

    def _skip(self, text: str) -> None:
        if self._text() == text:
            self._at += 1


def _number(text: str) -> Value:
    digits = text.replace("_", "")
    if len(digits) > 12:
        return Unknown(text[:20])
    return float(digits) if "." in digits else int(digits)


def _string(text: str) -> str | None:
    """The value of a string literal; None if Ruby would compute a part of it."""
    if len(text) < 2 or text[-1] != text[0]:
        return None
    inner = text[1:-1]
    if text[0] == '"' and "#{" in inner:
        return None
    return re.sub(r"\\(.)", r"\1", inner)


def joined(tokens: Sequence[Token]) -> str:
    """The beginning of a statement as text."""
    return "".join(token.text for token in tokens[:40])
