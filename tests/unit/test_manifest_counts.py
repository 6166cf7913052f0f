"""Edit counts in the text of a manifest: the number changes, and no other byte."""

from __future__ import annotations

import difflib
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra import manifest
from infra.cli.scale import wanted
from infra.errors import DynoctlError, ManifestInvalid
from infra.manifest.counts import edit
from infra.manifest.rewrite import rewrite
from tests.command import Dynoctl

HEAD = """\
# Größe: 4 dynos — "web: 4" stays in this comment ✓ 🚀
version: 1
app: {name: shop, source: .}   # web: 4
framework: {name: sinatra, require: shop, app: Shop}
servers:
  - {name: grid-1, host: 10.0.0.11}
"""


def data(text: str) -> dict[str, object]:
    found = yaml.safe_load(text)
    assert isinstance(found, dict)
    return found


def scaled(text: str, **counts: int) -> str:
    return edit(text, counts, data(text)["dynos"], "dyno.yaml")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("dynos:\n  web: 4 # four\n", "dynos:\n  web: 12 # four\n"),
        ("dynos: {web: 4}\n", "dynos: {web: 12}\n"),
        (
            "dynos: { web :  4 , worker: {count: 4, command: x}}\n",
            "dynos: { web :  12 , worker: {count: 4, command: x}}\n",
        ),
        (
            "dynos:\n    web:\n      # how many\n      count:   4\n      cpu: 4\n",
            "dynos:\n    web:\n      # how many\n      count:   12\n      cpu: 4\n",
        ),
        ("dynos:\n  web: {cpu: 0.5, count: +4}\n", "dynos:\n  web: {cpu: 0.5, count: 12}\n"),
        ('"dynos":\n  ? "web"\n  : 4\n', '"dynos":\n  ? "web"\n  : 12\n'),
        ("dynos:\n  web: &n 4\n", "dynos:\n  web: &n 12\n"),
        ("dynos:\n  web: !!int 4\n", "dynos:\n  web: !!int 12\n"),
        ("dynos: &d\n  web: &w {count: &c 4}\n", "dynos: &d\n  web: &w {count: &c 12}\n"),
        ("dynos:\n  web: 4", "dynos:\n  web: 12"),
        (
            "dynos: {\n  web:\n    4, # here\n  worker: {command: x}\n}\n",
            "dynos: {\n  web:\n    12, # here\n  worker: {command: x}\n}\n",
        ),
        # Without count, there is 1 dyno. count is added in the style of the mapping.
        (
            "dynos:\n  web:\n    # its share\n    cpu: 1\n",
            "dynos:\n  web:\n    # its share\n    count: 12\n    cpu: 1\n",
        ),
        ("dynos:\n  web: {cpu: 1}\n", "dynos:\n  web: {count: 12, cpu: 1}\n"),
        ("dynos:\n  web: {}\n", "dynos:\n  web: {count: 12}\n"),
        ("dynos:\n  web: { }\n", "dynos:\n  web: { count: 12}\n"),
        (
            "x-w: &w {cpu: 1}\ndynos:\n  web:\n    <<: *w\n",
            "x-w: &w {cpu: 1}\ndynos:\n  web:\n    count: 12\n    <<: *w\n",
        ),
        ("x-w: &w {count: 4}\ndynos:\n  web: {<<: *w}\n", "x-w: &w {count: 4}\ndynos:\n  web: {count: 12, <<: *w}\n"),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_only_the_number_changes(before: str, after: str, newline: str) -> None:
    before, after = (f"{HEAD}{text}".replace("\n", newline) for text in (before, after))
    assert scaled(before, web=12) == after
    assert scaled(after, web=0) == after.replace("12", "0", 1)


@pytest.mark.parametrize(
    "text",
    [
        "x-n: &n 4\ndynos:\n  web: *n\n",
        "dynos:\n  web: &n 4\n  worker: {count: *n, command: x}\n",
        "dynos:\n  web: &w {count: 4}\n  worker: {<<: *w, command: x}\n",
        "dynos: &d {web: 4}\nx-d: *d\n",
        "x-w: &w {count: 4}\ndynos:\n  web: *w\n",
    ],
)
def test_a_shared_number_is_refused(text: str) -> None:
    with pytest.raises(
        DynoctlError, match=r"dyno.yaml:\d+:\d+: .* has an alias, so the change would affect other values"
    ):
        scaled(text, web=12)


def test_two_process_types() -> None:
    text = "dynos:\n  worker: {command: x} # w\n  web: 4 # x\n"
    assert scaled(text, web=5, worker=6) == "dynos:\n  worker: {count: 6, command: x} # w\n  web: 5 # x\n"


def test_every_count_of_a_large_manifest_in_turn() -> None:
    """Process types in various styles. The difference is one number on one line."""
    styles = (
        "  {}: {{count: 7, command: a}} # 7\n",
        "  {}:\n    command: b # 7\n    count: 7   # 7\n",
        "  {}: {{'count': 7, command: ['7']}}\n",
    )
    lines = [styles[number % 3].format(f"type{chr(97 + number % 26)}{number}") for number in range(30)]
    text = HEAD + "dynos:\n  web: 7\n" + "".join(lines) + "env: {SEVEN: 7} # ünïcödé 💎\n"
    for type_ in data(text)["dynos"]:  # type: ignore[attr-defined]
        changed = scaled(text, **{type_: 8})
        differing = [pair for pair in zip(text.splitlines(), changed.splitlines(), strict=True) if pair[0] != pair[1]]
        assert len(differing) == 1
        moves = [move for move in difflib.SequenceMatcher(None, *differing[0]).get_opcodes() if move[0] != "equal"]
        assert [(differing[0][0][a:b], differing[0][1][c:d]) for _, a, b, c, d in moves] == [("7", "8")]


@pytest.mark.parametrize(
    ("base", "over", "after"),
    [
        ("dynos: {web: 4}\n", "env: {A: b}\n# the end\n", "env: {A: b}\n# the end\ndynos:\n  web: 9\n"),
        ("dynos: {web: 4}\n", "env: {A: b}", "env: {A: b}\ndynos:\n  web: 9\n"),
        ("dynos: {web: 4}\n", "{env: {A: b}}\n", "{dynos: {web: 9}, env: {A: b}}\n"),
        ("dynos: {web: {count: 4, cpu: 1}}\n", "keep: 3\n", "keep: 3\ndynos:\n  web: {count: 9}\n"),
        ("dynos: {web: 4}\n", "# nothing yet", "# nothing yet\ndynos:\n  web: 9\n"),
        ("dynos: {web: 4}\n", "", "dynos:\n  web: 9\n"),
        ("dynos: {web: 4}\n", "dynos:\n  # more\n  web: 2\n", "dynos:\n  # more\n  web: 9\n"),
        ("dynos: {web: {count: 4}}\n", "dynos:\n  web: {cpu: 1}\n", "dynos:\n  web: {count: 9, cpu: 1}\n"),
        (
            "dynos: {web: 4, w: {command: x}}\n",
            "dynos:\n  w: {count: 3}\n",
            "dynos:\n  web: 9\n  w: {count: 3}\n",
        ),
    ],
)
def test_a_missing_process_type_is_added_to_the_overlay(tmp_path: Path, base: str, over: str, after: str) -> None:
    (tmp_path / "dyno.yaml").write_text(HEAD + base)
    (tmp_path / "dyno.staging.yaml").write_text(over)
    from infra.manifest.overlays import load_all

    merged = load_all(tmp_path / "dyno.yaml", "staging")[0].data
    assert isinstance(merged, dict)
    edited = edit(over, {"web": 9}, merged["dynos"], "x")  # type: ignore[arg-type]
    assert edited == after
    (tmp_path / "dyno.staging.yaml").write_text(edited)
    types = manifest.read(tmp_path / "dyno.yaml", "staging").dynos
    assert types["web"].count == 9
    assert {name: type_.count for name, type_ in types.items() if name == "w"} in ({}, {"w": 3})


def test_the_new_counts_are_validated(tmp_path: Path) -> None:
    file = tmp_path / "dyno.yaml"
    file.write_text(HEAD + "dynos: {web: {count: 4, port: 65530}}\n")
    assert manifest.read(file, None, {"web": 2}).dynos["web"].count == 2
    with pytest.raises(ManifestInvalid) as caught:
        manifest.read(file, None, {"web": 50})
    assert "50 dynos from port 65530" in caught.value.diagnostics[0].summary


def test_arguments() -> None:
    now = {"web": 4, "worker": 1}
    assert wanted(["web=6", "worker+1"], now) == {"web": 6, "worker": 2}
    assert wanted(["web-4", "worker=0"], now) == {"web": 0, "worker": 0}
    for words, says in (
        (["wbe=1"], "no such process type: wbe"),
        (["worker-2"], "would be -1; there are 1"),
        (["web=1", "web+1"], "duplicate process type"),
        (["web=9999", "worker=10001"], "at most 10000 dynos of a type"),
        (["web"], "invalid count"),
        (["web=-1"], "invalid count"),
        (["web=1.5"], "invalid count"),
        (["web=٣"], "invalid count"),
        (["web=6:standard"], "invalid count"),
    ):
        with pytest.raises(DynoctlError, match=says):
            wanted(words, now)


def test_a_file_is_replaced_atomically(tmp_path: Path) -> None:
    file, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\r\n")
    file.chmod(0o640)
    link.symlink_to(file)
    rewrite(link, b"\xef\xbb\xbfa: 1\r\n", b"b")
    assert link.is_symlink() and file.read_bytes() == b"b" and file.stat().st_mode & 0o777 == 0o640
    with pytest.raises(DynoctlError, match="was changed by another process"):
        rewrite(link, b"a", b"c")
    assert file.read_bytes() == b"b"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.yaml", "real.yaml"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An app whose only server is unreachable."""
    (tmp_path / "config.ru").write_text("run ->(env) { [200, {}, []] }\n")
    (tmp_path / "dyno.yaml").write_text(
        "version: 1\napp: {name: shop, source: .}\nrackup: config.ru\ndynos: {web: 4} # 4\n"
        "servers: [{name: one, host: 127.0.0.1, port: 1}]\nenv: {A: {from_env: NOT_THERE}}\n"
    )
    return tmp_path


@pytest.fixture
def scale(project: Path, dynoctl: Dynoctl) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        done = dynoctl.text("scale", *argv, cwd=project)
        assert "Traceback" not in done.stdout + done.stderr
        return done

    return run


def test_the_file_is_unchanged_after_a_failure(project: Path, scale: Any) -> None:
    file, before = project / "dyno.yaml", (project / "dyno.yaml").read_bytes()
    for argv, code, says in (
        (("web=5",), 1, "scale needs approval, and stdin is not a terminal"),
        (("wbe=5", "--auto-approve"), 1, "available: web=4"),
        (("web=99999", "--auto-approve"), 1, "at most 10000 dynos of a type"),
        (("web=5", "--auto-approve"), 3, "NOT_THERE"),
        (("-d", "nowhere", "web=5"), 3, "overlay dyno.nowhere.yaml not found"),
    ):
        done = scale(*argv)
        assert (done.returncode, file.read_bytes()) == (code, before), done.stderr
        assert says in done.stdout + done.stderr
    file.write_bytes(before := before.split(b"env:")[0])
    done = scale("web=5", "--auto-approve")
    assert (done.returncode, file.read_bytes()) == (4, before), "no server confirmed the counts"
    assert done.stderr == "dyno.yaml: web 4 -> 5\ndyno.yaml is unchanged.\n"


def test_counts_are_written(project: Path, scale: Any) -> None:
    file = project / "dyno.yaml"
    file.write_bytes(before := file.read_bytes().split(b"env:")[0])
    done = scale("web+1", "--auto-approve", "--skip-unreachable")
    assert (done.returncode, file.read_bytes()) == (0, before.replace(b"{web: 4} # 4", b"{web: 5} # 4"))
    assert scale().stdout == "web=5\n"
    (project / "dyno.staging.yaml").write_text("keep: 3\n")
    done = scale("-d", "staging", "web=2", "--auto-approve", "--skip-unreachable")
    assert done.returncode == 0, done.stderr
    assert (project / "dyno.staging.yaml").read_text() == "keep: 3\ndynos:\n  web: 2\n"
    assert scale("-d", "staging").stdout == "web=2\n"
    assert scale().stdout == "web=5\n", "the manifest without the overlay is unchanged"


def test_tabs_between_words_stay() -> None:
    text = HEAD + "dynos:\n  web:\t4\t# four\n"
    assert edit(text, {"web": 12}, {"web": 4}, "dyno.yaml") == HEAD + "dynos:\n  web:\t12\t# four\n"
