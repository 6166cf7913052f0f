"""``.ruby-version``, ``.tool-versions`` and mise.toml: the version of Ruby that developers use."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from stacks.sources.documents import from_toml, listed, mapping, text_of
from stacks.sources.found import Found, Note, shortened
from stacks.sources.gemfile import minor, requirement

_MISE = ("mise.toml", ".mise.toml", ".config/mise.toml")


class Versions:
    """A version manager's file. It pins a developer's Ruby, so any patch of its minor version is right on servers."""

    name = "version manager"
    files: Sequence[str] = (".ruby-version", ".tool-versions", *_MISE)
    platform = False

    def read(self, files: Mapping[str, str]) -> Found:
        notes: list[Note] = []
        for file in self.files:
            if file not in files:
                continue
            version, line = self._version(file, files[file], notes)
            if not version:
                continue
            wanted = minor(requirement(version)) or minor(
                requirement(re.sub(r"^(\d+\.\d+(\.\d+)?)-.*", r"\1", version))
            )
            if re.fullmatch(r"\d+", version):
                wanted = f"~> {version}.0"
            if wanted:
                return Found(ruby=wanted, notes=tuple(notes))
            notes.append(Note(f"Ruby {shortened(version)} is not carried over: only MRI is supported", file, line))
        return Found(notes=tuple(notes))

    def _version(self, file: str, text: str, notes: list[Note]) -> tuple[str, int]:
        if file == ".ruby-version":
            lines = [line.strip() for line in text[:1000].splitlines()]
            return next((line for line in lines if line and not line.startswith("#")), ""), 1
        if file == ".tool-versions":
            for number, line in enumerate(text[:10_000].splitlines(), 1):
                words = line.split("#")[0].split()
                if len(words) > 1 and words[0] == "ruby":
                    return words[1], number
            return "", 0
        document = from_toml(file, text)
        notes += document.notes
        tool = mapping(mapping(document.data).get("tools")).get("ruby")
        first = next(iter(listed(tool)), "")
        version = mapping(first).get("version", first)
        return text_of(version), document.lines.get(("ruby",), 0)
