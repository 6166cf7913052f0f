"""Attacks by a server's words, one by one: each stops nothing but that server, and none gets further than its parser."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.errors import DynoctlError, Unreachable
from infra.fleet import ask, lock, meta_record, vitals
from infra.fleet import facts as server_facts
from infra.fleet.observe import Fleet, Observer, observe
from infra.model import answer, lock_holder, naming, release, routing
from infra.model.answer import InvalidAnswer, reading
from infra.model.provider import Scope
from infra.model.target import Target
from infra.ops import journal
from infra.remote.quote import sections
from infra.state import audit_log

DEEP = "[" * 100_000
WAY = {"name": "grid-1", "host": "10.0.0.11"}
RELEASE = {"number": 1, "slug": "ab", "digest": "cd", "salt": "ef"}


def said(*lines: str, meta: Any = None, **replaced: str) -> str:
    words = {"machine_id": "m1", "cores": "2", "systemd": "systemd 252", **replaced}
    head = [f"{key} {value}" for key, value in words.items()]
    return "\n".join([*head, *lines, f"meta {json.dumps(meta) if meta is not None else ''}"])


@pytest.mark.parametrize(
    "text",
    [
        *("²", "١", "٣", "1²", "+1", "-1", " 1", "1 ", "1_0", "0x1", "1.0", "", "⑦", "９", "1\n", "9" * 19, "9" * 5000),
    ],
)
def test_only_short_ascii_digits_are_a_number(text: str) -> None:
    assert answer.digits(text) is None


@pytest.mark.parametrize("value", [True, False, -1, 1.0, "1", None, [], {}, 10**19])
def test_what_is_no_whole_number(value: object) -> None:
    assert not answer.whole(value)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-inf", "1e999", "1e300", "²", "", "a"])
def test_what_is_no_decimal(text: str) -> None:
    with pytest.raises(ValueError):
        answer.decimal(text)


@pytest.mark.parametrize(
    "text",
    [
        *(DEEP, "{" * 100_000, '{"a":' * 50_000, '{"a":' + DEEP, '{"a":' * 30 + "1" + "}" * 30),
        *('{"a": NaN}', '{"a": Infinity}', '{"a": -Infinity}', '{"a": 1e999}', '{"a": ' + "9" * 5000 + "}"),
        *(
            '{"a": "\\ud800"}',
            '{"\\udfff": 1}',
            '{"a": [["\\ud800"]]}',
            '{"a": 1',
            "[]",
            "1",
            "null",
            '"a"',
            "",
            "\x00",
        ),
    ],
    ids=lambda text: ascii(text)[:24],
)
def test_a_record_that_is_not_plain_is_damaged(text: str) -> None:
    assert answer.record(text) == {}


@pytest.mark.parametrize(
    "name",
    ["web.0", "web.01", "web.1\n", "web.²", "web.1²", "web.١", "Web.1", "web", "web.9999999999", "we b.1", "../w.1"],
)
def test_what_is_no_name_of_a_dyno(name: str) -> None:
    assert not naming.DYNO_NAME.match(name)
    assert not naming.UNIT_NAME.match(f"dyno-shop-{name.replace('.', '-')}")
    assert meta_record.parse(json.dumps({"serial": 1, "dynos": {name: "m1"}, "servers": {}}))["dynos"] == {}


@pytest.mark.parametrize(
    "meta",
    [
        {"serial": "7", "dynos": {}, "servers": {}},
        {"serial": True, "dynos": {}, "servers": {}},
        {"serial": -1, "dynos": {}, "servers": {}},
        {"serial": 1e300, "dynos": {}, "servers": {}},
        {"serial": 10**20, "dynos": {}, "servers": {}},
        {"serial": 1, "dynos": [], "servers": {}},
        {"serial": 1, "dynos": {}, "servers": "m1"},
        {"serial": None},
        [],
    ],
    ids=str,
)
def test_an_invalid_formation_is_none(meta: object) -> None:
    assert meta_record.parse(json.dumps(meta)) == {}
    assert server_facts.newest_meta([server_facts.parse(said(meta=meta))]) == {}


@pytest.mark.parametrize(
    "way",
    [
        *({"host": "-oProxyCommand=touch /tmp/x"}, {"host": ["10.0.0.1"]}, {"host": {"a": 1}}, {"host": "10.0.0.1\n"}),
        *(
            {"host": "\x1b[2J"},
            {"host": "a" * 300},
            {"user": "-lroot"},
            {"name": "\u202egrid"},
            {"port": "22\x00"},
            "10.0.0.1",
        ),
        *({"host": None}, [], {"gateway": "a\x85b"}),
    ],
    ids=str,
)
def test_a_connection_that_is_not_plain_is_left_out(way: object) -> None:
    meta = meta_record.parse(json.dumps({"serial": 1, "dynos": {}, "servers": {"m1": way, "m2": WAY}}))
    assert meta["servers"] == {"m2": WAY}


@pytest.mark.parametrize("machine", ["", "a" * 65, "m 1", "../m", "m\n1", "m\x1b[0m", "é"], ids=ascii)
def test_what_is_no_machine(machine: str) -> None:
    meta = {
        "serial": 1,
        "dynos": {"web.1": machine},
        "servers": {machine: WAY},
        "spares": {machine: WAY},
        "routers": [machine],
        "moving": {"web.1": machine},
    }
    found = meta_record.parse(json.dumps(meta))
    assert not any(found[key] for key in ("dynos", "servers", "spares", "routers", "moving"))


@pytest.mark.parametrize(
    "change",
    [
        *({"number": 0}, {"number": -1}, {"number": True}, {"number": "1"}, {"number": 1.5}, {"number": 10**10}),
        *(
            {"of": -1},
            {"of": "1"},
            {"of": None},
            {"of": 10**10},
            {"slug": 7},
            {"slug": None},
            {"when": []},
            {"who": {}},
        ),
        *({"result": 1}, {"commanded": "yes"}, {"moved": 1}, {"on": None}, {"message": ["a"]}, {"commit": {"a": 1}}),
    ],
    ids=str,
)
def test_a_release_of_other_types_is_none(change: dict[str, Any]) -> None:
    assert release.parse(RELEASE) is not None
    assert release.parse({**RELEASE, **change}) is None


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({"cores": "²"}, "invalid number of cores"),
        ({"cores": "0"}, "invalid number of cores"),
        ({"cores": "-4"}, "invalid number of cores"),
        ({"cores": "9" * 5000}, "invalid number of cores"),
        ({"cores": "999999999"}, "invalid number of cores"),
        ({"machine_id": "\x1b]0;x\x07"}, "invalid machine-id"),
        ({"machine_id": "../../etc"}, "invalid machine-id"),
        ({"machine_id": ""}, "invalid machine-id"),
        ({"machine_id": "a" * 5000}, "invalid machine-id"),
    ],
)
def test_facts_that_cannot_be_true_are_refused(words: dict[str, str], why: str) -> None:
    with pytest.raises(InvalidAnswer, match=f"grid-2: its answer is invalid: {why}"), reading("grid-2"):
        server_facts.parse(said(**words))


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1;evil{",
        "10.0.0.1}server{",
        "fe80::1%eth0;x",
        "$(id)",
        "10.0.0.1'",
        "host.example",
        "\x1b[0m",
        "10.0.0.1\\n",
    ],
)
def test_an_address_that_goes_into_the_routers_is_an_address(address: str) -> None:
    assert server_facts.parse(said(connection=f"10.0.0.9 1 {address} 22")).address == ""


@pytest.mark.parametrize(
    ("apt", "version"),
    [
        ("Version: 1:3.3+b1", "3.3"),
        ("Version: 1:3.3", "3.3"),
        ("Version: 3.3~rc1-2", "3.3"),
        ("Version: 1:3.1.2-7+deb12u1", "3.1.2"),
        ("Version: ²", ""),
        ("Version: \x1b[0m", ""),
        ("Version: " + "9" * 5000, "9" * 9),
        ("no", "no"),
        ("", ""),
    ],
)
def test_the_version_that_apt_offers(apt: str, version: str) -> None:
    assert server_facts.parse(said(apt=apt)).apt == version


@pytest.mark.parametrize("ruby", ["3.3+b1", "3.3.0-preview1", "²", "\x1b[0m", "9" * 5000, "3.3.0.dev.x"])
def test_a_ruby_is_compared_whatever_it_calls_itself(ruby: str) -> None:
    from stacks.requirement import satisfies

    version = server_facts.parse(said(ruby=f"ruby {ruby}")).ruby
    assert version == "" or satisfies(version, ">= 3") in (True, False)


@pytest.mark.parametrize(
    "when",
    [
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-23:59",
        "9999-12-31T23:59:59Z",
        "²",
        "",
        "NaN",
    ],
)
def test_a_holder_of_any_time_has_a_sentence(when: str) -> None:
    assert lock_holder.parse(f"ann@laptop since {when} (pid 1), applying v2").sentence()


@pytest.mark.parametrize(
    "words",
    ["held " + DEEP[:3000], "unknown", "", "free and more", "held", "held \x00", "heldx", "²"],
    ids=lambda text: text[:9],
)
def test_the_holder_of_a_lock_is_text_or_an_error(words: str) -> None:
    found = lock.holder("grid-2", words)
    assert found is None or isinstance(found, DynoctlError) or found


@pytest.mark.parametrize(
    "line",
    [
        *(DEEP, "{}", "null", '{"id": 7}', '{"id": "a", "failures": 7, "seconds": "x", "release": "²", "who": ["a"]}'),
        *('{"id": "a", "failures": [7, null, ["x"], "ok"], "when": 7}', '{"id": "a", "seconds": true, "added": -1}'),
        *('{"id": "a", "seconds": 1e999}', '{"id": "\\ud800"}'),
    ],
    ids=lambda text: text[:40],
)
def test_an_entry_of_the_audit_log_has_the_types_of_ours(line: str) -> None:
    for entry in audit_log.parse(line):
        assert all(isinstance(entry[key], str) for key in ("id", "when", "who", "command", "result", "slug", "message"))
        assert all(isinstance(entry[key], int) for key in ("release", "added", "changed", "destroyed"))
        assert all(isinstance(text, str) for text in (*entry["failures"], *entry["arguments"]))
        assert isinstance(entry["seconds"], int | float)


@pytest.mark.parametrize(
    "message",
    [DEEP, "[" * 300 + "]" * 300, '{"a": 1}', "[256]", "[-1]", '[1, "a"]', "null", "1e999"],
    ids=lambda text: text[:9],
)
def test_a_message_of_any_form_is_text(message: str) -> None:
    entry = f'{{"MESSAGE": {message}, "_SYSTEMD_UNIT": "dyno-shop-web-1.service", "__REALTIME_TIMESTAMP": "1700000000000000"}}'
    line = journal.Reader("shop", "grid-2").read(entry)
    assert line is None or isinstance(line.message, str)


@pytest.mark.parametrize("moment", ["-1", "²", "9" * 18, "1e9", "", "0x1", "１７"])
def test_a_line_of_an_impossible_time_is_none(moment: str) -> None:
    entry = {"MESSAGE": "a", "_SYSTEMD_UNIT": "dyno-shop-web-1.service", "__REALTIME_TIMESTAMP": moment}
    assert journal.Reader("shop", "grid-2").read(json.dumps(entry)) is None


@pytest.mark.parametrize(
    "mark",
    [
        *({"app": "a", "kind": "nginx", "hosts": 7, "ports": {}, "upstreams": {}}, {"ports": []}, [], DEEP, {}),
        *({"app": "a", "kind": "nginx", "hosts": [], "ports": {}, "upstreams": []},),
    ],
    ids=lambda text: str(text)[:40],
)
def test_a_route_that_cannot_be_read_is_none(mark: object) -> None:
    assert routing.parse(f"open {mark if isinstance(mark, str) else json.dumps(mark)}") is None


@pytest.mark.parametrize("upstream", ["10.0.0.1:²", "10.0.0.1:999999", "a;b:80", "10.0.0.1:80\n", "[::1]:80;"])
def test_an_upstream_that_is_no_address(upstream: str) -> None:
    assert routing.split(upstream) is None


@pytest.mark.parametrize("words", ["load 1 2", "load a b c", "load nan 1 1", "cores ²", "MemTotal: -", "now inf"])
def test_vitals_that_cannot_be_read(words: str) -> None:
    valid = "now 1\nload 1 1 1\ncores 2\nMemTotal: 1\nMemAvailable: 1\n"
    with pytest.raises(InvalidAnswer), reading("grid-2"):
        vitals.parse(f"{valid}{words}\n", "shop")


def test_sections_are_read_in_one_pass() -> None:
    """A section that begins and does not end made the parser look to the end of the answer, once for each."""
    text = "N begin a\n" * 200_000
    assert sections(text, "N") == {}
    assert sections(f"{text}N end a 0\n", "N") == {"a": (0, "")}


@pytest.mark.parametrize(
    "error",
    [
        *(RecursionError("x"), KeyError("processes"), IndexError("pop"), TypeError("int"), AttributeError("get")),
        *(
            OverflowError("inf"),
            UnicodeEncodeError("utf-8", "\ud800", 0, 1, "x"),
            ZeroDivisionError(),
            ValueError("a\nb" * 500),
        ),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_parser_raises_is_an_invalid_answer(error: Exception) -> None:
    with pytest.raises(InvalidAnswer) as caught, reading("grid-2"):
        raise error
    assert caught.value.summary.startswith("grid-2: its answer is invalid: ")
    assert "\n" not in caught.value.summary and len(caught.value.summary) < 300
    assert caught.value.hint


@pytest.mark.parametrize("error", [Unreachable("gone"), OSError("broken"), EOFError(), DynoctlError("said")])
def test_what_says_what_is_wrong_stays_what_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, reading("grid-2"):
        raise error
    assert caught.value is error


class Server:
    """A session with a server that says ``facts``."""

    connections = execs = 0

    def __init__(self, name: str, facts: str) -> None:
        self.name, self.facts = name, facts

    def observe(self, fragments: object, timeout: float = 60) -> dict[str, tuple[int, str]]:
        return {"facts": (0, self.facts), "routing": (0, "")}

    def close(self) -> None:
        pass


BAD = {
    "nothing": "",
    "no cores": "machine_id m1",
    "superscript": said(cores="²"),
    "deep": f"{said()}\nmeta {DEEP}",
    "port": said('{"key": "unit.shop-web.1", "attributes": {}, "port": "5000"}'),
}


@pytest.mark.parametrize("name", BAD)
def test_one_bad_answer_stops_nothing_but_its_own_server(name: str) -> None:
    targets = [Target(server, server) for server in ("grid-1", "grid-2", "grid-3")]
    fleet = Fleet()

    def connect(target: Target) -> Any:
        return Server(target.name, BAD[name] if target.name == "grid-2" else said())

    observer = Observer((), Scope("shop", ""), "/usr/bin/ruby", ())
    observe(targets, observer, fleet, connect)
    assert {"grid-1", "grid-3"} <= fleet.found.keys()
    for error in fleet.unreachable.values():
        assert error.summary.startswith("grid-2: its answer is invalid: ")


def test_a_question_that_fails_at_one_answer_has_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "Session", lambda target: Server(target.name, "² " if target.name == "grid-2" else "2"))
    targets = [Target(server, server) for server in ("grid-1", "grid-2")]
    answers, errors = ask.ask_servers(targets, lambda session: int(session.facts))  # type: ignore[attr-defined]
    assert answers == {"grid-1": 2}
    assert errors["grid-2"].summary.startswith("grid-2: its answer is invalid: invalid literal")
