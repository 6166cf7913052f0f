"""The interpreter of the engine's shell snippets does what a real shell does, in the same sequences."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from infra.model import paths
from infra.model.resource import Command
from infra.state import audit_log, backups, records
from tests.simulation.fleet import SimFleet
from tests.simulation.server import SimServer
from tests.simulation.session import interpret

STATE = paths.STATE
DYNOS = ("web.1", "web.2", "worker.1")
PATHS = ("/etc/dyno/shop/web.1.env", "/etc/systemd/system/dyno-shop-web-1.service", f"{STATE}/shop/applied/x.json")


def some(chance: random.Random) -> Command:
    """One of the engine's commands."""
    dyno = chance.choice(DYNOS)
    entries: list[tuple[str, str | None]] = [
        records.begin(dyno),
        records.end(dyno),
        ("meta.json", '{"serial": 1}'),
        ("releases/1.body", chance.choice(("{}", '{"a": "b  c"}', None))),
        ("applied/x.json", chance.choice(("{}", None))),
    ]
    return chance.choice(
        (
            records.write("shop", chance.sample(entries, chance.randint(0, 4))),
            backups.keep("shop", dyno, chance.sample(PATHS, chance.randint(1, 3))),
            backups.restore("shop", dyno),
            backups.forget("shop"),
            audit_log.append("shop", f"line {chance.random()}"),
            records.forget("shop") if chance.random() < 0.2 else backups.forget("shop"),
        )
    )


def moved(command: Command, root: Path) -> Command:
    """The command with every absolute path below ``root``, so that a real shell may run it."""
    argv = tuple(f"{root}{word}" if word.startswith("/") else word for word in command.argv[3:])
    return Command((*command.argv[:3], *argv), command.stdin)


def run_both(commands: Sequence[Command], root: Path) -> tuple[dict[str, str], dict[str, str], list[int], list[int]]:
    """The files and exit statuses of a real shell, and those of the interpreter."""
    server = SimServer(SimFleet(), "s1", "m1")
    for path in PATHS[:2]:
        (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (root / path[1:]).write_text(f"first {path}\n")
        server.files[f"{root}{path}"] = f"first {path}\n"
    (root / STATE[1:]).mkdir(parents=True)
    statuses, simulated = [], []
    for command in commands:
        there = moved(command, root)
        done = subprocess.run(there.argv, input=there.stdin or b"", capture_output=True, check=False, cwd="/")
        statuses.append(done.returncode)
        steps = interpret(server, there)
        try:
            while True:
                next(steps)
        except StopIteration as end:
            simulated.append(end.value[0])
    files = {str(path): path.read_text() for path in root.rglob("*") if path.is_file()}
    return files, server.files, statuses, simulated


@pytest.mark.parametrize("seed", range(12))
def test_the_interpreter_is_the_shell(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    commands = [some(chance) for _ in range(15)]
    files, simulated, statuses, values = run_both(commands, tmp_path)
    assert statuses == values
    assert files == simulated


def test_a_full_disk_does_not_prevent_a_restore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "web.1.env"
    path.write_text("old")
    kept = tmp_path / "kept"
    keep, restore = (command.argv[:4] for command in (backups.keep("x", "web.1", []), backups.restore("x", "web.1")))
    subprocess.run([*keep, str(kept), f"{tmp_path}/pending", str(path)], check=True)
    path.write_text("new")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "cp").write_text('#!/bin/sh\n: > "$4"; exit 1\n')
    (tmp_path / "bin" / "cp").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")
    subprocess.run([*restore, str(kept)], check=True)
    assert path.read_text() == "old" and not list(tmp_path.glob("*-new"))


def test_an_audit_log_keeps_its_newest_lines(tmp_path: Path) -> None:
    begin = records.write("shop", [("salt", "x")])
    lines = [audit_log.append("shop", f"line {number}") for number in range(5)]
    short = [Command((*line.argv[:-1], "3"), line.stdin) for line in lines]
    files, simulated, statuses, values = run_both([begin, *short], tmp_path)
    assert statuses == values
    assert files == simulated
    assert files[f"{tmp_path}{STATE}/shop/audit.jsonl"] == "line 2\nline 3\nline 4\n"
