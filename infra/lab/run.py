"""Run a program on this machine and say clearly what failed."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

from infra.errors import DynoctlError


def run(
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    check: bool = True,
    timeout: float = 600,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """One program, its output captured as text. Raises DynoctlError with its last lines where it fails."""
    try:
        done = subprocess.run(  # noqa: S603  # argv lists of our own, never a shell
            list(argv),
            input=stdin or "",  # never this program's own stdin: it may be a pipe that somebody else reads
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            env=env,
        )
    except FileNotFoundError:
        raise DynoctlError(f"{argv[0]} is not installed", "Run: dynoctl lab up --install-packages") from None
    except subprocess.TimeoutExpired:
        raise DynoctlError(f"{' '.join(argv[:3])} took longer than {timeout:.0f} s") from None
    if check and done.returncode != 0:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise DynoctlError(f"{' '.join(argv[:3])} failed with status {done.returncode}", tail)
    return done
