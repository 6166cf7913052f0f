"""Turn any exception into what the user reads on stderr, and into an exit code."""

from __future__ import annotations

import errno
import os
import sys

import typer

from infra.errors import ERROR, OK, DynoctlError, ManifestInvalid

INTERRUPTED = 130


def report(error: BaseException) -> int:
    """Say on stderr what went wrong; return the exit code (Click's own 2 becomes 1)."""
    if isinstance(error, typer.Exit):
        return int(error.exit_code)
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        say("Interrupted.")
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        # The reader of a pipe left (``dynoctl plan | head``): nobody is there to be told.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        say(f"Error: {error.strerror}: what was to be written is not whole")
        return ERROR
    if isinstance(error, ManifestInvalid):
        from infra.views.diagnostics import render

        say(render(error.diagnostics, color=sys.stderr.isatty() and "NO_COLOR" not in os.environ))
        return error.exit_code
    if isinstance(error, DynoctlError):
        from infra.views.style import printable  # what a server said may be in it

        say(f"Error: {printable(error.summary)}")
        if error.hint:
            say(f"  {printable(error.hint)}")
        return error.exit_code
    if type(error).__name__ == "NoArgsIsHelpError":  # dynoctl alone: its message is the help
        sys.stdout.write(f"{error}\n")
        return OK
    if hasattr(error, "format_message"):  # a usage error of the command line parser
        say(f"Error: {error.format_message()}")
        say("  See: dynoctl --help")
        return ERROR
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else ERROR
    say(f"Error: dynoctl failed unexpectedly: {type(error).__name__}: {error}")
    say("  This is a fault in dynoctl. Run it again with DYNOCTL_DEBUG=1 and report what it prints.")
    if os.environ.get("DYNOCTL_DEBUG"):
        import traceback

        traceback.print_exception(error)
    return ERROR


def say(text: str) -> None:
    """One note on stderr."""
    print(text, file=sys.stderr)
