"""The progress of an apply, and the line at its end, from events and rows."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from infra import manifest
from infra.cli import interrupt
from infra.manifest.model import Manifest, Router
from infra.model.dyno_status import Row
from infra.model.events import Event, Failure, Report
from infra.model.formation import Formation
from infra.model.release import Release
from infra.plan.plan import Plan
from infra.remote import identities
from infra.views import outcome, progress
from infra.views.progress import LiveProgress, PlainProgress, status
from infra.views.stages import Stages

MANIFEST = """
version: 1
app: {name: shop, source: .}
rackup: config.ru
dynos: {web: 2, worker: {count: 1, command: rake work}}
servers: [{name: grid-1, host: 10.0.0.11}, {name: grid-2, host: 10.0.0.12}]
"""


@pytest.fixture
def model(tmp_path: Path) -> Manifest:
    (tmp_path / "dyno.yaml").write_text(MANIFEST)
    (tmp_path / "config.ru").write_text("run nil\n")
    return manifest.read(tmp_path / "dyno.yaml")


class Clock:
    """A time that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def told(stages: Stages, clock: Clock, *events: tuple[float, Event]) -> list[str]:
    """The lines that are finished by events, each with the seconds that pass before it."""
    lines = []
    for seconds, event in events:
        clock.now += seconds
        lines += stages.take(event)
    return lines


def test_a_line_is_left_of_each_stage_and_batch_with_its_time() -> None:
    clock = Clock()
    stages = Stages(clock=clock)
    lines = told(
        stages,
        clock,
        (0, Event("phase", text="lock", total=2)),
        (0.5, Event("phase", text="prepare", total=4)),
        *((0, Event("step", server, "slug.shop@1", "send")) for server in ("grid-1", "grid-2")),
        *((0.5, Event("done", server, "slug.shop@1", "made")) for server in ("grid-1", "grid-2")),
        (0, Event("phase", text="candidate", total=2)),
        *((1.2, Event("done", server, "candidate", "healthy")) for server in ("grid-1", "grid-2")),
        (0, Event("phase", text="canary", total=1)),
        (0, Event("batch", text="web.1", number=1, total=3)),
        (2, Event("done", "grid-1", "web.1", "restarted")),
        (0, Event("phase", text="start", total=2)),
        (1, Event("done", "grid-1", "web.4", "started")),
        (0, Event("done", "grid-2", "web.5", "started")),
        (0, Event("phase", text="restart", total=2)),
        (0, Event("batch", text="web.2, web.3", number=2, total=3)),
        (3, Event("done", "grid-2", "web.2", "restarted")),
        (1, Event("done", "grid-1", "web.3", "restarted")),
        (0, Event("phase", text="route", total=1)),
        (0, Event("skipped", "grid-1", "router.shop")),
    )
    assert [*lines, *stages.end()] == [
        "✓ prepare           1.0 s  2 changes on grid-[1-2]",
        "✓ candidate         2.4 s  healthy on grid-[1-2]",
        "✓ canary 1 of 3     2.0 s  web.1 restarted",
        "✓ start             1.0 s  web.[4-5] started",
        "✓ batch 2 of 3      4.0 s  web.[2-3] restarted",
    ]


def test_a_lock_has_a_line_only_if_it_took_long() -> None:
    clock = Clock()
    stages = Stages(clock=clock)
    note = Event("note", "grid-1", "lock", "another apply is running")
    lines = told(stages, clock, (0, Event("phase", text="lock", total=9)), (0, note), (31, Event("phase", text="x")))
    assert lines == ["grid-1  another apply is running", "✓ lock             31.0 s  9 servers"]


def test_the_same_cause_on_many_servers_is_one_line() -> None:
    clock = Clock()
    stages = Stages(clock=clock)
    failures = [
        (1.0, Event("failed", f"grid-{number}", "candidate", f"grid-{number}: no space left on device"))
        for number in range(1, 200)
    ]
    lines = told(stages, clock, (0, Event("phase", text="candidate", total=200)), *failures)
    assert lines == ["✗ grid-1  candidate: no space left on device"]
    assert stages.end() == ["✗ candidate        3m 19s  FAILED"]


def test_what_is_under_way_says_how_long_it_takes() -> None:
    clock = Clock()
    stages = Stages({"grid-1": ["web.1", "web.2"], "grid-2": ["web.3"]}, clock=clock)
    told(
        stages,
        clock,
        (0, Event("batch", text="web.1", number=1, total=5)),
        (10, Event("done", "grid-1", "web.1", "restarted")),
        (0, Event("batch", text="web.3", number=2, total=5)),
        (0, Event("step", "grid-2", "web.3", "restart web.3", seconds=90)),
    )
    clock.now += 4
    assert stages.heading() == ("batch 2 of 5", "web.3  4.0 s  about 36 s left")
    summary, rows = stages.servers(9)
    assert summary == "" and [(name, row.count, len(row.planned)) for name, row in rows] == [
        ("grid-1", 1, 2),
        ("grid-2", 0, 1),
    ]
    assert rows[1][1].words(clock.now) == "restart web.3: 4 s of at most 90 s"
    told(stages, clock, (0, Event("wait", text="staying healthy", total=1, seconds=60)))
    clock.now += 24
    assert "staying healthy: 24 s of 60 s" in stages.heading()[1]
    assert stages.still() == ""
    clock.now += 10
    assert "batch 2 of 5" in stages.still() and stages.still().endswith("  grid-2  restart web.3: 38 s of at most 90 s")


def test_hundreds_of_servers_are_summed_up_and_the_slowest_are_named() -> None:
    clock = Clock()
    stages = Stages({f"grid-{number}": ["web.1"] for number in range(1, 401)}, clock=clock)
    for number in range(1, 301):
        told(stages, clock, (0, Event("done", f"grid-{number}", "web.1", "started")))
    for number in range(301, 401):
        told(stages, clock, (1, Event("step", f"grid-{number}", "web.1", "start web.1", seconds=60)))
    summary, rows = stages.servers(6)
    assert summary == "300 of 400 servers done, 300 of 400 changes, slowest:"
    assert [name for name, _ in rows] == ["grid-301", "grid-302", "grid-303", "grid-304", "grid-305"]
    assert stages.still().endswith("  grid-301  start web.1: 99 s of at most 60 s")


def batches(total: int, *, verbose: bool = False, fails: int = 0) -> list[str]:
    """The lines of a rollout with so many batches of one dyno, of which one may fail."""
    clock = Clock()
    stages = Stages(clock=clock, verbose=verbose)
    lines = told(stages, clock, (0, Event("phase", text="restart", total=total)))
    for number in range(1, total + 1):
        dyno = f"web.{number}"
        kind = "failed" if number == fails else "done"
        lines += told(
            stages,
            clock,
            (0, Event("batch", text=dyno, number=number, total=total)),
            (1, Event(kind, "grid-1", dyno, "restarted")),
        )
        assert stages.heading()[0] == f"batch {number} of {total}"
    return [*lines, *stages.end()]


def test_a_thousand_batches_share_forty_lines() -> None:
    lines = batches(1000)
    assert len(lines) == 40
    assert lines[0] == "✓ batch 1-25 of 1000  25.0 s  web.[1-25] restarted"
    assert lines[-1] == "✓ batch 976-1000 of 1000  25.0 s  web.[976-1000] restarted"
    assert len(batches(40)) == 40 and len(batches(41)) == 21
    assert sum("batch" in line for line in batches(1000, verbose=True)) == 1000


def test_a_batch_that_fails_among_many_is_named() -> None:
    lines = batches(1000, fails=30)
    assert "✗ grid-1  web.30: restarted" in lines
    assert "✗ batch 26-30 of 1000   5.0 s  FAILED: web.30 on grid-1; web.[26-29] restarted" in lines
    assert "✓ batch 31-55 of 1000  25.0 s  web.[31-55] restarted" in lines


def test_the_dynos_of_a_batch_are_named_in_order() -> None:
    """Whichever restarted first."""
    clock = Clock()
    stages = Stages(clock=clock)
    lines = told(stages, clock, (0, Event("batch", text="web.9, web.10, worker.1", number=7, total=9)))
    for dyno in ("worker.1", "web.10", "web.9"):
        lines += told(stages, clock, (1, Event("done", "grid-1", dyno, "restarted")))
    lines += told(stages, clock, (0, Event("phase", text="remove", total=1)))
    assert "✓ batch 7 of 9      3.0 s  web.[9-10], worker.1 restarted" in lines


def test_how_long_many_batches_still_take() -> None:
    clock = Clock()
    stages = Stages(clock=clock)
    told(stages, clock, (0, Event("phase", text="restart", total=1000)))
    for number in range(1, 11):
        told(stages, clock, (2, Event("batch", text=f"web.{number}", number=number, total=1000)))
    assert stages.heading() == ("batch 10 of 1000", "web.10  0 ms  about 33m left")


def test_what_is_skipped_is_not_done() -> None:
    clock = Clock()
    stages = Stages({"grid-1": ["web.1"], "grid-2": ["web.2"]}, clock=clock)
    told(stages, clock, (0, Event("failed", "grid-1", "web.1", "no")), (0, Event("skipped", "grid-2", "web.2")))
    assert [(name, row.count) for name, row in stages.servers(9)[1]] == [("grid-1", 1), ("grid-2", 0)]
    assert stages.servers(1)[0] == "1 of 2 servers done, 1 of 2 changes"


@pytest.mark.parametrize(
    ("events", "says"),
    [
        ([Event("phase", text="lock", total=2)], "no step is running, and none is started."),
        (
            [Event("batch", text="web.3", number=1, total=2), Event("step", "a", "web.3", "restart web.3", seconds=90)],
            "finishing restart web.3 on a (at most 90 s), and what belongs to it; nothing else is started.",
        ),
        (
            [Event("phase", text="start"), *(Event("step", f"a{n}", "web.1", "start", seconds=60) for n in range(9))],
            "finishing the current steps on 9 servers (at most 60 s), and what belongs to it; nothing else is started.",
        ),
        ([Event("phase", text="revert")], "the revert is completed first; nothing else is started."),
    ],
)
def test_an_interrupt_says_what_is_still_done(events: Sequence[Event], says: str) -> None:
    clock = Clock()
    stages = Stages(clock=clock)
    told(stages, clock, *((0, event) for event in events))
    assert stages.stopping() == f"Interrupted: {says}"


class Screen(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("color", [True, False])
@pytest.mark.parametrize("columns", ["80", "120"])
def test_a_terminal_has_a_bar_per_server_and_keeps_its_cursor(
    columns: str, color: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("LINES", "24")
    if not color:
        monkeypatch.setenv("NO_COLOR", "1")
    view = progress.progress({f"grid-{number}": ["web.1", "web.2"] for number in range(1, 4)})
    assert isinstance(view, LiveProgress)
    with view:
        view(Event("batch", text="web.1", number=1, total=2))
        view(Event("step", "grid-1", "web.1", "restart web.1 " + "x" * 200, seconds=60))
        view(Event("done", "grid-2", "web.1", "restarted"))
        view.refresh()
        view.interrupted()
    text = screen.getvalue()
    assert "1/2" in text and "batch 1 of 2" in text and "Press Ctrl-C again" in text
    assert "\x1b[?25l" not in text
    assert ("\x1b[32m" in text) == color


def test_no_terminal_gets_the_lines_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    view = progress.progress({"grid-1": ["web.1"]})
    assert isinstance(view, PlainProgress)
    with view:
        view(Event("phase", text="start", total=1))
        view(Event("step", "grid-1", "web.1", "start web.1"))
        view(Event("done", "grid-1", "web.1", "started"))
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("✓ start  ") and err.endswith("web.1 started\n")
    with pytest.raises(ValueError, match="stale"), progress.progress({}) as view:
        view(Event("phase", text="start", total=1))
        view(Event("done", "grid-1", "web.1", "started"))
        raise ValueError("stale")
    assert capsys.readouterr().err == ""


class Gone(io.StringIO):
    """A terminal, or a pipe, that is gone once ``gone`` is set."""

    gone = False

    def write(self, text: str) -> int:
        if self.gone:
            raise OSError(errno.EIO, "input/output error")
        return super().write(text)


@pytest.mark.parametrize("view", [PlainProgress, LiveProgress])
def test_a_stream_that_is_gone_does_not_keep_the_report_back(
    view: type[PlainProgress] | type[LiveProgress], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Gone()
    monkeypatch.setattr(sys, "stderr", screen)
    with view(Stages({"grid-1": ["web.1"]})) as shown:
        shown(Event("phase", text="start", total=1))
        shown(Event("done", "grid-1", "web.1", "started"))
        screen.gone = True


def test_a_stage_that_ends_while_it_is_said_to_take_long() -> None:
    """The plain view asks from a thread of its own."""
    stages = Stages()

    def clock() -> float:
        stages._stage = None if stages._stage is not None and stages._stage.begun else stages._stage
        return 100.0

    stages.take(Event("done", "grid-1", "web.1", "started"))
    stages._clock = clock
    assert stages.still() == ""


def test_what_is_waited_for_leaves_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(progress, "MOMENT", 0)
    with status() as say:
        say("Observing 3 servers")
        deadline = time.monotonic() + 60
        while "Observing 3 servers" not in screen.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "Observing 3 servers" in screen.getvalue() and screen.getvalue().endswith("\x1b[2K")
    written = len(screen.getvalue())
    with status(quiet=True) as say:
        say("nothing")
    assert len(screen.getvalue()) == written


def running(stages: Stages) -> LiveProgress:
    stages.take(Event("phase", text="start", total=1))
    return LiveProgress(stages)


@pytest.mark.parametrize("drawing", [status, lambda: running(Stages())], ids=["status", "progress"])
def test_a_question_is_not_drawn_over(
    drawing: Callable[[], AbstractContextManager[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The passphrase of a key, which a thread that connects asks for."""
    screen, untouched = Screen(), []
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(progress, "MOMENT", 0)
    monkeypatch.setattr(identities, "_passphrases", {})
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)

    def getpass(prompt: str) -> str:
        before = screen.getvalue()
        time.sleep(0.5)  # it is drawn 8 times a second
        untouched.append(screen.getvalue() == before)
        return "secret"

    def grown(written: int) -> bool:
        deadline = time.monotonic() + 60
        while len(screen.getvalue()) <= written and time.monotonic() < deadline:
            time.sleep(0.01)
        return len(screen.getvalue()) > written

    monkeypatch.setattr(identities.prompt, "ask", getpass)
    with drawing():
        assert grown(0)
        thread = threading.Thread(target=identities.passphrase, args=(Path("key"), 0))
        thread.start()
        thread.join()
        assert untouched == [True] and grown(len(screen.getvalue()))
    written = len(screen.getvalue())
    assert identities.alone == []
    identities._passphrases.clear()
    identities.passphrase(Path("key"), 0)
    assert len(screen.getvalue()) == written


def test_an_interrupt_is_told_by_a_thread_and_the_handlers_are_put_back() -> None:
    stop, said = threading.Event(), threading.Event()
    before = signal.getsignal(signal.SIGINT)
    with interrupt.interruptible(stop, said.set, as_json=False):
        os.kill(os.getpid(), signal.SIGINT)
        assert said.wait(60) and stop.is_set()
    assert signal.getsignal(signal.SIGINT) is before
    stop = threading.Event()
    with interrupt.interruptible(stop, said.clear, as_json=False):
        pass
    assert not stop.is_set() and said.is_set()


def row(dyno: str, release: int = 3, state: str = "up", server: str = "grid-1") -> Row:
    port = 5000 if dyno.startswith("web") else 0
    return Row(dyno, server, "10.0.0.11", port, state, "ab" * 32, 7, 60, 1 << 20, 0, release)


HOMES = {"web.1": "grid-1", "web.2": "grid-2", "worker.1": "grid-2"}
ALL = [row(dyno) for dyno in HOMES]


@pytest.mark.parametrize(
    ("report", "rows", "lost", "says"),
    [
        (Report(), ALL, (), "v3 runs on all 3 dynos. http://10.0.0.11:5000"),
        (Report(), [*ALL[:2], row("worker.1", state="failed")], (), "v3 runs on 2 of 3 dynos; worker.1 failed. http"),
        (
            Report(failures=[Failure("grid-1", "candidate", "no", rejected=True)]),
            [row(dyno, 2) for dyno in HOMES],
            (),
            "v3 REJECTED. v2 runs on. http://10.0.0.11:5000",
        ),
        (Report(failures=[Failure("grid-1", "candidate", "no", rejected=True)]), [], (), "v3 REJECTED. Nothing runs."),
        (
            Report(failures=[Failure("grid-1", "web.1", "no")], halted=True, reverted=["web.1"]),
            [row(dyno, 2) for dyno in HOMES],
            (),
            "v3 REVERTED. v2 runs on.",
        ),
        (
            Report(interrupted=True),
            [row("web.1"), row("web.2", 2), row("worker.1", 2)],
            (),
            "INTERRUPTED. v2 runs on 2 dynos, v3 runs on 1 dyno.",
        ),
        (
            Report(failures=[Failure("grid-2", "web.2", "lost", unreachable=True)]),
            ALL[:1],
            {"grid-2"},
            "INCOMPLETE. v3 runs on 1 of 3 dynos; web.2, worker.1 unknown.",
        ),
        (
            Report(failures=[Failure("grid-2", "mount", "no space")]),
            ALL[:1],
            (),
            "INCOMPLETE. v3 runs on 1 of 3 dynos; web.2, worker.1 on no server. http",
        ),
        (
            Report(interrupted=True),
            [*ALL, row("web.1", server="grid-2")],
            (),
            "INTERRUPTED. v3 runs on. http",
        ),
        (Report(interrupted=True), None, (), "INTERRUPTED. What runs now is unknown; see dynoctl ps."),
        (
            Report(failures=[Failure("grid-1", "web.1", "lost", unreachable=True)]),
            [],
            {"grid-1", "grid-2"},
            "INCOMPLETE. What runs now is unknown; see dynoctl ps.",
        ),
    ],
)
def test_the_last_line_is_what_runs(
    model: Manifest, report: Report, rows: list[Row] | None, lost: Sequence[str], says: str
) -> None:
    formation = Formation((), HOMES, HOMES)
    made = Plan("shop", (), formation, (), {}, (), (), (), "", release=Release(3, "", "", ""), fresh=True)
    assert outcome.sentence(model, made, report, rows, lost).startswith(says)


@pytest.mark.parametrize(
    ("router", "says"),
    [
        ({"hosts": ("*.example", "shop.example")}, "http://shop.example"),
        ({"hosts": ("shop.example",), "acme": "a@example"}, "https://shop.example"),
        ({"hosts": ("shop.example",), "acme": "a@example", "https": 8443}, "https://shop.example:8443"),
        ({"http": 8080}, "http://10.0.0.11:8080"),
    ],
)
def test_the_address_is_that_of_the_router(model: Manifest, router: dict[str, object], says: str) -> None:
    routed = replace(model, router=Router("nginx", ("grid-1",), **router))  # type: ignore[arg-type]
    assert outcome.address(routed, ALL) == says
    assert outcome.address(routed, [row("worker.1")]) == ""


def test_an_app_whose_routers_are_down_has_no_address(model: Manifest) -> None:
    """The last line of an apply that could not start the router named the address at which nothing answered."""
    servers = tuple(replace(model.servers[0], name=f"grid-{n}", host=f"10.0.0.1{n}") for n in (1, 2))
    routed = replace(model, servers=servers, router=Router("nginx", ("grid-1", "grid-2")))
    made = Plan("shop", (), Formation((), HOMES, HOMES), (), {}, (), (), (), "", release=Release(3, "", "", ""))
    failed = Report(failures=[Failure("grid-1", "router.shop", "no")])

    def last(*down: str, lost: Sequence[str] = ()) -> str:
        return outcome.sentence(routed, made, failed, ALL, lost, down)

    assert last() == "INCOMPLETE. v3 runs on. http://10.0.0.11"
    assert last("grid-1") == "INCOMPLETE. v3 runs on. http://10.0.0.12"
    assert last(lost=["grid-1", "grid-2"]) == "INCOMPLETE. v3 runs on."
    assert last("grid-1", "grid-2") == "INCOMPLETE. v3 runs on. The app is down: no router is up."
