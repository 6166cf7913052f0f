"""The version stands in one place, and the changelog knows it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from infra import __version__

ROOT = Path(__file__).parents[2]


def test_the_version_is_only_in_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"] and project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"] == {"path": "infra/__init__.py"}
    here = ROOT / "infra/__init__.py"
    files = [path for package in ("infra", "providers", "stacks", "schemas") for path in (ROOT / package).rglob("*.py")]
    again = [path for path in files if path != here and f'"{__version__}"' in path.read_text()]
    assert not again, "a second place that says the version"


def test_the_changelog_has_a_section_for_what_this_version_becomes() -> None:
    """A development version has an Unreleased section above the last release, which is an older one; a release has a
    section of its own, with a date."""
    heads = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert heads, "no sections"
    if ".dev" in __version__:
        assert heads[0] == ("Unreleased", "")
        last = tuple(map(int, heads[1][0].split(".")))
        assert last < tuple(map(int, __version__.partition(".dev")[0].split(".")))
    else:
        assert heads[0][0] == __version__
    assert all(date for name, date in heads if name != "Unreleased"), "a release without a date"
