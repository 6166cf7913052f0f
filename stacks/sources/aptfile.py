"""Aptfile, the file of Heroku's apt buildpack: Debian packages that the app needs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from stacks.sources.found import Found, Note, shortened

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")


class Aptfile:
    """One package, address or repository on each line."""

    name = "apt"
    files: Sequence[str] = ("Aptfile",)
    platform = False

    def read(self, files: Mapping[str, str]) -> Found:
        packages: list[str] = []
        notes: list[Note] = []
        for number, line in enumerate(files.get("Aptfile", "").splitlines()[:500], 1):
            word = line.split("#")[0].strip()
            if not word:
                continue
            if _PACKAGE.fullmatch(word):
                packages.append(word)
            else:
                why = "packages: lists names of Debian packages only, so install it on the servers yourself"
                notes.append(Note(f"{shortened(word)} is not carried over: {why}", "Aptfile", number))
        return Found(packages=tuple(dict.fromkeys(packages)), notes=tuple(notes))
