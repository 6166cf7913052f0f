"""Run a program locally, with errors that name the program."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

from infra.errors import DynoctlError
from infra.manifest import programs


def run(
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    check: bool = True,
    timeout: float = 600,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program and capture its output as text. Raises DynoctlError with its last lines if it fails."""
    program = programs.find(argv[0])
    try:
        if program is None:
            raise FileNotFoundError(argv[0])
        done = subprocess.run(  # noqa: S603  # argv lists, never a shell
            [program, *argv[1:]],
            input=stdin or "",  # never the stdin of this program, which may be a pipe
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            env=env,
        )
    except FileNotFoundError:
        raise DynoctlError(f"{argv[0]} not found", "dynoctl lab up --install-packages") from None
    except subprocess.TimeoutExpired:
        raise DynoctlError(f"{' '.join(argv[:3])} timed out after {timeout:.0f} s") from None
    if check and done.returncode != 0:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise DynoctlError(f"{' '.join(argv[:3])} failed with exit status {done.returncode}", tail)
    return done
