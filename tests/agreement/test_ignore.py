"""A .slugignore ignores what git ignores with the same rules: generated rules, compared with git check-ignore."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.slug.ignore import ignored, parse
from tests.agreement.tools import GENERATED, run_tool
from tests.unit.test_slug_ignore import BRACKETS, FILES, RULES, ignored_files

NAMES = (
    b"a",
    b"b",
    b"ab",
    b"B",
    b"a.b",
    b".a",
    b"a b",
    b"a ",
    b"-",
    b"]",
    b"[",
    b"!",
    b"#a",
    b"\\",
    b"*",
    b"^",
    b"\xc3\xa9",
)
"""Each is the name of a file, and of a directory below other directories."""

TOKENS = (
    *(
        b"a",
        b"b",
        b"d",
        b"e",
        b"d/a",
        b"ab",
        b"B",
        b".",
        b" ",
        b"\t",
        b"-",
        b"^",
        b"!",
        b"#",
        b":",
        b"\xc3\xa9",
        b"\xc3",
        b"\r",
        b"\x01",
    ),
    *(
        b"*",
        b"**",
        b"***",
        b"?",
        b"/",
        b"//",
        b"\\",
        b"[",
        b"]",
        b"[]",
        b"[!",
        b"[^",
        b"[a-b]",
        b"[!a]",
        b"[^a]",
        b"[]-]",
    ),
    *(
        b"[b-a]",
        b"[a-]",
        b"[-a]",
        b"[a\\]]",
        b"[\\]]",
        b"[!/]",
        b"[./]",
        b"[[:alpha:]]",
        b"[[:upper:]b]",
        b"[[:punct:]]",
        b"[[:",
    ),
    *(
        b":]",
        b"[[:no:]]",
        b"[[:lower:]-b]",
        b"[*-z]",
        b"/**",
        b"**/",
        b"/**/",
        b"\\*",
        b"\\ ",
        b"\\!",
        b"\\#",
        b"\\\\",
        b"\\[",
    ),
)
LINE = st.lists(st.sampled_from(TOKENS), max_size=6).map(b"".join)
GENERATED_RULES = st.lists(
    st.tuples(st.sampled_from((b"", b"", b"", b"!", b"/")), LINE).map(b"".join), min_size=1, max_size=4
)


def walk(directory: Path) -> Iterator[bytes]:
    for path in sorted(directory.rglob("*")):
        if ".git" not in path.parts:
            yield bytes(path.relative_to(directory))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    for name in NAMES:
        (root / name.decode()).write_bytes(b"")
        for kind, inside in (("d", NAMES), ("e", (b"a", b"ab", b".a"))):
            (root / kind / name.decode()).mkdir(parents=True)
            for child in inside:
                (root / kind / name.decode() / child.decode()).write_bytes(b"")
    run_tool("git", "git", "init", "-q", str(root))
    return root


@pytest.fixture(scope="module")
def paths(tree: Path) -> list[tuple[bytes, bool]]:
    """Everything in the tree, and whether it is a directory."""
    return [(path, (tree / path.decode()).is_dir()) for path in walk(tree)]


def by_git(tree: Path, paths: list[tuple[bytes, bool]], text: bytes) -> set[bytes]:
    (tree / ".git/info/exclude").write_bytes(text)
    output = run_tool(
        *("git", "git", "-C", str(tree), "-c", "core.excludesFile=/dev/null"),
        *("check-ignore", "--stdin", "-z", "--no-index", "-v", "-n"),
        given=b"".join(path + b"\0" for path, _ in paths),
        GIT_CONFIG_NOSYSTEM="1",
    )
    fields = output.split(b"\0")[:-1]
    rows = [fields[start : start + 4] for start in range(0, len(fields), 4)]
    assert [row[3] for row in rows] == [path for path, _ in paths]
    return {path for _, _, pattern, path in rows if pattern and not pattern.startswith(b"!")}


def by_dynoctl(paths: list[tuple[bytes, bool]], text: bytes) -> set[bytes]:
    """The ignored paths, checked from the root downwards: the content of an ignored directory is ignored."""
    rules = parse(text)
    out: set[bytes] = set()
    for path, is_directory in paths:
        if path.rpartition(b"/")[0] in out or ignored(rules, path, is_directory):
            out.add(path)
    return out


@settings(GENERATED, max_examples=400)
@given(GENERATED_RULES)
def test_generated_rules(tree: Path, paths: list[tuple[bytes, bool]], lines: list[bytes]) -> None:
    text = b"\n".join(lines)
    by_rules, expected = by_dynoctl(paths, text), by_git(tree, paths, text)
    assert by_rules == expected, (
        f"{text!r}: only dynoctl ignores {sorted(by_rules - expected)}, only git ignores {sorted(expected - by_rules)}"
    )


def test_the_rules_of_the_unit_tests(tmp_path: Path) -> None:
    """The expectations of the unit tests are what git does."""
    for file in FILES:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"")
    run_tool("git", "git", "init", "-q", str(tmp_path))
    paths = [(file.encode(), False) for file in FILES]
    for text, expected in (*RULES, *BRACKETS):
        assert {path.decode() for path in by_git(tmp_path, paths, text.encode())} == expected == ignored_files(text), (
            text
        )
