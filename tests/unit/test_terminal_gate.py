"""Text that would control a terminal, in everything that a server, an app or a manifest can say: no command lets it through."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.cli import app as cli
from infra.cli import streams
from infra.errors import Unreachable
from infra.model.events import Event
from infra.model.provider import Fragment
from infra.model.resource import Command
from infra.model.target import Target
from infra.remote import session as ssh
from infra.remote.session import Output, Session
from infra.remote.stream import Stream
from infra.views.gate import Gate, behind, console, passed
from infra.views.progress import LiveProgress, PlainProgress
from infra.views.stages import Stages
from infra.views.style import Style
from tests.unit.test_fuzz_answers import AUDIT, CHECKUP, FACTS, META, PROVIDED, RELEASE, ROWS, VITALS

POISON = {
    "escape": "\x1b[2J",
    "title": "\x1b]0;title\x07",
    "clipboard": "\x1b]52;c;eA==\x07",
    "link": "\x1b]8;;http://x\x1b\\here",
    "c1": "\x9b2J",
    "c1 string": "\x90x\x9c",
    "bell": "\x07",
    "return": "\rforged",
    "backspace": "\x08\x08",
    "delete": "\x7f",
    "nul": "\x00",
    "form feed": "\x0c",
    "vertical tab": "\x0b",
    "override": "\u202egnp.exe",
    "isolate": "\u2066x\u2069",
    "zero width": "a\u200bb",
    "joiner": "a\u200db",
    "separator": "a\u2028b",
    "next line": "a\x85b",
    "order mark": "\ufeffa",
    "surrogate": "\udcff",
    "alternate screen": "\x1b[?1049h",
    "cursor": "\x1b[10A",
}
ALL = "".join(POISON.values())

_OURS = re.compile(r"\x1b\[[0-9;]*m")


def survives(text: str) -> str:
    """What a terminal would act on, except for colours."""
    return "".join(c for c in _OURS.sub("", text) if c not in "\n\t" and not c.isprintable())


@pytest.mark.parametrize("name", POISON)
def test_nothing_gets_through_the_gate(name: str) -> None:
    below = io.StringIO()
    gate = Gate(below)
    gate.write(f"before {POISON[name]} after\n")
    gate.writelines([POISON[name], f"{POISON[name]}\n"])
    print(POISON[name], file=gate)  # type: ignore[arg-type]
    assert not survives(below.getvalue()) and below.getvalue().startswith("before ")


@pytest.mark.parametrize(
    "text", ["plain\n", "a\tb", "über … 日本 🚀", Style(True)("red", "failed"), "\x1b[38;5;208mweb.1\x1b[0m"]
)
def test_text_and_colours_get_through(text: str) -> None:
    assert passed(text) == text


@pytest.mark.parametrize("name", POISON)
def test_nothing_gets_through_a_console(name: str) -> None:
    from rich.table import Table
    from rich.text import Text

    below = io.StringIO()
    table = Table(POISON[name])
    table.add_row(Text(POISON[name], "red"))
    terminal = console(file=below, force_terminal=True, width=100, color_system="256")
    terminal.print(table, Text(POISON[name]), markup=False)
    assert not survives(below.getvalue())


@pytest.mark.parametrize("name", POISON)
def test_nothing_gets_through_the_progress(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    below = io.StringIO()
    monkeypatch.setattr(sys, "stderr", Gate(below))
    poison = POISON[name]
    with PlainProgress(Stages({poison: [poison]}, verbose=True)) as plain:
        for kind in ("phase", "batch", "done", "failed", "note", "upload", "step", "wait"):
            plain(Event(kind, poison, poison, poison))  # type: ignore[arg-type]
    assert not survives(below.getvalue())


def test_a_live_view_moves_the_cursor_and_its_texts_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    below = io.StringIO()
    below.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", Gate(below))
    monkeypatch.setenv("TERM", "xterm-256color")
    assert behind(sys.stderr) is below
    with LiveProgress(Stages()) as live:
        live(Event("batch", text=f"web.1{ALL}", number=1, total=1))
        live(Event("step", f"grid{ALL}", f"web.1{ALL}", f"start{ALL}"))
        live.refresh()
    for poison in (value for name, value in POISON.items() if name not in ("escape", "cursor", "return")):
        assert poison not in below.getvalue()
    assert "\\x1b]0;title" in below.getvalue() or "\\x1b" in below.getvalue()


# All commands.


def poisoned(text: str) -> str:
    """An answer with poison in every value."""
    lines = []
    for line in text.split("\n"):
        start = line.find("{")
        if start >= 0:
            try:
                lines.append(line[:start] + json.dumps(_in(json.loads(line[start:])), ensure_ascii=False))
                continue
            except ValueError:
                pass
        lines.append(f"{line}{ALL}" if line and "machine_id" not in line and "cores" not in line else line)
    return "\n".join(lines)


def _in(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _in(item) if key not in ("id", "slug", "dynos") else item for key, item in value.items()}
    if isinstance(value, list):
        return [_in(item) for item in value]
    return value + ALL.replace("\udcff", "") if isinstance(value, str) else value


ANSWERS = {
    "facts": FACTS,
    "processes": ROWS,
    "vitals": VITALS,
    "checkup": CHECKUP,
    "lock": "lock ann@laptop since 2026-11-28T10:00:00Z (pid 1), applying v2",
    "routes": FACTS,
    "records": FACTS,
    "releases": json.dumps(RELEASE),
    **PROVIDED,
}
EXECUTED = "\n".join(
    [json.dumps(AUDIT), json.dumps(RELEASE), "body 2", f"meta {json.dumps(META)}", "held ann since x (pid 1)"]
)


class Liar(Session):
    """A session with a server that poisons ``answers``."""

    def __init__(self, target: Target, *_: object, **__: object) -> None:
        self.target, self.connections, self.execs = target, 1, 1

    poison = staticmethod(poisoned)

    @property
    def user(self) -> str:
        return "root"

    @property
    def host_key(self) -> str:
        return f"ssh-ed25519 {ALL}"

    def observe(self, fragments: Mapping[str, Fragment], timeout: float = 60) -> Any:
        return {name: (0, self.poison(ANSWERS.get(name, ""))) for name in fragments}

    def execute(self, command: Command) -> tuple[int, str]:
        if command.argv[0] == "sh" and "lock=$1" in command.argv[2]:
            return 0, f"held ann{ALL} since 2026-11-28T10:00:00Z (pid 1), applying{ALL}"
        return 0, self.poison(EXECUTED)

    def run(self, script: str, timeout: float = 60, what: str = "a script", **_: object) -> Output:
        nonce = re.search(r"nonce=([0-9a-f]+)", script)
        names = re.findall(r"begin (\w+)", script)
        found = "".join(
            f"\n{nonce[1] if nonce else ''} begin {name}\n{self.poison(ANSWERS.get(name, ''))}\n{nonce[1] if nonce else ''} end {name} 0"
            for name in names
        )
        return Output(0, found, ALL)

    def close(self) -> None:
        pass

    def channel(self, *_: object, **__: object) -> Any:
        raise Unreachable(f"{self.name}: connection lost: {ALL}")

    _exec = channel


class Plain(Liar):
    """The same, with the poison only where the answer stays valid."""

    @staticmethod
    def poison(text: str) -> str:
        return text.replace(
            "ann@laptop", f"ann{ALL}".replace("\udcff", "").replace("\x85", "").replace("\u2028", "")
        ).replace("ship", f"ship{ALL}".replace("\udcff", ""))


class Silent(Session):
    """A server that cannot be reached, and says why in its own words."""

    def __init__(self, target: Target, *_: object, **__: object) -> None:
        raise Unreachable(f"{target.name}: SSH failed: SSH-2.0-{ALL}", f"hint {ALL}")


ARGUMENT = ALL.replace("\0", "")
"""What the kernel passes on as an argument."""

COMMANDS = [
    *(["ps"], ["ps", "--json"], ["history"], ["history", "--json"], ["releases"], ["releases", "--json"]),
    *(["releases", "show", "v2"], ["releases", "show", "v9"], ["lock", "status"], ["lock", "status", "--json"]),
    *(["top", "--once"], ["top", "--json"], ["doctor"], ["doctor", "--json"], ["plan"], ["plan", "--json"]),
    *(["plan", "--markdown"], ["plan", "--verbose"], ["drift"], ["drift", "--json"], ["config"], ["config", "--json"]),
    *(["validate"], ["validate", "--online"], ["logs"], ["logs", "--json"], ["logs", "-d", "web.1"]),
    *(["apply", "--auto-approve"], ["apply", "--auto-approve", "--json"], ["rollback", "--auto-approve"]),
    *(["rollback", "v2", "--auto-approve"], ["scale", "web=3", "--auto-approve"], ["restart", "--auto-approve"]),
    *(
        ["destroy", "--auto-approve"],
        ["maintenance", "on"],
        ["run", "true"],
        [f"nonsense{ARGUMENT}"],
        ["plan", f"--x{ARGUMENT}"],
    ),
    *(
        ["plan", "-f", f"missing{ARGUMENT}.yaml"],
        ["ps", "-d", f"none{ARGUMENT}"],
        ["releases", "show", f"v{ARGUMENT}"],
        ["show", f"p{ARGUMENT}"],
    ),
    *(
        ["scale", f"web=1{ARGUMENT}"],
        ["logs", "-d", f"web.1{ARGUMENT}"],
        ["apply", "--forget", f"s{ARGUMENT}", "--auto-approve"],
    ),
]


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dyno.yaml").write_text(
        "version: 1\napp: {name: shop, source: .}\nrackup: config.ru\ndynos: {web: 2}\n"
        "servers: [{name: grid-1, host: 10.0.0.11}]\nenv: {WORD: {from_env: TERMINAL_WORD}}\n"
    )
    (tmp_path / "config.ru").write_text("run nil\n")
    (tmp_path / f"file{POISON['escape']}{POISON['override']}").write_text("x")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERMINAL_WORD", "word")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def patch(monkeypatch: pytest.MonkeyPatch, liar: type[Session]) -> None:
    from infra.engine import prepare, restart
    from infra.fleet import ask, reconnect
    from infra.ops import doctor

    for module in (ask, reconnect, doctor, ssh):
        monkeypatch.setattr(module, "Session", liar, raising=False)
    for function in (prepare.prepare, restart.prepare):
        defaults = getattr(function, "__kwdefaults__", None) or {}
        if "connect" in defaults:
            monkeypatch.setitem(defaults, "connect", liar)

    def gone(*_: object, **__: object) -> None:
        raise Unreachable(f"a stream {ALL}")

    monkeypatch.setattr(Stream, "__init__", gone)


@pytest.mark.parametrize("liar", [Liar, Plain, Silent], ids=lambda liar: liar.__name__)
@pytest.mark.parametrize("argv", COMMANDS, ids=lambda argv: ascii(" ".join(argv))[:40])
def test_no_command_lets_it_through(
    argv: list[str],
    liar: type[Session],
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    patch(monkeypatch, liar)
    monkeypatch.setattr("infra.cli.top.PATIENCE", 0.2)
    cli.run(argv)
    out, error = capsys.readouterr()
    assert not survives(out), ascii(out)[:2000]
    assert not survives(error), ascii(error)[:2000]
    assert "Traceback" not in error and "internal error" not in error, error[:2000]


def test_a_manifest_does_not_control_the_terminal(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (directory / "dyno.yaml").read_text()
    for name, poison in POISON.items():
        if name in ("surrogate", "nul"):
            continue
        (directory / "dyno.yaml").write_text(f"{text}x{poison}: 1\n'{poison}': [\n")
        for argv in (["validate"], ["plan"], ["config"], ["ps"]):
            cli.run(argv)
    out, error = capsys.readouterr()
    assert error and not survives(out) and not survives(error)


def test_every_write_of_a_command_is_behind_the_gate() -> None:
    """Nothing but the pump of ``dynoctl run``, JSON lines, which are ASCII, and one sentence of a signal handler goes
    around the streams."""
    root = Path(cli.__file__).parents[2]
    found = {
        str(path.relative_to(root))
        for path in (root / "infra").rglob("*.py")
        if re.search(
            r"sys\.(stdout|stderr)\.buffer|sys\.__std|os\.write\((1|2|sys)|Console\((?!Console)", path.read_text()
        )
        and "lab" not in path.parts
    }
    assert found <= {"infra/cli/pump.py", "infra/cli/interrupt.py", "infra/views/stream_json.py", "infra/views/gate.py"}


def test_the_streams_are_behind_the_gate_once() -> None:
    before = sys.stdout, sys.stderr
    try:
        streams.prepare()
        streams.prepare()
        assert isinstance(sys.stdout, Gate) and not isinstance(behind(sys.stdout), Gate)
        assert isinstance(sys.stderr, Gate) and not isinstance(behind(sys.stderr), Gate)
    finally:
        sys.stdout, sys.stderr = before


def test_a_program_writes_through_the_gate() -> None:
    program = shutil.which("dynoctl", path=str(Path(sys.executable).parent)) or "dynoctl"
    done = subprocess.run([program, "ps", "-f", f"missing{POISON['escape']}.yaml"], capture_output=True, text=True)
    assert done.returncode == 3 and "\\x1b[2J" in done.stderr and not survives(done.stderr)
