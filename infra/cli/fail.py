"""Turn any exception into a message on stderr and an exit code."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import typer

from infra.cli import streams
from infra.errors import ERROR, OK, Diagnostic, DynoctlError, ManifestInvalid

INTERRUPTED = 130

STREAMING = ("apply", "destroy", "rollback", "scale", "rebalance", "restart")
"""The commands whose ``--json`` output ends with a report, also if they fail before there is one."""


def report(error: BaseException, argv: Sequence[str] = ()) -> int:
    """Print on stderr what went wrong and return the exit code (Click's own 2 becomes 1). ``argv`` is the command
    line: if it asks for JSON and nothing was printed, the error is printed as JSON, too. A stream of JSON lines always
    ends with a report."""
    code = _report(error)
    if asks_json(argv) and not isinstance(error, typer.Exit | BrokenPipeError):
        _write_json(error, code, argv)
    return code


def _write_json(error: BaseException, code: int, argv: Sequence[str]) -> None:
    from infra.views import error_json, stream_json

    found = error_json.values(*_words(error), error.diagnostics if isinstance(error, ManifestInvalid) else ())
    if streams_json(argv):
        stream_json.write_failure(code, found)
    elif not getattr(sys.stdout, "used", False):  # otherwise the command has printed its document
        with suppress(OSError, ValueError):
            sys.stdout.write(error_json.render(code, found, one_line=argv[0] == "logs") + "\n")


def report_signals(argv: Sequence[str]) -> None:
    """Let SIGTERM and SIGHUP end a command whose output is a stream with a report, too. While servers are changed,
    ``interruptible`` of ``infra.cli.interrupt`` handles SIGTERM; before that, there is nothing to finish."""
    if not streams_json(argv) or threading.current_thread() is not threading.main_thread():
        return

    def leave(number: int, _: object) -> None:
        from infra.remote import echo
        from infra.views import stream_json

        echo.end()
        stream_json.write_abandoned(128 + number)
        os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(number, leave)


def streams_json(argv: Sequence[str]) -> bool:
    """Whether a command line asks for JSON lines that end with a report."""
    return asks_json(argv) and (argv[0] in STREAMING or list(argv[:2]) == ["preview", "up"])


def asks_json(argv: Sequence[str]) -> bool:
    """Whether a command line asks for JSON. The words after ``run`` and ``--`` are those of another command."""
    own = list(argv[: list(argv).index("--")]) if "--" in argv else list(argv)
    return "--json" in own and own[0] not in ("run", "--json")


def _words(error: BaseException) -> tuple[str, str]:
    """What a program is told about an error: its summary, and a hint or the output of a failed command."""
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return "interrupted", ""
    if (place := _missing_place(error)) is not None:
        return place
    if isinstance(error, ManifestInvalid):
        return error.summary, "; ".join(one.summary for one in error.diagnostics)
    if isinstance(error, DynoctlError):
        return error.summary, error.hint
    if hasattr(error, "format_message"):
        from infra.cli.usage import explain

        return explain(error)
    return str(error) or type(error).__name__, ""


_GONE = ("the current directory was deleted", "change to another one, such as: cd ~")
_NO_TEMPORARY = ("no temporary directory can be written to", "name one that can: export TMPDIR=DIRECTORY")


def _missing_place(error: BaseException) -> tuple[str, str] | None:
    """What to say of a directory that any part of a command may need, and that is not there."""
    if not isinstance(error, FileNotFoundError):
        return None
    if "No usable temporary directory" in str(error):  # of tempfile
        return _NO_TEMPORARY
    try:
        Path.cwd()
    except OSError:
        return _GONE
    return None


def _report(error: BaseException) -> int:
    if isinstance(error, typer.Exit):
        return int(error.exit_code)
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        note("Interrupted.")
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        # The reader of a pipe has exited (``dynoctl plan | head``): there is nobody to tell.
        streams.discard(sys.stdout)
        return ERROR
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        streams.discard(sys.stdout)
        complain("no space left on device: the output is incomplete")
        return ERROR
    if (place := _missing_place(error)) is not None:
        complain(*place)
        return ERROR
    if isinstance(error, ManifestInvalid):
        diagnose(error.diagnostics)
        return error.exit_code
    if isinstance(error, DynoctlError):
        from infra.model.shell import StepFailed
        from infra.views.style import printable  # may contain text from a server

        if isinstance(error, StepFailed):  # its hint is the command's output
            complain(error.summary)
            for line in error.output.splitlines()[-20:]:
                note(f"  | {printable(line)}")
        else:
            complain(error.summary, error.hint)
        return error.exit_code
    if type(error).__name__ == "NoArgsIsHelpError":  # dynoctl without arguments: the message is the help
        try:
            sys.stdout.write(f"{error}\n")
            sys.stdout.flush()
        except OSError as failure:
            return _report(failure)
        return OK
    if hasattr(error, "format_message"):  # a usage error of the command line parser
        complain(*_words(error))
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
    """Print one error, and its hint if there is one, on stderr. Both may contain text of a server or of a manifest:
    only the first line of each starts at the margin, so that no other line can be forged."""
    from infra.views.style import printable

    for text in (f"error: {summary}", *([f"hint: {hint}"] if hint else [])):
        say(re.sub(r"\n(?=[^ \n])", "\n  ", printable(text)))


def diagnose(diagnostics: Sequence[Diagnostic]) -> None:
    """Print errors and warnings about a manifest on stderr."""
    from infra.views.diagnostics import render
    from infra.views.style import wanted
    from infra.views.wrapping import columns

    note(render(diagnostics, wanted(sys.stderr), columns(sys.stderr)))


def say(text: str) -> None:
    """Print sentences on stderr, wrapped if it is a terminal."""
    from infra.views.wrapping import columns, wrapped

    note(wrapped(text, columns(sys.stderr)))


def note(text: str) -> None:
    """Print one line on stderr, if there still is one."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        streams.discard(sys.stderr)
