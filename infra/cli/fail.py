"""Turn any exception into a message on stderr and an exit code."""

from __future__ import annotations

import errno
import os
import sys

import typer

from infra.errors import ERROR, OK, DynoctlError, ManifestInvalid

INTERRUPTED = 130


def report(error: BaseException) -> int:
    """Print on stderr what went wrong and return the exit code (Click's own 2 becomes 1)."""
    if isinstance(error, typer.Exit):
        return int(error.exit_code)
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        note("Interrupted.")
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        # The reader of a pipe has exited (``dynoctl plan | head``): there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        complain("no space left on device: the output is incomplete")
        return ERROR
    if isinstance(error, ManifestInvalid):
        from infra.views.diagnostics import render

        note(render(error.diagnostics, color=sys.stderr.isatty() and "NO_COLOR" not in os.environ))
        return error.exit_code
    if isinstance(error, DynoctlError):
        from infra.model.shell import StepFailed
        from infra.views.style import printable  # may contain text from a server

        if isinstance(error, StepFailed):  # its hint is the command's output
            complain(printable(error.summary))
            for line in error.output.splitlines()[-20:]:
                note(f"  | {printable(line)}")
        else:
            complain(printable(error.summary), printable(error.hint))
        return error.exit_code
    if type(error).__name__ == "NoArgsIsHelpError":  # dynoctl without arguments: the message is the help
        sys.stdout.write(f"{error}\n")
        return OK
    if hasattr(error, "format_message"):  # a usage error of the command line parser
        context = getattr(error, "ctx", None)
        complain(error.format_message(), f"{context.command_path if context else 'dynoctl'} --help")
        return ERROR
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else ERROR
    complain(
        f"internal error: {type(error).__name__}: {error}",
        "this is a bug in dynoctl; run it again with DYNOCTL_DEBUG=1 and report the traceback",
    )
    if os.environ.get("DYNOCTL_DEBUG"):
        import traceback

        traceback.print_exception(error)
    return ERROR


def complain(summary: str, hint: str = "") -> None:
    """Print one error, and its hint if there is one, on stderr."""
    note(f"error: {summary}")
    if hint:
        note(f"hint: {hint}")


def note(text: str) -> None:
    """Print one line on stderr."""
    print(text, file=sys.stderr)
