"""A project of a user, driven as a user drives it: a directory with a dyno.yaml, and the dynoctl on the PATH."""

from __future__ import annotations

import http.client
import inspect
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.command import shared

DYNOCTL = Path(sys.executable).parent / "dynoctl"
APPS = Path(__file__).parent / "apps"
STARTERS = Path(__file__).parents[2] / "stacks/starters"

WAIT = 60
"""Seconds that anything may take on a machine that is busy with other things. No wait is shorter."""

DEADLINE = 600
"""Seconds after which a command that hangs fails its test: long, as other labs may take the cores."""

AWAY_AFTER = 5
"""``ssh.connect_timeout`` where a test takes servers away: each command waits so long for each of them. Of 45 logins on
two cores with six other processes the slowest took 1.7 s."""


class Project:
    """One app. ``manifest`` is the dyno.yaml as values; change it, then ``plan`` or ``apply``."""

    deadline = DEADLINE

    def __init__(self, directory: Path, fleet: Any, name: str, source: Path, **keys: Any) -> None:
        self.directory = directory
        self.fleet = fleet
        self.source = directory / "app"
        shutil.copytree(source, self.source)
        self.environment: dict[str, str] = {}
        self.by_hand = False
        self.manifest: dict[str, Any] = {
            "version": 1,
            "app": {"name": name, "source": "app"},
            "dynos": {"web": 2},
            **fleet.inventory(),
            **keys,
        }

    def dynoctl(
        self, *argv: str, code: int | None = 0, stdin: str | None = None, program: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run one command; ``code`` is the exit status that must come (None: any), ``program`` another dynoctl."""
        done = self._run(argv, stdin or "") if program is None else self._run_other(argv, stdin, program)
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        if code is not None:
            assert done.returncode == code, f"dynoctl {' '.join(argv)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def _run(self, argv: Sequence[str], stdin: str) -> subprocess.CompletedProcess[str]:
        """In a process that has imported everything: a third of a second of CPU time less."""
        self.write()
        return shared().text(*argv, cwd=self.directory, stdin=stdin, deadline=self.deadline, **self._environment)

    def _run_other(self, argv: Sequence[str], stdin: str | None, program: Path) -> subprocess.CompletedProcess[str]:
        process = self.start(*argv, program=program)
        out, err = process.communicate(stdin, timeout=self.deadline)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    @property
    def _environment(self) -> dict[str, str]:
        return {"XDG_STATE_HOME": str(self.directory / "state"), **self.environment}

    def start(self, *argv: str, program: Path = DYNOCTL) -> subprocess.Popen[str]:
        """Start one command and leave it running."""
        self.write()
        return subprocess.Popen(
            [program, *argv],
            cwd=self.directory,
            env={**os.environ, **self._environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def write(self) -> None:
        """Write the manifest, unless the test keeps the file by itself."""
        if not self.by_hand:
            if len(self.manifest["dynos"]) > 1:  # workers show by staying up that they work: each apply would take 10 s
                self.manifest.setdefault("rollout", {}).setdefault("min_healthy_time", 0)
            (self.directory / "dyno.yaml").write_text(yaml.safe_dump(self.manifest, sort_keys=False))

    def plan(self, code: int | None = 0) -> dict[str, Any]:
        """The plan as JSON."""
        document = json.loads(self.dynoctl("plan", "--json", code=code).stdout)
        assert isinstance(document, dict)
        return document

    def apply(self, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        return self.dynoctl("apply", "--auto-approve", code=code)

    def destroy(self) -> None:
        self.dynoctl("destroy", "--auto-approve")

    def ps(self, code: int | None = 0) -> dict[str, dict[str, Any]]:
        """The dynos by name."""
        rows = json.loads(self.dynoctl("ps", "--json", code=code).stdout)["dynos"]
        return {row["dyno"]: row for row in rows}

    def settled(self) -> None:
        """Nothing is left to do."""
        done = self.dynoctl("plan", "--detailed-exitcode")
        assert done.stdout == "No changes. The servers match dyno.yaml.\n"

    def get(self, row: Mapping[str, Any], path: str = "/") -> str:
        """One request to one dyno; the body, or ``403 Errno::...`` and the like."""
        return get(row["listen"], row["port"], path)


def get(host: str, port: int, path: str = "/", timeout: float = WAIT) -> str:
    """One request; the body, with the status before it where it is no success."""
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=timeout) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"


@contextmanager
def changed(fleet: Any, server: str, do: str, undo: str) -> Iterator[None]:
    """Something is other than it was on a server, for as long as this lasts."""
    fleet.exec(server, "sh", "-ec", do)
    try:
        yield
    finally:
        fleet.exec(server, "sh", "-ec", undo)


def let_pass(seconds: float, why: str) -> None:
    """Let time pass where the passing of time is what is tested: a clock's moments, a quota's period, a random moment.

    ``why`` says which. What can be waited for is waited for with ``eventually``; that nothing happens is ``stays``."""
    assert why
    time.sleep(seconds)


def stays(check: Callable[[], Any], seconds: float, why: str) -> None:
    """Observe for ``seconds`` that ``check`` holds all the time: the proof that something does not happen.

    The window is part of the test, so it may be short: a slow machine looks less often, and fails no more often."""
    assert why
    end = time.monotonic() + seconds
    while True:
        assert check(), f"no longer so: {_source(check)}"
        if time.monotonic() > end:
            return
        time.sleep(0.1)


NOT_YET = (OSError, http.client.HTTPException, AssertionError, LookupError)
"""What a check raises where what it looks at is not there yet."""


def eventually(check: Callable[[], Any], seconds: float = WAIT) -> Any:
    """Call ``check`` until it returns something true, and return that.

    What it raises of NOT_YET counts as not yet; ``pytest.fail`` ends the wait at once. After ``seconds`` (never less
    than WAIT) it fails with the check and with what it returned or raised last."""
    assert seconds >= WAIT
    deadline = time.monotonic() + seconds
    while True:
        last: object = None
        try:
            if result := check():
                return result
            last = result
        except NOT_YET as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {_source(check)}\nlast: {last!r}")
        time.sleep(0.1)


def _source(check: Callable[[], Any]) -> str:
    """The lines that a check was written in."""
    try:
        return inspect.getsource(check).strip()
    except (OSError, TypeError):
        return repr(check)


SNAPSHOT = r"""
find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/log \
  -o -path /var/cache -o -path /var/lib/systemd -o -path /var/tmp \) -prune \
  -o ! -path '/etc/*-' ! -path /etc/.pwd.lock -printf '%p %y %m %u %g\n' | sort
find /run/dynoctl /run/systemd/system.control /etc/systemd /srv /app 2>/dev/null | sort
cat /etc/passwd /etc/group
cut -d: -f1 /etc/shadow
systemctl list-units --all --plain --no-legend 'dyno*' '*dyno*' | sort
systemctl list-unit-files --no-legend 'dyno*' | sort
grep -E 'squashfs|/srv/' /proc/mounts
"""


def snapshot(fleet: Any, server: str) -> str:
    """Everything on a server that dynoctl could have changed and must give back."""
    return str(fleet.exec(server, "sh", "-c", SNAPSHOT, check=False).stdout)
