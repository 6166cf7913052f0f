"""A .slugignore has the syntax and the meaning of a .gitignore."""

from __future__ import annotations

import pytest

from infra.slug.ignore import ignored, parse

FILES = (
    "app.rb",
    "run",
    "lib/deep/a.rb",
    "lib/b.rb",
    "log/x.log",
    "log/deep/y.log",
    "config/log/z.log",
    "caf\u00e9 x",
    "-",
    "]",
)


def ignored_files(text: str) -> set[str]:
    """The files that the rules ignore, checked from the root downwards."""
    rules = parse(text.encode())

    def out(path: str) -> bool:
        parts = path.encode().split(b"/")
        return any(ignored(rules, b"/".join(parts[: end + 1]), end + 1 < len(parts)) for end in range(len(parts)))

    return {path for path in FILES if out(path)}


RULES: list[tuple[str, set[str]]] = [
    ("", set()),
    ("# app.rb\n\n  \n", set()),
    ("*.rb", {"app.rb", "lib/deep/a.rb", "lib/b.rb"}),
    ("/*.rb", {"app.rb"}),
    ("*.rb\n!a.rb", {"app.rb", "lib/b.rb"}),
    ("!app.rb\napp.rb", {"app.rb"}),
    ("lib/", {"lib/deep/a.rb", "lib/b.rb"}),
    ("lib\n!lib/b.rb", {"lib/deep/a.rb", "lib/b.rb"}),
    ("lib/*\n!lib/b.rb", {"lib/deep/a.rb"}),
    ("run/", set()),
    ("deep", {"lib/deep/a.rb", "log/deep/y.log"}),
    ("/deep", set()),
    ("lib/deep", {"lib/deep/a.rb"}),
    ("log", {"log/x.log", "log/deep/y.log", "config/log/z.log"}),
    ("/log", {"log/x.log", "log/deep/y.log"}),
    ("log/*.log", {"log/x.log"}),
    ("log/**/*.log", {"log/x.log", "log/deep/y.log"}),
    ("**/log/*.log", {"log/x.log", "config/log/z.log"}),
    ("log/**", {"log/x.log", "log/deep/y.log"}),
    ("**/a.rb", {"lib/deep/a.rb"}),
    # A negated directory does not include its ignored files.
    ("*.log\n!/log/", {"log/x.log", "log/deep/y.log", "config/log/z.log"}),
    ("/*\n!/lib\n", set(FILES) - {"lib/deep/a.rb", "lib/b.rb"}),
    ("[ar]*", {"app.rb", "run", "lib/deep/a.rb"}),
    ("[!a]*.rb", {"lib/b.rb"}),
    ("[]-]", {"-", "]"}),
    ("[[:punct:]]", {"-", "]"}),
    ("[[:nothing:]]", set()),
    ("r?n", {"run"}),
    ("r\\un", {"run"}),
    ("run\\", set()),
    ("[r", set()),
    ("run   ", {"run"}),
    ("caf\u00e9\\ x", {"caf\u00e9 x"}),
    ("caf?? x", {"caf\u00e9 x"}),
    ("app.rb\r\nrun\r\n", {"app.rb", "run"}),
    ("\ufeffapp.rb\n", {"app.rb"}),
    ("/\n!\n", set()),
]


@pytest.mark.parametrize(("text", "expected"), RULES)
def test_rules(text: str, expected: set[str]) -> None:
    assert ignored_files(text) == expected


BRACKETS: list[tuple[str, set[str]]] = [
    # A pattern with an unknown or unclosed class never matches, as in git.
    ("[[::]", set()),
    ("[[:alpha:]", set()),
    ("[[:alpha:", set()),
    # Without a colon before the bracket, it is not a class, and its bracket is an ordinary byte.
    ("[[:a]*", {"app.rb", "lib/deep/a.rb"}),
    ("[[:]", set()),
    # A bracket expression that is not closed, although a bracket appears to close it.
    ("[]", set()),
    ("[!]", set()),
    ("[a-", set()),
    ("[a-\\", set()),
    # A bracket can end a range, and what follows is then not a class.
    ("[Z-[:alpha:]]", set()),
    ("[Z-[:alr]un", {"run"}),
    ("[[:alpha:]-z]", {"-"}),
    ("[z-a]*", {"config/log/z.log"}),
    ("[l-\\r]*", {"run", "lib/deep/a.rb", "lib/b.rb", "log/x.log", "log/deep/y.log", "config/log/z.log"}),
]


@pytest.mark.parametrize(("text", "expected"), BRACKETS)
def test_bracket_expressions(text: str, expected: set[str]) -> None:
    assert ignored_files(text) == expected
