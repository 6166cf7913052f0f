"""What to do if approval is needed and nobody can be asked: the command that shows the plan, and the one to type."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.errors import DynoctlError

_PLAIN = re.compile(r"[\w.,:=/@+-]+", re.ASCII)
"""A word that a shell reads as it is."""


def refuse_unattended(
    verb: str, auto_approve: bool, as_json: bool, *words: str, plan: str = "dynoctl plan", at: Sequence[str] = ()
) -> None:
    """Raise DynoctlError if approval is needed and stdin is not a terminal, before any server is contacted. ``words``
    are the arguments of the command, ``plan`` the command that shows its plan; "" if only this one does. ``at`` are the
    options that both have, such as which manifest: what is copied from the hint must not change another fleet, or more
    of it."""
    if not auto_approve and (as_json or not sys.stdin.isatty()):
        command = " ".join(("dynoctl", verb, *words, *at, "--auto-approve"))
        shows = " ".join((plan, *at))
        raise DynoctlError(
            f"{verb} needs approval, and {'--json was given' if as_json else 'stdin is not a terminal'}",
            f"review the plan with {shows}, then: {command}"
            if plan
            else f"run it on a terminal to review its plan, or without: {command}",
        )


def repeated(name: str, *options: tuple[str, Sequence[str] | None]) -> list[str]:
    """Options that may be repeated, as words. A value that a shell would read as something else is ``name``."""
    return [
        word
        for option, values in options
        for value in values or ()
        for word in (option, value if _PLAIN.fullmatch(value) else name)
    ]


def manifest_options(file: Path | None, destination: str | None) -> list[str]:
    """The options that say which manifest, unless it is the default. A path that a shell would read as something else
    is not among them as it is."""
    plain = file is None or _PLAIN.fullmatch(str(file))
    named = [] if file is None or file == Path("dyno.yaml") else ["-f", str(file) if plain else "FILE"]
    return [*named, *(["-d", destination] if destination else [])]
