"""If ``ssh HOST`` works, dynoctl works: cases of ssh_config and known_hosts, run against sshd by OpenSSH and by dynoctl."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from infra.errors import Unreachable
from infra.model.target import Target
from infra.remote import busy, ssh_config_file
from infra.remote.channel import KEEPALIVE, LOOK
from infra.remote.connect import close, connect
from infra.remote.ssh_config import ConfigError, Question, jump_hosts, resolve
from infra.remote.ssh_settings import Unsupported, settings
from tests.agreement.ssh_cases import BASE, CASES, HOSTS, KEYS, KNOWN, KNOWN_HOSTS, MAIN, SECOND, WAYS, Case, no, yes
from tests.agreement.sshd import DEADLINE, RELAY, Yard, agent, free_port, program, server

AT_ONCE = 8
LIMIT = 60


@dataclass(frozen=True)
class Way:
    """How a client connected: hosts, ports and users of all hops, and the key that the last one accepted."""

    hops: tuple[str, ...]
    key: str


@dataclass(frozen=True)
class Outcome:
    way: Way | None
    """None if it did not connect."""

    said: str


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    yard = Yard(tmp_path_factory.mktemp("ssh"))
    path = yard.path
    for name in ("ed", "agent", "stranger", "member", "named", "expired", "carried", "open", "with space", "ca"):
        yard.key(name)
    yard.keys["space"] = yard.keys["with space"]
    yard.key("locked", phrase="secret")
    yard.key("rsa", "-b", "2048", kind="rsa")
    yard.key("pem", "-b", "2048", "-m", "PEM", kind="rsa")
    yard.key("pkcs8", "-m", "PKCS8", kind="ecdsa")
    yard.key("ecdsa", kind="ecdsa")
    for number in range(4):
        yard.key(f"many{number}")
    (path / "main").mkdir()
    yard.key("token")
    for host in ("host_ed", "host_second", "host_cert", "host_expired", "host_early", "host_user", "host_open"):
        yard.key(host)
    yard.key("host_rsa", "-b", "2048", kind="rsa")
    yard.key("host_ecdsa", kind="ecdsa")
    shutil.move(path / "token", path / yard.fill("main/<me>-key"))
    (path / "open").chmod(0o644)
    trusted = ("ed", "rsa", "ecdsa", "pem", "pkcs8", "token", "with space", "locked", "agent", "open")
    (path / "authorized").write_text("".join(f"{yard.keys[name]}\n" for name in trusted))
    yard.certify("ca", "member", "-n", yard.fill("<me>"))
    yard.certify("ca", "named", "-n", yard.fill("<me>"))
    shutil.move(path / "named-cert.pub", path / "named.cert")
    yard.certify("ca", "expired", "-n", yard.fill("<me>"), "-V", "20200101:20200102")
    yard.certify("ca", "carried", "-n", yard.fill("<me>"))
    yard.certify("ca", "host_cert", "-h", "-n", "127.0.0.1,alias.example")
    yard.certify("ca", "host_expired", "-h", "-V", "20200101:20200102", "-n", "127.0.0.1")
    yard.certify("ca", "host_early", "-h", "-V", "20990101:20990102", "-n", "127.0.0.1")
    yard.certify("ca", "host_user", "-n", "127.0.0.1")
    yard.certify("ca", "host_open", "-h")
    (path / "relay.py").write_text(RELAY)
    with ExitStack() as stack:
        ca = "TrustedUserCAKeys <dir>/ca.pub"
        stack.enter_context(server(yard, "main", ("host_ed", "host_rsa", "host_ecdsa"), ca))
        stack.enter_context(server(yard, "second", ("host_second",)))
        stack.enter_context(server(yard, "tries", ("host_second",), "MaxAuthTries 2"))
        for name, key in (
            ("certified", "cert"),
            ("expired", "expired"),
            ("early", "early"),
            ("user", "user"),
            ("open", "open"),
        ):
            stack.enter_context(server(yard, name, (f"host_{key}",), f"HostCertificate <dir>/host_{key}-cert.pub"))
        stack.enter_context(agent(yard, "one", "agent"))
        stack.enter_context(agent(yard, "all", "agent", "locked"))
        stack.enter_context(agent(yard, "many", *(f"many{number}" for number in range(4))))
        stack.enter_context(agent(yard, "certificate", "carried"))
        (path / "destinations").write_text(yard.fill("main-host <key_host_ed>\nother-host <key_stranger>\n"))
        for name, host in (("bound", "main-host"), ("elsewhere", "other-host")):
            options = ("-H", str(path / "destinations"), "-h", host)
            stack.enter_context(agent(yard, name, "agent", options=options))
        (path / "agent").unlink()
        for name, text in (
            ("included", "Host main\n  HostName 127.0.0.1\n  Port <port_main>\n"),
            ("part", "HostName 127.0.0.1\nPort <port_main>\n"),
            ("known in space", "[127.0.0.1]:<port_main> <key_host_ed>\n"),
            ("known.good", "[127.0.0.1]:<port_main> <key_host_ed>\n"),
            ("known.main", "[127.0.0.1]:<port_main> <key_host_ed>\n"),
            ("known.revoked", "@revoked * <key_host_ed>\n"),
            ("empty", ""),
        ):
            (path / name).write_text(yard.fill(text))
        yield yard


@pytest.fixture(autouse=True)
def surroundings(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the cases find in the environment."""
    monkeypatch.setenv("SSH_AUTH_SOCK", yard.agents["one"])
    monkeypatch.setenv("AGREEMENT_AGENT", yard.agents["one"])
    monkeypatch.setenv("AGREEMENT_DIR", str(yard.path))
    monkeypatch.setattr("sys.stdin", io.StringIO())  # no terminal to ask on


def written(yard: Yard, case: Case) -> Path:
    """Write the files of a case; return its ssh_config."""
    name = re.sub(r"\W+", "-", case.name)
    base = BASE if "IdentityAgent" in case.config else BASE + "  IdentityAgent none\n"
    config = yard.path / f"{name}.config"
    config.write_text(yard.fill(case.config + base).replace("<case>", name))
    known = re.sub(
        r"<hashed (.*)>", lambda match: yard.hashed(match[1], yard.keys["host_ed"]), yard.fill(case.known)
    ).replace("<data_host_ed>", yard.keys["host_ed"].split()[1])
    (yard.path / f"{name}.known").write_bytes(known.encode("utf-8", "surrogateescape"))
    return config


def openssh(yard: Yard, case: Case, config: Path) -> Outcome:
    argv = [program("ssh", "openssh-client"), "-v", "-F", str(config), "-o", "BatchMode=yes"]
    argv += ["-l", yard.fill(case.user)] if case.user else []
    argv += ["-p", yard.fill(case.port)] if case.port else []
    process = subprocess.Popen(
        [*argv, "--", case.host, "true"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        said = process.communicate(timeout=LIMIT)[1].decode(errors="replace")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return Outcome(None, f"no end after {LIMIT} s: {process.communicate()[1].decode(errors='replace')}")
    if process.returncode != 0:
        return Outcome(None, said)
    hops = re.findall(r"debug1: Authenticating to (\S+) as '(.*)'", said)
    key = re.findall(r"debug1: Server accepts key: .* (SHA256:\S+)", said)
    return Outcome(Way(tuple(f"{user}@{at}" for at, user in hops), key[-1]), said)


def dynoctl(yard: Yard, case: Case, config: Path) -> Outcome:
    port = int(yard.fill(case.port)) if case.port else None
    try:
        connection = connect(Target("grid-1", case.host, yard.fill(case.user) if case.user else None, port), config)
    except Unreachable as error:
        return Outcome(None, f"{error.summary}\nhint: {error.hint}")
    login = connection.connect_kwargs["auth_strategy"]
    hops: list[str] = []
    gateway: Any = connection
    while gateway is not None:
        hops.insert(0, f"{gateway.user}@{gateway.host}:{gateway.port}")
        gateway = gateway.gateway
    close(connection)
    key = re.findall(r"SHA256:[^)]+", login.offered[-1])
    return Outcome(Way(tuple(hops), key[-1]), "")


def disagreement(yard: Yard, case: Case) -> str:
    """What is wrong in a case; "" if both do what they must."""
    config = written(yard, case)
    theirs, ours = openssh(yard, case, config), dynoctl(yard, case, config)
    wrong = []
    if (theirs.way is not None) != case.connects:
        wrong.append("OpenSSH does not do what the case says")
    if ours.way != theirs.way:
        wrong.append(f"dynoctl: {ours.way}, OpenSSH: {theirs.way}")
    if ours.way is not None and (ours.way.key != yard.fingerprint(case.key) or len(ours.way.hops) != case.jumps + 1):
        wrong.append("another key or way than the case says")
    if ours.way is None and not re.fullmatch(r"cannot connect to grid-1 \((?s:.*)\nhint: .+", ours.said):
        wrong.append("an error without its cause or cure")
    return f"{case.name}: {'; '.join(wrong)}\n{ours.said}\nOpenSSH says:\n{theirs.said}" if wrong else ""


@pytest.mark.parametrize(
    "cases", [HOSTS, KEYS, WAYS, KNOWN_HOSTS], ids=["hosts", "keys", "jumps and commands", "known_hosts"]
)
def test_both_agree(cases: tuple[Case, ...], yard: Yard) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:  # most of the time is spent in waiting
        wrong = [text for text in pool.map(lambda case: disagreement(yard, case), cases) if text]
    assert not wrong, "\n\n".join(wrong)


def test_the_reading_without_openssh_agrees_or_refuses(yard: Yard) -> None:
    """It may not understand a file, which is an error with its line. It never reads anything else than OpenSSH."""
    understood = 0
    for case in CASES:
        config = written(yard, case)
        user, port = yard.fill(case.user) if case.user else None, int(yard.fill(case.port)) if case.port else None
        try:
            raw = ssh_config_file.read([config], case.host, user, port, None)
            ours = settings(case.host, raw)
            theirs = resolve(Question(case.host, user, port, None, config))
        except (ssh_config_file.NotUnderstood, Unsupported):
            continue
        except ConfigError:  # what OpenSSH says against a circle of jumps, which we find later
            assert not case.connects
            continue
        understood += 1
        for name in (field.name for field in fields(ours)):
            lists = ("key_algorithms", "host_key_algorithms", "ca_algorithms")
            if name in lists and not getattr(ours, name):
                continue  # no choice means all
            if name == "identity_files" and "identityfile" not in raw:
                continue  # OpenSSH lists types of keys that it no longer has
            if name == "proxy_jump":
                assert jump_hosts(ours.proxy_jump) == jump_hosts(theirs.proxy_jump), case.name
            else:
                assert getattr(ours, name) == getattr(theirs, name), (case.name, name)
    assert understood > len(CASES) / 2


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (MAIN + "  ProxyJump 127.0.0.1:1\n", "the gateway 127.0.0.1:1: connection refused"),
        (MAIN + "  ProxyJump nobody@127.0.0.1:<port_second>\n  User <me>\n", "authentication failed for user nobody"),
        ("Host main\n  HostName 127.0.0.1\n  Port 1\n  ProxyJump second\n" + SECOND, "through the gateway 127.0.0.1:"),
        (MAIN + "  ProxyCommand sh -c 'echo why >&2; exit 3'\n", "why (exit status 3)"),
        (MAIN + "  IdentityFile <dir>/open\n  IdentityFile <dir>/locked\n  User nobody\n", "chmod 600"),
        (MAIN + "  IdentityFile <dir>/stranger\n  User nobody\n", "stranger (SHA256:"),
        (SECOND.replace("Host second", "Host main") + "  HostKeyAlgorithms rsa-sha2-512\n", "no acceptable host key"),
        ("Host main\n  HostName 127.0.0.1\n  Port <port_tries>\n  IdentityAgent <agent_many>\n", "IdentitiesOnly yes"),
    ],
)
def test_errors_name_what_failed(config: str, said: str, yard: Yard) -> None:
    outcome = dynoctl(yard, case := no(f"error {said}", config), written(yard, case))
    assert said in outcome.said


@pytest.mark.parametrize(
    ("line", "cure"),
    [
        ("KexAlgorithms sntrup761x25519-sha512@openssh.com", "one of these in KexAlgorithms of sshd_config"),
        ("Ciphers chacha20-poly1305@openssh.com", "one of these in Ciphers of sshd_config on the server: aes128-ctr"),
        (
            "Ciphers aes128-ctr\nMACs umac-64@openssh.com",
            "one of these in MACs of sshd_config on the server: hmac-sha2",
        ),
    ],
)
def test_a_server_without_a_common_algorithm_comes_with_its_cure(line: str, cure: str, yard: Yard) -> None:
    with server(yard, "narrow", ("host_ed",), line):
        case = no(f"narrow {line.split()[-1][:4]}", MAIN.replace("port_main", "port_narrow"))
        assert cure in dynoctl(yard, case, written(yard, case)).said


def test_servers_behind_a_gateway_share_one_login(yard: Yard) -> None:
    """With a login for each, this gateway would drop all but one of those that are under way at once."""
    with server(yard, "gate", ("host_ed",), "MaxStartups 1:100:1", "MaxSessions 0", "LogLevel VERBOSE"):
        gate = "Host gate\n  HostName 127.0.0.1\n  Port <port_gate>\n"
        case = yes("gate", MAIN + "  ProxyJump gate\n" + gate, KNOWN + "[127.0.0.1]:<port_gate> <key_host_ed>\n")
        config = written(yard, case)
        with ThreadPoolExecutor(64) as pool:
            targets = [Target(f"grid-{number}", "main") for number in range(64)]
            connections = list(pool.map(lambda target: connect(target, config), targets))
        assert len({id(connection.gateway) for connection in connections}) == 1
        for connection in connections[1:]:
            close(connection)
        transport = connections[0].transport
        assert transport.open_session(timeout=DEADLINE).active, "the others leave the gateway to those that need it"
        gateway = connections[0].gateway
        close(connections[0])
        assert not gateway.transport.is_active()
        assert (yard.path / "gate.log").read_text().count("Accepted publickey") == 1


def test_an_open_connection_rests_and_ends_at_once(yard: Yard) -> None:
    case = yes("resting", MAIN)
    connection = connect(Target("grid-1", "main"), written(yard, case))
    transport = connection.transport
    assert transport.sock.gettimeout() == LOOK < KEEPALIVE
    assert "gcm" in transport.remote_cipher and "gcm" in transport.local_cipher
    close(connection)
    transport.join(LOOK / 2)
    assert not transport.is_alive(), "its thread waits for the end of its timeout"


def test_a_gateway_that_is_down_fails_for_all_at_once(yard: Yard) -> None:
    case = no("no gate", MAIN + "  ProxyJump 127.0.0.1:1\n", "")
    config = written(yard, case)
    began = time.monotonic()

    def refused(number: int) -> str:
        with pytest.raises(Unreachable) as caught:
            connect(Target(f"grid-{number}", "main", connect_timeout=3), config)
        return caught.value.summary

    with ThreadPoolExecutor(16) as pool:
        said = list(pool.map(refused, range(16)))
    assert [text.count("the gateway 127.0.0.1:1: connection refused") for text in said] == [1] * 16
    assert said[7].startswith("cannot connect to grid-7 (127.0.0.1:")
    assert time.monotonic() - began < 16 * 3


def test_a_gateway_that_starts_again_is_waited_for(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    port = yard.ports["late"] = free_port()
    text = f"Host late\n  HostName 127.0.0.1\n  Port {port}\n" + MAIN + "  ProxyJump late\n"
    config = written(yard, yes("late", text, KNOWN + f"[127.0.0.1]:{port} <key_host_ed>\n"))
    refused = threading.Event()

    def jitter(least: float, most: float) -> float:
        refused.set()
        return most

    monkeypatch.setattr(busy.random, "uniform", jitter)
    with ThreadPoolExecutor(1) as pool:
        connecting = pool.submit(connect, Target("grid-1", "main", connect_timeout=60), config)
        assert refused.wait(DEADLINE)
        with server(yard, "late", ("host_ed",), port=port):
            close(connecting.result())


@pytest.mark.parametrize("lines", ["StrictHostKeyChecking no", "StrictHostKeyChecking accept-new"])
def test_no_setting_makes_an_unknown_host_trusted(lines: str, yard: Yard) -> None:
    case = no(f"unknown with {lines}", f"{MAIN}  {lines}\n", "")
    config = written(yard, case)
    known = config.with_suffix(".known")
    assert dynoctl(yard, case, config).said.startswith("cannot connect to grid-1 (127.0.0.1:")
    assert known.read_text() == "", "nothing is ever added"
    assert openssh(yard, case, config).way is not None, "OpenSSH would have added it"


def test_the_key_of_this_machine_is_checked_as_well(yard: Yard) -> None:
    case = no("localhost", f"{MAIN}  NoHostAuthenticationForLocalhost yes\n", "")
    said = dynoctl(yard, case, written(yard, case)).said
    assert "unknown host key" in said and "NoHostAuthenticationForLocalhost yes of ssh_config is not used" in said


@pytest.mark.parametrize(
    "way", ["", "  ProxyCommand <relay> %h %p\n", "  HostKeyAlias alias\n", "  ProxyJump second\n"]
)
def test_the_command_that_an_unknown_host_comes_with_adds_it(way: str, yard: Yard) -> None:
    case = yes(f"cure {way.split()[0] if way else 'direct'}", MAIN + way + SECOND, KNOWN.split("\n", 1)[1])
    config = written(yard, case)
    outcome = dynoctl(yard, case, config)
    assert "unknown host key" in outcome.said and yard.fingerprint("host_ed") in outcome.said
    subprocess.run(["/bin/sh", "-c", outcome.said.rpartition(": ")[2]], check=True, capture_output=True)
    assert dynoctl(yard, case, config).way == openssh(yard, case, config).way
    assert openssh(yard, case, config).way is not None


def test_a_command_ends_with_its_connection(yard: Yard) -> None:
    config = written(yard, yes("a relay", f"{MAIN}  ProxyCommand <relay> %h %p\n"))
    connection = connect(Target("grid-1", "main"), config)
    process = connection.connect_kwargs["sock"].process
    assert process.poll() is None
    close(connection)
    process.wait(LIMIT)


def test_a_command_that_never_answers(yard: Yard) -> None:
    config = written(yard, no("a silent relay", f"{MAIN}  ProxyCommand sleep 600\n"))
    with pytest.raises(Unreachable) as caught:
        connect(Target("grid-1", "main", connect_timeout=1), config)
    assert "ProxyCommand of ssh_config" in caught.value.summary and not caught.value.silent


def test_every_setting_of_openssh_is_in_the_reference() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/ssh-config.md").read_text()
    printed = subprocess.run(
        [program("ssh", "openssh-client"), "-F", "none", "-G", "host"], capture_output=True, text=True, check=True
    ).stdout
    settings_of_openssh = {line.split()[0].lower() for line in printed.splitlines()}
    assert len(settings_of_openssh) > 50
    assert settings_of_openssh <= set(re.findall(r"\w+", page.lower()))


def test_the_names_of_cases_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 60
