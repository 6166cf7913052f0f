"""The echo of a terminal: off while progress is drawn on it, and on again however that ends."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROGRAM = """
import fcntl, os, signal, sys, termios, threading, time
from pathlib import Path

what, go = sys.argv[1], Path(sys.argv[2])
if not what.startswith("foreign"):
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # the terminal is that of this session
for number in (signal.SIGHUP, signal.SIGQUIT):  # whatever runs the tests may ignore them
    signal.signal(number, signal.SIG_DFL)

def echoes():
    return bool(termios.tcgetattr(0)[3] & termios.ECHO)

if what.endswith(("suspend", "background")):  # a shell with a job
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    job = os.fork()
    if job:
        os.setpgid(job, job)
        if what.endswith("suspend"):
            os.tcsetpgrp(0, job)
            _, status = os.waitpid(job, os.WUNTRACED)
            print("stopped", os.WIFSTOPPED(status), "echo", echoes(), flush=True)
            os.kill(job, signal.SIGCONT)
        _, status = os.waitpid(job, os.WUNTRACED)
        os.tcsetpgrp(0, os.getpgrp())
        print("status", status, flush=True)
        sys.exit()
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.setpgid(0, 0)
    while what.endswith("suspend") and os.tcgetpgrp(0) != os.getpgrp():
        pass

from infra.cli.interrupt import interruptible
from infra.model.events import Event
from infra.views.progress import progress, status

def wait():
    while not go.exists():
        time.sleep(0.01)

if what.startswith("secret"):
    from infra.cli import config_vars

    threading.Timer(0.5, lambda: print("drawn", flush=True)).start()
    print("read", len(config_vars._read_secret("KEY")), flush=True)
    sys.exit()

if what.startswith("keys"):
    from infra.cli import top

    with top._keys() as key:
        print("drawn", flush=True)
        while key(0.05) != "q":
            if go.exists():
                raise ValueError("an error")
    sys.exit()

if what.startswith(("bare", "foreign")):  # nothing is drawn, as by ps
    from infra.remote import identities
    from infra.remote.parallel import each, meanwhile

    print("drawn", flush=True)
    wait()

    names = [name for name in what.split()[1:] if name not in ("meanwhile", "suspend")]

    def ask(name):
        if not name.isdigit():
            return len(identities.passphrase(Path(name), 0))
        time.sleep(0.3)  # the main thread waits
        signal.pthread_kill(threading.get_ident(), int(name))

    if what.endswith("meanwhile"):
        with meanwhile(lambda: [ask(name) for name in names]) as result:
            result()
    else:
        print("read", *each(ask, names).values(), flush=True)
    sys.exit()

if what.startswith("planning"):
    from infra.remote import identities

    with status() as say:
        say("Observing 2 servers")
        print("drawn", flush=True)
        if what != "planning slow":
            wait()
        if what == "planning question":
            with identities.alone[-1]():
                print("asked, echo", echoes(), flush=True)
            print("drawn again, echo", echoes(), flush=True)
        if what.startswith("planning passphrase"):
            asking = threading.Thread(target=lambda: identities._from_terminal(Path("key"), 0))
            asking.start()
            while asking.is_alive():
                asking.join(0.1)
        if what.startswith("planning servers"):  # two threads connect, and a third one as those of logs do
            from infra.remote.parallel import each, meanwhile

            import resource
            most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 2048), most))
            held = [os.dup(0) for _ in range(1100)] if most > 1200 else []  # connections of a large fleet

            def ask(name):
                try:
                    return identities.passphrase(Path(name), 0)
                except identities.Unusable as why:
                    return str(why)

            if what.endswith("behind"):
                threading.Thread(target=ask, args=("key",), daemon=True).start()
                while not threading.Event().wait(0.1):
                    pass
            elif what.endswith("meanwhile"):
                with meanwhile(lambda: ask("key")) as result:
                    print("found", result(), flush=True)
            else:
                print("found", *each(ask, ["key", "key2"]).values(), flush=True)
        if what == "planning slow":
            from infra.remote.parallel import each

            each(lambda _: wait(), ["grid-1", "grid-2"])
        if what == "planning approval":
            from infra.cli.apply import _approved

            print("approved", _approved("apply"), flush=True)
        if what == "planning error":
            raise ValueError("an error")
    if what == "planning end":
        print("read", sys.stdin.readline().strip(), flush=True)
    sys.exit()

with progress({"grid-1": ["web.1"]}) as view:
    view(Event("phase", text="start", total=1))
    view(Event("step", "grid-1", "web.1", "start web.1"))
    if not what.startswith("interrupts"):
        print("drawn", flush=True)
    if what == "question":
        wait()
        with view._stopped():
            print("asked, echo", echoes(), flush=True)
        print("drawn again, echo", echoes(), flush=True)
    elif what.startswith("interrupts"):
        with interruptible(threading.Event(), view.interrupted, as_json=False):
            print("drawn", flush=True)
            wait()
            if what == "interrupts error":
                raise ValueError("an error")
    else:
        wait()
    if what == "error":
        raise ValueError("an error")
if what == "end":
    print("read", sys.stdin.readline().strip(), flush=True)
"""


class Screen:
    """The program, with a terminal of its own."""

    def __init__(self, what: str, go: Path) -> None:
        self.master, slave = pty.openpty()
        self.what, self.go, self.text = what, go, ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, what, go],
            cwd=ROOT,
            env={**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        self.slave = slave  # open, so that its modes can be read when the program has ended

    @property
    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self.slave)[3] & termios.ECHO)

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not true():
            assert time.monotonic() < deadline, self.text
            if select.select([self.master], [], [], 0.02)[0]:
                self.text += os.read(self.master, 65536).decode(errors="replace")

    def end(self) -> int:
        """The exit status, once all was read."""
        self.until(lambda: self.process.poll() is not None)
        self.until(lambda: not select.select([self.master], [], [], 0.1)[0])
        return self.process.wait()


@pytest.fixture
def screen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Screen]:
    shown = Screen(request.param, tmp_path / "go")
    try:
        shown.until(lambda: "drawn" in shown.text)
        yield shown
    finally:
        shown.process.kill()
        shown.process.wait()
        os.close(shown.master)
        os.close(shown.slave)


def started(*what: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("screen", what, indirect=True)


@started("end", "planning end")
def test_what_is_typed_is_not_shown_and_not_lost(screen: Screen) -> None:
    assert not screen.echoes
    screen.type("something\n")
    time.sleep(0.3)
    screen.go.touch()
    assert screen.end() == 0 and screen.echoes
    assert screen.text.count("something") == 1 and "read something" in screen.text


@started("error", "planning error", "interrupts error")
def test_an_error_restores_the_echo(screen: Screen) -> None:
    assert not screen.echoes
    screen.go.touch()
    assert screen.end() == 1 and screen.echoes and "an error" in screen.text


@started("plain", "planning plain")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_restores_the_echo(screen: Screen, number: int) -> None:
    assert not screen.echoes
    screen.process.send_signal(number)
    assert screen.end() == -number and screen.echoes


@started("interrupts")
def test_a_second_interrupt_restores_the_echo(screen: Screen) -> None:
    """It exits at once, without an end of what is drawn."""
    assert not screen.echoes
    screen.type("\x03")
    screen.until(lambda: "Press Ctrl-C again" in screen.text)
    assert not screen.echoes
    screen.type("\x03")
    assert screen.end() == 130 and screen.echoes and "Exited." in screen.text


@started("interrupts")
def test_a_second_sigterm_restores_the_echo(screen: Screen) -> None:
    screen.process.terminate()
    screen.until(lambda: "Press Ctrl-C again" in screen.text)
    assert not screen.echoes
    screen.process.terminate()
    assert screen.end() == 130 and screen.echoes


@started("interrupts")
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_while_servers_are_changed_restores_the_echo(screen: Screen, number: int) -> None:
    """These end the process at once; the servers notice that the sessions end."""
    assert not screen.echoes
    screen.process.send_signal(number)
    assert screen.end() == -number and screen.echoes


@started("question", "planning question")
def test_a_question_has_the_echo(screen: Screen) -> None:
    screen.go.touch()
    assert screen.end() == 0 and screen.echoes
    assert "asked, echo True" in screen.text and "drawn again, echo False" in screen.text


@started("suspend", "planning suspend", "interrupts suspend")
def test_a_stopped_job_leaves_the_echo_to_the_shell(screen: Screen) -> None:
    assert not screen.echoes
    screen.type("\x1a")
    screen.until(lambda: "stopped True echo True" in screen.text)
    screen.until(lambda: not screen.echoes)
    screen.go.touch()
    assert screen.end() == 0 and screen.echoes and "status 0" in screen.text


@started("background", "planning background")
def test_a_job_in_the_background_leaves_the_terminal_alone(screen: Screen) -> None:
    assert screen.echoes
    screen.go.touch()
    assert screen.end() == 0 and screen.echoes and "status 0" in screen.text, "it was not stopped"


@started("secret")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_restores_the_echo_while_a_secret_is_asked_for(screen: Screen, number: int) -> None:
    """``getpass`` restores it after an exception only."""
    assert not screen.echoes
    screen.process.send_signal(number)
    assert screen.end() == -number and screen.echoes


@started("planning passphrase", "bare key", "bare key key2", "foreign key", "foreign key key2")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_restores_the_echo_while_a_passphrase_is_asked_for(screen: Screen, number: int) -> None:
    screen.go.touch()
    screen.until(lambda: "Passphrase of key: " in screen.text)
    assert not screen.echoes
    screen.process.send_signal(number)
    assert screen.end() == -number and screen.echoes


@started("bare key 15")
def test_a_signal_that_does_not_wake_the_main_thread_ends_a_question(screen: Screen) -> None:
    """It came when that was about to wait, or to another thread."""
    screen.go.touch()
    assert screen.end() == -signal.SIGTERM and screen.echoes


@started("bare key 2", "bare 2 key meanwhile")
def test_ctrl_c_that_does_not_wake_the_main_thread_ends_a_question(screen: Screen) -> None:
    screen.go.touch()
    assert screen.end() != 0 and screen.echoes


@started("planning servers", "planning servers meanwhile", "planning servers behind")
def test_ctrl_c_ends_a_question_for_a_passphrase(screen: Screen) -> None:
    """A thread asks it, and only the main thread notices."""
    screen.go.touch()
    screen.until(lambda: "Passphrase of key" in screen.text)
    assert not screen.echoes
    screen.type("\x03")
    assert screen.end() != 0 and screen.echoes and "found" not in screen.text


@started("planning slow")
def test_ctrl_c_says_that_servers_are_waited_for(screen: Screen) -> None:
    """Those that are being asked: nothing is said to them any more, and their answers may take a minute."""
    screen.until(lambda: "Observing 2 servers" in screen.text)
    screen.type("\x03")
    screen.until(lambda: "Interrupted." in screen.text)
    screen.go.touch()  # they have answered
    assert screen.end() != 0 and screen.echoes


@started("planning servers")
def test_a_passphrase_is_read_without_an_echo(screen: Screen) -> None:
    screen.go.touch()
    for name in ("key", "key2"):
        screen.until(lambda name=name: f"Passphrase of {name}: " in screen.text)  # type: ignore[misc]
        assert not screen.echoes
        screen.type(f"of {name}\n")
        screen.until(lambda name=name: f"Passphrase of {name}: \r\n" in screen.text)  # type: ignore[misc]
    assert screen.end() == 0 and screen.echoes and "found of key of key2" in screen.text


@started("secret")
@pytest.mark.parametrize(("keys", "error"), [("\x04", "is empty"), ("\n", "is empty"), ("\x03", "Interrupt")])
def test_an_end_of_a_secret_restores_the_echo(screen: Screen, keys: str, error: str) -> None:
    assert not screen.echoes
    screen.type(keys)
    assert screen.end() != 0 and screen.echoes and error in screen.text


@started("secret suspend", "bare key suspend", "bare key key2 suspend")
def test_a_secret_is_not_shown_after_a_stop(screen: Screen) -> None:
    screen.go.touch()
    screen.until(lambda: "Value of" in screen.text or "Passphrase of key: " in screen.text)
    screen.type("\x1a")
    screen.until(lambda: "stopped True echo True" in screen.text)
    screen.until(lambda: not screen.echoes)
    screen.type("hunter2\n")
    if "key2" in screen.what:
        screen.until(lambda: "Passphrase of key2: " in screen.text)
        screen.type("hunter22\n")
    assert screen.end() == 0 and screen.echoes and "read 7" in screen.text and "hunter2" not in screen.text


@started("keys")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, None])
def test_top_restores_the_terminal(screen: Screen, number: int | None) -> None:
    assert not screen.echoes
    if number is None:
        screen.go.touch()
    else:
        screen.process.send_signal(number)
    assert screen.end() != 0 and screen.echoes


@started("keys suspend")
def test_top_leaves_the_terminal_to_the_shell_while_it_is_stopped(screen: Screen) -> None:
    """The shell had no echo, and the last screen of ``top``."""
    assert not screen.echoes
    screen.type("\x1a")
    screen.until(lambda: "stopped True echo True" in screen.text)
    screen.until(lambda: not screen.echoes)
    screen.type("q")
    assert screen.end() == 0 and screen.echoes and "status 0" in screen.text


@started("planning approval")
def test_a_plan_is_not_approved_before_it_is_seen(screen: Screen) -> None:
    screen.type("yes\n")
    time.sleep(0.3)
    screen.go.touch()
    screen.until(lambda: "to approve: " in screen.text)
    assert "approved" not in screen.text
    screen.type("no\n")
    assert screen.end() == 0 and "approved False" in screen.text
