"""What the manifest says of files: that they are there, and that nothing leads out of the source."""

# ruff: noqa: PTH100, PTH110, PTH111, PTH112, PTH113, PTH118
# Not pathlib's methods: they raise for some names, where these of os.path say no.
from __future__ import annotations

import os
from collections.abc import Iterator
from os.path import abspath, exists, expanduser, isdir, isfile, join, normpath, realpath
from pathlib import Path as File

from infra.errors import Diagnostic
from infra.manifest.document import Document
from infra.manifest.source import Path
from infra.manifest.wording import quoted


def located(text: str, base: File) -> File:
    """A path of the manifest: ``~`` is the user's home, and a relative one is seen from ``base``."""
    return File(abspath(base / expanduser(text)))


def check(document: Document, base: File) -> list[Diagnostic]:
    """Everything that is not where the manifest says. ``base`` is the manifest's directory, absolute."""
    return [*_source(document, base), *_ssh(document, base)]


def _source(document: Document, base: File) -> Iterator[Diagnostic]:
    named = document.get(str, "app", "source")
    if named is None:
        return
    source = located(named, base)
    if not isdir(source):
        what = "is not a directory" if exists(source) else "does not exist"
        yield document.diagnostic(
            ("app", "source"),
            f"{quoted(named)} {what}",
            expected=f"a directory, seen from {base}",
        )
        return
    yield from _rackup(document, source)
    yield from _requires(document, source)


def _rackup(document: Document, source: File) -> Iterator[Diagnostic]:
    rackup = document.get(str, "rackup")
    if rackup is None:
        return
    path: Path = ("rackup",)
    if _leads_out(source, rackup):
        yield document.diagnostic(
            path, f"{quoted(rackup)} leads out of app.source", expected="a path inside of it, like config.ru"
        )
    elif not isfile(source / rackup):
        yield document.diagnostic(
            path, f"There is no file {quoted(rackup)} in app.source", expected=f"a file in {source}"
        )


def _requires(document: Document, source: File) -> Iterator[Diagnostic]:
    places: list[Path] = [("framework", "require")]
    places += [("middleware", index, "require") for index, _ in enumerate(document.get(list, "middleware") or [])]
    for path in places:
        name = document.get(str, *path)
        if name is not None and name.startswith(("./", "../")):
            yield from _require(document, path, name, source)
    if document.get(dict, "framework") and not document.has("framework", "require") and not document.has("rackup"):
        # What is required unless the manifest says more.
        yield from _require(document, ("framework",), "./app", source)


def _require(document: Document, path: Path, name: str, source: File) -> Iterator[Diagnostic]:
    # Ruby tries the name with .rb, and with .so for what is compiled.
    tried = [name] if name.endswith((".rb", ".so")) else [f"{name}.rb", f"{name}.so"]
    if all(_leads_out(source, each) for each in tried):
        yield document.diagnostic(path, f"{quoted(name)} leads out of app.source", expected="a path inside of it")
    elif not any(isfile(source / each) for each in tried):
        missing = normpath(tried[0])
        yield document.diagnostic(
            path,
            f"There is no file {quoted(missing)} in app.source",
            key=path == ("framework",),
            expected=f"a file in {source}",
            hint="framework.require says what to require; without it that is ./app." if len(path) == 1 else "",
        )


def _leads_out(source: File, name: str) -> bool:
    """Whether a path in the source ends outside of it, by itself or through a symbolic link."""
    root = realpath(source)
    target = realpath(join(root, name))
    return target != root and not target.startswith(root.rstrip("/") + "/")


def _ssh(document: Document, base: File) -> Iterator[Diagnostic]:
    for key, what in (("key", "private key"), ("known_hosts", "known_hosts file")):
        path: Path = ("ssh", key)
        named = document.get(str, *path)
        if named is None:
            continue
        file = located(named, base)
        if not isfile(file):
            state = "is not a file" if exists(file) else "does not exist"
            hint = "" if str(file) == named else f"That is {file}."
            yield document.diagnostic(path, f"The {what} {quoted(named)} {state}", hint=hint)
        elif not os.access(file, os.R_OK):
            yield document.diagnostic(path, f"The {what} {quoted(named)} cannot be read")
        elif key == "key" and file.suffix == ".pub":
            yield document.diagnostic(
                path,
                f"{quoted(named)} is the public half of a key",
                hint=f"Name the private one: {named.removesuffix('.pub')}",
            )
