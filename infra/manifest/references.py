"""Resolve references to sensitive values, and build the environment of a dyno."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from infra.errors import Diagnostic, ManifestInvalid
from infra.manifest.backings import SCHEMES, Service, Text, from_parts, from_path, from_url, variables
from infra.manifest.model import Manifest, Reference, Value
from infra.manifest.paths import resolve_path
from infra.manifest.previews import split
from infra.manifest.reference_values import LARGEST, Unresolved, resolve, without_ends
from infra.manifest.urls import check_url, has_password
from infra.manifest.variables import ALL_EXPECTED, ONE_EXPECTED, too_large, too_many
from infra.sensitive import Sensitive, Unread, reveal

Fetch = Callable[[str, Value], str | Sensitive | None]
"""Resolves the value at a path of the manifest. Returns None and records a diagnostic if that fails."""


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
        return Sensitive(text if value.kind == "from_env" else without_ends(text))

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


def resolver_of(manifest: Manifest) -> Resolver:
    """The resolver for the references of a manifest."""
    return Resolver(manifest.file.resolve().parent, split(manifest.destination)[0])


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
    sources: dict[str, str] = {}
    for path, service in _services(manifest, fetch, problems).items():
        kind, _, name = path.partition("/")
        made = _unread(resolver, path, manifest, variables(kind.removesuffix("s"), service, name))
        found |= made
        sources |= dict.fromkeys(made, path)
    for name, value in manifest.env.items():
        text = fetch(f"env/{name}", value)
        if text is not None:
            found[name] = text
            sources[name] = f"env/{name}"
    problems += _too_large(found, sources)
    if problems:
        raise ManifestInvalid(located(manifest, problems))
    return found


def _too_large(found: Mapping[str, Text], sources: Mapping[str, str]) -> list[Diagnostic]:
    """The variables with which Linux would start no program. ``sources`` are their paths in the manifest."""
    problems = [
        Diagnostic(problem, path=sources[name], expected=ONE_EXPECTED)
        for name, value in found.items()
        if (problem := too_large(name, value))
    ]
    if not problems and (problem := too_many(found)):
        problems.append(Diagnostic(problem, path="env", expected=ALL_EXPECTED))
    return problems


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
    values += manifest.artifacts.logins.values()
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
    values = {"certificate": router.certificate, "key": router.key}
    found = _files(manifest, "router/tls", values, resolver or resolver_of(manifest))
    # No router reads a certificate after a byte order mark.
    return {name: Sensitive(text.reveal().removeprefix("\ufeff")) for name, text in found.items()}


def resolve_artifacts(manifest: Manifest, resolver: Resolver | None = None) -> dict[str, str | Sensitive]:
    """What logs in to the store of slugs, by ``Artifacts.logins``. Raises ManifestInvalid as ``resolve_environment``
    does."""
    resolver = resolver or resolver_of(manifest)
    problems: list[Diagnostic] = []
    found: dict[str, str | Sensitive] = {}
    for path, value in manifest.artifacts.logins.items():
        try:
            text = reveal(resolver(value))
        except Unresolved as error:
            problems.append(Diagnostic(error.summary, path=f"artifacts/{path}", hint=error.hint))
            continue
        if not text.isprintable() or not text.isascii():
            summary = f"artifacts/{path} contains a character that no HTTP header can carry"
            problems.append(Diagnostic(summary, path=f"artifacts/{path}", expected="printable ASCII characters"))
        common = path.endswith("user")
        found[path] = text if common and isinstance(value, str) else Sensitive(text, common=common)
    if problems:
        raise ManifestInvalid(located(manifest, problems))
    return found


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
    """Every database and cache that is not a file, by its path in the manifest (``database``, ``caches/sessions``).

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
    return {path: service for path, service in found.items() if service.adapter != "sqlite"}


def _services(manifest: Manifest, fetch: Fetch, problems: list[Diagnostic]) -> dict[str, Service]:
    backings = {"database": manifest.database, "cache": manifest.cache}
    backings |= {f"databases/{name}": backing for name, backing in manifest.databases.items()}
    backings |= {f"caches/{name}": backing for name, backing in manifest.caches.items()}
    found: dict[str, Service] = {}
    for path, backing in backings.items():
        if backing is None:
            continue
        if backing.path:
            found[path] = from_path(backing.path)
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
