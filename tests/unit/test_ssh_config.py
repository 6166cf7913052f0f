"""What ssh_config says: when OpenSSH is asked, what is refused, and the reading for machines without OpenSSH."""

from __future__ import annotations

import errno
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.model.target import Target
from infra.remote import ssh_config, ssh_config_file, ssh_settings
from infra.remote.ssh_config import ConfigError, route
from infra.remote.ssh_config_file import NotUnderstood
from infra.remote.ssh_settings import Unsupported, expander, settings, split_files


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def file(text: str) -> Path:
        path = tmp_path / f"config{len(list(tmp_path.iterdir()))}"
        path.write_text(text)
        return path

    return file


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """The command lines of an ``ssh`` that says that it is asked for HostName ``there``."""
    asked: list[list[str]] = []
    real = subprocess.Popen

    def popen(argv: list[str], **options: Any) -> Any:
        asked.append(argv)
        return real(["/bin/sh", "-c", "echo host x; echo hostname there; echo port 22"], **options)

    monkeypatch.setattr(ssh_config.subprocess, "Popen", popen)
    monkeypatch.setattr(ssh_config.programs, "find", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(ssh_config, "home", lambda: tmp_path)
    monkeypatch.setattr(ssh_config, "SYSTEM_CONFIG", tmp_path / "missing")
    return asked


def test_openssh_is_not_asked_without_ssh_config(client: list[list[str]], tmp_path: Path) -> None:
    assert route(Target("grid-1", "here.example"))[0].host == "here.example"
    assert client == []


def test_a_file_that_may_not_be_read_is_an_error(
    client: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSH passes over it, and so would connect to another host than the user wrote."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/config").write_text("HostName elsewhere.example\n")
    with monkeypatch.context() as patch:
        patch.setattr(ssh_config.os, "access", lambda path, mode: False)
        with pytest.raises(ConfigError, match=r"/\.ssh/config cannot be read: permission denied") as error:
            route(Target("grid-1", "unread.example"))
    assert error.value.hint.startswith("make ") and client == []
    assert route(Target("grid-1", "unread.example"))[0].host == "there", "it is read once it can be"


def test_a_directory_that_may_not_be_searched_has_no_file(
    client: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "is_file", denied)
    assert route(Target("grid-1", "unsearched.example"))[0].host == "unsearched.example"
    assert client == []


def test_openssh_is_asked_once_for_equal_targets(client: list[list[str]], tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/config").write_text("")
    for name in ("grid-1", "grid-2"):
        assert route(Target(name, "same.example", "deploy", 2222))[0].host == "there"
    assert client == [["/usr/bin/ssh", "-v", "-G", "-p", "2222", "-l", "deploy", "--", "same.example"]]


@pytest.mark.parametrize("host", ["-oProxyCommand=true", "", "a b", "a\nb", "$(id)", "a;b", "a`b`", "a'b"])
def test_a_host_is_never_an_option(host: str, client: list[list[str]]) -> None:
    with pytest.raises(ConfigError, match="invalid host name"):
        route(Target("grid-1", host))
    assert client == []


def test_what_openssh_says_against_a_file_is_the_error(write: Callable[[str], Path]) -> None:
    file = write("Host *\n  Colour blue\n")
    with pytest.raises(ConfigError) as caught:
        route(Target("grid-1", "a.example"), file)
    assert caught.value.summary == f"ssh_config: {file}: line 2: Bad configuration option: colour"


def test_a_command_of_match_exec_that_waits(write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh_config, "LIMIT", 0.5)
    with pytest.raises(ConfigError, match=r"timed out after 0\.5 s"):
        route(Target("grid-1", "a.example"), write('Match exec "sleep 60"\n  Port 1\n'))


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("KnownHostsCommand /bin/echo", "KnownHostsCommand"),
        ("ProxyCommand x\n  ProxyUseFdpass yes", "ProxyUseFdpass"),
        ("BindInterface lo", "BindInterface"),
        ("IdentityFile ${DYNOCTL_NOT_SET}/id", "${DYNOCTL_NOT_SET}"),
    ],
)
def test_what_decides_trust_and_is_not_supported_is_refused_by_name(
    line: str, named: str, write: Callable[[str], Path]
) -> None:
    with pytest.raises(ConfigError) as caught:
        route(Target("grid-1", "a.example"), write(f"Host *\n  {line}\n"))
    assert named in caught.value.summary
    assert route(Target("grid-1", "a.example"), write(f"Host b.example\n  {line}\n"))


def test_jumps_in_a_circle(write: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigError, match="circle: a -> b -> a"):
        route(Target("grid-1", "a"), write("Host a\n  ProxyJump b\nHost b\n  ProxyJump a\n"))


def test_the_manifest_decides_for_the_hosts_that_it_names(write: Callable[[str], Path]) -> None:
    file = write("Host *\n  IdentityFile /own\n  User me\nHost gate\n  ProxyJump first\n")
    target = Target("grid-1", "a", "root", 22, Path("/key"), Path("/known"), "deploy@gate:2200")
    first, gate, server = route(target, file)
    assert (first.host, first.user, first.identity_files) == ("first", "me", (Path("/own"),))
    assert (gate.host, gate.user, gate.port) == ("gate", "deploy", 2200)
    for hop in (gate, server):
        assert hop.identity_files == (Path("/key"),) and hop.identities_only
        assert hop.known_hosts == (Path("/known"),)


@pytest.mark.parametrize(
    ("text", "jump"),
    [
        ("h", (None, "h", None)),
        ("u@h:22", ("u", "h", 22)),
        ("ssh://u@h:22/", ("u", "h", 22)),
        ("[::1]:22", (None, "::1", 22)),
        ("u@[::1]", ("u", "::1", None)),
        ("::1", (None, "::1", None)),
    ],
)
def test_the_forms_of_a_jump_host(text: str, jump: tuple[str | None, str, int | None]) -> None:
    assert ssh_config._jump(text) == jump


def test_names_of_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PLACE", "/place")
    expand = expander("alias", "host.example", 2222, "deploy")
    home = ssh_settings.home()
    assert expand("~/.ssh/%h-%p-%r-%n-%k%%") == home / ".ssh/host.example-2222-deploy-alias-alias%"
    assert expand("~root/x") == Path("/root/x")
    assert expand("${PLACE}/%i") == Path(f"/place/{os.getuid()}")
    for text in ("%Z", "${NOT_SET_AT_ALL}", "~no-such-user-here/x"):
        with pytest.raises(Unsupported):
            expand(text)
    (tmp_path / "a b").write_text("")
    assert split_files(f"/x {tmp_path}/a b /y") == ["/x", f"{tmp_path}/a b", "/y"]


def test_settings_that_give_more_keys_are_named() -> None:
    found = settings("h", {"verifyhostkeydns": ["true"], "pkcs11provider": ["/x.so"], "hostname": ["h"]})
    assert found.not_used == ("VerifyHostKeyDNS true", "PKCS11Provider /x.so")


def test_a_machine_without_openssh_reads_the_simple_files(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_config, "_client", lambda path: None)
    file = write('Host a*\n  HostName %h.example\n  Port 2200\n  IdentityFile "~/a key"\nHost *\n  Port 1\n  User me\n')
    hop = route(Target("grid-1", "abc"), file)[0]
    assert (hop.host, hop.port, hop.user) == ("abc.example", 2200, "me")
    assert hop.identity_files == (ssh_settings.home() / "a key",)
    bad = write("Host a\n  Port 22\n\nMatch exec true\n  Port 1\n")
    with pytest.raises(ConfigError) as caught:
        route(Target("grid-1", "a"), bad)
    assert caught.value.summary.startswith(f"{bad}:4: Match exec true: this needs the ssh program")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Colour blue", 1),
        ("Host a\n  Port x", 2),
        ("Host a\n  Port", 2),
        ('Host a\n  User "x', 2),
        ("Host a\n  User a b", 2),
        ("# x\nMatch host a", 2),
        ("HostKeyAlgorithms +ssh-rsa", 1),
        ("Include ~other/x", 1),
        ("CanonicalizeHostname yes", 1),
        ("???", 1),
    ],
)
def test_what_is_not_understood_names_its_line(text: str, line: int, write: Callable[[str], Path]) -> None:
    file = write(text + "\n")
    with pytest.raises(NotUnderstood) as caught:
        ssh_config_file.read([file], "a", None, None, None)
    assert str(caught.value).startswith(f"{file}:{line}: ")


def test_every_setting_is_in_the_reference() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/ssh-config.md").read_text().partition("## known_hosts")[0]
    listed = {
        word
        for line in page.splitlines()
        if line.startswith("| ")
        for word in re.findall(r"\w+", line.lower().split("|")[1])
    }
    known = ssh_config_file.IGNORED | ssh_config_file.USED | ssh_settings.REFUSED.keys()
    assert known <= listed
