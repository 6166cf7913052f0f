"""The apt sources that the lab copies from the local machine: the Debian archive only, verbatim."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from infra.errors import DynoctlError
from infra.lab import sources

LIST = """\
# by hand
deb http://packages.example/tool any main
deb [signed-by=/etc/key.gpg] http://mirror.example/debian bookworm main contrib
"""
DEB822 = """\
# two archives

Types: deb
URIs: http://packages.example/tool
Suites: any
Components: main

# the mirror
Types: deb deb-src
# inner
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
 -----END PGP PUBLIC KEY BLOCK-----
"""


def target(origin: str, codename: str, entry: str) -> str:
    return f"MetaKey: main/binary-amd64/Packages\nCodename: {codename}\nOrigin: {origin}\nSourcesentry: {entry}\n"


def answers(monkeypatch: pytest.MonkeyPatch, *shown: str) -> list[list[str]]:
    """Make apt-get indextargets print ``shown`` in turn. Returns the commands that were run."""
    ran: list[list[str]] = []
    left = list(shown)

    def run(argv: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        ran.append(argv)
        return subprocess.CompletedProcess(argv, 0, left.pop(0) if "indextargets" in argv else "", "E: no network")

    monkeypatch.setattr(sources, "run", run)
    return ran


def test_only_the_debian_archive_is_copied_verbatim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    list_file, sources_file = tmp_path / "one.list", tmp_path / "two.sources"
    list_file.write_text(LIST)
    sources_file.write_text(DEB822)
    shown = "\n".join(
        [
            target("Tool", "any", f"{list_file}:2"),
            target("Debian", "bookworm", f"{list_file}:3"),
            target("Debian", "bookworm", f"{list_file}:3"),
            target("Debian", "trixie", f"{list_file}:9"),
            target("Tool", "any", f"{sources_file}:1"),
            target("Debian", "bookworm-security", f"{sources_file}:2"),
            target("", "bookworm", f"{sources_file}:7"),
        ]
    )
    answers(monkeypatch, shown)
    made = sources.write("bookworm", "bookworm", tmp_path)
    assert made == [str(tmp_path / "host.list"), str(tmp_path / "host.sources")]
    assert Path(made[0]).read_text() == LIST.splitlines()[2] + "\n"
    stanza = Path(made[1]).read_text()
    assert stanza.startswith("Types: deb deb-src\nURIs: http://mirror.example/debian-security\n")
    assert "\n mQINBF\n" in stanza
    assert "packages.example" not in stanza


def test_another_release_comes_from_the_same_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    list_file, sources_file = tmp_path / "one.list", tmp_path / "two.sources"
    list_file.write_text("deb [signed-by=/k/bookworm.gpg] http://bookworm.example/debian bookworm main\n")
    sources_file.write_text(
        "Types: deb\nURIs: http://mirror.example/bookworm\n"
        "Suites: bookworm bookworm-updates bookworm-security/updates\nSigned-By: /k/bookworm.gpg\n"
    )
    answers(
        monkeypatch,
        "",
        f"{target('Debian', 'bookworm', f'{list_file}:1')}\n{target('Debian', 'bookworm', f'{sources_file}:1')}",
    )
    made = sources.write("trixie", "bookworm", tmp_path)
    assert [Path(path).read_text() for path in made] == [
        "deb [signed-by=/k/bookworm.gpg] http://bookworm.example/debian trixie main\n",
        "Types: deb\nURIs: http://mirror.example/bookworm\n"
        "Suites: trixie trixie-updates trixie-security/updates\nSigned-By: /k/bookworm.gpg\n",
    ]


@pytest.mark.parametrize(
    ("line", "other"),
    [
        ("deb http://x/debian stable main", "deb http://x/debian bookworm main"),
        ("deb http://x/debian oldstable-updates main", "deb http://x/debian bookworm-updates main"),
        ("deb http://x/debian unstable main", "deb http://x/debian unstable main"),
        ("deb http://x/trixie trixie contrib", "deb http://x/trixie bookworm contrib"),
    ],
)
def test_suites_of_another_release(line: str, other: str) -> None:
    assert sources.moved(line + "\n", "trixie", "bookworm") == other + "\n"


def test_releases_that_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "suite", lambda: "forky")
    assert sources.check([]) == ("forky",)
    assert sources.check(["trixie", "bookworm", "trixie"]) == ("trixie", "bookworm")
    with pytest.raises(DynoctlError, match="unknown Debian release 'sarge'") as error:
        sources.check(["sarge"])
    assert error.value.hint == "available: bookworm, trixie, forky"


def test_without_package_lists_apt_updates_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    list_file = tmp_path / "one.list"
    list_file.write_text(LIST)
    ran = answers(monkeypatch, target("", "", f"{list_file}:3"), target("Debian", "bookworm", f"{list_file}:3"))
    assert sources.write("bookworm", "bookworm", tmp_path) == [str(tmp_path / "host.list")]
    assert ["apt-get", "update", "--quiet"] in ran


def test_a_missing_archive_is_an_error_with_the_output_of_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "", "")
    with pytest.raises(DynoctlError, match="no Debian archive for bookworm") as error:
        sources.write("bookworm", "bookworm", tmp_path)
    assert error.value.hint == "E: no network"


def test_proxies_are_copied_and_trust_settings_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    dump = (
        'APT "";\nAcquire "";\nAcquire::http "";\nAcquire::http::Proxy "http://proxy.example:3142/";\n'
        'Acquire::https::Verify-Peer "true";\nAcquire::Retries "3";\nAcquire::AllowInsecureRepositories "1";\n'
        'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";\n'
    )
    monkeypatch.setattr(sources, "run", lambda argv: subprocess.CompletedProcess(argv, 0, dump, ""))
    assert [line for line in sources.options().splitlines() if "netrc" not in line] == [
        'Acquire::http::Proxy "http://proxy.example:3142/";',
        'Acquire::https::Verify-Peer "true";',
        'Acquire::Retries "3";',
    ]
