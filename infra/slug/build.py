"""Run the build of an app in a clean copy of its source, locally or on a server, and keep its log."""

from __future__ import annotations

import hashlib
import json
import os
import re
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
from infra.model import failure_log
from infra.model.shell import RemoteBuild, Session
from infra.model.slug_digest import on_builder
from infra.slug.squashfs import SourceChangedError, stream
from infra.slug.tree import IGNORE_FILE, Kind, Tree, scan
from infra.slug.untar import unpack

TIMEOUT = 1800
"""Timeout of a build, in seconds."""

KEEP = 20
"""The number of logs that are kept."""

_TAIL = 18
"""The number of log lines that are shown if a build fails."""

_SCRATCH = "/tmp/app"  # noqa: S108  # the name on the builder
"""The directory of a build on a server, in a /tmp of its own (``infra.remote.quote``)."""

_CALLERS = re.compile(r"BUNDLE_.*|BUNDLER_.*|GEM_.*|RUBYOPT|RUBYLIB|RUBYGEMS_GEMDEPS")
"""Variables that make the caller's Ruby find other gems: of ``bundle exec dynoctl``, or of a version manager."""

_NAMED = 5
"""Links that an error names."""

_SEARCHED = 200
"""The number of log lines in which the exception is looked for."""

_DOMAIN = "dynoctl build 1\n"

Say = Callable[[str], None]


class BuildFailed(DynoctlError):
    """A command of the build failed. The hint contains the last log lines and the path of the log."""


@dataclass(frozen=True)
class Build:
    """The input of a build: the source, the commands and their environment.

    ``path`` is the PATH of the commands, "" for the default; ``directories`` are created in the slug if missing.
    ``builder`` is the name of the server that runs them, "" for the local machine; ``made_by`` are words for what that
    is at the moment, as far as it decides what comes out.
    """

    app: str
    source: Tree
    commands: tuple[str, ...]
    environment: Mapping[str, str]
    path: str = ""
    directories: tuple[str, ...] = ()
    builder: str = ""
    made_by: str = ""

    @property
    def digest(self) -> str:
        """The name of the result, computed from the input, so that the same input is not built twice."""
        fields = [self.source.digest, list(self.commands), dict(self.environment), self.path, list(self.directories)]
        # They also decide which of the files that the build creates are in the slug.
        if self.source.patterns:
            fields.append([os.fsdecode(pattern) for pattern in self.source.patterns])
        # Who builds decides what comes out: with another builder, nothing that this one made is used again.
        if self.builder:
            fields.append({"builder": self.builder})
        source = hashlib.sha256((_DOMAIN + json.dumps(fields, sort_keys=True)).encode()).hexdigest()
        # And so does what that server is by now: native gems are of its Debian and its Ruby.
        return on_builder(source, self.made_by) if self.made_by else source


def logs() -> Path:
    """The directory of build logs, which only this user can read."""
    return platformdirs.user_state_path("dynoctl") / "builds"


@contextmanager
def run(build: Build, session: Session | None, say: Say) -> Iterator[Tree]:
    """The built tree, while the context lasts. ``session`` is connected to the builder; None builds locally.

    Raises BuildFailed, and DynoctlError if the builder cannot be used.
    """
    log = _new_log(build)
    with tempfile.TemporaryDirectory(prefix="dynoctl-build-") as directory:
        target = Path(directory) / "app"
        target.mkdir()
        say(f"build {build.app} {'locally' if session is None else f'on {session.name}'}: {'; '.join(build.commands)}")
        with log.open("wb") as output:
            if session is None:
                _copy(build.source, target)
                status = _build_locally(build, target, output)
            else:
                status = _build_remotely(build, session, target, output)
        if status != 0:
            raise _failed(build, status, log)
        if build.source.patterns:  # files that the build created can be ignored, too
            (target / IGNORE_FILE).unlink(missing_ok=True)  # a builder may have sent a link to another file
            (target / IGNORE_FILE).write_bytes(b"\n".join(build.source.patterns))
        tree = scan(target, build.directories)
        _refuse_links(build, tree, {_SCRATCH} if session is not None else {directory, os.path.realpath(directory)})
        yield replace(tree, digest=build.digest)


def _refuse_links(build: Build, tree: Tree, scratch: set[str]) -> None:
    """Raise BuildFailed if the build made links into its own directory, which a dyno does not have."""
    own = {(entry.path, entry.content) for entry in build.source.entries if entry.kind is Kind.LINK}
    inside = tuple(f"{path}/".encode() for path in scratch)
    found = [
        f"  {os.fsdecode(entry.path)} -> {os.fsdecode(entry.content)}"
        for entry in tree.entries
        if entry.kind is Kind.LINK
        and (entry.content + b"/").startswith(inside)
        and (entry.path, entry.content) not in own
    ]
    if found:
        more = [f"  and {len(found) - _NAMED} more"] if len(found) > _NAMED else []
        raise BuildFailed(
            f"build of {build.app} made links into its scratch directory, which dynos do not have; "
            "no server was changed",
            "\n".join(["make them relative, such as with ln -sr:", *found[:_NAMED], *more]),
        )


def _copy(tree: Tree, target: Path) -> None:
    root = os.fsencode(tree.source)
    copy = os.fsencode(target)
    for entry in tree.entries:
        if entry.path.split(b"/")[0] == b".dynoctl":
            continue
        path = copy + b"/" + entry.path
        if entry.kind is Kind.DIRECTORY:
            os.makedirs(path, exist_ok=True)  # noqa: PTH103 - a Path cannot hold every name
        elif entry.kind is Kind.LINK:
            os.symlink(entry.content, path)  # noqa: PTH211
        else:
            shutil.copyfile(root + b"/" + entry.path, path)
            os.chmod(path, entry.mode)  # noqa: PTH101
    written = {entry.path: entry for entry in scan(target).entries}
    for entry in tree.entries:
        if written.get(entry.path, entry) != entry:
            raise SourceChangedError(root + b"/" + entry.path)


def _build_locally(build: Build, target: Path, log: IO[bytes]) -> int:
    """Run the commands in their own session, so that all processes are killed on a timeout and if dynoctl ends."""
    environment = {key: value for key, value in os.environ.items() if not _CALLERS.fullmatch(key)}
    environment |= build.environment
    if build.path:
        environment["PATH"] = build.path
    deadline = time.monotonic() + TIMEOUT
    for command in build.commands:
        log.write(f"$ {command}\n".encode())
        log.flush()
        process = subprocess.Popen(  # noqa: S603  # the manifest's owner wrote the command for a shell
            ["/bin/sh", "-c", command],
            cwd=target,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        watch = _watch(process.pid, target.parent)
        try:
            status = process.wait(max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            status = 124
        finally:
            with suppress(ProcessLookupError):  # including background processes of the command
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            watch.kill()
            watch.communicate()
        if status != 0:
            log.write(f"\nfailed with exit status {status}\n".encode())
            return status
    return 0


def _watch(group: int, directory: Path) -> subprocess.Popen[bytes]:
    """Start a process that kills the build and removes its copy if dynoctl is killed, which closes the pipe."""
    script = 'read -r _; kill -s KILL -- "-$1"; rm -rf -- "$2"'
    argv = ["/bin/sh", "-c", script, "watch", str(group), str(directory)]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)  # noqa: S603


def _build_remotely(build: Build, session: Session, target: Path, log: IO[bytes]) -> int:
    """Upload the tree and download the result as tar streams. On the server, both are in a unit's private /tmp only."""
    with tempfile.TemporaryFile() as up, tempfile.TemporaryFile() as down:
        stream(build.source, up)
        up.seek(0)
        status = session.build(RemoteBuild(build.commands, build.environment, build.path, TIMEOUT), up, down, log)
        if status == 0:
            down.seek(0)
            unpack(down, target)
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
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    reason = f"timed out after {TIMEOUT} s" if status in (124, 137) else f"failed with exit status {status}"
    if status == 127 and (absent := failure_log.absent_program(lines[-_SEARCHED:])):
        reason = f"failed: program not found: {absent}"
    cause = failure_log.exception(lines[-_SEARCHED:])
    tail = "\n".join(f"  {line}" for line in ([cause] if cause else []) + failure_log.shown(lines, _TAIL))
    return BuildFailed(f"build of {build.app} {reason}; no server was changed", f"{tail}\nFull log: {log}")
