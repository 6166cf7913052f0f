"""Every code block of the docs is classified by its fence, and checked as what it is; so is every command in the prose.

```yaml            a manifest, or a part of one: merged over a base manifest, it is valid
```yaml overlay    a dyno.NAME.yaml: over the base manifest, it is valid
```yaml rackup     a part of a manifest of an app with its own rackup
```yaml fragment   well-formed YAML that is no valid manifest by itself
```json            JSON
```sh              a script: its syntax, and every dynoctl command line in it
```console         a transcript: lines after "$ " are as in sh
```python, ```ruby source code: its syntax
```text, ```diff   output; not checked
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from infra.cli.app import app
from infra.manifest import check

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
COMMAND: Any = typer.main.get_command(app)
FENCE = re.compile(r"^(?P<indent>[> ]*)(?P<fence>```+|~~~+)(?P<info>.*)$")
DIRECTIVES = {"{toctree}", "{include}"}
UNCHECKED = {"text", "diff"}

BASE = """
version: 1
app: {name: shop, source: .}
framework: {name: sinatra, require: ./app, app: Shop}
dynos: {web: 4, worker: {count: 1, command: bin/work}}
servers:
  - {name: grid-1, host: 10.0.0.11, labels: {rack: a}}
  - {name: grid-2, host: 10.0.0.12, labels: {rack: b}}
"""
SOURCE = ("app.rb", "admin.rb", "lib/ping.rb", "lib/only.rb", "config.ru", "config/environment.rb", "Gemfile")


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    info: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def language(self) -> str:
        return self.info.split()[0] if self.info else ""


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, those in lists and quotations included."""
    opened: tuple[str, str, str, int] | None = None
    lines: list[str] = []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        found = FENCE.match(line)
        if opened is None:
            if found:
                opened, lines = (found["indent"], found["fence"], found["info"].strip(), number), []
            continue
        indent, fence, info, start = opened
        if found and found["fence"] == fence and not found["info"].strip():
            yield Block(page, start, info, "\n".join(lines) + "\n")
            opened = None
        else:
            lines.append(line.removeprefix(indent) if line.startswith(indent) else line.removeprefix(indent.rstrip()))
    assert opened is None, f"{page}: a block that is opened at line {opened and opened[3]} is never closed"


def prose(page: Path) -> list[tuple[int, str]]:
    """The lines outside of fenced blocks."""
    inside: set[int] = set()
    for block in blocks(page):
        inside.update(range(block.line, block.line + block.text.count("\n") + 2))
    return [(n, line) for n, line in enumerate(page.read_text().splitlines(), 1) if n not in inside]


BLOCKS = [block for page in PAGES for block in blocks(page)]


def of(*languages: str) -> Any:
    found = [block for block in BLOCKS if block.language in languages and block.info != "yaml fragment"]
    return pytest.mark.parametrize("block", found, ids=str)


def walk(words: list[str]) -> None:
    """Parse a command line as dynoctl does, without running it."""
    command, context, name = COMMAND, None, "dynoctl"
    while True:
        context = command.make_context(name, list(words), parent=context, resilient_parsing=False)
        rest = [*getattr(context, "_protected_args", []), *context.args]
        if getattr(command, "commands", None) is None or (not rest and command.invoke_without_command):
            return
        name, command, words = command.resolve_command(context, rest)


def command_lines(script: str) -> Iterator[list[str]]:
    """The arguments of every dynoctl in a shell script."""
    script = re.sub(r"<<'?(\w+)'?.*?^\1$", "", script, flags=re.DOTALL | re.MULTILINE).replace("\\\n", " ")
    for line in script.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.wordchars += "{}@:,%+^[]!"  # of words as a shell has them
        words: list[str] = []
        for token in [*lexer, ";"]:
            if set(token) <= set("();<>|&"):
                if words and words[0] == "dynoctl":
                    yield words[1:]
                # What follows a redirection is its file and not a command.
                words = ["a file"] if token in {">", "<", ">>"} else []
            else:
                words.append(token)


def checked(words: list[str]) -> None:
    if "--help" in words or "-h" in words or "--version" in words:
        return
    try:
        walk(words)
    except Exception as error:
        # Where the exception class is found depends on Typer's version; it always has its message.
        pytest.fail(f"dynoctl {shlex.join(words)}: {getattr(error, 'message', '') or error!r}")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with an app in it; no file of the home directory is looked for."""
    for name in SOURCE:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    for name in ("id_ed25519", "shop-deploy", "known_hosts"):
        (tmp_path / ".ssh" / name).write_text("")
    return tmp_path


def valid(file: Path, destination: str | None = None) -> None:
    _, problems = check(file, destination)
    assert not problems, "\n".join(f"{problem.path}: {problem.summary}" for problem in problems)


@pytest.mark.parametrize(
    "script",
    [
        "dynoctl plann",
        "dynoctl plan --verbos",
        "dynoctl plan extra",
        "dynoctl lab",
        "dynoctl lab up --servers many",
        "curl x | dynoctl scale web=2 --fast > out",
        "cd shop && dynoctl apply --auto-aprove",
    ],
)
def test_a_wrong_command_line_is_seen(script: str) -> None:
    with pytest.raises(pytest.fail.Exception):
        for words in command_lines(script):
            checked(words)


def test_a_right_command_line_is_not() -> None:
    script = "pg_dump old | dynoctl run 'psql \"$URL\"'\ndynoctl logs -n 5 -t web | jq . > dynoctl\n"
    assert list(command_lines(script)) == [["run", 'psql "$URL"'], ["logs", "-n", "5", "-t", "web"]]
    for words in command_lines(script):
        checked(words)


def test_every_block_is_classified() -> None:
    known = {"yaml", "json", "sh", "console", "python", "ruby", *UNCHECKED, *DIRECTIVES}
    assert not [f"{block}: ```{block.info}" for block in BLOCKS if block.language not in known]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_block_is_only_indented(page: Path) -> None:
    """Such a block has no language, so nothing can check it."""
    before = ""
    for number, line in prose(page):
        paragraph = before.strip() == "" and line.startswith("    ")
        assert not paragraph, f"{page.relative_to(ROOT)}:{number}: give the block a fence and a language"
        before = line if not line.startswith(("- ", "  ")) else "in a list"


@of("yaml")
def test_yaml(block: Block, project: Path) -> None:
    kind = block.info.removeprefix("yaml").strip()
    assert kind in {"", "overlay", "rackup"}, f"{block}: ```{block.info}"
    part = yaml.safe_load(block.text)
    assert isinstance(part, dict), "this is no mapping"
    base = yaml.safe_load(BASE)
    if kind == "rackup":
        base.pop("framework")
    if kind == "overlay":
        (project / "dyno.yaml").write_text(yaml.safe_dump(base))
        (project / "dyno.x.yaml").write_text(block.text)
        valid(project / "dyno.yaml", "x")
        return
    rest = {key: value for key, value in base.items() if key not in part}
    # The block itself, to the letter: its quotes and its lack of them are what a reader copies.
    (project / "dyno.yaml").write_text(block.text + "\n" + (yaml.safe_dump(rest) if rest else ""))
    valid(project / "dyno.yaml")


def test_yaml_fragments_are_well_formed() -> None:
    for block in BLOCKS:
        if block.language == "yaml":
            list(yaml.compose_all(block.text, Loader=yaml.SafeLoader))


@of("json")
def test_json(block: Block) -> None:
    json.loads(block.text)


@of("sh")
def test_sh(block: Block) -> None:
    done = subprocess.run(["sh", "-n"], input=block.text, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    for words in command_lines(block.text):
        checked(words)


@of("console")
def test_console(block: Block) -> None:
    lines = [line.removeprefix("$ ") for line in block.text.splitlines() if line.startswith("$ ")]
    assert lines, "no line starts with $"
    for words in command_lines("\n".join(lines)):
        checked(words)


@of("python")
def test_python(block: Block) -> None:
    compile(block.text, str(block), "exec")


@pytest.mark.skipif(shutil.which("ruby") is None, reason="only Ruby can tell")
@of("ruby")
def test_ruby(block: Block) -> None:
    done = subprocess.run(["ruby", "-c"], input=block.text, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_the_prose_exist(page: Path) -> None:
    """``dynoctl COMMAND --option`` between backquotes: the command and the options, whatever stands for a value."""
    for number, line in prose(page):
        for code in re.findall(r"`(dynoctl(?: [^`]*)?)`", line):
            command, words = COMMAND, code.split()[1:]
            if words and words[0].isupper():
                continue  # a file's or a user's text, not a command
            while words and getattr(command, "commands", None) is not None and not words[0].startswith("-"):
                assert words[0] in command.commands, f"{page.relative_to(ROOT)}:{number}: {code}: no such command"
                command, words = command.commands[words[0]], words[1:]
            options = {name for param in command.params for name in [*param.opts, *param.secondary_opts]}
            for word in words:
                option = word.strip("[],").partition("=")[0]
                if re.fullmatch(r"--?[a-z][a-z-]*", option):
                    assert option in {*options, "--help"}, f"{page.relative_to(ROOT)}:{number}: {code}: no {option}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent == ROOT], ids=lambda page: str(page.name))
def test_links_of_the_root_pages_lead_somewhere(page: Path) -> None:
    """Sphinx checks the links of docs/; these pages are also read outside of the site."""
    for number, line in prose(page):
        for target in re.findall(r"\]\(([^)\s]+)\)", line):
            if "://" not in target:
                assert (ROOT / target.partition("#")[0]).exists(), f"{page.name}:{number}: {target}"


TO_COME = {
    "providers/notice.py",
    "stacks/falcon.py",
    "infra/cli/servers.py",
    "infra/views/servers.py",
}
"""Files that a contributor makes, by the example of CONTRIBUTING.md."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_in_the_prose_exist(page: Path) -> None:
    """A path of this repository between backquotes."""
    paths = re.compile(r"`((?:infra|providers|stacks|schemas|tests|docs|\.ci)/[\w./-]*)`")
    for number, line in prose(page):
        for path in paths.findall(line):
            assert path in TO_COME or (ROOT / path).exists(), f"{page.relative_to(ROOT)}:{number}: no {path}"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150, "move the rest to docs/"
