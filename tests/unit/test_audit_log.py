"""The audit log on a server: what is appended is found again, whatever lies there before it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from infra.model import paths
from infra.state import audit_log


def append(directory: Path, line: str) -> None:
    command = audit_log.append("shop", line)
    argv = [word.replace(paths.STATE, str(directory)) for word in command.argv]
    subprocess.run(argv, input=command.stdin, check=True)


@pytest.mark.parametrize("rest", ['{"id": "0000000', "\0\0\0"], ids=["a full disk", "a power failure"])
def test_a_line_that_was_cut_does_not_take_the_next_one_with_it(tmp_path: Path, rest: str) -> None:
    (tmp_path / "shop").mkdir()
    entries = [json.dumps({"id": f"{number:032x}", "when": "2026-11-29T10:46:00Z"}) for number in range(3)]
    append(tmp_path, entries[0])
    (log,) = (tmp_path / "shop").iterdir()
    with log.open("a") as file:
        file.write(rest)
    append(tmp_path, entries[2])
    assert log.read_text().splitlines() == [entries[0], rest, entries[2]]
