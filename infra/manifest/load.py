"""Read a dyno.yaml's bytes safely: what cannot be a manifest is refused here, with its place."""

from __future__ import annotations

import re
from pathlib import Path as File

from infra.errors import Diagnostic, Location
from infra.manifest.construct import construct
from infra.manifest.document import Document
from infra.manifest.nodes import Broken, compose
from infra.manifest.source import Source, Span

LARGEST = 1 << 20
"""Bytes. A manifest is written by people."""

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_STARTS = "a mapping that begins with version: 1"
_HARMLESS = frozenset(
    ("version", "app", "ruby", "app_server", "framework", "rackup", "dynos", "servers", "ssh", "placement")
)
"""Top-level keys whose lines may be shown although the file could not be read to its end."""

_TOP_LEVEL = re.compile(r"(?:\A|(?<=[\n\r]))[\"']?([^\s#\"'{}\[\],&*!|>%@:-][^\s\"':]*)")
_AFTER_KEY = re.compile(r"^[\s\-?{\[,]*(?:[\w.-]{1,60}\s*:(?=\s|$))?\s*")


class Unusable(Exception):
    """The file cannot be read as YAML at all; carries the one diagnostic that says why."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.summary)
        self.diagnostic = diagnostic


def load(file: File) -> tuple[Document, list[Diagnostic]]:
    """The document in ``file`` and what is wrong with it as YAML. Raises Unusable."""
    return parse(str(file), _bytes(file))


def parse(name: str, data: bytes) -> tuple[Document, list[Diagnostic]]:
    """The document in ``data``, which stands in the file ``name``. Raises Unusable, and nothing else."""
    source = Source(name, _decoded(name, data))
    try:
        found = _UNPRINTABLE.search(source.text)
        if found is not None:
            character = ord(found.group())
            raise Broken(f"The control character U+{character:04X} cannot stand in YAML", Span(*found.span()))
        root = compose(source.text)
        if root is None or (root.plain and not root.text):
            raise Broken("The file is empty", Span(0, 0), expected=_STARTS)
        if root.kind != "mapping":
            raise Broken(f"The file holds {_AT_TOP[root.kind]}", root.span, expected=_STARTS)
        return construct(root, source)
    except Broken as broken:
        raise Unusable(_diagnostic(source, broken)) from None


_AT_TOP = {"scalar": "only text", "sequence": "a list at its top level"}


def _bytes(file: File) -> bytes:
    name = str(file)
    hint = "Run it where dyno.yaml is, or name the file: --file PATH"
    try:
        if file.is_dir():
            raise Unusable(Diagnostic(f"{name} is a directory", hint=f"Name the file: --file {file / 'dyno.yaml'}"))
        with file.open("rb") as stream:
            data = stream.read(LARGEST + 1)
    except FileNotFoundError:
        raise Unusable(Diagnostic(f"There is no file {name}", hint=hint)) from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "its name is none"
        raise Unusable(Diagnostic(f"{name} cannot be read: {reason}", hint=hint)) from None
    if len(data) > LARGEST:
        raise Unusable(Diagnostic(f"{name} is larger than 1 MiB", expected="a manifest that people write"))
    return data


def _decoded(name: str, data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Unusable(_at_byte(name, data, 0, "The file is UTF-16, not UTF-8"))
    if data.startswith(b"\xef\xbb\xbf"):
        raise Unusable(
            _at_byte(name, data, 0, "The file begins with a byte order mark", "Save it as UTF-8 without BOM.")
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        wrong = data[error.start]
        raise Unusable(_at_byte(name, data, error.start, f"The byte 0x{wrong:02x} is not UTF-8")) from None


def _at_byte(name: str, data: bytes, at: int, summary: str, hint: str = "Save it as UTF-8.") -> Diagnostic:
    """The line is not shown: nobody knows what stands on it."""
    before = data[:at].decode("utf-8", "replace")
    place = Source(name, before).location(Span(len(before), len(before)))
    return Diagnostic(summary, location=Location(name, place.line, place.column), hint=hint)


def _diagnostic(source: Source, broken: Broken) -> Diagnostic:
    """The values on the line are starred out, unless both what was read so far and the lines above say that
    the line belongs to a key which holds no secret."""
    line = source.bounds(broken.span.start)
    above = [found.group(1) for found in _TOP_LEVEL.finditer(source.text, 0, line.end)]
    harmless = above[-1:] and above[-1] in _HARMLESS and (broken.key is None or broken.key in _HARMLESS)
    hidden: list[Span] = []
    if not harmless:
        key = _AFTER_KEY.match(source.text[line.start : line.end])
        hidden = [Span(line.start + (key.end() if key else 0), line.end)]
    location = source.location(source.first_line(broken.span), hidden)
    return Diagnostic(broken.summary, location=location, expected=broken.expected, hint=broken.hint)
