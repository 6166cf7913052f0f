"""Values that would be more than values: in units, env files and routers, in the body of a release and in recorded settings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.errors import DynoctlError
from infra.manifest import read
from infra.manifest.model import Manifest
from infra.model import merged_releases, release
from infra.state import config, last_applied, release_body
from infra.state.vouching import Known, Vouched, agreeing, copied, seal, vouchers
from providers import env_file, ini, mount, socket
from providers.routers.contract import Site

CONTROLS = [
    *(chr(number) for number in range(0x20) if chr(number) not in "\t\n"),
    *(chr(number) for number in range(0x7F, 0xA0)),
    *("\u2028", "\u2029", "\ud800"),
]


@pytest.mark.parametrize("character", CONTROLS, ids=ascii)
def test_no_control_character_gets_into_a_unit(character: str) -> None:
    for settings in (
        {"Service.KillSignal": f"SIGTERM{character}ExecStartPre=+/bin/touch /tmp/x"},
        {"Service.Environment": f"A=b\nC=d{character}"},
        {f"Service.Kill{character}Signal": "x"},
    ):
        with pytest.raises(DynoctlError, match="contains the control character"):
            ini.render(settings)


def test_each_line_of_a_value_is_a_setting_of_its_own_and_no_more() -> None:
    text = ini.render({"Service.KillSignal": "SIGTERM\n[Service]\nExecStartPre=+/bin/x\n\n;a"})
    assert (
        text
        == "[Service]\nKillSignal=SIGTERM\nKillSignal=[Service]\nKillSignal=ExecStartPre=+/bin/x\nKillSignal=\nKillSignal=;a\n"
    )


@pytest.mark.parametrize("value", ["a\\", "\\", "a\\\\\\", "a\\\nb"])
def test_no_value_continues_on_the_next_line(value: str) -> None:
    with pytest.raises(DynoctlError, match="ends with a backslash"):
        ini.render({"Service.A": value, "Service.B": "b"})


@pytest.mark.parametrize("value", ["a\\\\", "a\\b", "plain", "a\tb", "é漢", ""])
def test_what_is_one_line_is_written(value: str) -> None:
    assert ini.render({"Service.A": value}) == f"[Service]\nA={value}\n"


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
def test_the_end_of_a_line_is_what_systemd_takes_for_one(end: str) -> None:
    """A carriage return hid a line from the diff, and systemd read it."""
    assert ini.parse(f"[Service]{end}A=b{end}ExecStartPre=+/bin/x{end}")["Service.ExecStartPre"] == "+/bin/x"


@pytest.mark.parametrize("listen", ["10.0.0.1\r[Service]", "10.0.0.1\u2028", "::1\x0b"])
def test_no_address_ends_the_line_of_a_socket(listen: str) -> None:
    with pytest.raises(DynoctlError):
        ini.render(socket.settings("shop", "web.1", listen, 5000))


def test_no_digest_ends_the_line_of_a_mount() -> None:
    with pytest.raises(DynoctlError):
        ini.render(mount.settings("shop", "ab\rWhat=/etc"))


@pytest.mark.parametrize("name", ["A B", "A=B", "A\nB", "", "1A", "A-B", "É", 'A"', "A\x00"])
def test_a_config_var_has_the_name_of_one(name: str) -> None:
    with pytest.raises(DynoctlError, match="invalid name"):
        env_file.render({name: "x"})


SITE: dict[str, Any] = {
    "app": "shop",
    "hosts": ("shop.example.org",),
    "http": 80,
    "https": 0,
    "acme": "",
    "timeout": 30,
    "upstreams": (("web.1", "10.0.0.1:5000"),),
}


@pytest.mark.parametrize(
    "change",
    [
        *(
            {"hosts": (host,)}
            for host in ("a b", "a;b", "a{", "a\nb", "a\rb", "", "a\u2028b", '"', "$host", "a\\", "#")
        ),
        *({"acme": mail} for mail in ("a b@c", "a@b;", "a@b\n", "a@b{", "noat", "a@b c", "a@b\r")),
        *({"app": app} for app in ("shop;", "Shop", "shop\n", "shop admin", "../x")),
        *({"upstreams": ((dyno, "10.0.0.1:5000"),)} for dyno in ("web.1;", "web.1\n", "web", "web.1 #", "web.0")),
        *(
            {"upstreams": (("web.1", address),)}
            for address in (
                "10.0.0.1:5000;",
                "10.0.0.1",
                "a b:80",
                "10.0.0.1:80\n",
                "{:80",
                "[::1;]:80",
                "a:999999",
                "$a:80",
            )
        ),
    ],
    ids=ascii,
)
def test_no_word_of_a_route_is_more_than_a_word(change: dict[str, Any]) -> None:
    assert Site(**SITE)
    with pytest.raises(DynoctlError, match="cannot configure the router"):
        Site(**{**SITE, **change})


@pytest.mark.parametrize("address", ["10.0.0.1:5000", "[::1]:5000", "[fe80::1%eth0]:80", "grid-1.example.org:80"])
def test_every_address_of_a_dyno_is_a_word(address: str) -> None:
    assert Site(**{**SITE, "upstreams": (("web.1", address),)})


BODY: dict[str, Any] = {
    "version": 1,
    "slug": "ab" * 32,
    "variables": {"A": "b", "S": "secret\nof two lines"},
    "secret": ["S"],
    "common": [],
    "credentials": {"key.pem": "k"},
    "ruby": ">= 3.1, < 4",
    "program": "/usr/bin/ruby",
    "executables": ["/usr/bin/thin"],
    "packages": ["ruby", "libpq5"],
    "environment": {"LANG": "C.UTF-8"},
    "writable": ["tmp", ["public/uploads", 1 << 20, True]],
    "sqlite": ["storage/a.sqlite3"],
    "cover": ["config/environments/production.rb", "a\nb"],
    "health": "/up",
    "rackup": "run App",
    "config": "workers 2\n",
    "web": ["/usr/bin/ruby", "-e", "a\nb"],
    "candidate": ["/usr/bin/ruby", "@socket@"],
    "commands": {"worker": ["sh", "-c", "a\nb"]},
    "volumes": [["uploads", "public/uploads", ["web"]]],
    "stop_signal": "SIGTERM",
    "stop_seconds": 30,
    "workers": 2,
}


@pytest.mark.parametrize(
    "change",
    [
        *(
            {"stop_signal": text}
            for text in ("SIGTERM\r", "SIGTERM\rExecStartPre=+/x", "15", "", "SIGTERM ", "SIGTERM\n", None, 15)
        ),
        *({"stop_seconds": number} for number in (0, -1, 10**9, "30", 1.5, None)),
        *({"workers": number} for number in (-1, "2", True, 1.5, 1 << 60, None)),
        *({"program": text} for text in ("ruby", "/usr/bin/ruby\r", "/bin/a b", "/x\x0b", "", "+/bin/sh")),
        *({"slug": text} for text in ("../../etc", "AB", "", "a\n", "a/b", 7)),
        *({"packages": [text]} for text in ("-o", "a b", "a;b", "A", "", "a\n", "--force", "$(id)", 7)),
        *({"writable": [text]} for text in ("/etc", "../x", "a/../b", "a:b", "", "a\nb", "a\rb", "tmp:ro", "a b")),
        *({"writable": [[text, 0, True]]} for text in ("/etc", "../x", "$(id)", "a;b", "a\nb", "a b", 7)),
        *(
            {"writable": [entry]}
            for entry in (["a"], ["a", -1, True], ["a", "1", True], ["a", 1, 1], ["a", 1 << 60, True])
        ),
        *({"sqlite": [text]} for text in ("/etc/x", "../x", "$(id)", "a;b", "a\nb", "a'b", 7)),
        *({"cover": [text, "x"]} for text in ("/etc/x", "../x", "a:b", "a\nb", "")),
        *({"cover": value} for value in (["a"], ["a", "b", "c"])),
        *({"health": text} for text in ("up", "/a b", "/a\n", "/" + "a" * 300, 7)),
        *({"volumes": [[name, "a", []]]} for name in ("../x", "A", "", "a\n", "a b", "-a")),
        *({"volumes": [["a", path, []]]} for path in ("/etc", "..", "a:b", "a\r", "")),
        *({"volumes": [["a", "b", [type_]]]} for type_ in ("Web", "web.1", "", "a b", 7)),
        *({"variables": {name: "x"}} for name in ("A B", "LD PRELOAD", "1A", "A\n", "", "A=")),
        *({"variables": {"A": value}} for value in ("\x00", None, 7, ["a"])),
        *({"credentials": {name: "x"}} for name in ("a/b", "a b", "a\n", "a:b", "")),
        *({"environment": {name: "x"}} for name in ("PATH\n", "A B", "")),
        *({"commands": {name: ["x"]}} for name in ("Web", "a b", "a.b", "", "../x")),
        *({"ruby": text} for text in ("3\n", "3;", "$(id)", "a" * 300)),
        *({"executables": [text]} for text in ("thin", "/a b", "/a\r")),
        *(
            {"commands": []},
            {"variables": []},
            {"web": None},
            {"web": [7]},
            {"version": 2},
            {"secret": [None]},
        ),
    ],
    ids=ascii,
)
def test_a_release_has_values_that_a_manifest_can_lead_to(change: dict[str, Any]) -> None:
    assert release_body.unpack(1, json.dumps(BODY), lambda *_: True).slug == BODY["slug"]
    with pytest.raises(DynoctlError, match="cannot read release v1"):
        release_body.unpack(1, json.dumps({**BODY, **change}), lambda *_: True)


# The settings in a record.


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    (tmp_path / "config.ru").write_text("run nil\n")
    (tmp_path / "dyno.yaml").write_text(
        "version: 1\napp: {name: shop, source: .}\nrackup: config.ru\ndynos: {web: 2, worker: {count: 1, command: work}}\n"
        "servers: [{name: grid-1, host: 10.0.0.11, labels: {rack: a}}]\n"
        "schedule: [{name: nightly, every: 10m, command: sweep}]\n"
        "router: {kind: nginx, servers: [grid-1], hosts: [shop.example.org], tls: {certificate: {from_file: a}, key: {from_file: b}}}\n"
    )
    return read(tmp_path / "dyno.yaml")


WAYS = {"m9": {"name": "grid-9", "host": "10.6.6.6", "port": "", "gateway": ""}}


def settings(manifest: Manifest) -> Any:
    return json.loads(json.dumps(config.document(manifest)))


def test_the_settings_are_read_as_they_were_written(manifest: Manifest) -> None:
    assert config.restored(manifest, settings(manifest), {}) == manifest


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *((("dynos", "web", "count"), value) for value in ("2", True, -1, 10**30, None, 1.5, [])),
        *(
            (("dynos", "worker", "command"), value)
            for value in (7, {"a": 1}, "a\0", "\udc80", ["a", 7], ["a", "b\0"], "a" * 200_000)
        ),
        *((("dynos", "web", "name"), value) for value in ("../x", "a b", "", "web\n", 7, "other")),
        *((("dynos", "web", "port"), value) for value in ("x", -1, None)),
        *((("schedule", "nightly", "calendar"), value) for value in (["a\nb"], [7], "daily", None)),
        *((("schedule", "nightly", "concurrency"), value) for value in ("always", 1, None)),
        *(
            (("servers", "grid-1", "host"), value)
            for value in ("-oProxyCommand=x", "a b", "a;b", "$(id)", "a\n", 7, None, "")
        ),
        *((("servers", "grid-1", "user"), value) for value in ("-l", "a b", "a\n", 7, "$(id)")),
        *((("servers", "grid-1", "port"), value) for value in ("22", -1, True)),
        *((("servers", "grid-1", "labels"), value) for value in ({"rack": 7}, [], "a", {"rack": "a\r"})),
        *((("router", "kind"), value) for value in (7, "a b", "../x")),
        *((("router", "hosts"), value) for value in (["a;b"], ["a\nb"], "a", [7])),
        *((("router", "servers"), value) for value in (None, 7)),
        *(
            (("router", "certificate"), value)
            for value in ({"kind": "exec", "value": "x"}, {"kind": "from_file", "value": 7}, "x")
        ),
        *((("rollout", "max_parallel"), value) for value in (None, [], {}, 1.5, "a\r")),
        *((("rollout", "health"), value) for value in (None, [], "x", {"path": 7}, {"path": "/a\r"})),
        *((("keep",), value) for value in ("5", None, -1, True, 1e999)),
        *((("spread",), value) for value in (7, [], "a\r")),
        *((("version",), value) for value in (2, None, "1")),
        *(
            ((section,), value)
            for section in ("dynos", "schedule", "servers", "rollout")
            for value in (None, [], "x", 7)
        ),
    ],
    ids=ascii,
)
def test_settings_that_a_manifest_could_not_have_are_refused(
    manifest: Manifest, path: tuple[str, ...], value: object
) -> None:
    recorded = settings(manifest)
    place = recorded
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValueError):
        config.restored(manifest, recorded, WAYS)


def test_what_only_a_record_has_is_not_used_here(manifest: Manifest) -> None:
    """A secret by a command runs on this computer, and a server is logged in to, before any plan is shown."""
    recorded = settings(manifest)
    recorded["router"]["key"] = {"kind": "from_command", "value": ["touch", "/tmp/x"]}
    recorded["servers"]["grid-9"] = {**recorded["servers"]["grid-1"], "name": "grid-9", "host": "10.6.6.6"}
    found = config.only_recorded(manifest, config.restored(manifest, recorded, WAYS))
    assert found == ["the server grid-9 (10.6.6.6)", "a secret by from_command"]
    assert config.only_recorded(manifest, config.restored(manifest, settings(manifest), {})) == []


# Who vouches.

TRUE = release.new(7, "ab", "content", manifest="m", body="body")
FALSE = release.new(7, "ab", "other", manifest="m", body="other")


@pytest.mark.parametrize(
    ("servers", "proven", "homes", "refused"),
    [
        ({"a"}, False, {"a"}, []),
        ({"a"}, False, {"a", "b"}, ["b"]),
        ({"a"}, True, {"a", "b"}, []),
        ({"a", "b"}, False, {"a", "b", "c"}, []),
        (set(), False, {"a"}, ["a"]),
        (set(), False, set(), []),
    ],
)
def test_who_may_run_what_who_says(servers: set[str], proven: bool, homes: set[str], refused: list[str]) -> None:
    vouched = Vouched("v7", frozenset(servers), proven)
    assert vouched.refused(homes) == refused
    if refused:
        assert "may be forged" in vouched.problem(refused)


def test_a_record_is_copied_once_two_servers_or_this_computer_know_it() -> None:
    records = {"a": [TRUE], "b": [replace(TRUE, result="ok", message="x")], "c": [FALSE], "d": []}
    assert vouchers(TRUE, records) == {"a", "b"} and vouchers(FALSE, records) == {"c"}
    assert copied(TRUE, records, Known()) and not copied(FALSE, records, Known())
    assert copied(FALSE, records, Known(frozenset({seal(FALSE)})))
    assert agreeing({"a": 1}, {"a": {"config": {"a": 1}}, "b": {"config": {"a": 1.5}}, "c": {}}) == {"a"}


@pytest.mark.parametrize("order", [0, 1, 2])
def test_what_most_servers_record_is_the_release_of_a_number(order: int) -> None:
    found = [[TRUE], [TRUE], [replace(FALSE, result="ok", when="2999", moved=True)]]
    (merged,) = merged_releases.merge(found[order:] + found[:order])
    assert merged.identity == TRUE.identity


@pytest.mark.parametrize(
    ("seals", "taken"),
    [
        (["x", "x", "y"], "x"),
        (["x", "x", ""], "x"),
        (["", "", "y"], ""),
        (["", "y"], ""),
        (["x"], "x"),
        (["", "y", "z"], ""),
    ],
)
def test_no_server_alone_seals_what_others_did_not(seals: list[str], taken: str) -> None:
    for order in (seals, seals[::-1]):
        (merged,) = merged_releases.merge([[replace(TRUE, sealed=seal_, when=seal_)] for seal_ in order])
        assert merged.sealed == taken


@pytest.mark.parametrize("number", [10**6, 10**8, 999_999_999])
def test_a_number_far_beyond_all_others_is_ignored(number: int) -> None:
    found = [[TRUE], [replace(FALSE, number=number)]]
    assert [each.number for each in merged_releases.merge(found)] == [7]
    assert [each.number for each in merged_releases.merge(found[1:])] == [number], (
        "a server alone has nobody to differ from"
    )


def test_the_whole_body_is_sealed() -> None:
    assert TRUE.seals("body") and not TRUE.seals("body ") and not replace(TRUE, sealed="").seals("body")
    assert release.parse(json.loads(TRUE.as_json())) == TRUE


def test_what_was_applied_from_here_is_remembered(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(last_applied.platformdirs, "user_state_path", lambda _: tmp_path / "state")
    way = {"m1": {"name": "grid-1", "host": "10.0.0.11"}}
    assert last_applied.known(manifest) == Known()
    for number in range(last_applied.KNOWN + 3):
        last_applied.write(manifest, way, release=f"r{number}", settings="s")
    known = last_applied.known(manifest)
    assert len(known.releases) == last_applied.KNOWN and "r2" not in known.releases and known.settings == {"s"}
    last_applied.write(manifest, way)
    assert last_applied.known(manifest) == known and last_applied.read(manifest) == {"shop": way}
    last_applied.write(manifest, {})
    assert last_applied.known(manifest) == Known()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"format_version": 1, "known": []}',
        '{"format_version": 1, "known": {"shop": 7}}',
        "[" * 100000,
        '{"format_version": 1, "known": {"shop": {"releases": [7, "a", null], "settings": "x"}}}',
    ],
    ids=lambda text: text[:30],
)
def test_a_damaged_hint_knows_nothing_wrong(
    text: str, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(last_applied.platformdirs, "user_state_path", lambda _: tmp_path / "state")
    path = last_applied._path(manifest)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert last_applied.known(manifest).releases <= {"a"}


@pytest.mark.parametrize("order", range(3))
def test_no_server_alone_makes_a_rejected_release_a_good_one(order: int) -> None:
    bad = replace(TRUE, result=release.BACK[0], when="2026-01-01T00:00:00Z")
    lie = replace(bad, result="ok", when="2999-01-01T00:00:00Z", of=1, moved=True)
    found = [[bad], [lie], [bad]]
    (merged,) = merged_releases.merge(found[order:] + found[:order])
    assert (merged.result, merged.of) == (release.BACK[0], 0)


def test_a_server_that_alone_saw_the_end_of_a_release_is_heard() -> None:
    unfinished = replace(TRUE, result="unfinished")
    for result in ("ok", "rejected"):
        (merged,) = merged_releases.merge([[unfinished], [replace(TRUE, result=result)], [unfinished]])
        assert merged.result == result
