"""Runs an app's build in a clean copy of its source, here or on a server, and keeps its log."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import platformdirs

from infra.errors import DynoctlError
from infra.model.shell import RemoteBuild, Session
from infra.slug.squashfs import SourceChangedError, stream
from infra.slug.tree import IGNORE_FILE, Kind, Tree, scan
from infra.slug.untar import unpack

TIMEOUT = 1800
"""Seconds that a whole build may take."""

KEEP = 20
"""How many logs stay."""

_TAIL = 30
"""Lines of the log that are shown where a build fails."""

_DOMAIN = "dynoctl build 1\n"

Say = Callable[[str], None]


class BuildFailed(DynoctlError):
    """A command of the build ended badly. The hint holds the log's last lines and where all of it is."""


@dataclass(frozen=True)
class Build:
    """What goes into a build: the source, the commands, and the environment in which they run.

    ``path`` are directories to search for programs before the builder's own, ``directories`` what the slug must have.
    """

    app: str
    source: Tree
    commands: tuple[str, ...]
    environment: Mapping[str, str]
    path: str = ""
    directories: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Names the result by what it is made from: the same source and commands are not built twice."""
        what = [self.source.digest, list(self.commands), dict(self.environment), self.path, list(self.directories)]
        return hashlib.sha256((_DOMAIN + json.dumps(what, sort_keys=True)).encode()).hexdigest()


def logs() -> Path:
    """Where the logs of builds are kept, for this user alone."""
    return platformdirs.user_state_path("dynoctl") / "builds"


@contextmanager
def run(build: Build, session: Session | None, say: Say) -> Iterator[Tree]:
    """The built tree, for as long as the context lasts. ``session`` leads to the server to build on; None is here.

    Raises BuildFailed, and DynoctlError where the builder cannot be used.
    """
    log = _new_log(build)
    with tempfile.TemporaryDirectory(prefix="dynoctl-build-") as directory:
        place = Path(directory) / "app"
        place.mkdir()
        say(f"build {build.app} {'here' if session is None else f'on {session.name}'}: {'; '.join(build.commands)}")
        with log.open("wb") as output:
            if session is None:
                _copy(build.source, place)
                status = _here(build, place, output)
            else:
                status = _there(build, session, place, output)
        if status != 0:
            raise _failed(build, status, log)
        rules = build.source.source / IGNORE_FILE
        if rules.is_file():  # what the build made and the slug does not need is left out, too
            (place / IGNORE_FILE).unlink(missing_ok=True)  # what a builder sent may be a link to anywhere
            shutil.copy(rules, place / IGNORE_FILE)
        yield replace(scan(place, build.directories), digest=build.digest)


def _copy(tree: Tree, place: Path) -> None:
    root = os.fsencode(tree.source)
    target = os.fsencode(place)
    for entry in tree.entries:
        if entry.path.split(b"/")[0] == b".dynoctl":
            continue
        path = target + b"/" + entry.path
        if entry.kind is Kind.DIRECTORY:
            os.makedirs(path, exist_ok=True)  # noqa: PTH103 - a Path cannot hold every name
        elif entry.kind is Kind.LINK:
            os.symlink(entry.content, path)  # noqa: PTH211
        else:
            shutil.copyfile(root + b"/" + entry.path, path)
            os.chmod(path, entry.mode)  # noqa: PTH101
    written = {entry.path: entry for entry in scan(place).entries}
    for entry in tree.entries:
        if written.get(entry.path, entry) != entry:
            raise SourceChangedError(root + b"/" + entry.path)


def _here(build: Build, place: Path, log: IO[bytes]) -> int:
    """In a session of its own, so that all of it ends together, in time or with this program."""
    environment = {key: value for key, value in os.environ.items() if key not in ("BUNDLE_GEMFILE", "RUBYOPT")}
    environment |= build.environment
    if build.path:
        environment["PATH"] = build.path
    deadline = time.monotonic() + TIMEOUT
    for command in build.commands:
        log.write(f"$ {command}\n".encode())
        log.flush()
        process = subprocess.Popen(  # noqa: S603  # the manifest's owner wrote the command for a shell
            ["/bin/sh", "-c", command],
            cwd=place,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        watch = _watch(process.pid, place.parent)
        try:
            status = process.wait(max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            status = 124
        finally:
            with suppress(ProcessLookupError):  # also what the command left in the background
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            watch.kill()
            watch.communicate()
        if status != 0:
            log.write(f"\nended with status {status}\n".encode())
            return status
    return 0


def _watch(group: int, directory: Path) -> subprocess.Popen[bytes]:
    """Ends the build and takes its copy away when this program ends in a way that leaves it no time for that: then
    its end of the pipe is closed."""
    script = 'read -r _; kill -s KILL -- "-$1"; rm -rf -- "$2"'
    argv = ["/bin/sh", "-c", script, "watch", str(group), str(directory)]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)  # noqa: S603


def _there(build: Build, session: Session, place: Path, log: IO[bytes]) -> int:
    """The tree goes up as a tar and comes back as one; on the server it is only ever in the unit's own /tmp."""
    with tempfile.TemporaryFile() as up, tempfile.TemporaryFile() as down:
        stream(build.source, up)
        up.seek(0)
        status = session.build(RemoteBuild(build.commands, build.environment, build.path, TIMEOUT), up, down, log)
        if status == 0:
            down.seek(0)
            unpack(down, place)
    return status


def _new_log(build: Build) -> Path:
    directory = logs()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for old in sorted(directory.glob("*.log"))[: -KEEP + 1]:
        old.unlink(missing_ok=True)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    log = directory / f"{stamp}-{build.app}-{build.digest[:12]}.log"
    log.touch(mode=0o600)
    return log


def _failed(build: Build, status: int, log: Path) -> BuildFailed:
    lines = log.read_text(errors="replace").splitlines()
    why = f"took longer than {TIMEOUT} s" if status in (124, 137) else f"ended with status {status}"
    tail = "\n".join(f"  {line}" for line in lines[-_TAIL:])
    return BuildFailed(f"the build of {build.app} {why}; nothing was changed by it", f"{tail}\nAll of it: {log}")
