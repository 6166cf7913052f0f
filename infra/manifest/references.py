"""Values that are not in the file: fetch them, keep them secret, and make the environment of a dyno."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from infra.errors import Diagnostic, ManifestInvalid
from infra.manifest.backings import Service, from_parts, from_url, plain, variables
from infra.manifest.model import Manifest, Reference, Value
from infra.manifest.places import place
from infra.manifest.urls import check_url, has_password
from infra.sensitive import Sensitive

Fetch = Callable[[str, Value], str | Sensitive | None]
"""A value of the manifest from its place; None, and a problem noted, where it gives nothing."""

LARGEST = 1 << 20
"""Bytes of one value, and of all credentials together: that is what systemd hands to a unit."""

COMMAND_TIMEOUT = 30
"""Seconds that a from_command may take."""


class Unresolved(Exception):
    """A reference gives nothing; says why, and never what was read."""

    def __init__(self, summary: str, hint: str = "") -> None:
        super().__init__(summary)
        self.summary = summary
        self.hint = hint


class Resolver:
    """Fetches what references name, for one manifest: each once, and ``.dyno/secrets`` only where it is needed."""

    def __init__(self, base: Path, destination: str | None) -> None:
        self._base = base
        self._destination = destination
        self._known: dict[Reference, Sensitive] = {}
        self._secrets: Mapping[str, str] | None = None

    def __call__(self, value: Value) -> str | Sensitive:
        """The value. Raises Unresolved, and DynoctlError where ``.dyno/secrets`` cannot be used."""
        if isinstance(value, str):
            return Sensitive(value) if has_password(value) else value
        text = self.whole(value).reveal()
        return Sensitive(text if value.kind == "from_env" else text.removesuffix("\n"))

    def whole(self, value: Reference) -> Sensitive:
        """All that a reference gives, with the newline at its end. Raises as above."""
        if value not in self._known:
            self._known[value] = resolve(value, self._base, self._secret)
        return self._known[value]

    def _secret(self, name: str) -> str | None:
        if self._secrets is None:
            from infra.manifest.secrets_file import read

            self._secrets = read(self._base, self._destination)
        return self._secrets.get(name)


def resolve(value: Reference, base: Path, secret: Callable[[str], str | None]) -> Sensitive:
    """What a reference gives, whole; ``secret`` gives variables that are not set. Raises Unresolved."""
    words = value.value
    if value.kind == "from_env":
        text = _from_env(str(words), secret)
    elif value.kind == "from_file":
        text = _from_file(place(base, str(words)))
    else:
        text = _from_command([words] if isinstance(words, str) else list(words), base)
    if "\0" in text:
        raise Unresolved(f"{value.kind}: the value holds a NUL character, which no environment can")
    return Sensitive(text)


def _from_env(name: str, secret: Callable[[str], str | None]) -> str:
    text = os.environ.get(name)
    if text is None:
        text = secret(name)
    if text is None:
        raise Unresolved(
            f"the environment variable {name} is not set", f"Set it: export {name}=..., or a line of .dyno/secrets"
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unresolved(f"the environment variable {name} is not UTF-8") from None
    return text


def _from_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise Unresolved(f"from_file: {path} cannot be read: {error.strerror}") from None
    return _text(data, f"from_file: {path}")


def _from_command(argv: list[str], base: Path) -> str:
    name = argv[0]
    try:
        done = subprocess.run(  # noqa: S603  # the manifest's owner names the program; no shell
            argv,
            cwd=base,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_TIMEOUT,
            check=False,
        )
    except OSError as error:
        raise Unresolved(f"from_command: {name} cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise Unresolved(f"from_command: {name} took longer than {COMMAND_TIMEOUT} s") from None
    if done.returncode != 0:
        # Its output may be half of a secret, so it is not shown.
        raise Unresolved(f"from_command: {name} ended with status {done.returncode}", "Run it by hand to see why.")
    return _text(done.stdout, f"from_command: {name}")


def _text(data: bytes, what: str) -> str:
    if len(data) > LARGEST:
        raise Unresolved(f"{what}: the value is larger than 1 MiB")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Unresolved(f"{what}: the value is not UTF-8") from None


def resolver_of(manifest: Manifest) -> Resolver:
    """For all that a manifest refers to."""
    return Resolver(manifest.file.resolve().parent, manifest.destination)


def resolve_environment(manifest: Manifest, resolver: Resolver | None = None) -> dict[str, str | Sensitive]:
    """The variables of every dyno: those of database and cache, then ``env``, which wins.

    Raises ManifestInvalid with every reference that gives nothing."""
    resolver = resolver or resolver_of(manifest)
    problems: list[Diagnostic] = []

    def fetch(path: str, value: Value) -> str | Sensitive | None:
        try:
            return resolver(value)
        except Unresolved as error:
            problems.append(Diagnostic(error.summary, path=path, hint=error.hint))
            return None

    found: dict[str, str | Sensitive] = {}
    for path, service in _services(manifest, fetch, problems).items():
        kind, _, name = path.partition("/")
        found |= variables(kind.removesuffix("s"), service, name)
    for name, value in manifest.env.items():
        text = fetch(f"env/{name}", value)
        if text is not None:
            found[name] = text
    if problems:
        raise ManifestInvalid(located(manifest, problems))
    return found


def resolve_credentials(manifest: Manifest, resolver: Resolver) -> dict[str, Sensitive]:
    """The whole text of each of the dynos' credentials. Raises ManifestInvalid as ``resolve_environment`` does."""
    return _files(manifest, "credentials", manifest.credentials, resolver)


def resolve_tls(manifest: Manifest) -> dict[str, Sensitive]:
    """The router's certificate and key, where it has them. Raises ManifestInvalid as ``resolve_environment`` does."""
    one = manifest.router
    if one is None or one.certificate is None or one.key is None:
        return {}
    return _files(manifest, "router/tls", {"certificate": one.certificate, "key": one.key}, resolver_of(manifest))


def _files(manifest: Manifest, path: str, values: Mapping[str, Reference], resolver: Resolver) -> dict[str, Sensitive]:
    problems: list[Diagnostic] = []
    found: dict[str, Sensitive] = {}
    for name, value in values.items():
        try:
            found[name] = resolver.whole(value)
        except Unresolved as error:
            problems.append(Diagnostic(error.summary, path=f"{path}/{name}", hint=error.hint))
    size = sum(len(name) + len(text.reveal().encode()) for name, text in found.items())
    if size > LARGEST:
        problems.append(Diagnostic(f"they are {size} bytes together", path=path, expected="at most 1 MiB"))
    if problems:
        raise ManifestInvalid(located(manifest, problems))
    return found


def services(manifest: Manifest) -> dict[str, Service]:
    """Every database and cache by its place in the manifest (``database``, ``caches/sessions``), in full.

    Raises ManifestInvalid as ``resolve_environment`` does."""
    resolver = resolver_of(manifest)
    problems: list[Diagnostic] = []

    def fetch(path: str, value: Value) -> str | Sensitive | None:
        try:
            return resolver(value)
        except Unresolved as error:
            problems.append(Diagnostic(error.summary, path=path, hint=error.hint))
            return None

    found = _services(manifest, fetch, problems)
    if problems:
        raise ManifestInvalid(located(manifest, problems))
    return found


def _services(manifest: Manifest, fetch: Fetch, problems: list[Diagnostic]) -> dict[str, Service]:
    backings = {"database": manifest.database, "cache": manifest.cache}
    backings |= {f"databases/{name}": one for name, one in manifest.databases.items()}
    backings |= {f"caches/{name}": one for name, one in manifest.caches.items()}
    found: dict[str, Service] = {}
    for path, one in backings.items():
        if one is None:
            continue
        if one.url is None:
            user = "" if one.user is None else fetch(f"{path}/user", one.user)
            password = "" if one.password is None else fetch(f"{path}/password", one.password)
            if user is not None and password is not None:
                found[path] = from_parts(one.adapter, one.host, one.port, one.name, user, password, one.options)
            continue
        url = fetch(f"{path}/url", one.url)
        if url is None:
            continue
        problem = check_url(plain(url), one.adapter)
        if problem is None:
            found[path] = from_url(one.adapter, url)
        else:
            problems.append(Diagnostic(problem.summary, path=f"{path}/url", expected=problem.expected))
    return found


def located(manifest: Manifest, problems: list[Diagnostic]) -> list[Diagnostic]:
    """The same problems with their place in the file, which is read again only now."""
    from infra.manifest.load import Unusable
    from infra.manifest.overlays import load_all

    try:
        document, _, _ = load_all(manifest.file, manifest.destination)
    except Unusable:
        return problems
    return [
        document.diagnostic(tuple(one.path.split("/")), one.summary, expected=one.expected, hint=one.hint)
        for one in problems
    ]
