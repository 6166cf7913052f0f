"""Makes an app or a dyno.yaml in a directory: reads what is there, writes nothing over anything."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.resources import as_file, files
from pathlib import Path
from typing import Protocol

from infra.errors import DynoctlError

LARGEST = 1 << 20
"""Bytes of a file that are looked at."""

SECRET = ".dyno/secret_key_base"  # noqa: S105  # where it is kept


class Starters(Protocol):
    """What the layers know of apps: how to tell one, and what the starters are."""

    looked_at: Sequence[str]
    """Files by name; a directory ends in a slash."""

    slugignore: str
    """For an app that has none."""

    default_starter: str
    """The framework of a new app where nobody names one."""

    def starters(self) -> Sequence[str]:
        """The frameworks that there is a starter for."""
        ...

    def app_name(self, directory: str) -> str:
        """A name for the app in a directory of that name."""
        ...

    def found(self, texts: Mapping[str, str], name: str) -> str | None:
        """The dyno.yaml of an app with these files, or None where it is none."""
        ...

    def starter(self, framework: str, name: str) -> str:
        """The dyno.yaml of a starter."""
        ...


def begin(directory: Path, framework: str | None, known: Starters) -> list[str]:
    """Make the files; give back their names, dyno.yaml first. Raises DynoctlError, and then nothing was written."""
    try:
        there = sorted(path.name for path in directory.iterdir() if path.name != ".git") if directory.exists() else []
    except OSError as error:
        raise DynoctlError(f"{directory} cannot be read: {error.strerror}") from None
    if "dyno.yaml" in there:
        raise DynoctlError(f"{directory / 'dyno.yaml'} is there already", "Edit it; init never writes over a file.")
    name = known.app_name(directory.resolve().name)
    try:
        if there and framework is None:
            return _existing(directory, name, known)
        if there:
            raise DynoctlError(
                f"{directory} is not empty: {', '.join(there[:5])}",
                "For the app that is there: dynoctl init without --framework. For a new one, name a new directory.",
            )
        return _new(directory, framework or known.default_starter, name, known)
    except OSError as error:
        raise DynoctlError(f"{error.filename} cannot be written: {error.strerror}") from None


def _new(directory: Path, framework: str, name: str, known: Starters) -> list[str]:
    if framework not in known.starters():
        raise DynoctlError(f"There is no starter for {framework}", f"There is: {', '.join(known.starters())}.")
    text = known.starter(framework, name)
    directory.mkdir(parents=True, exist_ok=True)
    with as_file(files("stacks") / "starters" / framework) as starter:
        shutil.copytree(starter, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    names = sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())
    return _write(directory, text) + [one for one in names if not one.startswith(".git/")]


def _existing(directory: Path, name: str, known: Starters) -> list[str]:
    text = known.found(_texts(directory, known.looked_at), name)
    if text is None:
        looked = ", ".join(one for one in known.looked_at if not one.endswith("/"))
        raise DynoctlError(
            f"{directory} is not empty, and there is no Rack app in it that init knows",
            f"It looked at {looked}. A config.ru is enough. "
            f"For a new app: dynoctl init --framework {known.default_starter} NAME",
        )
    written = _write(directory, text)
    if not (directory / ".slugignore").exists():
        (directory / ".slugignore").write_text(known.slugignore, encoding="utf-8")
        written.append(".slugignore")
    return written


def _texts(directory: Path, names: Sequence[str]) -> dict[str, str]:
    """The files that are there, as far as they are text. What a link leads out of the directory to is not read."""
    root = directory.resolve()
    found: dict[str, str] = {}
    for name in names:
        path = directory / name
        with suppress(OSError):
            if not path.resolve().is_relative_to(root):
                continue
            if name.endswith("/"):
                if path.is_dir():
                    found[name.rstrip("/")] = ""
            elif path.is_file():
                with path.open("rb") as file:
                    found[name] = file.read(LARGEST).decode(errors="replace").replace("\r\n", "\n")
    return found


def _write(directory: Path, text: str) -> list[str]:
    """Write dyno.yaml, and the secret that it refers to; git is told to leave secrets alone."""
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
