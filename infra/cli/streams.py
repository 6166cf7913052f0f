"""Standard streams that take any text in any locale, and that are there even if the caller closed them.

A report that cannot be printed is a lost report: the apply has already changed servers by then."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from infra.errors import ERROR, OK

_ASCII = str.maketrans(
    {"✗": "x", "✓": "*", "↻": "@", "█": "#", "░": ".", "…": "...", "→": "->", "·": "-", "\N{EM DASH}": "-"}
)
"""What our own symbols are on a terminal that does not have them."""

_NAME = "dynoctl"


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    """Our symbols in ASCII, and any other character that the stream's encoding lacks as an escape (``\\u65e5``)."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_ASCII)
    return text.encode("ascii", "backslashreplace").decode("ascii"), error.end


def prepare() -> None:
    """Make the standard streams safe to write to: for any text, in any locale, and for terminals. Idempotent."""
    from infra.views.gate import Gate

    codecs.register_error(_NAME, _replaced)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            _open_null(number)
            stream = Path(os.devnull).open("w" if number else "r", encoding="utf-8")  # noqa: SIM115  # until the end
            setattr(sys, name, stream)
        if number and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_NAME)
        if number and not isinstance(stream, Gate):
            setattr(sys, name, Gate(stream))


def _open_null(number: int) -> None:
    """Open a closed descriptor, so that no file or connection gets its number and is written to as a stream."""
    try:
        os.fstat(number)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != number:
            os.dup2(null, number)
            os.close(null)


def finish(code: int) -> int:
    """Write what is still buffered, and return the exit code: ``code``, or 1 if a success could not be printed."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError) as error:
            discard(stream)
            if stream is sys.stdout and code == OK:
                code = ERROR
                if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                    with suppress(OSError):
                        sys.stderr.write("error: no space left on device: the output is incomplete\n")
    return code


def discard(stream: TextIO) -> None:
    """Discard all that is written to a stream from now on: its reader has exited, or its disk is full."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        with suppress(OSError, ValueError):  # a stream of a test has no descriptor
            os.dup2(null, stream.fileno())
    finally:
        os.close(null)
