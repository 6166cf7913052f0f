"""Resolve references to sensitive values, and build the environment of a dyno."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from infra.errors import Diagnostic, ManifestInvalid
from infra.manifest import programs
from infra.manifest.backings import SCHEMES, Service, Text, from_parts, from_url, variables
from infra.manifest.command_output import read_output
from infra.manifest.files import read_regular
from infra.manifest.model import Manifest, Reference, Value
from infra.manifest.paths import resolve_path
from infra.manifest.urls import check_url, has_password
from infra.sensitive import Sensitive, Unread, reveal

Fetch = Callable[[str, Value], str | Sensitive | None]
"""Resolves the value at a path of the manifest. Returns None and records a diagnostic if that fails."""

LARGEST = 1 << 20
"""Maximum size of a value, and of all credentials together, in bytes: the limit of systemd for a unit."""

COMMAND_TIMEOUT = 30
"""Timeout of a ``from_command``, in seconds."""


class Unresolved(Exception):
    """A reference cannot be resolved. The message says why, and never what was read."""

    def __init__(self, summary: str, hint: str = "") -> None:
        super().__init__(summary)
        self.summary = summary
        self.hint = hint


class Resolver:
    """Resolves the references of a manifest, each once. Reads ``.dyno/secrets`` only if it is needed."""

    def __init__(self, base: Path, destination: str | None) -> None:
        self._base = base
        self._destination = destination
        self._resolved: dict[Reference, Sensitive] = {}
        self._secrets: Mapping[str, str] | None = None

    def __call__(self, value: Value) -> str | Sensitive:
        """The value. Raises Unresolved, and DynoctlError if ``.dyno/secrets`` cannot be used."""
        if isinstance(value, str):
            return Sensitive(value) if has_password(value) else value
        text = self.whole(value).reveal()
        return Sensitive(text if value.kind == "from_env" else text.removesuffix("\n"))

    def whole(self, value: Reference) -> Sensitive:
        """The value of a reference including its trailing newline. Raises Unresolved and DynoctlError."""
        if value not in self._resolved:
            self._resolved[value] = resolve(value, self._base, self._secret)
        return self._resolved[value]

    def _secret(self, name: str) -> str | None:
        if self._secrets is None:
            from infra.manifest.secrets_file import read

            self._secrets = read(self._base, self._destination)
        return self._secrets.get(name)


def resolve(value: Reference, base: Path, secret: Callable[[str], str | None]) -> Sensitive:
    """The value of a reference; ``secret`` looks up variables that are not in the environment. Raises Unresolved."""
    source = value.value
    if value.kind == "from_env":
        text = _from_env(str(source), secret)
    elif value.kind == "from_file":
        text = _from_file(resolve_path(base, str(source)))
    else:
        text = _from_command([source] if isinstance(source, str) else list(source), base)
    if "\0" in text:
        raise Unresolved(f"{value.kind}: the value contains a NUL character")
    return Sensitive(text)


def _from_env(name: str, secret: Callable[[str], str | None]) -> str:
    text = os.environ.get(name)
    if text is None:
        text = secret(name)
    if text is None:
        raise Unresolved(
            f"environment variable {name} is not set", f"export {name}=..., or add {name}=... to .dyno/secrets"
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unresolved(f"environment variable {name} is not valid UTF-8") from None
    return text


def _from_file(path: Path) -> str:
    try:
        data = read_regular(path, LARGEST)
    except OSError as error:
        raise Unresolved(f"from_file: cannot read {path}: {error.strerror}") from None
    return _text(data, f"from_file: {path}")


def _from_command(argv: list[str], base: Path) -> str:
    name = argv[0]
    program = programs.find(name)
    if program is None:
        raise Unresolved(f"from_command: cannot run {name}: {os.strerror(errno.ENOENT)}")
    try:
        process = subprocess.Popen(  # noqa: S603  # the manifest's owner names the program; no shell
            argv,
            executable=program,
            cwd=base,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise Unresolved(f"from_command: cannot run {name}: {error.strerror}") from None
    data, status = read_output(process, LARGEST, COMMAND_TIMEOUT)
    if status is None:
        raise Unresolved(f"from_command: {name} timed out after {COMMAND_TIMEOUT} s")
    if status != 0 and len(data) <= LARGEST:
        # The output is not shown: it may be a part of the secret.
        raise Unresolved(f"from_command: {name} failed with exit status {status}", "Run the command to see its output.")
    return _text(data, f"from_command: {name}")


def _text(data: bytes, source: str) -> str:
    if len(data) > LARGEST:
        raise Unresolved(f"{source}: the value is larger than 1 MiB")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Unresolved(f"{source}: the value is not valid UTF-8") from None


def resolver_of(manifest: Manifest) -> Resolver:
    """The resolver for the references of a manifest."""
    return Resolver(manifest.file.resolve().parent, manifest.destination)


def resolve_environment(manifest: Manifest, resolver: Resolver | None = None) -> dict[str, str | Sensitive]:
    """The environment variables of every dyno: those of databases and caches, overridden by ``env``.

    Raises ManifestInvalid with every reference that cannot be resolved."""
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
        found |= _unread(resolver, path, manifest, variables(kind.removesuffix("s"), service, name))
    for name, value in manifest.env.items():
        text = fetch(f"env/{name}", value)
        if text is not None:
            found[name] = text
    if problems:
        raise ManifestInvalid(located(manifest, problems))
    return found


_UNREAD = "{}://unread:unread@unread/0"
"""A URL that stands for one that was not read, to learn which variables it would set."""


def _unread(resolver: Resolver, path: str, manifest: Manifest, found: Mapping[str, Text]) -> Mapping[str, Text]:
    """The variables of a service, unread if they depend on a reference that was not read."""
    kind, _, name = path.partition("/")
    backing = getattr(manifest, kind) if not name else getattr(manifest, kind)[name]
    references = [value for value in (backing.url, backing.user, backing.password) if isinstance(value, Reference)]
    if not any(isinstance(resolver(value), Unread) for value in references):
        return found
    whole = isinstance(backing.url, Reference)
    return {key: Unread() if whole or isinstance(text, Sensitive) else text for key, text in found.items()}


def secret_files(manifest: Manifest) -> list[Path]:
    """The files that the manifest takes secrets from."""
    backings = [manifest.database, manifest.cache, *manifest.databases.values(), *manifest.caches.values()]
    values: list[Value | None] = [*manifest.env.values(), *manifest.credentials.values()]
    values += [value for one in backings if one is not None for value in (one.url, one.user, one.password)]
    if manifest.router is not None:
        values += [manifest.router.certificate, manifest.router.key]
    base = manifest.file.resolve().parent
    found = [
        resolve_path(base, str(value.value))
        for value in values
        if isinstance(value, Reference) and value.kind == "from_file"
    ]
    return [*found, *([manifest.ssh.key] if manifest.ssh.key is not None else [])]


def resolve_credentials(manifest: Manifest, resolver: Resolver) -> dict[str, Sensitive]:
    """The content of each credential by name. Raises ManifestInvalid as ``resolve_environment`` does."""
    return _files(manifest, "credentials", manifest.credentials, resolver)


def resolve_tls(manifest: Manifest, resolver: Resolver | None = None) -> dict[str, Sensitive]:
    """The certificate and key of the router, if any. Raises ManifestInvalid as ``resolve_environment`` does."""
    router = manifest.router
    if router is None or router.certificate is None or router.key is None:
        return {}
    return _files(
        manifest,
        "router/tls",
        {"certificate": router.certificate, "key": router.key},
        resolver or resolver_of(manifest),
    )


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
        problems.append(Diagnostic(f"{path} is too large: {size} bytes in total", path=path, expected="at most 1 MiB"))
    if problems:
        raise ManifestInvalid(located(manifest, problems))
    return found


def services(manifest: Manifest) -> dict[str, Service]:
    """Every database and cache by its path in the manifest (``database``, ``caches/sessions``), resolved.

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
    backings |= {f"databases/{name}": backing for name, backing in manifest.databases.items()}
    backings |= {f"caches/{name}": backing for name, backing in manifest.caches.items()}
    found: dict[str, Service] = {}
    for path, backing in backings.items():
        if backing is None:
            continue
        if backing.url is None:
            user = "" if backing.user is None else fetch(f"{path}/user", backing.user)
            password = "" if backing.password is None else fetch(f"{path}/password", backing.password)
            if isinstance(user, Unread):
                user = Sensitive("unread")
            if isinstance(password, Unread):
                password = Sensitive("unread")
            if user is not None and password is not None:
                found[path] = from_parts(
                    backing.adapter, backing.host, backing.port, backing.name, user, password, options=backing.options
                )
            continue
        url = fetch(f"{path}/url", backing.url)
        if url is None:
            continue
        if isinstance(url, Unread):
            found[path] = from_url(backing.adapter, Sensitive(_UNREAD.format(SCHEMES[backing.adapter])))
            continue
        problem = check_url(reveal(url), backing.adapter)
        if problem is None:
            found[path] = from_url(backing.adapter, url)
        else:
            problems.append(Diagnostic(problem.summary, f"{path}/url", expected=problem.expected, hint=problem.hint))
    return found


def located(manifest: Manifest, problems: list[Diagnostic]) -> list[Diagnostic]:
    """The same problems with their location. The file is read again for it, because locations are not kept."""
    if not problems:
        return problems
    from infra.manifest.nodes import Unusable
    from infra.manifest.overlays import load_all

    try:
        document, _, _ = load_all(manifest.file, manifest.destination)
    except Unusable:
        return problems
    return [
        document.diagnostic(
            tuple(problem.path.split("/")), problem.summary, expected=problem.expected, hint=problem.hint
        )
        for problem in problems
    ]
