"""One answer of OpenSSH for many hosts is the answer that it gives for each of them: on generated ssh_config files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from infra.remote.ssh_config import ConfigError, Question, asked
from infra.remote.ssh_config_file import USED
from infra.remote.ssh_config_groups import Answer, Groups
from tests.agreement.sshd import program
from tests.agreement.tools import GENERATED

HOSTS = (
    *("web1", "web2", "web3", "web10", "db", "db2", "gate", "a.example", "b.example", "Web4", "web-5", "x"),
    *("10.0.0.1", "10.0.0.2", "10.0.0.12", "127.1", "2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0::4"),
)
PATTERNS = ("*", "web*", "web?", "!web1", "!web*", "db", "web1", "web2", "10.0.0.*", "!10.0.0.1", "2001:*", "*.example")
HEADS = (
    *("Match all", "Match final all", "Match final", "Match canonical", "Match user me", "Match !user me"),
    *(
        "Match localuser root",
        "Match host web*",
        "Match host !web2,*",
        "Match originalhost web1,10.0.0.2",
        "Match all all",
    ),
    *('Match exec "test %h = web2"', 'Match exec "test %n != web3"', "Match final host web3", "Match user me host db2"),
    *(
        'Host "web1"',
        "Host=web2",
        "HOST web3",
        "Host web1 # and another",
        "Host WEB1 Web4",
        "  Host\tdb  db2 ",
        "Host 'x'",
    ),
)
LINES = (
    *("Port 1", "Port 2", "User me", "User you", "HostName %h", "HostName %h.example", "HostName 192.0.2.1"),
    *("HostName web1", "HostName %%%h", "HostName 10.1.0.%h", "HostName 0%h", "HostName WEB-%h", "HostName %h%h"),
    *("HostName=db", 'HostName "%h.quoted"', "IdentityFile /k/%h", "IdentityFile /k/%r", "CertificateFile /k/%n"),
    *("UserKnownHostsFile /k/%h", "UserKnownHostsFile /k/one", "GlobalKnownHostsFile /k/%n", "HostKeyAlias alias"),
    *(
        "ProxyJump gate",
        "ProxyJump web1",
        "ProxyJump me@web1:1",
        "ProxyJump %h",
        "ProxyJump none",
        "ProxyCommand nc %h %p",
    ),
    *("IdentityAgent /run/%h", "IdentityAgent none", "ControlPath /tmp/%C", "RemoteCommand echo %h", "BindAddress ::1"),
    *("AddressFamily inet", "AddressFamily inet6", "RevokedHostKeys /k/%h", "PubkeyAcceptedAlgorithms ssh-ed25519"),
    *("IdentitiesOnly yes", "ConnectTimeout 3", "Include part", "Include part*", "Include missing", 'Include "part"'),
    *("CanonicalizeHostname no", "LogLevel QUIET", "# Host web1", "Tag web", "IgnoreUnknown Tag,X*"),
)

heads = st.one_of(
    st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3).map(lambda words: f"Host {' '.join(words)}"),
    st.lists(st.sampled_from(HOSTS), min_size=1, max_size=4).map(lambda words: f"Host {' '.join(words)}"),
    st.sampled_from(HEADS),
)
blocks = st.tuples(heads, st.lists(st.sampled_from(LINES), max_size=3))
files = st.tuples(st.lists(st.sampled_from(LINES), max_size=1), st.lists(blocks, max_size=5))


def used(raw: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    return {key: list(values) for key, values in raw.items() if key in USED}


def outcome(ask: Callable[[], Mapping[str, Sequence[str]]]) -> dict[str, list[str]] | str:
    """The settings of a host, or OpenSSH's error."""
    try:
        return used(ask())
    except ConfigError as error:
        return error.summary


@examples(GENERATED, max_examples=40)
@given(parts=files, included=files, hosts=st.permutations(HOSTS), user=st.sampled_from((None, "me")))
def test_a_shared_answer_is_that_of_each_host(
    parts: tuple[list[str], list[tuple[str, list[str]]]],
    included: tuple[list[str], list[tuple[str, list[str]]]],
    hosts: list[str],
    user: str | None,
) -> None:
    client = program("ssh", "openssh-client")
    with TemporaryDirectory() as directory:
        path = Path(directory)
        config = path / "config"
        config.write_text(text(parts, path))
        (path / "part").write_text(text(included, path).replace("Include", "# Include"))
        direct: dict[str, Answer | ConfigError] = {}

        def ask(host: str) -> None:
            try:
                direct[host] = asked(client, Question(host, user, config=config))
            except ConfigError as error:
                direct[host] = error

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(ask, hosts))

        def answer(host: str) -> Answer:
            found = direct[host]
            if isinstance(found, ConfigError):
                raise found
            return found

        groups = Groups()
        for host in hosts:
            shared = outcome(lambda host=host: groups.answer(host, user, [config], lambda: answer(host)))
            assert shared == outcome(lambda host=host: answer(host).raw), (host, config.read_text())


def text(parts: tuple[list[str], list[tuple[str, list[str]]]], path: Path) -> str:
    """A file of ssh_config: lines for all hosts, and blocks."""
    first, rest = parts
    lines = [*first, *(line for head, below in rest for line in (head, *below))]
    return "".join(f"{line}\n" for line in lines).replace("Include ", f"Include {path}/")


FLEET = [*(f"web{number}" for number in range(10)), *(f"10.0.0.{number}" for number in range(1, 11))]


@pytest.mark.parametrize(
    ("config", "asks"),
    [
        ("", 4),  # two names and two addresses
        ("Host *\n  User me\n  ControlPath ~/%r@%h:%p\n  ProxyCommand nc %h %p\n", 4),
        ("Host web*\n  HostName %h.example\n  IdentityFile ~/.ssh/%h\nHost 10.0.0.?\n  Port 2\n", 5),
        ("Host gate\n  User me\nHost web1 web2\n  Port 2\nMatch final all\n  User you\nMatch user me\n  Port 3\n", 6),
        ("Host *\n  ProxyJump gate\n", 4),
        ("Host *\n  ProxyJump web7\n", 5),  # OpenSSH refuses a jump over the host itself
        ("Host *\n  UserKnownHostsFile ~/.ssh/known/%h\n", 20),
        ("Match host web*\n  Port 2\n", 20),
        ('Match exec "test %h = web7"\n  Port 2\n', 20),
        ("CanonicalizeHostname none\n", 20),
        ("Host web*\n  HostName %h.example\nMatch final all\n  User me\nHost web3.example\n  Port 2\n", 12),
        ("Host web*\n  HostName 0%h\n", 4),
    ],
)
def test_openssh_is_asked_for_two_hosts_of_each_group(config: str, asks: int, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(config)
    client, groups, count = program("ssh", "openssh-client"), Groups(), 0

    def ask(host: str) -> Answer:
        return asked(client, Question(host, config=tmp_path / "config"))

    with ThreadPoolExecutor(4) as pool:
        direct = dict(zip(FLEET, pool.map(lambda host: outcome(lambda: ask(host).raw), FLEET), strict=True))

    def counted(host: str) -> Answer:
        nonlocal count
        count += 1
        return ask(host)

    for host in FLEET:
        shared = outcome(lambda host=host: groups.answer(host, None, [tmp_path / "config"], lambda: counted(host)))
        assert shared == direct[host], host
    assert count == asks


def test_files_that_openssh_reads_from_elsewhere_are_no_secret(tmp_path: Path) -> None:
    """A client may be built with another /etc/ssh, whose blocks nobody here has seen."""
    for name in ("config", "elsewhere"):
        (tmp_path / name).write_text("")
    (tmp_path / "elsewhere").write_text("Host web7\n  Port 2\n")
    client, groups = program("ssh", "openssh-client"), Groups()

    def port(host: str) -> Sequence[str]:
        question = Question(host, config=tmp_path / "elsewhere")
        return groups.answer(host, None, [tmp_path / "config"], lambda: asked(client, question))["port"]

    assert [port(host) for host in FLEET[:10]] == [["22"]] * 7 + [["2"]] + [["22"]] * 2
