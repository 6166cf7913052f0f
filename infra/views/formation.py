"""The dynos as they run, grouped by process type, as Heroku's ``ps`` shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.manifest.model import Manifest
from infra.processes import Row
from infra.views.dynos import span
from infra.views.style import Style, printable


def render(manifest: Manifest, rows: Sequence[Row], style: Style) -> str:
    """A block for each type: how many of the dynos that are wanted are up, what they run, and a line for each."""
    types = list(manifest.dynos)
    types += sorted({row.dyno.partition(".")[0] for row in rows} - set(types))
    cells = {row.dyno + row.server: _cells(row) for row in rows}
    widths = [max((len(line[column]) for line in cells.values()), default=0) for column in range(7)]
    blocks = []
    for type_ in types:
        own = [row for row in rows if row.dyno.partition(".")[0] == type_]
        wanted = manifest.dynos[type_].count if type_ in manifest.dynos else 0
        if not own and not wanted:
            continue
        up = sum(row.state == "up" for row in own)
        count = style("green" if up == wanted == len(own) else "red", f"{up} of {wanted} up")
        lines = [f"{style('bold', f'=== {type_}')} ({count}): {command(manifest, type_)}"]
        for row in own:
            texts = [f"{cell:<{width}}" for cell, width in zip(cells[row.dyno + row.server], widths, strict=True)]
            texts[1] = style("green" if row.state == "up" else "red", texts[1])
            lines.append("  ".join(texts).rstrip())
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) or "No dynos. dynoctl apply starts those of dyno.yaml."


def command(manifest: Manifest, type_: str) -> str:
    """What a type's dynos run: their command, or else the app server and what it serves."""
    if type_ not in manifest.dynos:
        return "not in dyno.yaml any more"
    own = manifest.dynos[type_].command
    if own is not None:
        return printable(own if isinstance(own, str) else " ".join(own)).replace("\n", " ")
    served = manifest.rackup or (manifest.framework.name if manifest.framework else "")
    return f"{printable(served)} on {manifest.app_server.name}"


def by_type(manifest: Manifest, rows: Sequence[Row]) -> Mapping[str, Mapping[str, object]]:
    """The heads of the blocks as values."""
    return {
        type_: {
            "command": command(manifest, type_),
            "wanted": manifest.dynos[type_].count,
            "up": sum(row.state == "up" and row.dyno.partition(".")[0] == type_ for row in rows),
        }
        for type_ in manifest.dynos
    }


def memory(row: Row) -> str:
    """What it has of what it may have: ``43M of 512M``."""
    if row.memory is None:
        return "-"
    most = "" if row.memory_max is None else f" of {row.memory_max / 2**20:.0f}M"
    return f"{row.memory / 2**20:.0f}M{most}"


def address(row: Row) -> str:
    """Where a web dyno listens."""
    if not row.port:
        return "-"
    return f"[{row.listen}]:{row.port}" if ":" in row.listen else f"{row.listen}:{row.port}"


def _cells(row: Row) -> tuple[str, ...]:
    since = "" if row.uptime is None else f" {span(row.uptime)} ago"
    restarts = "1 restart" if row.restarts == 1 else f"{row.restarts} restarts"
    release = f"v{row.release}" if row.release else "-"
    return (f"{row.dyno}:", f"{row.state}{since}", row.server, address(row), release, memory(row), restarts)
