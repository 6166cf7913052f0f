"""Create an app from a starter, or a dyno.yaml for an existing app; no existing file is overwritten."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from itertools import islice
from pathlib import Path
from typing import Protocol

from infra.errors import DynoctlError

LARGEST = 1 << 20
"""Bytes of each file that are read."""

MOST = 50
"""Files that are read for a name with a ``*``."""

SECRET = ".dyno/secret_key_base"  # noqa: S105  # a path


class Starters(Protocol):
    """What init needs from the stacks: how to recognise an app, and the starters."""

    looked_at: Sequence[str]
    """The names of the files to read; a directory ends in a slash, and a name may hold a ``*``."""

    platforms: Sequence[str]
    """Where an app may come from: the choices of ``--from``."""

    outputs: Mapping[str, Sequence[str]]
    """By platform, the commands whose output says more than the files do."""

    slugignore: str
    """The .slugignore of an app that has none."""

    default_starter: str
    """The default framework of a new app."""

    def starters(self) -> Sequence[str]:
        """The frameworks that have a starter."""
        ...

    def app_name(self, directory: str) -> str:
        """The name for an app in a directory of this name."""
        ...

    def found(self, texts: Mapping[str, str], name: str, platform: str) -> str | None:
        """The dyno.yaml for an app with these files, and outputs by their commands; None if they are not a Rack app.
        ``platform`` "" is the first one that has a file."""
        ...

    def notes(self, text: str) -> Sequence[str]:
        """The notes in a dyno.yaml: what was not carried over, and what to do."""
        ...

    def lacks_servers(self, text: str) -> bool:
        """Whether the servers in a rendered text are those of the example."""
        ...

    def unusable(self, name: str, text: str) -> str:
        """Why a text is not the output of a command; "" if it is."""
        ...

    def starter(self, framework: str, name: str) -> str:
        """The dyno.yaml of a starter."""
        ...


@dataclass(frozen=True)
class Origin:
    """Where the app runs today, "" if files say so, and the outputs of the platform's commands by command."""

    platform: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Begun:
    """The files that were created, dyno.yaml first, and the notes for the user. ``servers``: some are known already."""

    files: Sequence[str]
    notes: Sequence[str] = ()
    servers: bool = False


def begin(directory: Path, framework: str | None, starters: Starters, origin: Origin = Origin()) -> Begun:
    """Create the files. Raises DynoctlError if nothing was written."""
    try:
        existing = (
            sorted(path.name for path in directory.iterdir() if path.name != ".git") if directory.exists() else []
        )
    except OSError as error:
        hint = f"name a directory that you can read: ls -ld {directory}"
        raise DynoctlError(f"cannot read {directory}: {error.strerror}", hint) from None
    if "dyno.yaml" in existing:
        raise DynoctlError(f"{directory / 'dyno.yaml'} already exists", "edit it; init does not overwrite files")
    if origin.platform and origin.platform not in starters.platforms:
        raise DynoctlError(f"unknown platform: {origin.platform}", f"one of: {', '.join(starters.platforms)}")
    if origin.platform and framework is not None:
        raise DynoctlError("--from and --framework cannot be combined", "--framework creates a new app")
    name = starters.app_name(directory.resolve().name)
    try:
        if existing and framework is None:
            return _existing(directory, name, starters, origin)
        if existing:
            raise DynoctlError(
                f"{directory} is not empty: {', '.join(existing[:5])}",
                "for an existing app: dynoctl init without --framework; for a new app, name a new directory",
            )
        if origin.platform:
            raise DynoctlError(f"no app found in {directory}", "run init in the directory of the app's source")
        return Begun(_new(directory, framework or starters.default_starter, name, starters))
    except OSError as error:
        hint = f"name a directory that you may write to: ls -ld {directory}"
        raise DynoctlError(f"cannot write {error.filename}: {error.strerror}", hint) from None


def origin_of(platform: str | None, texts: Sequence[tuple[str, str | None]], starters: Starters) -> Origin:
    """The origin from the options of ``init``. ``texts`` are pairs of an option and the text that it names, in the
    order of ``Starters.outputs``. Raises DynoctlError if an output is not that of its command."""
    given = [option for option, text in texts if text is not None]
    commands = starters.outputs.get(platform or "", ())
    if given and not commands:
        needed = " or ".join(sorted(starters.outputs))
        raise DynoctlError(f"{given[0]} requires --from {needed}", f"dynoctl init --from {needed} {given[0]} FILE")
    outputs = {command: text for command, (_, text) in zip(commands, texts, strict=False) if text is not None}
    for command, text in outputs.items():
        why = starters.unusable(command, text)
        if why:
            raise DynoctlError(f"the file is not the output of {command}: {why}", f"run: {command} > FILE")
    return Origin(platform or "", outputs)


def _new(directory: Path, framework: str, name: str, starters: Starters) -> list[str]:
    if framework not in starters.starters():
        raise DynoctlError(f"unknown framework: {framework}", f"one of: {', '.join(starters.starters())}")
    text = starters.starter(framework, name)
    directory.mkdir(parents=True, exist_ok=True)
    with as_file(files("stacks") / "starters" / framework) as source:
        shutil.copytree(source, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    names = sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())
    return _write(directory, text) + [name for name in names if not name.startswith(".git/")]


def _existing(directory: Path, name: str, starters: Starters, origin: Origin) -> Begun:
    text = starters.found({**_texts(directory, starters.looked_at), **origin.outputs}, name, origin.platform)
    if text is None:
        raise DynoctlError(
            f"no Rack app found in {directory}: none of config.ru, config/application.rb and app.rb identifies one",
            f"add a config.ru; for a new app: dynoctl init --framework {starters.default_starter} NAME",
        )
    written = _write(directory, text)
    if not (directory / ".slugignore").exists():
        (directory / ".slugignore").write_text(starters.slugignore, encoding="utf-8")
        written.append(".slugignore")
    return Begun(written, starters.notes(text), servers=not starters.lacks_servers(text))


def _texts(directory: Path, names: Sequence[str]) -> dict[str, str]:
    """The contents of the files that exist. Links that lead out of the directory are not followed."""
    root = directory.resolve()
    found: dict[str, str] = {}
    for name in (each for pattern in names for each in _matching(directory, pattern)):
        path = directory / name
        with suppress(OSError, ValueError):
            if not path.resolve().is_relative_to(root):
                continue
            if name.endswith("/"):
                if path.is_dir():
                    found[name.rstrip("/")] = ""
            elif path.is_file():
                with path.open("rb") as file:
                    found[name] = file.read(LARGEST).decode(errors="replace").replace("\r\n", "\n")
    return found


def _matching(directory: Path, name: str) -> list[str]:
    if "*" not in name:
        return [name]
    return sorted(str(path.relative_to(directory)) for path in islice(directory.glob(name), MOST))


def _write(directory: Path, text: str) -> list[str]:
    """Write dyno.yaml and the secret that it refers to, and add the secret's directory to .gitignore."""
    written = ["dyno.yaml"]
    with (directory / "dyno.yaml").open("x", encoding="utf-8") as file:
        file.write(text)
    secret = directory / SECRET
    if SECRET in text and not secret.exists():
        secret.parent.mkdir(mode=0o700, exist_ok=True)
        secret.touch(mode=0o600)
        secret.write_text(secrets.token_hex(64) + "\n")
        written.append(SECRET)
    ignore = directory / ".gitignore"
    lines = ignore.read_text(encoding="utf-8", errors="surrogateescape").splitlines() if ignore.is_file() else []
    if not {".dyno", ".dyno/", "/.dyno", "/.dyno/"} & set(lines) and not ignore.is_symlink():
        with ignore.open("a", encoding="utf-8") as file:
            file.write(("" if not lines else "\n") + "/.dyno/\n")
        written.append(".gitignore")
    return written
