"""The typical mistakes of somebody who comes from Heroku, Kamal, Terraform or Ansible, each with the whole answer.

Every answer is a file in ``mistakes/``. It is rated by what it must say: *what* is wrong (the word or key that was
typed), *where* (the line with its column and carets, or the argument), and *what to do* (words of the cure, and every
command in it exists). DYNOCTL_GOLDEN=write writes the files; then read the diff, as users see these messages."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from infra.cli.app import app, run
from infra.cli.command_line import read
from tests.golden.mistake_cases import (
    ANSIBLE,
    ANYBODY,
    HABITS,
    HEROKU,
    KAMAL,
    MANIFEST,
    MANIFESTS,
    TERRAFORM,
    Mistake,
)
from tests.golden.mistake_kinds import (
    ADDRESSES,
    FOREIGN,
    KINDS,
    LEFTOVERS,
    LINES_OF_COMMANDS,
    NOTATIONS,
    NUMBERS,
    REPLACED,
    TAGS,
)
from tests.golden.mistake_words import DOCKER, KUBERNETES, OTHERS, SYSTEMD
from tests.golden.mistake_yaml import YAML

ANSWERS = Path(__file__).parent / "mistakes"
ROOT: Any = typer.main.get_command(app)


MISTAKES = (
    *(*HEROKU, *KAMAL, *TERRAFORM, *ANSIBLE, *ANYBODY, *MANIFESTS, *HABITS, *YAML),
    *(*NOTATIONS, *ADDRESSES, *KINDS, *FOREIGN, *LEFTOVERS, *LINES_OF_COMMANDS),
    *(*TAGS, *REPLACED, *NUMBERS, *DOCKER, *KUBERNETES, *SYSTEMD, *OTHERS),
)


def project(directory: Path, mistake: Mistake) -> Path:
    text = MANIFEST
    if mistake.edit is not None:
        assert text.count(mistake.edit[0]) >= 1, "the edit has no effect"
        text = text.replace(*mistake.edit, 1)
    (directory / "dyno.yaml").write_text(text)
    (directory / "dyno.staging.yaml").write_text("dynos: {web: 1}\n")
    for name in ("config.ru", "app/config.ru", "app/work.rb", "rails/Gemfile"):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text("run Shop\n")
    (directory / "empty").mkdir()
    if mistake.directory in ("empty", "rails"):
        (directory / "dyno.yaml").unlink()
    return directory / mistake.directory


def test_there_are_more_than_three_hundred() -> None:
    names = [mistake.name for mistake in MISTAKES]
    assert len(names) == len(set(names)) >= 300
    assert {path.stem for path in ANSWERS.glob("*.txt")} == set(names)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_the_answer_says_what_where_and_what_to_do(
    mistake: Mistake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project(tmp_path, mistake))
    for name in ("stdout", "stderr"):  # run() wraps them
        monkeypatch.setattr(sys, name, getattr(sys, name))
    code = run(shlex.split(mistake.typed))
    output = capsys.readouterr()
    said = output.err.replace(str(tmp_path), "/project")
    answer = f"$ dynoctl {mistake.typed}\n{output.out}{said}exit code {code}\n"
    golden = ANSWERS / f"{mistake.name}.txt"
    if os.environ.get("DYNOCTL_GOLDEN") == "write":
        ANSWERS.mkdir(exist_ok=True)
        golden.write_text(answer)
    assert answer == golden.read_text()
    first = [line for line in said.splitlines() if line.startswith(("error:", "warning:"))]
    assert any(mistake.what in line for line in first), "what is wrong"
    if mistake.where is not None:
        shown = re.search(
            rf"^  dyno\.yaml:{mistake.where}:\d+.*\n  {mistake.where} \| .*\n +\| +\^+$", said, re.MULTILINE
        )
        assert shown is not None, "where it is"
    cures = [line for line in said.splitlines() if re.match(r" *(hint|expected):", line)]
    assert any(mistake.cure in line for line in cures), "what to do"
    assert "hunter" not in said and "Traceback" not in said
    if "destroy" not in mistake.typed:
        assert "destroy" not in said, "it is never suggested"
    for command in commands(cures):
        read(ROOT, command)


def commands(cures: list[str]) -> list[list[str]]:
    """The command lines in the hints, without ``dynoctl``, each with the words that follow it."""
    found = []
    for line in cures:
        for text in re.split(r"\bdynoctl (?=[a-z-])", line)[1:]:
            command = re.split(r"[;:?]( |$)|, |\.\.\.", text)[0].split()
            command = command[: command.index("--help")] if "--help" in command else command
            if command and command[0] not in PROSE:
                found.append(command)
    return found


PROSE = {
    "asks",
    "assigns",
    "connects",
    "forwards",
    "has",
    "in",
    "logs in",
    "manages",
    "needs",
    "reads",
    "sends",
    "starts",
    "uses",
}
"""What dynoctl does, in a sentence and not as a command."""
