"""Where the servers' packages come from: this machine's own apt sources and proxies, for the Debian archive alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from infra.errors import DynoctlError
from infra.lab.run import run

_OPTIONS = re.compile(r"Acquire::(https?|ftp|tor|Check-|Retries|ForceIPv|Max-|PDiffs|Queue-)", re.IGNORECASE)
"""How apt fetches: proxies, certificates, time limits. Not what it keeps, shows or trusts."""


def suite() -> str:
    """This machine's Debian release by its code name. Raises DynoctlError where it is no Debian."""
    fields = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if line.count("=") >= 1
    )
    if fields.get("ID", "").strip('"') != "debian" or "VERSION_CODENAME" not in fields:
        raise DynoctlError(
            "The lab builds Debian servers from this machine's own package sources, and this machine is no Debian",
            "Run it in a Debian virtual machine.",
        )
    return fields["VERSION_CODENAME"].strip('"')


def write(suite: str, directory: Path) -> list[str]:
    """Copy this machine's entries for the Debian archive into files in ``directory``; give back their paths.

    They are taken word for word, so that mirrors, keys and options are what the administrator chose. Other archives
    on this machine stay out. Raises DynoctlError where apt knows no Debian archive for ``suite``.
    """
    entries = _entries(suite)
    if not entries:  # apt tells archives apart by their Release files, and a fresh image has none
        updated = run(["apt-get", "update", "--quiet"], check=False)
        entries = _entries(suite)
        if not entries:
            raise DynoctlError(
                f"apt on this machine knows no Debian archive for {suite}",
                (updated.stderr or "Look at /etc/apt/sources.list and /etc/apt/sources.list.d.").strip(),
            )
    return copy(entries, directory)


def copy(entries: Iterable[tuple[str, int]], directory: Path) -> list[str]:
    """The entries of ``(file, number)``: a line of a .list file, or a stanza of a .sources file; from 1."""
    texts: dict[str, list[str]] = {".list": [], ".sources": []}
    for name, number in entries:
        text = Path(name).read_text()
        if name.endswith(".sources"):
            texts[".sources"].append(stanzas(text)[number - 1])
        else:
            texts[".list"].append(text.splitlines()[number - 1])
    made = []
    for suffix, separator in ((".list", "\n"), (".sources", "\n\n")):
        if texts[suffix]:
            path = directory / f"host{suffix}"
            path.write_text(separator.join(texts[suffix]) + "\n")
            made.append(str(path))
    return made


def stanzas(text: str) -> list[str]:
    """The stanzas of a deb822 file; blocks of nothing but comments are none."""
    blocks = re.split(r"\n[ \t]*\n", text)
    lines = ([line for line in block.splitlines() if line and not line.startswith("#")] for block in blocks)
    return ["\n".join(kept) for kept in lines if kept]


def options() -> str:
    """This machine's apt options for fetching, proxies first of all, as an apt.conf."""
    dump = run(["apt-config", "dump"]).stdout
    found = [line for line in dump.splitlines() if _OPTIONS.match(line) and not line.endswith(' "";')]
    for key, place in (("Dir::Etc::netrc", "/etc/apt/auth.conf"), ("Dir::Etc::netrcparts", "/etc/apt/auth.conf.d")):
        if Path(place).exists():
            found.append(f'{key} "{place}";')
    return "".join(f"{line}\n" for line in found)


def _entries(suite: str) -> list[tuple[str, int]]:
    """Where this machine's sources name the Debian archive; told by its Release file, whatever the mirror's name."""
    shown = run(["apt-get", "indextargets", "Created-By: Packages"], check=False).stdout
    found: dict[tuple[str, int], None] = {}
    for block in shown.split("\n\n"):
        target = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        release = target.get("Codename", "").removesuffix("-updates").removesuffix("-security")
        if target.get("Origin") == "Debian" and release == suite and "Sourcesentry" in target:
            name, _, number = target["Sourcesentry"].rpartition(":")
            found[name, int(number)] = None
    return list(found)
