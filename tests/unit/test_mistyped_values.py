"""Values in the notations of other tools, addresses in one text, and one error for each cause."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.engine.plan_file import refuse_unwritable
from infra.errors import DynoctlError
from infra.manifest import addresses, check
from infra.manifest.conversions import convert

SIZE = {"pattern": "^[1-9][0-9]{0,6}[MG]$"}
SECONDS = {"x-unit": "seconds", "minimum": 1, "maximum": 604800}
CORES = {"x-unit": "cores", "minimum": 0.05, "maximum": 64}


@pytest.mark.parametrize(
    ("text", "schema", "meant"),
    [
        *[("512MB", SIZE, "512M"), ("512 Mi", SIZE, "512M"), ("1.5G", SIZE, "1536M"), ("2048K", SIZE, "2M")],
        *[("512K", SIZE, ""), ("512", SIZE, ""), ("much", SIZE, ""), ("1T", SIZE, "1024G")],
        *[("30 sec", SECONDS, "30s"), ("1h30m", SECONDS, "90m"), ("2000ms", SECONDS, "2s"), ("1w", SECONDS, "7d")],
        *[("500ms", SECONDS, ""), ("2w", SECONDS, ""), ("never", SECONDS, ""), ("", SECONDS, "")],
        *[("500m", CORES, "0.5"), ("50 %", CORES, "0.5"), ("2 vCPU", CORES, "2"), ("100", CORES, "")],
    ],
)
def test_notations(text: str, schema: dict[str, object], meant: str) -> None:
    assert convert(text, schema) == meant


@pytest.mark.parametrize(
    ("text", "is_wrong"),
    [("10.0.0.1", False), ("10.0.0", True), ("10.0.0.256", True), ("7", False), ("a.1", False), ("::1", False)],
)
def test_ipv4(text: str, is_wrong: bool) -> None:
    assert addresses.is_no_ipv4(text) is is_wrong


def test_the_text_of_a_key_is_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "dyno.yaml"
    file.write_text("ssh:\n  key: |\n    -----BEGIN OPENSSH PRIVATE KEY-----\n    hunter2\n")
    shown = repr(check(file)[1])
    assert "is not a path" in shown and "hunter2" not in shown


def test_one_error_for_one_value(tmp_path: Path) -> None:
    file = tmp_path / "dyno.yaml"
    (tmp_path / "config.ru").touch()
    file.write_text(
        "version: 1\napp: {name: shop, source: .}\nrackup: config.ru\ndynos: {web: {scale: 1, port: 70000}}\n"
        "servers: [{name: a, host: 10.0.0.1}, {name: b, host: 10.0.0.2}]\nplacement: {spread: rack}\n"
    )
    assert [one.path for one in check(file)[1]] == ["dynos/web/scale", "dynos/web/port", "placement/spread"]


@pytest.mark.parametrize("text", ["version: 1\n", "run Shop\n", '{"name": "shop"}'])
def test_a_plan_replaces_no_other_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "file"
    file.write_text(text)
    with pytest.raises(DynoctlError, match="it exists, and is not a plan"):
        refuse_unwritable(file)


@pytest.mark.parametrize("text", ["", '{"format_version": 1}', "<!doctype html>"])
def test_a_plan_replaces_one(tmp_path: Path, text: str) -> None:
    file = tmp_path / "file"
    file.write_text(text)
    refuse_unwritable(file)
