"""The exception in a log, as the app servers, frameworks and Ruby itself write it."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from infra.model.failure_log import exception, shown
from providers import failure

GEMS = "/usr/share/rubygems-integration/all/gems"


@pytest.mark.parametrize(
    ("log", "found"),
    [
        (
            "RuntimeError: broken\n"
            f"  from {GEMS}/rack/lib/rack/builder.rb:125:in `initialize'\n"
            "  from /app/lib/shop.rb:7:in `<top (required)>'\n"
            "dyno.yaml: framework/require: cannot load ./app: RuntimeError: broken\n"
            "! Unable to load application: SystemExit: dyno.yaml: framework/require: cannot load ./app: Run",
            "RuntimeError: broken (lib/shop.rb:7)",
        ),
        (
            "dyno.yaml: framework/app: cannot find App: NameError: uninitialized constant App",
            "NameError: uninitialized constant App",
        ),
        (
            "dyno.yaml: framework/require: cannot load ./app: SyntaxError: /app/app.rb:3: syntax error, unexpected '}'",
            "SyntaxError: syntax error, unexpected '}' (app.rb:3)",
        ),
        (
            "2026-11-29 06:33:38 +0000 Unexpected error while processing request: KeyError: key not found: :key\n"
            "\t/app/app.rb:6:in `fetch'\n\t/app/app.rb:3:in `call'",
            "KeyError: key not found: :key (app.rb:6)",
        ),
        (
            '2026-11-29 06:33:49 +0000 Rack app ("GET /" - (127.0.0.1)): #<RuntimeError: boom>\n'
            "/app/app.rb:2:in `call'",
            "RuntimeError: boom (app.rb:2)",
        ),
        (
            '2026-11-29 06:33:49 +0000 Rack app ("GET /" - (127.0.0.1)): #<NoMethodError: undefined method `x\' for nil\n'
            "\nApp = lambda { nil.x }\n                   ^^>",
            "NoMethodError: undefined method `x' for nil",
        ),
        (
            "E, [2026-11-29T06:34:12.897514 #5100] ERROR -- : app error: boom (RuntimeError)\n"
            f"E, [2026-11-29T06:34:12.897574 #5100] ERROR -- : {GEMS}/rack/lib/x.rb:1:in `call'\n"
            "E, [2026-11-29T06:34:12.897574 #5100] ERROR -- : /app/app.rb:1:in `block in <top (required)>'",
            "RuntimeError: boom (app.rb:1)",
        ),
        (
            "2026-11-29 06:33:47 - ArgumentError - bad:\n\t/app/app.rb:3:in `block in <class:App>'",
            "ArgumentError: bad (app.rb:3)",
        ),
        (
            "F, [2026-11-29T06:33:47.1 #7] FATAL -- : [3f1c2b9a-0000-4000-8000-000000000000] "
            "ActiveRecord::RecordNotFound (Couldn't find Shop):\n"
            "F, [2026-11-29T06:33:47.1 #7] FATAL -- : [3f1c2b9a-0000-4000-8000-000000000000]   \n"
            "F, [2026-11-29T06:33:47.1 #7] FATAL -- : [3f1c2b9a-0000-4000-8000-000000000000] "
            "app/controllers/shops_controller.rb:4:in `show'",
            "ActiveRecord::RecordNotFound: Couldn't find Shop (app/controllers/shops_controller.rb:4)",
        ),
        (
            "worker.rb:3:in `work': queue is gone (Redis::CannotConnectError)\n\tfrom worker.rb:9:in `<main>'",
            "Redis::CannotConnectError: queue is gone (worker.rb:3)",
        ),
        (
            "rake aborted!\nActiveRecord::StatementInvalid: PG::UndefinedTable: ERROR:  no relation\n"
            "/app/db/migrate/1_x.rb:5:in `change'\nCaused by:\nPG::UndefinedTable: ERROR:  no relation\n"
            "/app/db/migrate/1_x.rb:5:in `change'\nTasks: TOP => db:migrate",
            "ActiveRecord::StatementInvalid: PG::UndefinedTable: ERROR:  no relation (db/migrate/1_x.rb:5)",
        ),
        ("Could not find gem\nBundler::GemNotFound: no gem", "Bundler::GemNotFound: no gem"),
        ("\x1b[31mRuntimeError: red\x1b[0m", "RuntimeError: red"),
        ("I, [2026-11-29T06:34:12.866840 #4878]  INFO -- : listening on addr=127.0.0.1:20000 fd=9", ""),
        ("Note: nothing\nStarted GET / for 10.0.0.1\nCompleted 200 OK", ""),
        ("KeyError: first\nKeyError: second", "KeyError: second"),
        ("RuntimeError: boom\n/app/x.rb:1:in `y'\nSignalException: SIGTERM", "RuntimeError: boom (x.rb:1)"),
        ("", ""),
    ],
)
def test_exceptions(log: str, found: str) -> None:
    assert exception(log.splitlines()) == found


def test_a_backtrace_outside_of_the_app_is_left_out() -> None:
    frames = [f"\t{GEMS}/rack/lib/rack.rb:{line}:in `call'" for line in range(20)]
    lines = ["before", "RuntimeError: boom", "\t/app/app.rb:3:in `call'", *frames, "after"]
    assert shown(lines, 10) == [*lines[:3], frames[0], "  (19 more lines outside of the app)", "after"]
    assert shown(lines, 2) == ["  (19 more lines outside of the app)", "after"]
    assert shown([*lines[:3], *frames[:2]], 10) == [*lines[:3], *frames[:2]]


def test_hostile_lines_take_no_time() -> None:
    lines = [
        "A::" * 5000,
        "[" * 5000,
        "a:1:in `" * 2000,
        "Rack app (" * 2000,
        "dyno.yaml: x: cannot " * 500,
        "A" * 9000,
    ]
    began = time.process_time()
    exception(lines * 5)
    assert time.process_time() - began < 5


STUB = """\
#!/bin/sh
case "$*" in
  *InvocationID*-ready*) ;;
  *InvocationID*) echo abc ;;
  *ExecStartPre*) printf '%s\\n' ExecMainPID=0 \\
    'ExecStartPre={ path=/bin/sh ; argv[]=/bin/sh -c echo ; ignore_errors=no ; pid=41 ; code=exited ; status=1 }' \\
    'ExecStartPost={ path=/bin/sh ; argv[]=/bin/sh -c echo ; ignore_errors=no ; pid=0 ; code=(null) ; status=0/0 }' ;;
esac
"""


def test_what_ran_before_the_program_is_found_by_its_process(tmp_path: Path) -> None:
    """journald may not know the invocation of a process that ended at once."""
    for name, text in {
        "systemctl": STUB,
        "journalctl": '#!/bin/sh\n[ "$2" = --sync ] || printf "%s\\n" "$@"\n',
    }.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    argv = failure.read("shop", "dyno-shop-web-1").argv
    done = subprocess.run(argv, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-4:] == [
        "_SYSTEMD_INVOCATION_ID=abc",
        "+",
        "_SYSTEMD_UNIT=dyno-shop-web-1.service",
        "_PID=41",
    ]
