"""The sandbox of everything that runs for an app: one definition, and what differs by process type."""

from __future__ import annotations

import base64
import shlex
import subprocess
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from infra.errors import DynoctlError
from infra.manifest.model import Schedule
from infra.model import sandbox
from infra.model.run_request import Base, RunRequest
from infra.model.sandbox import HELPER, SANDBOX, network
from infra.ops import one_off as ops
from infra.remote import quote
from providers import candidate, dyno_unit, ini, one_off, release_command, run, schedule
from providers.dyno_unit import DynoUnit
from providers.routers import KINDS, assembly

DYNO = DynoUnit("shop", "web.1", ("x",), {}, "cafe" * 16, cpu=250, memory=1 << 29, listen="10.0.0.1", port=5000)
JOB = Schedule("nightly", "x", ("*-*-* 03:00:00",), "daily", concurrency="queue")

ADDED = ("InaccessiblePaths", "TemporaryFileSystem", "BindReadOnlyPaths")


def units() -> dict[str, dict[str, str]]:
    """A unit of each kind that runs something of the app."""
    job: Any = schedule.attributes(replace(DYNO, dyno="nightly.1", port=0), JOB)
    return {
        "web": dyno_unit.service(DYNO),
        "worker": dyno_unit.service(replace(DYNO, dyno="worker.1", port=0)),
        "ready": dyno_unit.ready(DYNO),
        "candidate": candidate.settings(DYNO, "1"),
        "release": release_command.settings(DYNO, "1"),
        "schedule": job["unit"],
        "due": job["due"],
        "ended": one_off.ended("dynoctl-release-shop.1", "/var/lib/dynoctl/shop/ended"),
    }


@pytest.mark.parametrize("kind", units())
def test_every_unit_is_in_the_sandbox(kind: str) -> None:
    wanted = HELPER if kind in ("due", "ended") else SANDBOX
    unit = units()[kind]
    for key, value in wanted.items():
        found = unit[f"Service.{key}"]
        assert set(value.split("\n")) <= set(found.split("\n")) if key in ADDED else found == value, key


def test_the_routers_differ_where_they_must() -> None:
    for kind in KINDS.values():
        unit = ini.parse(assembly.unit(kind))
        differing = {key for key, value in SANDBOX.items() if unit[f"Service.{key}"] != value}
        less = {"CapabilityBoundingSet", "AmbientCapabilities", "PrivateUsers", "SystemCallFilter"}
        assert differing == less | {"BindReadOnlyPaths"}


def test_a_build_has_what_systemd_run_knows() -> None:
    script = quote.building(("true",), {}, "", 10, "ready")
    for key, value in sandbox.BUILD.items():
        for part in value.split("\n"):
            assert shlex.quote(f"{key}={part}") in script
    assert """[ "${systemd:-0}" -lt 248 ] || set -- "$@" -p PrivateIPC=yes""" in script


def one_off_dyno(systemd: str, *words: str) -> tuple[list[str], str]:
    base = Base("web.1", "cafe" * 16, True, {"unit": ini.render(dyno_unit.service(DYNO)), "systemd": systemd})
    request = RunRequest(words, "pipe", {"A": "b"})
    return list(run.Runs().argv("shop", base, request)), run.Runs().environment(request)


def test_the_locale_of_the_server_reaches_nothing_of_an_app() -> None:
    """Only what the app sets counts: in a dyno, in a one-off dyno, and in a build."""
    unit = dyno_unit.service(replace(DYNO, config_vars=("LC_ALL", "A")))
    left_out = unit["Service.UnsetEnvironment"].split()
    assert left_out == [name for name in sandbox.LOCALE if name != "LC_ALL"]
    base = Base("web.1", "cafe" * 16, True, {"unit": ini.render(unit), "systemd": "252"})
    argv = run.Runs().argv("shop", base, RunRequest(("true",), "pipe", {"LC_TIME": "C"}))
    assert f"UnsetEnvironment={' '.join(name for name in left_out if name != 'LC_TIME')}" in argv
    script = quote.building(("true",), {"LANGUAGE": "de"}, "", 10, "ready")
    assert f"UnsetEnvironment={' '.join(name for name in sandbox.LOCALE if name != 'LANGUAGE')}" in script


def test_no_value_of_a_build_takes_the_place_of_another() -> None:
    """It would be outside its quotes, in the shell of root."""
    words = "SETTINGS LAUNCHED LARGEST LEAST VARIABLES COMMANDS"
    script = quote.building((f"make '{words}'",), {"MY_COMMANDS": "x", "KEY": f"a {words} b"}, "", 10, "ready")
    for value in ("--setenv=MY_COMMANDS=x", f"--setenv=KEY=a {words} b", f"make '{words}'"):
        assert shlex.quote(value) in script
    assert subprocess.run(["sh", "-n"], input=script, text=True).returncode == 0


def test_a_one_off_dyno_is_given_its_words_in_its_env_file() -> None:
    argv, environment = one_off_dyno("252", "psql", "-c", "password", "")
    assert not any("password" in word or "psql" in word for word in argv)
    words = [base64.b64decode(word) for word in environment.split('DYNOCTL_COMMAND="')[1].split('"')[0].split()]
    assert words == [b"/usr/bin/envx", b"psqlx", b"-cx", b"passwordx", b"x"]
    (given,) = [word for word in argv if "base64 -d" in word]
    assert "$$DYNOCTL_COMMAND" in given


def test_systemd_run_is_given_what_it_knows() -> None:
    newer = {"PrivateIPC=yes", "SocketBindDeny=tcp"}
    assert not newer & set(one_off_dyno("247", "true")[0])
    assert newer <= set(one_off_dyno("250", "true")[0])


def test_a_one_off_dyno_outlives_the_process_that_ran_out_of_memory() -> None:
    """Its first process returns the status of the command, so systemd must not end it on cgroup v2."""
    argv = one_off_dyno("247", "true")[0]
    assert argv[argv.index("OOMPolicy=continue") - 1] == "-p"


@pytest.mark.parametrize(("workers", "policy"), [(0, None), (1, None), (2, "continue")])
def test_a_dyno_outlives_a_worker_that_ran_out_of_memory_if_it_has_others(workers: int, policy: str | None) -> None:
    many = replace(DYNO, workers=workers)
    assert dyno_unit.service(many).get("Service.OOMPolicy") == policy
    assert "Service.OOMPolicy" not in candidate.settings(many, "1"), "it is rejected at once"


def test_a_command_that_is_too_long_for_a_variable_is_refused() -> None:
    assert ops.arguments(("x" * 60000,))
    with pytest.raises(DynoctlError, match="the command is too long: 97 KiB of at most 64 KiB"):
        ops.arguments(("x" * 100000,))


def test_what_a_process_type_reaches() -> None:
    assert network().keys() == {"SocketBindDeny", "IPAddressDeny"} and network()["SocketBindDeny"] == "tcp"
    assert network(metadata=True) == {"SocketBindDeny": "tcp"}
    assert network("none")["PrivateNetwork"] == "yes"
    local = network("local", ports=(9394, 9395))
    assert local["SocketBindAllow"] == "tcp:9394\ntcp:9395" and local["IPAddressDeny"] == "any"
    assert "169.254.169.254" in network("local", metadata=True)["IPAddressAllow"]
    unit = dyno_unit.service(replace(DYNO, network=network("none")))
    assert unit["Service.PrivateNetwork"] == "yes" and "Service.IPAddressDeny" not in unit


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.42.42", "100.100.100.200", "192.0.0.192"),
        *("fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:42::42", "fe80::a9fe:a9fe"),
    ],
)
def test_no_network_leads_to_the_metadata_of_a_cloud(address: str) -> None:
    """An allowed network wins over a denied one that is smaller."""
    assert address in network()["IPAddressDeny"].split()
    assert not within(address, network("local")["IPAddressAllow"])
    assert within(address, network("local", metadata=True)["IPAddressAllow"])


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "192.168.1.1", "::1", "fe80::1", "fd00::1", "fd12:3::1"])
def test_private_networks_are_local(address: str) -> None:
    assert within(address, network("local")["IPAddressAllow"])


def within(address: str, networks: str) -> bool:
    return any(ip_address(address) in ip_network(each) for each in networks.split())
