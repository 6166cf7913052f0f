"""What was applied last to each resource of a server: records of one line of JSON, which are read when asked for.

Most are of resources in which nothing differs, and those of units are half of what a server answers."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from infra.model import answer

# How ``infra.state.records`` ends a line: its keys are sorted.
_END = re.compile(r'\}, "key": "([^"\\]+)"(?:, "port": ([0-9]{1,5}))?\}')

_LONGEST_KEY = 500
"""Characters at the end of a line in which its key is looked for; a longer one is read at once."""


class AppliedRecords(Mapping[str, Mapping[str, Any]]):
    """The records by the key of their resource, such as ``unit.shop-web.1``: ``attributes``, and ``port`` of a dyno's.
    One that is damaged is not among them."""

    def __init__(self) -> None:
        self._ports: dict[str, int] = {}
        self._lines: dict[str, str] = {}
        self._packed = b""
        """The lines, after this was sent from one process to another."""
        self._read: dict[str, Mapping[str, Any] | None] = {}

    def add(self, line: str) -> None:
        """Add a record, unless it is damaged."""
        place = line.rfind("}, ", -_LONGEST_KEY)
        end = _END.fullmatch(line, place) if place > 0 else None
        if end is not None:
            key, port = end[1], int(end[2] or 0)
        else:
            entry = answer.record(line)
            key, port = str(entry.get("key")), entry.get("port", 0)
            if not _is_whole(entry, key):
                return
        self._lines[key], self._ports[key] = line, port

    def ports(self) -> Mapping[str, int]:
        """The ports of the records that have one, by key; also of records that are damaged before it."""
        return {key: port for key, port in self._ports.items() if port}

    def __getitem__(self, key: str) -> Mapping[str, Any]:
        if key not in self._read:
            if key not in self._ports:
                raise KeyError(key)
            self._unpack()
            entry = answer.record(self._lines[key])
            self._read[key] = entry if _is_whole(entry, key) else None
        found = self._read[key]
        if found is None:
            raise KeyError(key)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter([key for key in self._ports if key in self])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __getstate__(self) -> dict[str, Any]:
        """Compressed: one process may get those of a thousand servers, and read few."""
        packed = self._packed or zlib.compress("\n".join(self._lines.values()).encode(errors="surrogatepass"), 1)
        return {"_ports": self._ports, "_lines": {}, "_packed": packed, "_read": {}}

    def _unpack(self) -> None:
        if self._ports and not self._lines:
            lines = zlib.decompress(self._packed).decode(errors="surrogatepass").split("\n")
            self._lines = dict(zip(self._ports, lines, strict=True))


def _is_whole(entry: Mapping[str, Any], key: str) -> bool:
    attributes, port = entry.get("attributes"), entry.get("port", 0)
    return entry.get("key") == key and isinstance(attributes, dict) and answer.whole(port)
