"""The dynos grouped by process type, in the format of Heroku's ``ps``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from infra.manifest.model import Manifest
from infra.model.dyno_status import SERVING, WELL, Job, Row
from infra.model.target import host_port
from infra.views.dynos import span
from infra.views.style import Style, one_line
from infra.views.table import line, padded


def render(
    manifest: Manifest, rows: Sequence[Row], style: Style, only: Collection[str] = (), *, brief: bool = False
) -> str:
    """A block per process type: how many of its dynos are up, what they run, and a line per dyno. ``only`` are the
    process types, dynos and servers to show; ``brief`` leaves out the lines of dynos that are well."""
    types = list(manifest.types)
    types += sorted({row.dyno.partition(".")[0] for row in rows} - set(types))
    running = [row for row in rows if row.job is None]
    cells = dict(
        zip(((row.dyno, row.server) for row in running), padded([_cells(row) for row in running]), strict=True)
    )
    blocks = []
    for type_ in types:
        own = [row for row in rows if row.dyno.partition(".")[0] == type_]
        wanted = manifest.types[type_].count if type_ in manifest.types else 0
        shown = own if not only or type_ in only else [row for row in own if row.dyno in only or row.server in only]
        if (not own and not wanted) or (only and type_ not in only and not shown):
            continue
        head = style("bold", f"=== {type_}")
        lines = [f"{head} ({_count(manifest, type_, own, wanted, style)}): {command(manifest, type_)}"]
        for row in shown:
            if brief and row.state in WELL:
                continue
            if row.job is not None:
                lines.append(_scheduled(row, row.job, style))
                continue
            texts = cells[row.dyno, row.server]
            texts[1] = style("green" if row.state in SERVING else "red", texts[1])
            lines.append(line(texts))
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) or "No dynos. To start those of dyno.yaml: dynoctl apply"


def _count(manifest: Manifest, type_: str, own: Sequence[Row], wanted: int, style: Style) -> str:
    """The heading of a block: how many dynos are up, or when the schedule runs."""
    whens = [schedule.when for schedule in manifest.schedule if schedule.name == type_]
    if whens or (own and all(row.job is not None for row in own)):
        well = len(own) == wanted and all(row.state != "stopped" for row in own)
        return style("green" if well else "red", one_line(whens[0] if whens else "a schedule"))
    up = sum(row.state in SERVING for row in own)
    return style("green" if up == wanted == len(own) else "red", f"{up} of {wanted} up")


def _scheduled(row: Row, job: Job, style: Style) -> str:
    """A line such as ``nightly.1: waiting  grid-2  v3  last: ok 3h ago, took 12s  next: in 20h 50m``."""
    state = style("red" if row.state == "stopped" else "green", row.state)
    last = "not run yet"
    if job.ended is not None:
        took = "" if job.took is None else f", took {span(job.took)}"
        last = f"{style('green' if job.result == 'ok' else 'red', job.result)} {span(job.ended)} ago{took}"
    next_ = "never" if job.next is None else f"in {span(job.next)}"
    release = f"v{row.release}" if row.release else "-"
    return "  ".join((f"{row.dyno}:", state, row.server, release, f"last: {last}", f"next: {next_}"))


def command(manifest: Manifest, type_: str) -> str:
    """What the dynos of a type run: their command, or what the app server serves."""
    if type_ not in manifest.types:
        return "no longer in dyno.yaml"
    own = manifest.types[type_].command
    if own is not None:
        return one_line(own if isinstance(own, str) else " ".join(own))
    served = manifest.rackup or (manifest.framework.name if manifest.framework else "")
    return f"{one_line(served)} on {manifest.app_server.name}"


def by_type(manifest: Manifest, rows: Sequence[Row]) -> Mapping[str, Mapping[str, object]]:
    """The headings of the blocks as JSON values."""
    return {
        type_: {
            "command": command(manifest, type_),
            "wanted": manifest.dynos[type_].count,
            "up": sum(row.state in SERVING and row.dyno.partition(".")[0] == type_ for row in rows),
        }
        for type_ in manifest.dynos
    }


def memory(row: Row) -> str:
    """The memory a dyno uses of its limit, such as ``43 of 512 MiB``."""
    if row.memory is None:
        return "-"
    limit = "" if row.memory_max is None else f" of {row.memory_max / 2**20:.0f}"
    return f"{row.memory / 2**20:.0f}{limit} MiB"


def address(row: Row) -> str:
    """The address that a web dyno listens on."""
    return host_port(row.listen, row.port) if row.port else "-"


def _cells(row: Row) -> tuple[str, ...]:
    uptime = "" if row.uptime is None else f" {span(row.uptime)}"
    restarts = "1 restart" if row.restarts == 1 else f"{row.restarts} restarts"
    release = f"v{row.release}" if row.release else "-"
    return (f"{row.dyno}:", f"{row.state}{uptime}", row.server, address(row), release, memory(row), restarts)
