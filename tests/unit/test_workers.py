"""Sessions in other processes: values pass whole and in order, and a worker that is gone takes only its servers along."""

from __future__ import annotations

import io
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

import pytest

import infra.engine.prepared
import infra.engine.release_gates
import infra.remote.busy
import infra.slug.build
from infra.cli.workers import ProcessOptions, working
from infra.errors import Diagnostic, DynoctlError, Location, ManifestInvalid, NewerRecords, Unreachable
from infra.fleet.observe import Fleet, Observer, observe
from infra.model.answer import InvalidAnswer
from infra.model.provider import Fragment, Scope
from infra.model.resource import Command
from infra.model.shared import Shared
from infra.model.shell import (
    ConnectElsewhere,
    Elsewhere,
    LockTaken,
    RemoteBuild,
    Sections,
    StepFailed,
    ask,
    connect_and_ask,
)
from infra.model.target import Target
from infra.registry import Everything
from infra.remote import identities, limits, processes, ssh_config, workers
from infra.remote import session as ssh
from infra.remote.active_workers import ENOUGH, active, default, using
from infra.remote.processes import ProcessLink, several
from infra.remote.values import KEPT, Packer, Unpacker
from infra.remote.worker import Worker
from infra.remote.workers import Workers
from infra.sensitive import Sensitive, Unread

SECRET = "hunter2"

STEP = Command(("sh", "-c", "exit 3"), stdin=SECRET.encode(), secret=True, label="start web.1")

ERRORS: list[DynoctlError] = [
    DynoctlError("a", "b"),
    ManifestInvalid([Diagnostic("wrong", "app/name", Location("dyno.yaml", 1, 2, "text"))]),
    Unreachable("grid-1: gone", "wait", silent=True),
    NewerRecords("newer"),
    InvalidAnswer("grid-1", "no section"),
    LockTaken("grid-1", "me since now", "other"),
    StepFailed("grid-1", STEP, 3, "its output"),
    limits.OutputTooLarge("grid-1", "a script", 1 << 20),
    infra.remote.busy.Dropped("cannot connect to grid-1", "too many"),
    ssh_config.ConfigError("bad", "mend it"),
    infra.engine.prepared.StalePlan("stale", "plan"),
    infra.engine.release_gates.NotStarted("not started"),
    infra.slug.build.BuildFailed("failed", "log"),
]


def passed(value: object) -> Any:
    return Unpacker().unpack(Packer().pack(value))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_is_the_same_on_the_other_side(error: DynoctlError) -> None:
    there = passed(error)
    assert type(there) is type(error)
    assert vars(there) == vars(error)
    assert (str(there), there.args, there.exit_code) == (str(error), error.args, error.exit_code)


def test_so_is_one_of_any_other_class() -> None:
    """Whatever the parameters of its constructor."""

    def below(kind: type[DynoctlError]) -> Iterator[type[DynoctlError]]:
        yield kind
        for sub in kind.__subclasses__():
            yield from below(sub)

    for kind in below(DynoctlError):
        error = kind.__new__(kind)
        error.args = ("what",)
        vars(error).update(summary="what", hint="how", odd=3)
        there = passed(error)
        assert (type(there), there.args, vars(there)) == (kind, error.args, vars(error))


def test_a_secret_passes_between_processes_and_nowhere_else() -> None:
    there = passed({"a": Sensitive(SECRET, common=True), "b": Unread()})
    assert (there["a"].reveal(), there["a"].common, type(there["b"])) == (SECRET, True, Unread)
    assert repr(there["a"]) == "(sensitive)"
    with pytest.raises(TypeError):
        pickle.dumps(Sensitive(SECRET))


def test_a_record_of_all_servers_is_sent_once() -> None:
    text = "x" * 10_000
    packer, unpacker = Packer(), Unpacker()
    first = packer.pack([Shared({"text": text}, "one")])
    again = packer.pack([Shared({"text": text}, "one"), Shared({"text": text}, "one")])
    assert len(first) > len(text) > len(again)
    one, (two, three) = unpacker.unpack(first)[0], unpacker.unpack(again)
    assert one == {"text": text}
    assert one is two is three
    for number in range(3 * KEPT):  # neither end keeps all of them, and both know which
        assert unpacker.unpack(packer.pack(Shared({"number": number}, str(number)))) == {"number": number}
    assert len(packer.pack([Shared({"text": text}, "one")])) > len(text)
    assert Unpacker().unpack(Packer().pack([Shared({"text": text}, "one")]))[0] is one, "from whichever worker"


@dataclass
class Server:
    """What a session of a worker does here."""

    name: str
    connections: int = 1
    execs: int = 0
    user: str = "root"
    host_key: str = "ssh-ed25519 SHA256:x"
    done: list[str] = field(default_factory=list)
    shells: list[Shell] = field(default_factory=list)
    wait: threading.Event | None = None

    def observe(self, fragments: Mapping[str, Fragment], timeout: float = 60) -> Sections:
        self.execs += 1
        return {name: (0, f"{fragment.script} {timeout:.0f}") for name, fragment in fragments.items()}

    def execute(self, command: Command) -> tuple[int, str]:
        self.execs += 1
        if command.argv == ("lost",):
            raise EOFError("cut")
        if command.argv == ("bug",):
            raise Odd("a", "b")
        if self.wait is not None:
            self.wait.wait(30)
        return 0, " ".join(command.argv)

    def shell(self, app: str, holder: str) -> Shell:
        self.shells.append(Shell(self, app, holder))
        return self.shells[-1]

    def upload(self, local: Path, path: str, sha256: str) -> None:
        self.done.append(f"{path} {sha256} {local.read_bytes()!r}")

    def download(self, path: str, local: Path, largest: int | None = None) -> None:
        local.write_bytes(f"{path} {largest}".encode())

    def build(self, job: RemoteBuild, up: IO[bytes], down: IO[bytes], log: IO[bytes]) -> int:
        for command in job.commands:
            log.write(f"$ {command}\n".encode())
        down.write(up.read()[::-1])
        return 0

    def close(self) -> None:
        self.done.append("closed")


class Odd(Exception):
    """An exception that cannot be made again from its arguments."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


class Shell:
    def __init__(self, server: Server, app: str, holder: str) -> None:
        self.name, self.server = server.name, server
        self.locked = False
        self.words = (app, holder)

    def take(self) -> Shell:
        if self.words[0] == "taken":
            raise LockTaken(self.name, "somebody")
        self.locked = True
        return self

    def observe(self, fragments: Mapping[str, Fragment], timeout: float = 60) -> Sections:
        return self.server.observe(fragments, timeout)

    def run(self, commands: Sequence[Command], started: Callable[[Command], None] | None = None) -> str:
        for command in commands:
            if started is not None:
                started(command)
            if command.argv[0] == "false":
                raise StepFailed(self.name, command, 1, "it printed this")
        return "\n".join(" ".join(command.argv) for command in commands)

    def forget(self) -> None:
        self.server.done.append("forgot")

    def close(self) -> None:
        self.locked = False


class Near:
    """A worker in this process."""

    near = True

    def __init__(self, servers: dict[str, Server], far: bool = False) -> None:
        self.near = not far
        self.messages: SimpleQueue[bytes | None] = SimpleQueue()
        self.sent: list[bytes] = []
        self.gone = False

        def open_(target: Target, read_only: str) -> Any:
            if target.name == "away":
                raise Unreachable("cannot connect to away", silent=True)
            return servers.setdefault(target.name, Server(target.name))

        self.worker = Worker(self.messages.put, open_)

    def send(self, message: bytes) -> None:
        if self.gone:
            raise BrokenPipeError
        self.sent.append(message)
        self.worker.receive(message)

    def receive(self) -> bytes:
        message = self.messages.get()
        if message is None:
            raise EOFError
        return message

    def kill(self) -> None:
        self.gone = True
        self.messages.put(None)

    def end(self) -> None:
        self.worker.close()
        self.kill()

    def why(self) -> str:
        return "its worker process ended (signal 9)"


class Pool:
    """Workers of this process, and the links to them."""

    def __init__(self, number: int, *, far: bool = False, again: bool = False) -> None:
        self.servers: dict[str, Server] = {}
        self.links: list[Near] = []

        def start() -> Near:
            self.links.append(Near(self.servers, far))
            return self.links[-1]

        self.workers = Workers(number, start, again=again)

    def connect(self, name: str) -> Any:
        return self.workers.connect(Target(name, name))


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool(2)
    yield made
    made.workers.close()


def test_a_session_elsewhere_does_what_a_session_does(pool: Pool, tmp_path: Path) -> None:
    session = pool.connect("grid-1")
    assert isinstance(session, Elsewhere)
    assert (session.name, session.user, session.host_key, session.connections) == (
        "grid-1",
        "root",
        "ssh-ed25519 SHA256:x",
        1,
    )
    assert session.observe({"a": Fragment("one")}, 5) == {"a": (0, "one 5")}
    assert session.execute(Command(("echo", "two"))) == (0, "echo two")
    assert session.execs == 2
    (tmp_path / "up").write_bytes(b"image")
    session.upload(tmp_path / "up", "/there", "abc")
    session.download("/record", tmp_path / "down", 7)
    assert (tmp_path / "down").read_text() == "/record 7"
    server = pool.servers["grid-1"]
    assert server.done == ["/there abc b'image'"]
    session.close()
    assert session.execs == 2
    eventually(lambda: server.done[-1] == "closed")
    with pytest.raises(Unreachable, match="cannot connect to away") as error:
        pool.connect("away")
    assert error.value.silent


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_shell_elsewhere_tells_of_each_command_in_order(pool: Pool) -> None:
    shell = pool.connect("grid-1").shell("shop", "me")
    assert shell.take() is shell
    there = pool.servers["grid-1"].shells[0]
    assert (there.locked, there.words) == (True, ("shop", "me"))
    commands = [Command(("echo", str(number)), label=f"step {number}") for number in range(200)]
    told: list[str] = []
    assert shell.run(commands, lambda command: told.append(command.label)).splitlines()[-1] == "echo 199"
    assert told == [command.label for command in commands]
    assert shell.run([]) == ""
    assert shell.observe({"a": Fragment("one")}) == {"a": (0, "one 60")}
    failing = [commands[0], Command(("false",), stdin=SECRET.encode(), secret=True, health=True), commands[1]]
    told.clear()
    with pytest.raises(StepFailed) as error:
        shell.run(failing, lambda command: told.append(command.label))
    assert (error.value.command, error.value.output, len(told)) == (failing[1], "it printed this", 2)
    shell.forget()
    shell.close()
    assert not there.locked
    with pytest.raises(LockTaken, match="somebody"):
        pool.connect("grid-1").shell("taken", "me").take()


def _parsed(server: Any) -> tuple[str, str]:
    return server.name, server.observe({"a": Fragment("one")})["a"][1].upper()


def _unreadable(server: Any) -> None:
    raise KeyError("no such section")


def test_a_question_is_asked_where_the_connection_is(pool: Pool) -> None:
    sessions = [pool.connect(f"grid-{number}") for number in range(6)]
    assert [session.ask(_parsed) for session in sessions] == [(f"grid-{number}", "ONE 60") for number in range(6)]
    assert sessions[0].shell("shop", "me").ask(_parsed) == ("grid-0", "ONE 60")
    carried = [sum(b"_parsed" in message for message in link.sent) for link in pool.links]
    assert carried == [1, 1], "it is sent once to each worker"
    with pytest.raises(KeyError, match="no such section"):
        sessions[0].ask(_unreadable)


def test_errors_of_libraries_stay_what_they_are(pool: Pool) -> None:
    session = pool.connect("grid-1")
    with pytest.raises(EOFError, match="cut"):
        session.execute(Command(("lost",)))
    with pytest.raises(RuntimeError, match="Odd: ab") as error:
        session.execute(Command(("bug",)))
    assert "in a worker process:\nTraceback" in error.value.__notes__[0]


def test_an_observation_is_parsed_by_the_worker(pool: Pool) -> None:
    environment = {"web": {"WORD": "one", "KEY": Sensitive(SECRET)}}
    observer = Observer(Everything.providers, Scope("shop", "salt", environment), "/usr/bin/ruby", ())
    fleet = Fleet()
    connect: Any = pool.workers.connector()
    observe([Target("grid-1", "grid-1")], observer, fleet, connect)
    assert isinstance(fleet.unreachable["grid-1"], InvalidAnswer), "the fake says nothing that can be read"
    assert not any(b"begin facts" in message for message in pool.links[0].sent)


@pytest.mark.parametrize("far", [False, True], ids=["near", "far"])
def test_a_session_that_is_opened_with_a_question(far: bool) -> None:
    """By one message, but for a worker of another machine, which may have another version that could not read it."""
    pool = Pool(1, far=far)
    connect: Any = pool.workers.connector()
    assert isinstance(connect, ConnectElsewhere)
    target = Target("grid-1", "grid-1")
    session, answer = connect_and_ask(connect, target, _parsed)
    assert answer == ask(session, _parsed) and session.execute(Command(("true",))) == (0, "true")
    verbs = [Unpacker().unpack(message).verb for message in pool.links[0].sent]
    assert [verb for verb in verbs if verb != "question"][:3] == (
        ["connect", "ask", "ask"] if far else ["connect", "ask", "execute"]
    )
    with pytest.raises(KeyError, match="no such section"):
        connect_and_ask(connect, Target("grid-2", "grid-2"), _unreadable)
    eventually(lambda: pool.servers["grid-2"].done == ["closed"])
    assert "closed" not in pool.servers["grid-1"].done
    with pytest.raises(Unreachable, match="cannot connect to away"):
        connect_and_ask(connect, Target("away", "away"), _parsed)
    pool.links[0].kill()
    with pytest.raises(Unreachable, match="grid-3: connection lost: its worker process ended"):
        connect_and_ask(connect, Target("grid-3", "grid-3"), _parsed)
    pool.workers.close()


def test_the_question_is_asked_again_of_the_worker_in_place_of_one_that_is_gone() -> None:
    pool = Pool(1, again=True)
    pool.connect("grid-1")
    pool.links[0].kill()
    connect: Any = pool.workers.connector()
    session, answer = connect_and_ask(connect, Target("grid-1", "grid-1"), _parsed)
    assert answer == ask(session, _parsed) and len(pool.links) == 2
    pool.workers.close()


@pytest.mark.parametrize("far", [False, True], ids=["near", "far"])
def test_files_and_builds(far: bool, tmp_path: Path) -> None:
    pool = Pool(1, far=far)
    sessions = [pool.connect("grid-1"), pool.connect("grid-2")]
    image = tmp_path / "image"
    image.write_bytes(b"0123456789" * 300_000)
    for session in sessions:
        session.upload(image, "/there", "abc")
    for server in pool.servers.values():
        assert server.done == [f"/there abc {image.read_bytes()!r}"]
    carried = sum(b"0123456789" * 10 in message for message in pool.links[0].sent)
    assert carried == (3 if far else 0), "once for all servers of a worker, in pieces"
    sessions[0].download("/record", tmp_path / "down")
    assert (tmp_path / "down").read_text() == "/record None"
    up, down, log = io.BytesIO(b"abc" * 700_000), io.BytesIO(), io.BytesIO()
    job = RemoteBuild(("make", "make install"), {"KEY": "x"}, "", 60)
    assert sessions[0].build(job, up, down, log) == 0
    assert down.getvalue() == b"cba" * 700_000
    assert log.getvalue() == b"$ make\n$ make install\n"
    pool.workers.close()


def test_a_worker_that_is_gone_takes_its_own_servers_along(pool: Pool) -> None:
    first, second, third = (pool.connect(f"grid-{number}") for number in (1, 2, 3))
    shell = first.shell("shop", "me").take()
    pool.servers["grid-1"].wait = threading.Event()
    failed: list[BaseException] = []

    def wait() -> None:
        with pytest.raises(Unreachable) as error:
            first.execute(Command(("sleep",)))
        failed.append(error.value)

    waiting = threading.Thread(target=wait)
    waiting.start()
    eventually(lambda: pool.servers["grid-1"].execs > 0)
    pool.links[0].kill()
    waiting.join(30)
    pool.servers["grid-1"].wait.set()
    assert str(failed[0]) == "grid-1: connection lost: its worker process ended (signal 9)"
    assert "it had 2 servers (grid-1, grid-3)" in failed[0].hint  # type: ignore[attr-defined]
    for call in (lambda: shell.run([STEP]), lambda: third.observe({}), lambda: third.ask(_parsed)):
        with pytest.raises(Unreachable, match="signal 9"):
            call()
    with pytest.raises(Unreachable, match="signal 9"):
        pool.connect("grid-1")
    shell.close()
    first.close()
    assert second.ask(_parsed) == ("grid-2", "ONE 60"), "the other worker goes on"


def test_a_worker_that_says_what_cannot_be_read_is_ended_with_its_locks(pool: Pool) -> None:
    session = pool.connect("grid-1")
    pool.links[0].messages.put(b"garbage")
    with pytest.raises(Unreachable, match="grid-1: connection lost: the answer of its worker cannot be read"):
        for _ in range(1000):
            session.observe({})
    eventually(lambda: pool.servers["grid-1"].done == ["closed"])


def test_on_a_cluster_what_only_observes_is_done_again_elsewhere() -> None:
    pool = Pool(2, again=True)
    seen, _, changed = (pool.connect(name) for name in ("grid-1", "grid-2", "grid-3"))
    changed.shell("shop", "me").take()
    pool.links[0].kill()
    assert seen.ask(_parsed) == ("grid-1", "ONE 60")
    assert len(pool.links) == 3
    with pytest.raises(Unreachable, match="signal 9"):
        changed.observe({})
    assert pool.connect("grid-5").execute(Command(("true",))) == (0, "true")
    assert len(pool.links) == 3
    pool.workers.close()


def test_on_a_cluster_without_room_one_attempt_is_for_all_servers_of_a_worker() -> None:
    """Each takes half a minute."""
    pool = Pool(1, again=True)
    sessions = [pool.connect(f"grid-{number}") for number in range(3)]
    attempts: list[int] = []

    def start() -> Near:
        attempts.append(1)
        raise DynoctlError("cannot start a worker on the cluster: timed out after 30 s", "start one")

    pool.workers._start = start
    pool.links[0].kill()
    for session in sessions:
        with pytest.raises(Unreachable, match=f"{session.name}: .*signal 9.*, and cannot start .* after 30 s"):
            session.observe({})
    with pytest.raises(Unreachable, match="timed out"):
        pool.connect("grid-9")
    assert attempts == [1]


def test_a_passphrase_is_asked_for_once_and_here(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["wrong", "right"])
    asked: list[int] = []

    def ask(file: Path, attempt: int) -> str:
        asked.append(attempt)
        return next(answers)

    monkeypatch.setattr(identities, "_passphrases", {})
    monkeypatch.setattr(identities, "ask", ask)
    pool = Pool(2)
    first, second = (link.worker for link in pool.links)
    key = Path("/key")
    assert first._passphrase(key, 0) == second._passphrase(key, 0) == "wrong"
    assert first._passphrase(key, 1) == second._passphrase(key, 1) == "right"
    assert asked == [0, 1]

    def refuse(file: Path, attempt: int) -> str:
        raise identities.Unusable("no terminal", "ssh-add")

    identities._passphrases.clear()
    monkeypatch.setattr(identities, "ask", refuse)
    with pytest.raises(identities.Unusable, match="no terminal") as error:
        first._passphrase(Path("/other"), 0)
    assert error.value.hint == "ssh-add"

    def fail(file: Path, attempt: int) -> str:
        return b"hunter\xff".decode()

    monkeypatch.setattr(identities, "ask", fail)
    found: list[BaseException] = []

    def wait() -> None:
        with pytest.raises(identities.Unusable, match=r"UnicodeDecodeError$") as error:
            first._passphrase(Path("/other"), 0)
        found.append(error.value)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    waiting.join(20)
    assert found, "the worker is told, and waits no longer"
    pool.workers.close()


def test_a_worker_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "ASK_AFTER", 0.2)
    pool = Pool(1)
    session = pool.connect("grid-1")
    server = pool.servers["grid-1"]
    server.wait = threading.Event()
    timer = threading.Timer(1.5, server.wait.set)
    timer.start()
    assert session.execute(Command(("slow",))) == (0, "slow"), "it is slow, and answers that it is there"
    monkeypatch.setattr(pool.links[0], "send", lambda message: None)
    with pytest.raises(Unreachable, match="has not answered"):
        session.execute(Command(("true",)))


def test_a_worker_that_stopped_with_a_full_pipe_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if nobody but the sender is left to notice."""
    link = ProcessLink()
    made = Workers(1, lambda: link)
    member = made.member("grid-1")
    member.call("ping")
    monkeypatch.setattr(workers, "ASK_AFTER", 0.1)
    monkeypatch.setattr(processes, "GRACE", 0.1)
    os.kill(link.process.pid, signal.SIGSTOP)
    failed: list[BaseException] = []

    def call() -> None:
        with pytest.raises(workers.Gone, match="has not answered") as error:
            member.call("write", 1, b"x" * (8 << 20))
        failed.append(error.value)

    callers = [threading.Thread(target=call, daemon=True) for _ in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(20)
    link.process.kill()
    assert len(failed) == 2
    made.close()


def test_a_process_says_what_cannot_be_reached_and_ends_with_its_pipe() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    link = ProcessLink()
    made = Workers(1, lambda: link)
    with using(made):
        assert active() is made
        made.member("grid-1").call("ping")  # it has started
        os.kill(link.process.pid, signal.SIGINT)
        with pytest.raises(Unreachable, match="connection refused"):
            made.connect(Target("grid-1", "127.0.0.1", port=port, user="nobody"))
        assert made.skipped() == []
    assert active() is None
    assert link.process.poll() == 0


def test_a_killed_process_is_told_by_its_signal() -> None:
    link = ProcessLink()
    made = Workers(1, lambda: link)
    made.member("grid-1").call("ping")
    link.process.kill()
    with pytest.raises(Unreachable, match=r"grid-1: connection lost: its worker process ended \(signal 9\)"):
        made.connect(Target("grid-1", "127.0.0.1", port=1))
    made.close()


def test_a_process_that_cannot_read_a_message_ends_at_once() -> None:
    """With its sessions and locks, whatever they wait for."""
    link = ProcessLink()
    made = Workers(1, lambda: link)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        target = Target("grid-1", "127.0.0.1", port=silent.getsockname()[1], user="nobody", connect_timeout=60)
        failed: list[BaseException] = []

        def connect() -> None:
            with pytest.raises(Unreachable, match="its worker process ended") as error:
                made.connect(target)
            failed.append(error.value)

        waiting = threading.Thread(target=connect, daemon=True)
        waiting.start()
        with silent.accept()[0]:
            made.member("grid-1")._outbox.put(b"garbage")
            waiting.join(15)
    made.close()
    assert failed


def test_a_process_does_not_outlive_the_command() -> None:
    """However that ends: nothing is closed here, and no handler runs."""
    code = (
        "import os, signal; from infra.remote.processes import ProcessLink, several; link = ProcessLink();"
        "print(link.process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    process = int(done.stdout)

    eventually(lambda: not alive(process))


def several_workers(number: int) -> tuple[Workers, list[int]]:
    """Workers with a server each, and their processes."""
    links = several(number, ["infra.fleet.observe"])
    made = Workers(number, iter(links).__next__)
    for place in range(number):
        made.member(f"grid-{place + 1}").call("ping")
    eventually(lambda: all(getattr(link, "process", 0) for link in links))
    first, *copies = links
    return made, [first.process.pid, *(copy.process for copy in copies)]  # type: ignore[attr-defined]


def test_several_processes_are_copies_of_one() -> None:
    made, all_ = several_workers(3)
    first, *copies = all_
    assert {int(child) for child in Path(f"/proc/{first}/task/{first}/children").read_text().split()} == {*copies}
    made.close()
    assert not any(Path(f"/proc/{process}").exists() for process in all_)


MANY = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
from infra.remote.processes import several
links = several(60)
print(len(links))
"""


def test_many_processes_raise_the_limit_of_open_files() -> None:
    """Each has a pipe, and many systems begin with 256 files, or 1024."""
    done = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True, timeout=120)
    assert done.stdout == "60\n", done.stderr


@pytest.mark.parametrize("killed", [0, 1, 2])
def test_a_copy_that_is_killed_is_told_by_its_signal(killed: int) -> None:
    """The first one as well, and the others go on."""
    made, all_ = several_workers(3)
    os.kill(all_[killed], signal.SIGKILL)
    for place in range(3):
        name = f"grid-{place + 1}"
        lost = rf"{name}: connection lost: its worker process ended \(signal 9\)"
        with pytest.raises(Unreachable, match=lost if place == killed else "connection refused"):
            made.connect(Target(name, "127.0.0.1", port=1, user="nobody"))
    made.close()
    eventually(lambda: not any(alive(process) for process in all_))


def test_a_copy_whose_parent_was_killed_before_it_ends_all_the_same() -> None:
    made, (first, copy) = several_workers(2)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: not alive(first))
    os.kill(copy, signal.SIGKILL)
    eventually(lambda: not alive(copy))
    with pytest.raises(Unreachable, match=r"grid-2: connection lost: its worker process ended$"):
        made.connect(Target("grid-2", "127.0.0.1", port=1))
    made.close()


@pytest.mark.parametrize(
    ("grace", "killed"), [(0.1, False), (2.0, False), (0.1, True)], ids=["before", "after", "killed"]
)
def test_a_copy_that_hangs_is_killed_in_the_end(monkeypatch: pytest.MonkeyPatch, grace: float, killed: bool) -> None:
    """Also if the first one ended before, or it would keep its locks."""
    made, all_ = several_workers(2)
    monkeypatch.setattr(processes, "GRACE", grace)
    os.kill(all_[1], signal.SIGSTOP)
    if killed:
        os.kill(all_[0], signal.SIGKILL)
        eventually(lambda: not alive(all_[0]))
    try:
        made.close()
        eventually(lambda: not any(alive(process) for process in all_))
    finally:
        with suppress(ProcessLookupError):
            os.kill(all_[1], signal.SIGKILL)


def test_a_copy_is_waited_for_where_children_are_not() -> None:
    """A program that ignores SIGCHLD hands that on to what it starts."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        made, all_ = several_workers(2)
    finally:
        signal.signal(signal.SIGCHLD, before)
    os.kill(all_[1], signal.SIGKILL)
    with pytest.raises(Unreachable, match=r"its worker process ended \(signal 9\)"):
        made.connect(Target("grid-2", "127.0.0.1", port=1))
    made.close()


def test_a_copy_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its servers are lost with the reason, and the others are not."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, errno\n\ndef fork():\n    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))\n\nos.fork = fork\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    links = several(2)
    made = Workers(2, iter(links).__next__)
    made.member("grid-1").call("ping")
    with pytest.raises(Unreachable, match="its worker process cannot start: resource temporarily unavailable"):
        made.connect(Target("grid-2", "127.0.0.1", port=1))
    made.close()


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    assert (default(ENOUGH), default(ENOUGH + 1), default(1000)) == (0, 3, 3)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert default(1000) == 0
    assert ProcessOptions().or_environment() == ProcessOptions()
    monkeypatch.setenv("DYNOCTL_WORKERS", "2")
    assert ProcessOptions().or_environment() == ProcessOptions(2)
    assert ProcessOptions(0).or_environment() == ProcessOptions(0)
    assert ProcessOptions(None, "tcp://x:1").or_environment() == ProcessOptions(None, "tcp://x:1")
    monkeypatch.setenv("DYNOCTL_CONTROLLERS", "tcp://127.0.0.1:8786")
    with pytest.raises(DynoctlError, match="cannot be combined"):
        ProcessOptions().or_environment()
    monkeypatch.setenv("DYNOCTL_WORKERS", "some")
    with pytest.raises(DynoctlError, match="invalid DYNOCTL_WORKERS: 'some'"):
        ProcessOptions().or_environment()
    with pytest.raises(DynoctlError, match="--workers and --controllers cannot be combined"):
        ProcessOptions.of(2, "tcp://x:1")
    with working(ProcessOptions(0), 1000) as connect:
        assert connect is ssh.Session
