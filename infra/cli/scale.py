"""``dynoctl scale``: change the number of dynos, in dyno.yaml and on the servers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from infra import manifest
from infra.cli.apply import ApplyFlags, carry_out
from infra.cli.options import (
    AsJson,
    AutoApprove,
    Destination,
    File,
    LockTimeout,
    Message,
    SkipUnreachable,
    Trusts,
    Verbose,
)
from infra.cli.session import PlanOptions
from infra.cli.unattended import manifest_options, refuse_unattended
from infra.cli.workers import Controllers, ProcessOptions, Workers
from infra.errors import OK, DynoctlError
from infra.manifest.rewrite import rewrite
from infra.model.invocation import Invocation

MOST = 10000
"""The most dynos of one process type; the same limit as in the schema."""

_CHANGE = re.compile(r"([a-z][a-z0-9]*)([=+-])([0-9]{1,6})")


def register(app: typer.Typer) -> None:
    """Register the command with ``app``."""
    says = "Change the number of dynos, in dyno.yaml and on the servers."
    app.command("scale", short_help=says, epilog="dynoctl scale web=4 worker+1\ndynoctl scale")(scale)


def scale(
    changes: Annotated[
        list[str] | None,
        typer.Argument(
            help="Counts to set, such as web=6 or worker+1",
            metavar="TYPE=N...",
            show_default="print the current counts",
        ),
    ] = None,
    file: File = Path("dyno.yaml"),
    destination: Destination = None,
    auto_approve: AutoApprove = False,
    message: Message = "",
    verbose: Verbose = False,
    lock_timeout: LockTimeout = None,
    with_changes: Annotated[
        bool, typer.Option("--with-changes", help="Apply all other changes of dyno.yaml and the source, too")
    ] = False,
    trust: Trusts = None,
    workers: Workers = None,
    controllers: Controllers = None,
    skip_unreachable: SkipUnreachable = False,
    as_json: AsJson = False,
) -> None:
    """Change the number of dynos of the running release: show the plan, ask for approval, write the number to dyno.yaml
    and apply it. Other changes of dyno.yaml and the source are left out, and named. The rest of the file is not changed
    by a byte. With -d the number is written to the overlay. Without arguments, print the
    current numbers in a form that this command accepts."""
    from infra.manifest.counts import edit
    from infra.manifest.overlays import load_all

    processes = ProcessOptions.of(workers, controllers)
    model = manifest.read(file, destination)
    now = {name: type_.count for name, type_ in model.dynos.items()}
    if not changes:
        _print(now, as_json)
        return
    counts = wanted(changes, now)
    words, at = [f"{name}={count}" for name, count in counts.items()], manifest_options(file, destination)
    refuse_unattended("scale", auto_approve, as_json, *words, plan="", at=at)
    manifest.refuse_impossible(manifest.read(file, destination, counts))  # says what is wrong before asking
    path = model.files[-1]
    old = path.read_bytes()
    mark = b"\xef\xbb\xbf" if old.startswith(b"\xef\xbb\xbf") else b""
    changed = {name: count for name, count in counts.items() if count != now[name]}
    data = load_all(file, destination)[0].data
    dynos = data["dynos"] if isinstance(data, dict) else {}
    new = mark + edit(old.decode("utf-8-sig"), changed, dynos, str(path)).encode()  # type: ignore[arg-type]
    for name, count in changed.items():
        typer.echo(f"{path.name}: {name} {now[name]} -> {count}", err=True)
    edited = _Edit(path, old, new, lambda: _matches(counts, file, destination))
    begun = False

    def begin() -> tuple[str, str]:
        nonlocal begun
        edited.write()
        begun = True
        return model.digest, manifest.read(file, destination).digest

    options = PlanOptions(
        file,
        destination,
        counts=counts,
        with_changes=with_changes,
        trust=frozenset(trust or ()),
        processes=processes,
        skip_unreachable=skip_unreachable,
        quiet=as_json,
    )
    try:
        asked = Invocation("scale", (*words, *(["--with-changes"] if with_changes else [])))
        carry_out(options, ApplyFlags(auto_approve, verbose, message, lock_timeout, asked), begin=begin)
    except typer.Exit as end:
        if not begun and end.exit_code == OK:
            edited.write()  # the servers already match
        elif not begun:
            edited.put_back()
        raise
    except DynoctlError:  # a lock was taken or the plan was stale: nothing was applied
        edited.put_back()
        raise
    except BaseException:
        if not begun:
            edited.put_back()
        raise


@dataclass
class _Edit:
    """One edit of a file, written and reverted at most once. ``holds`` tells whether the edited file has the meaning
    that was asked for."""

    path: Path
    old: bytes
    new: bytes
    holds: Callable[[], bool]
    _written: bool = False

    def write(self) -> None:
        if self._written or self.old == self.new:
            return
        rewrite(self.path, self.old, self.new)
        self._written = True
        if not self.holds():
            raise DynoctlError(
                f"cannot edit {self.path}: the result would not have the requested counts",
                "edit it by hand, then: dynoctl apply",
            )

    def put_back(self) -> None:
        if self._written:
            rewrite(self.path, self.new, self.old)
            self._written = False
        if self.path.read_bytes() == self.old:
            typer.echo(f"{self.path.name} is unchanged.", err=True)


def _matches(counts: Mapping[str, int], file: Path, destination: str | None) -> bool:
    dynos = manifest.read(file, destination).dynos
    return all(dynos[name].count == count for name, count in counts.items())


def wanted(changes: list[str], now: Mapping[str, int]) -> dict[str, int]:
    """The counts that arguments such as ``web=6`` and ``worker+1`` ask for. Raises DynoctlError."""
    counts: dict[str, int] = {}
    for word in _joined(changes):
        found = _CHANGE.fullmatch(word)
        if found is None:
            type_ = next((name for name in now if re.match(rf"{name}(?![a-z])", word)), next(iter(now), "web"))
            raise DynoctlError(f"invalid count: {word!r}", f"such as dynoctl scale {type_}=6, {type_}+1 or {type_}-1")
        name, sign, number = found[1], found[2], int(found[3])
        if name not in now:
            available = " ".join(f"{type_}={count}" for type_, count in now.items())
            raise DynoctlError(f"no such process type: {name}", f"available: {available}")
        if name in counts:
            raise DynoctlError(f"duplicate process type: {name}", f"give one count: dynoctl scale {name}=N")
        count = {"=": number, "+": now[name] + number, "-": now[name] - number}[sign]
        if count < 0:
            raise DynoctlError(f"invalid count: {word} would be {count}; there are {now[name]}", f"for none: {name}=0")
        if count > MOST:
            summary = f"invalid count: {word} would be {count}; at most {MOST} dynos of a type are allowed"
            raise DynoctlError(summary, f"such as {name}={MOST}")
        counts[name] = count
    return counts


def _joined(words: list[str]) -> list[str]:
    """``web 3``, ``web:3`` and ``web = 3`` as ``web=3``."""
    text = re.sub(r"\s*=\s*", "=", " ".join(words))
    return re.sub(r"(?<![^ ])([a-z][a-z0-9]*)[ :]([0-9]+)(?![^ ])", r"\1=\2", text).split(" ")


def _print(now: Mapping[str, int], as_json: bool) -> None:
    if as_json:
        from infra.views import json_text

        typer.echo(json_text.indented({"format_version": 1, "dynos": dict(now)}))
    else:
        typer.echo(" ".join(f"{name}={count}" for name, count in now.items()))
