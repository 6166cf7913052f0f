"""The slug that a builder makes: it depends on which machine that is, and on its Debian and its Ruby."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from infra.fleet.facts import Facts
from infra.model import release
from infra.model.release import Release
from infra.model.slug_digest import same_source
from infra.model.stack import Slug


def slug_of(slug: Slug, builder: Facts | None, releases: Sequence[Release]) -> Slug:
    """The slug as its builder makes it now. If what that is cannot be known (None), such as while the server is
    unreachable, what runs of the same source is taken to be its own."""
    if slug.made_by is None:
        return slug
    made = next((one.slug for one in reversed(releases) if one.ran and same_source(one.slug, slug.digest)), None)
    if builder is None:
        return slug if made is None else replace(slug, digest=made)
    # Where apply installed Ruby before the build, its version could not be known when the slug was named.
    early = slug.made_by(_words(builder, ""))
    return early if made == early.digest else slug.made_by(_words(builder, _ruby(builder)))


def notes(slug: Slug, releases: Sequence[Release]) -> list[str]:
    """Why a slug is built again although its source is that of the release that runs."""
    was = release.current(releases)
    if slug.made_by is None or was is None or was.slug == slug.digest or not same_source(was.slug, slug.digest):
        return []
    return [
        f"the slug is built again, with the same source: {slug.builder} is another machine, or has another Debian or "
        f"another Ruby, than what built v{was.number}; or an older dynoctl did, which noted neither"
    ]


def _ruby(builder: Facts) -> str:
    """The version of Ruby on the builder, or the one that apt installs, without the part for which gems with native
    extensions need not be built again: Ruby's minor versions have an ABI each."""
    version = builder.ruby or ("" if builder.apt == "no" else builder.apt)
    return ".".join(version.split(".")[:2])


def _words(builder: Facts, ruby: str) -> str:
    return f"{builder.machine_id}\n{builder.system}\nruby {ruby}"
