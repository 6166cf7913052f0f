"""``dynoctl scale``: another number of dynos, in dyno.yaml and on the servers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from infra.cli.apply import AutoApprove, How, LockTimeout, Message, Verbose, carry_out, refuse_unattended
from infra.cli.options import AsJson, Destination, File
from infra.cli.session import Wish
from infra.errors import OK, UNREACHABLE, DynoctlError

MOST = 10000
"""Dynos of one type, as the schema has it."""

_CHANGE = re.compile(r"([a-z][a-z0-9]*)([=+-])([0-9]{1,6})")


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("scale", short_help="Change how many dynos there are, in dyno.yaml and on the servers.")(scale)


def scale(
    changes: Annotated[
        list[str] | None,
        typer.Argument(help="web=6, worker+1, worker-1; by itself prints what there is.", metavar="[TYPE=N]..."),
    ] = None,
    file: File = Path("dyno.yaml"),
    destination: Destination = None,
    auto_approve: AutoApprove = False,
    message: Message = "",
    verbose: Verbose = False,
    lock_timeout: LockTimeout = 0,
    as_json: AsJson = False,
) -> None:
    """Change the number of dynos: show the plan, ask, write the number into dyno.yaml, apply. The rest of the file
    stays as it is, to the byte. With -d the number goes into the overlay. By itself prints what can be fed back."""
    from infra import manifest
    from infra.manifest.counts import edit
    from infra.manifest.layers import load_all
    from infra.manifest.rewrite import rewrite

    model = manifest.read(file, destination)
    now = {name: type_.count for name, type_ in model.dynos.items()}
    if not changes:
        _print(now, as_json)
        return
    counts = wanted(changes, now)
    refuse_unattended("scale", auto_approve, as_json)
    manifest.read(file, destination, counts)  # what is wrong with so many is said before anybody is asked
    path = model.files[-1]
    old = path.read_bytes()
    mark = b"\xef\xbb\xbf" if old.startswith(b"\xef\xbb\xbf") else b""
    other = {name: count for name, count in counts.items() if count != now[name]}
    data = load_all(file, destination)[0].data
    dynos = data["dynos"] if isinstance(data, dict) else {}
    new = mark + edit(old.decode("utf-8-sig"), other, dynos, str(path)).encode()  # type: ignore[arg-type]
    for name, count in other.items():
        typer.echo(f"{path.name}: {name} {now[name]} -> {count}", err=True)
    written = False

    def write() -> None:
        nonlocal written
        if not written and new != old:
            rewrite(path, old, new)
            so = manifest.read(file, destination).dynos
            if any(so[name].count != count for name, count in counts.items()):
                rewrite(path, new, old)
                raise DynoctlError(f"What {path} would say is not what was asked for", "Edit it by hand, then apply.")
        written = True

    wish = Wish(file, destination, counts=counts, quiet=as_json)
    try:
        carry_out(wish, How(auto_approve, verbose, message, lock_timeout), begin=write)
    except typer.Exit as end:
        if not written and end.exit_code in (OK, UNREACHABLE):
            write()  # the servers are so already
        elif not written:
            typer.echo(f"{path.name} is as it was.", err=True)
        raise
    except DynoctlError:
        if written and new != old:  # The locks were not to be had, or the plan went stale: nothing was applied
            rewrite(path, new, old)
        typer.echo(f"{path.name} is as it was.", err=True)
        raise


def wanted(changes: list[str], now: Mapping[str, int]) -> dict[str, int]:
    """The counts that words like ``web=6`` and ``worker+1`` ask for. Raises DynoctlError."""
    counts: dict[str, int] = {}
    for word in changes:
        found = _CHANGE.fullmatch(word)
        if found is None:
            raise DynoctlError(f"{word!r} is no change of a count", "Say web=6, worker+1 or worker-1.")
        name, sign, number = found[1], found[2], int(found[3])
        if name not in now:
            there = " ".join(f"{type_}={count}" for type_, count in now.items())
            raise DynoctlError(f"There is no process type {name}", f"There is: {there}")
        if name in counts:
            raise DynoctlError(f"{name} is named twice", "Say once how many there are to be.")
        count = {"=": number, "+": now[name] + number, "-": now[name] - number}[sign]
        if count < 0:
            raise DynoctlError(f"{word} would be {count}, and there are {now[name]}", f"For none: {name}=0")
        if count > MOST:
            raise DynoctlError(f"{word} would be {count}, and {MOST} dynos of a type are the most")
        counts[name] = count
    return counts


def _print(now: Mapping[str, int], as_json: bool) -> None:
    if as_json:
        import json

        typer.echo(json.dumps({"format_version": 1, "dynos": dict(now)}, indent=2))
    else:
        typer.echo(" ".join(f"{name}={count}" for name, count in now.items()))
