"""Ask git about a directory that a stranger may have filled: nothing that the directory configures is run."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from infra.manifest import programs

TIMEOUT = 5
"""Timeout of git, in seconds. It is short because git only looks up what is on the local disk."""

LARGEST = 1 << 20
"""Maximum size of an answer, in bytes."""

_SETTINGS = (
    # Empty, and not "false": git before 2.36 takes the value for the name of a program.
    "core.fsmonitor=",
    "core.hooksPath=/dev/null",
    "core.attributesFile=/dev/null",
    # A directory of the repository that looks like a bare repository is not one.
    "safe.bareRepository=explicit",
    "core.pager=cat",
    "core.editor=false",
    "core.askPass=",
    "core.sshCommand=false",
    "credential.helper=",
    "diff.external=",
    "protocol.allow=never",
    "status.submoduleSummary=false",
)
"""What a repository's own config can set to run a program. The command line wins over it.

``safe.directory`` is not here: a repository of another user is refused, unless the user's own config allows it."""

_COMMANDS = {
    "ls-files": False,
    "rev-parse": False,
    "remote": False,
    "rev-list": False,
    "diff-tree": False,  # of names only
    "ls-tree": False,
    "cat-file": False,  # of blobs, without --textconv and --filters
    "status": True,
}
"""The commands that are known to run nothing with these settings, and whether they read the content of files: only then
filters are run."""

_KEPT = ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_CEILING_DIRECTORIES")
"""The only variables of git that are passed on: they name files of the user and limit the search for a repository.
The others name another repository (as in a hook), programs or a trace."""

_SILENT = {
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "",
    "SSH_ASKPASS": "",
    "GIT_ALLOW_PROTOCOL": "",  # no transport at all: a partial clone would fetch what it lacks
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
}


@dataclass(frozen=True)
class Answer:
    """What git printed, and its exit status. ``error`` is its message, or why it did not end."""

    status: int
    output: str = ""
    error: str = ""

    @property
    def no_repository(self) -> bool:
        """Whether the directory is not in a repository."""
        return self.status == NO_GIT or "not a git repository" in self.error


NO_GIT = 127
"""The status of an answer without git."""

_FAILED = 128


def git(directory: Path, *argv: str) -> Answer:
    """What git says of a directory. Never raises for what is in it, and ends within ``2 * TIMEOUT`` seconds.

    No hook, filter, file system monitor, pager, editor, helper or transport is run, and nothing in a submodule. All
    calls of git go through this function."""
    reads_files = _COMMANDS[argv[0]]
    program = programs.find("git")
    if program is None:
        return Answer(NO_GIT, error="git not found")
    settings = list(_SETTINGS)
    if reads_files:
        named = _run(program, directory, settings, "config", "--null", "--name-only", "--get-regexp", "^filter\\.")
        if named.status not in (0, 1):
            return named
        for key in sorted(set(named.output.split("\0")) - {""}):
            if "=" in key or len(settings) > 500:  # "-c" ends the key at the first =
                return Answer(_FAILED, error="its config defines filters that cannot be turned off")
            settings.append(f"{key}={'false' if key.endswith('.required') else ''}")
    return _run(program, directory, settings, *argv)


def _run(program: str, directory: Path, settings: list[str], *argv: str) -> Answer:
    options = [word for setting in settings for word in ("-c", setting)]
    command = [program, "--no-pager", "--literal-pathspecs", *options, *argv]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name in _KEPT}
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(  # noqa: S603 - an absolute path, and commands of _COMMANDS
                command,
                cwd=directory,
                env=environment | _SILENT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return Answer(_FAILED, error=getattr(error, "strerror", None) or str(error))
        timer = threading.Timer(TIMEOUT, _kill, (process.pid,))
        timer.start()
        try:
            with cast(IO[bytes], process.stdout) as stream:
                output = stream.read(LARGEST + 1)
            if len(output) > LARGEST:
                _kill(process.pid)
            status = process.wait()
            late = not timer.is_alive()
        finally:
            timer.cancel()
            if process.poll() is None:
                _kill(process.pid)
                process.wait()
        errors.seek(0)
        lines = errors.read(LARGEST).decode(errors="replace").strip().splitlines()
    if late:
        return Answer(_FAILED, error=f"git timed out after {TIMEOUT} s")
    if len(output) > LARGEST:
        return Answer(_FAILED, error="git printed more than 1 MiB")
    fatal = [line.removeprefix("fatal: ") for line in lines if line.startswith("fatal: ")]
    return Answer(status, output.decode(errors="replace"), (fatal or lines or [""])[-1])


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
