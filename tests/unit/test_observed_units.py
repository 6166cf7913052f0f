"""Unit files as they may be on a server, printed by the script and read again: none hides another one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from infra.model.provider import Scope
from providers import observed_units
from providers.processes import Processes
from providers.unit import Unit

OURS = "[Unit]\nX-Dynoctl-App=shop\nX-Dynoctl-Dyno=web.{}\n[Service]\nCPUQuota=25%\n"


def printed(root: Path, systemctl: str = "echo NRestarts=0") -> str:
    """What the script of the provider prints for the unit files in ``root``, with a systemctl that is a script."""
    (root / "bin").mkdir()
    (root / "bin/systemctl").write_text(f"#!/bin/sh\n{systemctl}\n")
    (root / "bin/systemctl").chmod(0o755)
    fragment = Unit().observe(Scope("shop", "")).shared[observed_units.SECTION]
    script = "".join(f"{name}='{value}'\n" for name, value in fragment.variables.items()) + fragment.script
    script = script.replace("/etc/systemd/system", str(root))
    done = subprocess.run(
        ["sh", "-c", script], check=True, capture_output=True, text=True, env={"PATH": f"{root}/bin:/usr/bin:/bin"}
    )
    return done.stdout


def found(root: Path) -> dict[str, tuple[object, bool]]:
    units = Unit().parse(Scope("shop", ""), printed(root))
    return {name: (one.attributes["unit"], one.foreign) for name, one in units.items()}


def test_the_text_of_each_file_is_read_whatever_is_beside_it(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        (tmp_path / f"dyno-shop-web-{number}.service").write_text(OURS.format(number))
    (tmp_path / "dyno-shop-web-2.service").write_text("[Unit]\nX-Dynoctl-App=other\n=[Unit]\ndyno-shop-web-9.service\n")
    (tmp_path / "dyno-shop-old.service").mkdir()
    (tmp_path / "dyno-shop-web-4.service").symlink_to("/nowhere")
    (tmp_path / "dyno-shop-web-5.service").write_text("")
    (tmp_path / "dyno-shop-web-6.service").symlink_to(tmp_path / "dyno-shop-old.service")
    (tmp_path / "dyno-shop-web-7.service").write_text("\n\n" + OURS.format(7).rstrip("\n"))  # no newline at its end
    units = found(tmp_path)
    settings = {"Unit.X-Dynoctl-App": "shop", "Service.CPUQuota": "25%"}
    for number in (1, 3, 7):
        assert units[f"shop-web.{number}"] == ({**settings, "Unit.X-Dynoctl-Dyno": f"web.{number}"}, False)
    foreign, is_foreign = units["shop-web.2"]
    assert is_foreign and isinstance(foreign, dict) and foreign["Unit.X-Dynoctl-App"] == "other"
    assert [units[f"shop-web.{number}"] for number in (4, 5, 6)] == [({}, False)] * 3
    assert "shop-web.9" not in units


def test_no_files_are_no_units(tmp_path: Path) -> None:
    assert found(tmp_path) == {}


def test_a_sed_that_fails_is_no_server_without_units(tmp_path: Path) -> None:
    (tmp_path / "dyno-shop-web-1.service").write_text(OURS.format(1))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sed").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin/sed").chmod(0o755)
    (tmp_path / "bin").rename(tmp_path / "other")
    script = f'PATH={tmp_path}/other:$PATH; {observed_units.PRINT}texts {tmp_path}/*.service; echo "not reached"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
    assert done.returncode == 1 and "not reached" not in done.stdout


@pytest.mark.parametrize("lines", ["=\n" * 200_000, "=a=b\n" * 200_000])
def test_many_lines_take_no_memory_for_each(lines: str) -> None:
    units = observed_units.read(f"x.service\n{lines}")
    assert len(units.texts["x.service"]) == len(lines) - lines.count("\n") and units.rest == ""


def test_nothing_is_printed_of_an_app_whose_name_begins_with_that_of_the_app(tmp_path: Path) -> None:
    """A preview of ``shop`` is the app ``shop-pr-1``, and a hundred of them are a megabyte."""
    (tmp_path / "dyno-shop-web-1.service").write_text(OURS.format(1))
    for type_ in ("service", "socket"):
        (tmp_path / f"dyno-shop-pr-1-web-1.{type_}").write_text("[Unit]\nX-Dynoctl-App=shop-pr-1\n")
    (tmp_path / "dyno-shop-web@.service").write_text("[Unit]\n")
    output = printed(tmp_path)
    assert "file dyno-shop-web-1.service" in output and "pr-1" not in output and "web@" not in output


STRANGE = ("web-1@.service", "web-1@.socket", "web-1@.timer", "web-1@a.service", "web-1 .service", "web-1\nx.service")


def test_systemd_is_asked_for_no_name_at_which_it_would_stop(tmp_path: Path) -> None:
    """It says nothing of the names after a template, or one that is too long once its blanks are escaped."""
    good = ("dyno-shop-web-1.service", "srv-dyno-shop-aa.mount", "run-dyno-shop-web.1.mount")
    starts = ("srv-dyno-shop-aa", "run-dyno-shop-web.1", "var-lib-dynoctl\\x2dvolumes-shop-a\\x2db")
    volume = f"{starts[2]}.mount"
    for name in (*good, volume, *(f"dyno-shop-{name}" for name in STRANGE), *(f"{name}@.mount" for name in starts)):
        (tmp_path / name).write_text("[Unit]\n")
    output = printed(tmp_path, 'for name; do printf "asked <%s>\\n" "$name"; done')
    asked = [line for line in output.splitlines() if line.startswith("asked <") and "*" not in line]
    assert {f"asked <{name}>" for name in (*good, volume)} <= {*asked}
    assert not [line for line in asked if "@.mount" in line or "web-1@" in line or "web-1 " in line]
    assert "\nx.service>" not in output


def test_the_dynos_are_listed_beside_names_at_which_systemctl_would_stop(tmp_path: Path) -> None:
    for name in ("web-1.service", "tidy-1.timer", *STRANGE):
        (tmp_path / f"dyno-shop-{name}").write_text("[Unit]\nX-Dynoctl-App=shop\n")
    fragment = Processes().observe(Scope("shop", ""))
    fake = 'systemctl() { shift 4; printf "asked <%s>\\n" "$@"; }\n'
    script = fake + "".join(f"{name}='{value}'\n" for name, value in fragment.variables.items()) + fragment.script
    script = script.replace("/etc/systemd/system", str(tmp_path))
    done = subprocess.run(["sh", "-c", script], check=True, capture_output=True, text=True)
    asked = [line for line in done.stdout.splitlines() if line.startswith("asked <")]
    assert asked == ["asked <dyno-shop-web-1.service>", "asked <dyno-shop-tidy-1.timer>"]


def test_a_socket_that_no_pattern_finds_is_asked_for_by_name(tmp_path: Path) -> None:
    """A unit that is stopped and that no other one needs is not loaded; one that is loaded is shown once."""
    for number in (1, 2):
        (tmp_path / f"dyno-shop-web-{number}.socket").write_text("[Socket]\n")
    words = printed(tmp_path, 'echo "asked $*"; echo Id=dyno-shop-web-1.socket').splitlines()
    first, second = [line for line in words if line.startswith("asked ")]
    assert "dyno-shop-*.socket" in first and "web-" not in first
    assert second.endswith("-- dyno-shop-web-2.socket")
