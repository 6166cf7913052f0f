"""From a manifest to the environment of its dynos: every reference fetched once, every secret marked."""

from __future__ import annotations

from collections.abc import Iterator

from infra.errors import Diagnostic, ManifestInvalid
from infra.manifest import directory, urls
from infra.manifest.fetch import Unresolved, fetch
from infra.manifest.model import Backing, Manifest, Reference, Value
from infra.sensitive import Sensitive

Text = str | Sensitive

_VARIABLES = {
    "postgresql": ("DATABASE_URL",),
    "redis": ("REDIS_URL", "CACHE_URL"),
    "memcached": ("MEMCACHE_SERVERS", "CACHE_URL"),
}
_MEMCACHED_PORT = 11211


def resolve_environment(manifest: Manifest) -> dict[str, Text]:
    """The variables of every dyno: those of the database and the cache, then ``env``, which wins.

    What a reference gives is Sensitive, and so is a literal URL with a password. A reference that stands in
    several places is fetched once. Raises ManifestInvalid with every reference that gives nothing.
    """
    wanted = dict(_wanted(manifest))
    fetched = _fetch(manifest, wanted)
    problems: list[Diagnostic] = []
    environment: dict[str, Text] = {}
    for path, value in wanted.items():
        got = fetched[value] if isinstance(value, Reference) else _literal(value)
        if isinstance(got, Unresolved):
            problems.append(Diagnostic(got.summary, path, hint=got.hint))
        elif path.startswith("env/"):
            environment[path.removeprefix("env/")] = got
        else:
            backing = manifest.database if path == "database/url" else manifest.cache
            assert backing is not None  # noqa: S101  # its URL was just resolved
            try:
                variables = _variables(backing, got)
            except urls.UrlError as error:
                problems.append(Diagnostic(error.summary, path, expected=error.expected))
                continue
            environment |= {name: text for name, text in variables.items() if name not in manifest.env}
    if problems:
        raise ManifestInvalid(_located(manifest, problems))
    return environment


def _wanted(manifest: Manifest) -> Iterator[tuple[str, Value]]:
    """Every value by its place. A URL whose variables ``env`` sets is not wanted."""
    for key, backing in (("database", manifest.database), ("cache", manifest.cache)):
        if backing is not None and not all(name in manifest.env for name in _VARIABLES[backing.adapter]):
            yield f"{key}/url", backing.url
    for name, value in manifest.env.items():
        yield f"env/{name}", value


def _fetch(manifest: Manifest, wanted: dict[str, Value]) -> dict[Reference, Text | Unresolved]:
    base = directory(manifest.file)

    def one(reference: Reference) -> Text | Unresolved:
        try:
            return Sensitive(fetch(reference, base))
        except Unresolved as problem:
            return problem

    references = dict.fromkeys(value for value in wanted.values() if isinstance(value, Reference))
    return {reference: one(reference) for reference in references}


def _literal(value: str) -> Text:
    return Sensitive(value) if urls.has_password(value) else value


def _variables(backing: Backing, url: Text) -> dict[str, Text]:
    """What a database or a cache sets. Raises UrlError where its URL does not fit."""
    plain = url.reveal() if isinstance(url, Sensitive) else url
    hosts = urls.hosts(plain, backing.adapter)
    variables = dict.fromkeys(_VARIABLES[backing.adapter], url)
    if backing.adapter == "memcached":
        listed = ",".join(
            f"{f'[{host}]' if ':' in host else host}:{_MEMCACHED_PORT if port is None else port}"
            for host, port in hosts
        )
        variables["MEMCACHE_SERVERS"] = Sensitive(listed) if isinstance(url, Sensitive) else listed
    return variables


def _located(manifest: Manifest, problems: list[Diagnostic]) -> list[Diagnostic]:
    """The same problems with their place in the file, which is read again for it."""
    from infra.manifest.load import Unusable, load

    try:
        document, _ = load(manifest.file)
    except Unusable:
        return problems
    return [
        document.diagnostic(tuple(each.path.split("/")), each.summary, expected=each.expected, hint=each.hint)
        for each in problems
    ]
