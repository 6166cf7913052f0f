"""Version requirements of RubyGems."""

from __future__ import annotations

import pytest

from stacks.requirement import Version, satisfies


@pytest.mark.parametrize(
    ("version", "requirement", "expected"),
    [
        ("3.1.2", ">= 3.1", True),
        ("3.1", ">= 3.1.0", True),
        ("3.0.6", ">= 3.1", False),
        ("3.10.0", ">= 3.9", True),
        ("3.1.2", "3.1.2", True),
        ("3.1.2", "= 3.1", False),
        ("3.1.0", "= 3.1", True),
        ("3.1.2", "!= 3.1.2", False),
        ("3.1.3", "!= 3.1.2", True),
        ("3.1.2", "> 3.1.2", False),
        ("3.1.2", "<= 3.1.2", True),
        ("3.1.2", "< 3.1.2", False),
        ("3.2.0", "~> 3.1", True),
        ("4.0.0", "~> 3.1", False),
        ("3.1.9", "~> 3.1.2", True),
        ("3.2.0", "~> 3.1.2", False),
        ("3.1.1", "~> 3.1.2", False),
        ("3.9", "~> 3", True),
        ("4", "~> 3", False),
        ("3.4.1", ">= 3.1, < 4", True),
        ("4.0.0", ">= 3.1, < 4", False),
        ("3.3.0", ">=3.1,!=3.3.0", False),
        ("  3.1.2 ", "  >=   3.1  ", True),
        ("3.4.0.preview1", ">= 3.4", False),
        ("3.4.0.preview1", ">= 3.4.0.a", True),
        ("3.4.0.rc1", "> 3.4.0.preview2", True),
        ("3.4.0-rc1", "< 3.4.0", True),
        ("3.5.0.preview1", "~> 3.4", True),
        ("4.0.0.preview1", "~> 3.4", False),
        ("3.4.0.rc10", "> 3.4.0.rc9", True),
    ],
)
def test_satisfies(version: str, requirement: str, expected: bool) -> None:
    assert satisfies(version, requirement) is expected


@pytest.mark.parametrize(
    "requirement", ["", "latest", ">= ", "=> 3.1", ">= 3.1,", ">= 3.1 < 4", "~> x", "3..1", "3.1\n!"]
)
def test_a_malformed_requirement_shows_valid_ones(requirement: str) -> None:
    with pytest.raises(ValueError, match=r"invalid version requirement .*, expected '>= 3\.1'"):
        satisfies("3.1.2", requirement)


@pytest.mark.parametrize("version", ["", "ruby 3.1", "v3", "3.1_2"])
def test_a_malformed_version(version: str) -> None:
    with pytest.raises(ValueError, match="expected numbers separated by dots"):
        Version(version)


def test_order() -> None:
    texts = [
        "3.0.9",
        "3.1.a",
        "3.1.a.1",
        "3.1.b",
        "3.1.preview1",
        "3.1.rc1",
        "3.1.rc2",
        "3.1",
        "3.1.0.1",
        "3.1.1",
        "3.10",
    ]
    assert [each.text for each in sorted(map(Version, reversed(texts)))] == texts


def test_trailing_zeros_are_insignificant() -> None:
    assert Version("3.1") == Version("3.1.0.0")
    assert hash(Version("3.1")) == hash(Version("3.1.0"))
    assert Version("3.1.0.a") == Version("3.1.a")
    assert Version("3.1") != "3.1"
