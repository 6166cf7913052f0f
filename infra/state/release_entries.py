"""Which records of releases a server gets: what is known of them, and nothing that only one other server says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from infra.model.release import Release
from infra.state import records
from infra.state.vouching import Known, copied

Entry = tuple[str, str | None]
"""A record file: its name below the app's state directory, and its line (None removes it)."""


def update(
    server: str, told: Mapping[str, Sequence[Release]], kept: Iterable[Release], own: Release | None, known: Known
) -> list[Entry]:
    """The records that ``server`` lacks or should no longer have. ``told`` is what each server has, ``kept`` what all
    are to have, and ``own`` the release of this apply."""
    recorded = {entry.number: entry for entry in told[server]}
    wanted = {entry.number: entry for entry in kept}
    entries = [
        records.release(entry)
        for number, entry in wanted.items()
        if recorded.get(number) != entry
        and (
            (own is not None and number == own.number)
            or _same(recorded.get(number), entry)
            or copied(entry, told, known)
        )
    ]
    for number in recorded.keys() - wanted.keys():
        entries += [(f"releases/{number}.json", None), (f"releases/{number}.commanded", None)]
    return entries


def _same(recorded: Release | None, entry: Release) -> bool:
    """Whether a server has a record of the same release, which only tells less."""
    return recorded is not None and (recorded.salt, recorded.digest) == (entry.salt, entry.digest)
