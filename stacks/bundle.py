"""What a bundle needs that the manifest or the server may not have: a lock file, its Ruby, Linux, its app server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from infra.errors import Diagnostic
from infra.manifest.model import Manifest
from stacks.requirement import parse, satisfies
from stacks.sources.gemfile import Gems, Lock, gemfile, lock

FILES = ("Gemfile", "Gemfile.lock", ".ruby-version", ".tool-versions")
"""The files of the source that are looked at."""

_SHOWN = 5
_PACKAGED = {"rake", "railties", "sprockets-rails", "bundler", "rackup"}
"""Gems that come with the packages of Ruby and Rails."""


@dataclass(frozen=True)
class Bundle:
    """``ruby`` is the requirement that Bundler enforces when a dyno starts, "" if there is none."""

    ruby: str = ""
    warnings: tuple[Diagnostic, ...] = ()


def check(manifest: Manifest, files: Mapping[str, str], packages: tuple[str, ...]) -> Bundle:
    """What is wrong with the bundle, as warnings: commands in app.build may still change it. ``files`` are texts by
    name; ``packages`` are the Debian packages of the layers."""
    if "Gemfile" not in files:
        return Bundle()
    gems = gemfile(files["Gemfile"], files)
    if "Gemfile.lock" not in files:
        return Bundle("", tuple(_no_lock(manifest, gems, packages)))
    if not manifest.ruby.bundler:
        return Bundle()
    locked = lock(files["Gemfile.lock"])
    return Bundle(gems.ruby, (*_ruby(manifest, gems), *_platform(locked), *_app_server(manifest, locked)))


def _no_lock(manifest: Manifest, gems: Gems, packages: tuple[str, ...]) -> Iterator[Diagnostic]:
    if manifest.ruby.bundler:
        if not manifest.app.build:
            yield _warning(
                "ruby/bundler", "Gemfile.lock not found in app.source, and ruby.bundler is true", "run bundle lock"
            )
        return
    packaged = {package.removeprefix("ruby-") for package in packages} | _PACKAGED
    # Neither a gem for a database that the manifest does not have nor another app server is loaded.
    unused = {"pg", "mysql2", "redis", "puma", "thin", "unicorn"}
    other = [name for name in gems.gems if name.replace("_", "-") not in packaged and name not in unused]
    if other and not manifest.packages.manual:
        more = f" and {len(other) - _SHOWN} more" if len(other) > _SHOWN else ""
        yield _warning(
            "app/source",
            f"Gemfile.lock not found in app.source, so there is no bundle with {', '.join(other[:_SHOWN])}{more}",
            "run bundle lock, and bundle install in app.build; or list their Debian packages in packages",
        )


def _ruby(manifest: Manifest, gems: Gems) -> Iterator[Diagnostic]:
    """The manifest and the Gemfile exclude each other, as far as an exact version of either tells."""
    ours, theirs = manifest.ruby.version, gems.ruby
    if theirs and not (_allows(ours, theirs) and _allows(theirs, ours)):
        yield _warning(
            "ruby/version",
            f"the Gemfile requires ruby {theirs}, which ruby.version {ours} excludes",
            f"set ruby.version to '{theirs}'",
        )


def _allows(requirement: str, other: str) -> bool:
    """Whether a requirement allows the exact version, or the base of ``~>``, in another one."""
    return all(satisfies(version.text, requirement) for operator, version in parse(other) if operator == "=")


def _platform(locked: Lock) -> Iterator[Diagnostic]:
    if locked.platforms and not any(name == "ruby" or "linux" in name for name in locked.platforms):
        yield _warning(
            "app/source",
            f"Gemfile.lock has no gems for Linux, only for {', '.join(locked.platforms[:_SHOWN])}",
            "run bundle lock --add-platform x86_64-linux, or aarch64-linux",
        )


def _app_server(manifest: Manifest, locked: Lock) -> Iterator[Diagnostic]:
    name = manifest.app_server.name
    if locked.gems and name not in locked.gems:
        yield _warning(
            "app_server/name",
            f"the bundle has no {name}, which bundle exec would start",
            f"run bundle add {name}, or set app_server.name to an app server of the bundle",
        )


def _warning(path: str, summary: str, hint: str) -> Diagnostic:
    return Diagnostic(summary, path, hint=hint, severity="warning")
