"""The package sources of the servers: the apt sources and proxies of the local machine, for the Debian archive only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from infra.errors import DynoctlError
from infra.lab.run import run

_OPTIONS = re.compile(r"Acquire::(https?|ftp|tor|Check-|Retries|ForceIPv|Max-|PDiffs|Queue-)", re.IGNORECASE)
"""Options for fetching: proxies, certificates, timeouts. Not what apt stores, displays or trusts."""

RELEASES = ("bookworm", "trixie")
"""The Debian releases that servers are tested with, oldest first."""

_NICKNAMES = ("oldoldstable", "oldstable", "stable", "testing")
"""Names of releases that move from one to the next."""


def suite() -> str:
    """The code name of the local machine's Debian release. Raises DynoctlError if it does not run Debian."""
    fields = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if line.count("=") >= 1
    )
    if fields.get("ID", "").strip('"') != "debian" or "VERSION_CODENAME" not in fields:
        raise DynoctlError(
            "the lab requires Debian: its servers are built from the package sources of this machine",
            "run it in a Debian virtual machine",
        )
    return fields["VERSION_CODENAME"].strip('"')


def check(releases: Sequence[str]) -> tuple[str, ...]:
    """The releases of a lab's servers; the local machine's if there are none. Raises DynoctlError if one is unknown."""
    known = tuple(dict.fromkeys((*RELEASES, suite())))
    for release in releases:
        if release not in known:
            raise DynoctlError(f"unknown Debian release {release!r}", f"available: {', '.join(known)}")
    return tuple(dict.fromkeys(releases)) or (suite(),)


def write(release: str, local: str, directory: Path) -> list[str]:
    """Copy the local machine's entries for the Debian archive to files in ``directory``. Returns their paths.

    They are copied verbatim, to keep the mirrors, keys and options of the administrator. Other archives are skipped.
    If the machine has no entries for ``release``, those for its own release ``local`` are copied with the suites of
    ``release``. Raises DynoctlError if apt has no Debian archive for either.
    """
    for updated in (False, True):
        if updated:  # apt identifies archives by their Release files, which a fresh image does not have
            said = run(["apt-get", "update", "--quiet"], check=False).stderr
        for name in dict.fromkeys((release, local)):
            if entries := _entries(name):
                paths = copy(entries, directory)
                for path in map(Path, paths):
                    path.write_text(moved(path.read_text(), name, release))
                return paths
    raise DynoctlError(
        f"no Debian archive for {local} in the apt sources of this machine",
        (said or "Check /etc/apt/sources.list and /etc/apt/sources.list.d.").strip(),
    )


def moved(text: str, local: str, release: str) -> str:
    """Entries of apt with the suites of another release: ``bookworm-updates`` becomes ``trixie-updates``."""
    if local == release:
        return text
    suites = re.compile(rf"(?<=[\s])({'|'.join((re.escape(local), *_NICKNAMES))})(?=[-/\s]|$)")
    deb822, lines = "Suites:" in text, []
    for line in text.splitlines():
        at_suites = not deb822 or line.lower().startswith("suites:")
        lines.append(suites.sub(release, line) if at_suites else line)
    return "\n".join(lines) + "\n"


def copy(entries: Iterable[tuple[str, int]], directory: Path) -> list[str]:
    """Copy entries ``(file, number)``: a line of a .list file or a stanza of a .sources file, counted from 1."""
    texts: dict[str, list[str]] = {".list": [], ".sources": []}
    for name, number in entries:
        text = Path(name).read_text()
        if name.endswith(".sources"):
            texts[".sources"].append(stanzas(text)[number - 1])
        else:
            texts[".list"].append(text.splitlines()[number - 1])
    paths = []
    for suffix, separator in ((".list", "\n"), (".sources", "\n\n")):
        if texts[suffix]:
            path = directory / f"host{suffix}"
            path.write_text(separator.join(texts[suffix]) + "\n")
            paths.append(str(path))
    return paths


def stanzas(text: str) -> list[str]:
    """The stanzas of a deb822 file, without blocks that contain only comments."""
    blocks = re.split(r"\n[ \t]*\n", text)
    lines = ([line for line in block.splitlines() if line and not line.startswith("#")] for block in blocks)
    return ["\n".join(kept) for kept in lines if kept]


def options() -> str:
    """The local machine's apt options for fetching, such as proxies, as an apt.conf."""
    dump = run(["apt-config", "dump"]).stdout
    found = [line for line in dump.splitlines() if _OPTIONS.match(line) and not line.endswith(' "";')]
    for key, path in (("Dir::Etc::netrc", "/etc/apt/auth.conf"), ("Dir::Etc::netrcparts", "/etc/apt/auth.conf.d")):
        if Path(path).exists():
            found.append(f'{key} "{path}";')
    return "".join(f"{line}\n" for line in found)


def _entries(suite: str) -> list[tuple[str, int]]:
    """The local entries of the Debian archive, identified by their Release file and not by the name of the mirror."""
    shown = run(["apt-get", "indextargets", "Created-By: Packages"], check=False).stdout
    found: dict[tuple[str, int], None] = {}
    for block in shown.split("\n\n"):
        target = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        release = target.get("Codename", "").removesuffix("-updates").removesuffix("-security")
        if target.get("Origin") == "Debian" and release == suite and "Sourcesentry" in target:
            name, _, number = target["Sourcesentry"].rpartition(":")
            found[name, int(number)] = None
    return list(found)
