"""A .slugignore reads as git reads a .gitignore."""

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


def left(text: str) -> set[str]:
    """The files that the rules leave out, each asked from the root downwards."""
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
    # What a rule says again of a directory is not said of what is in it.
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


@pytest.mark.parametrize(("text", "gone"), RULES)
def test_rules(text: str, gone: set[str]) -> None:
    assert left(text) == gone


SETS: list[tuple[str, set[str]]] = [
    # A class without a name, or one that nothing closes, is no list of bytes: git matches nothing with it.
    ("[[::]", set()),
    ("[[:alpha:]", set()),
    ("[[:alpha:", set()),
    # What does not end in a colon is no class, and its bracket a byte as any other.
    ("[[:a]*", {"app.rb", "lib/deep/a.rb"}),
    ("[[:]", set()),
    # A set that is not closed, though there is a bracket that looks as if it closed it.
    ("[]", set()),
    ("[!]", set()),
    ("[a-", set()),
    ("[a-\\", set()),
    # A bracket may end a range; what follows it is then no class.
    ("[Z-[:alpha:]]", set()),
    ("[Z-[:alr]un", {"run"}),
    ("[[:alpha:]-z]", {"-"}),
    ("[z-a]*", {"config/log/z.log"}),
    ("[l-\\r]*", {"run", "lib/deep/a.rb", "lib/b.rb", "log/x.log", "log/deep/y.log", "config/log/z.log"}),
]


@pytest.mark.parametrize(("text", "gone"), SETS)
def test_sets_as_git_reads_them(text: str, gone: set[str]) -> None:
    assert left(text) == gone
