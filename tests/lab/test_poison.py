"""Secrets are planted wherever one can enter, and searched for wherever one could come out."""

from __future__ import annotations

import base64
import copy
import json
import os
import re
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.support import Project, eventually

APP = """\
App = lambda do |env|
  [200, { "content-type" => "text/plain" }, [File.read("#{ENV["CREDENTIALS_DIRECTORY"]}/deep.key").size.to_s]]
end
"""

TOKENS = {
    name: f"pOison+{name}/4711"
    for name in (
        "environment",
        "file",
        "command",
        "secrets",
        "literal-url",
        "url",
        "user",
        "password",
        "cache",
        "options",
        "credential",
    )
}
"""One for each way in; with characters that a URL has to write in another way."""

# Where they are meant to be: for root alone.
MEANT = ("/etc/dyno/poison/", "/var/lib/dynoctl/poison/releases/")
HANDED = re.compile(r"/run/credentials/(dyno-poison-(?:web-[12]|clock-1))\.service/deep\.key 400 \1")
"""What systemd gives to a dyno, and to nobody else."""


def spellings(token: str) -> set[str]:
    """How it could be written: as it is, in a URL, in JSON or base64 (wherever in a text it starts)."""
    found = {token, urllib.parse.quote(token, safe=""), urllib.parse.quote(token), token.replace("/", "\\/")}
    for before in range(3):
        coded = base64.b64encode(b"x" * before + token.encode()).decode()
        found.add(coded[4 if before else 0 : len(coded) // 4 * 4 - 4])
    return found


ALL = {spelling: name for name, token in TOKENS.items() for spelling in spellings(token)}


def leaks(text: str) -> set[str]:
    """The ways in whose secret stands in a text."""
    return {name for spelling, name in ALL.items() if spelling in text}


class Watcher:
    """Looks at every command line on this machine, the servers' included, until it is told to end."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self.looks = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        seen: dict[str, bytes] = {}
        pause = 0.005
        while not self._end.wait(pause):
            began = time.thread_time()
            self.looks += 1
            for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208  # thousands of entries: names are enough
                try:
                    words = Path(f"/proc/{name}/cmdline").read_bytes()
                except OSError:
                    continue
                if words != seen.get(name):
                    seen[name] = words
                    self.found |= leaks(words.replace(b"\0", b" ").decode(errors="replace"))
            pause = max(0.005, time.thread_time() - began)  # what is watched needs the cores, too


@pytest.fixture
def app(fleet: Any, tmp_path: Path) -> Iterator[Project]:
    source = tmp_path / "source"
    source.mkdir()
    (source / "app.rb").write_text(APP)
    framework = {"name": "rack", "require": "./app", "app": "App"}
    app = Project(tmp_path, fleet, "poison", source, framework=framework, app_server={"name": "puma"})
    (app.directory / "key").write_text(TOKENS["file"] + "\n")
    (app.directory / "deep").write_text(f"-----BEGIN-----\n{TOKENS['credential']}\n\n")
    (app.directory / "given").write_text(TOKENS["command"] + "\n")
    (app.directory / ".dyno").mkdir(mode=0o700)
    (app.directory / ".dyno/secrets").write_text(f"FROM_SECRETS='{TOKENS['secrets']}'\n")
    (app.directory / ".dyno/secrets").chmod(0o600)
    quoted = {name: urllib.parse.quote(token, safe="") for name, token in TOKENS.items()}
    home, temporary = app.directory / "home", app.directory / "tmp"
    home.mkdir()
    temporary.mkdir()
    app.environment |= {
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "DYNOCTL_DEBUG": "1",
        "POISON_ENV": TOKENS["environment"],
        "POISON_URL": f"postgresql://shop:{quoted['url']}@10.0.0.9/shop",
        "POISON_USER": TOKENS["user"],
        "POISON_PASSWORD": TOKENS["password"],
        "POISON_CACHE": f"redis://:{quoted['cache']}@10.0.0.9:6379/0",
    }
    app.manifest |= {
        "env": {
            "ENVIRONMENT": {"from_env": "POISON_ENV"},
            "FILE": {"from_file": "key"},
            "COMMAND": {"from_command": ["cat", "given"]},
            "SECRETS": {"from_env": "FROM_SECRETS"},
            "OPEN": "one",
        },
        "database": {"adapter": "postgresql", "url": {"from_env": "POISON_URL"}},
        "databases": {
            "parts": {
                "adapter": "postgresql",
                "host": "10.0.0.9",
                "name": "shop",
                "user": {"from_env": "POISON_USER"},
                "password": {"from_env": "POISON_PASSWORD"},
            },
            "literal": {"adapter": "mysql", "url": f"mysql2://shop:{quoted['literal-url']}@10.0.0.9/shop"},
            "optional": {
                "adapter": "postgresql",
                "url": f"postgresql://10.0.0.9/shop?user=shop&password={quoted['options']}",
            },
        },
        "cache": {"adapter": "redis", "url": {"from_env": "POISON_CACHE"}},
        "rollout": {"max_parallel": "100%"},
        "credentials": {"deep.key": {"from_file": "deep"}},
        "schedule": [{"name": "clock", "every": "5s", "command": 'test -n "$FILE"'}],
        "release_command": 'test -s "$CREDENTIALS_DIRECTORY/deep.key"',
    }
    valid = copy.deepcopy(app.manifest)
    yield app
    app.manifest = valid
    app.destroy()


def everything_said(app: Project) -> str:
    """All that a reviewer or an operator reads, from a first plan to a rejected release."""
    said = []

    def run(*argv: str, code: int | None = 0) -> None:
        done = app.dynoctl(*argv, code=code)
        said.append(done.stdout + done.stderr)

    run("validate")
    run("config")
    run("config", "--json")
    for more in (("--verbose", "--html", "page.html", "--out", "plan"), ("--json",), ("--markdown",)):
        run("plan", *more)
    run("show", "plan", "--json")
    run("apply", "plan", "--verbose")
    said += [(app.directory / name).read_text() for name in ("page.html", "plan")]
    app.manifest["env"]["OPEN"] = "two"
    run("apply", "--auto-approve", "--json")
    run("rollback", "--auto-approve", "--verbose")
    for command in ("ps", "releases", "history", "drift"):
        run(command)
    run("releases", "show", "v1")
    run("validate", "--online", code=1)
    run("doctor", code=1)
    run("top")
    run("restart")
    run("run", "-e", "POISON_ENV", "true")
    (app.source / "app.rb").write_text('warn ENV.to_h.inspect; raise "#{ENV["FILE"]} #{ENV["DATABASE_URL"]}"')
    run("apply", "--auto-approve", "--json", code=5)
    app.manifest["release_command"] = 'echo "$COMMAND $REDIS_URL"; exit 1'
    run("apply", "--auto-approve", code=5)
    app.manifest["env"]["BROKEN"] = {"from_command": ["sh", "-c", "cat given; exit 3"]}
    run("plan", code=3)
    app.manifest["env"]["BROKEN"] = TOKENS["file"]
    app.manifest["databases"]["literal"]["adapter"] = "nonsense"
    run("plan", code=3)
    return "\n".join(said)


def on_servers(fleet: Any, since: float) -> dict[str, str]:
    """Every file on a server with a secret in it, with mode and owner; and whatever its journal and units said since."""
    found = {}
    patterns = "\n".join(ALL)
    search = (
        "cat > /root/patterns; grep -rlsFf /root/patterns /etc /var /run /tmp /srv /dev/shm /root --exclude=patterns --exclude-dir=journal "
        "| while read -r file; do stat -c '%n %a %U' \"$file\"; done; rm /root/patterns"
    )
    for server in fleet.names:
        for line in fleet.exec(server, "sh", "-c", search, input=patterns).stdout.splitlines():
            name, mode, owner = line.rsplit(" ", 2)
            if HANDED.fullmatch(line):
                continue
            if not name.startswith(MEANT) or (mode, owner) != ("600", "root"):
                found[f"{server}:{name}"] = f"{mode} {owner}"
        units = f"journalctl --namespace='*' --since=@{since:.0f} -o export --no-pager; systemctl show '*' --no-pager; cat /proc/mounts"
        for name in leaks(fleet.exec(server, "sh", "-c", units).stdout):
            found[f"{server}: journal or units"] = name
    return found


def left_here(directory: Path) -> dict[str, set[str]]:
    """What dynoctl left on this machine with a secret in it."""
    found = {}
    for folder in (directory / "home", directory / "tmp"):
        for file in folder.rglob("*"):
            if file.is_file() and (names := leaks(file.read_bytes().decode(errors="replace"))):
                found[str(file)] = names
    return found


def test_no_secret_comes_out_anywhere(app: Project, fleet: Any) -> None:
    began = time.time()
    app.apply()
    assert {app.get(row) for row in app.ps().values() if row["port"]} == {str((app.directory / "deep").stat().st_size)}
    assert on_servers(fleet, began) == {}, "before an app has said anything itself"
    with Watcher() as watcher:
        said = everything_said(app)
    assert leaks(said.replace("\\u002b", "+")) == set()
    assert said.count("(sensitive)") > 20 and "***" in said, "they are there, and starred out"
    assert watcher.looks > 10 and watcher.found == set()
    assert left_here(app.directory) == {}
    audit = "cat /var/lib/dynoctl/poison/audit.jsonl /var/lib/dynoctl/poison/*.json /var/lib/dynoctl/poison/applied/*"
    for server in fleet.names:
        assert leaks(fleet.exec(server, "sh", "-c", audit, check=False).stdout) == set()


def test_the_search_finds_what_is_there(app: Project, fleet: Any) -> None:
    token, began = TOKENS["password"], time.time() - 1
    for text in (
        token,
        urllib.parse.quote(token, safe=""),
        json.dumps({"a": token}),
        f"x{base64.b64encode(f'ab {token} cd'.encode()).decode()}",
    ):
        assert leaks(f"before {text} after") == {"password"}
    with Watcher() as watcher:
        process = subprocess.Popen(["sleep", "600", "--", "0"], executable="/bin/sleep")
        shown = subprocess.Popen(["sh", "-c", f"sleep 600; : {token}"])
        try:
            eventually(lambda: watcher.found)
            whole = watcher.looks + 2  # one that began after both were there has ended
            eventually(lambda: watcher.looks > whole)
        finally:
            for one in (shown, process):
                one.kill()
                one.wait()
    assert watcher.found == {"password"}
    fleet.exec("grid-1", "sh", "-c", "umask 077; cat > /var/tmp/planted", input=token)
    fleet.exec("grid-2", "logger", f"said {token}")
    fleet.exec("grid-2", "sh", "-c", "mkdir -p /etc/dyno/poison && cat > /etc/dyno/poison/open.env", input=token)
    try:
        found = eventually(lambda: len(found := on_servers(fleet, began)) >= 3 and found)
        assert {"grid-1:/var/tmp/planted", "grid-2: journal or units", "grid-2:/etc/dyno/poison/open.env"} <= set(found)
    finally:
        fleet.exec("grid-1", "rm", "/var/tmp/planted")
        fleet.exec("grid-2", "rm", "/etc/dyno/poison/open.env")
    (app.directory / "tmp/planted").write_text(token)
    assert left_here(app.directory) == {str(app.directory / "tmp/planted"): {"password"}}
    assert os.environ.get("POISON_ENV") is None
