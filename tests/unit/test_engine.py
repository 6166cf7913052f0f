"""The engine's pure parts: quoting, sections, diff, drift, order, redaction, secrets that are not printed."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from infra.engine import prepare
from infra.fleet import facts as server_facts
from infra.fleet.facts import Facts, parse
from infra.fleet.lock import Identity
from infra.fleet.observe import Observed
from infra.model import release
from infra.model.formation import Formation
from infra.model.provider import Fragment, Scope
from infra.model.redact import redactor
from infra.model.resource import Attributes, Change, Command, Found, Resource
from infra.model.stack import Slug
from infra.plan.build import build
from infra.plan.plan import Plan
from infra.registry import Everything
from infra.remote.quote import assign, batch, observation, sections
from infra.sensitive import REDACTED, Sensitive
from infra.state import records
from infra.views import plan_json, plan_text
from infra.views.style import Style, printable
from providers import user

HOSTILE = "'; touch /tmp/pwned; echo '\n$(id) `id` \\ \" \t é"


def sh(script: str) -> str:
    return subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True, check=True).stdout


def test_values_are_quoted_for_the_shell() -> None:
    assert sh(assign({"value": HOSTILE}) + 'printf %s "$value"') == HOSTILE
    with pytest.raises(ValueError, match="invalid variable name"):
        assign({"a; id": "x"})
    with pytest.raises(ValueError, match="NUL"):
        assign({"a": "\0"})


def test_a_batch_runs_in_order_and_ends_at_the_first_failure() -> None:
    commands = [
        Command(("printf", "%s", HOSTILE)),
        Command(("cat",), stdin=b"\0binary\xff\n"),
        Command(("sh", "-c", "echo broken >&2; exit 7")),
        Command(("echo", "never")),
    ]
    done = subprocess.run(["sh", "-s"], input=batch(commands, "NONCE").encode(), capture_output=True, check=True)
    text = done.stdout.decode(errors="replace")
    assert HOSTILE in text
    assert [line for line in text.splitlines() if line.startswith("NONCE")] == [
        "NONCE 0 0",
        "NONCE 1 0",
        "NONCE 2 7",
        "NONCE end 7",
    ]
    assert "broken" in text
    assert "never" not in text


def test_a_command_that_hangs_is_killed() -> None:
    text = sh(batch([Command(("sleep", "30"), timeout=1)], "NONCE"))
    assert "NONCE 0 124" in text


def test_secrets_of_a_command_are_on_no_command_line() -> None:
    script = batch([Command(("cat",), stdin=b"hunter2", secret=True)], "NONCE")
    assert "hunter2" not in script
    assert "hunter2" not in repr(Command(("cat",), stdin=b"hunter2"))


def test_sections_are_found_in_the_output_of_a_login_shell() -> None:
    script = observation(
        {"one": Fragment("echo first\n"), "two": Fragment('echo "$x"; exit 3\n', {"x": "second"})}, "N"
    )
    found = sections("Welcome!\nN begin other\n" + sh(script), "N")
    assert found == {"one": (0, "first\n"), "two": (3, "second\n")} or found == {
        "one": (0, "first"),
        "two": (3, "second"),
    }


def facts(**keys: object) -> Facts:
    base: dict[str, object] = {
        "machine_id": "m1",
        "hostname": "grid-1",
        "address": "10.0.0.11",
        "cores": 2,
        "systemd": 252,
        "squashfs": True,
        "ruby": "3.1.2",
        "missing": frozenset(),
        "ports": frozenset(),
        "marks": (),
    }
    return Facts(**(base | keys))  # type: ignore[arg-type]


def planned(
    found: Mapping[str, Attributes | Found],
    record_: Mapping[str, Any] | None = None,
    pending: frozenset[str] = frozenset(),
) -> Plan:
    desired = [
        Resource("grid-1", "user", "shop-web.1", user.desired("shop", "web.1"), "web.1"),
        Resource("grid-1", "unit", "shop-web.1", {"state": "running"}, "web.1", triggers=("user.shop-web.1",)),
    ]
    whole = {key: one if isinstance(one, Found) else Found(one) for key, one in found.items()}
    observed = Observed(facts(record=record_ or {}, pending=pending), whole)
    return build("shop", desired, {"grid-1": observed}, Formation((), {}, {}), Everything.providers, {})


WHOLE = {"user.shop-web.1": dict(user.desired("shop", "web.1")), "unit.shop-web.1": {"state": "running"}}


def test_nothing_to_do() -> None:
    plan = planned(WHOLE)
    assert plan.changes == ()
    assert plan_text.summary(plan, Style(False)) == "No changes. The servers match dyno.yaml."


def test_undeclared_attributes_are_ignored() -> None:
    assert planned({**WHOLE, "unit.shop-web.1": {"state": "running", "other": "x"}}).changes == ()


def test_no_change_is_compared_with_every_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fleet of a thousand servers has tens of thousands of changes."""
    compared = 0

    def counted(self: Change, other: object) -> bool:
        nonlocal compared
        compared += 1
        return self is other

    monkeypatch.setattr(Change, "__eq__", counted)
    slugs = [Resource("grid-1", "slug", f"shop@{number}", {"digest": str(number)}) for number in range(50)]
    plan = build("shop", slugs, {"grid-1": Observed(facts(), {})}, Formation((), {}, {}), Everything.providers, {})
    assert len(plan.changes) == 50 and compared <= 50


def test_create_in_order_with_one_start() -> None:
    plan = planned({})
    assert [(change.action, change.address, change.effect) for change in plan.changes] == [
        ("create", "grid-1/user.shop-web.1", None),
        ("create", "grid-1/unit.shop-web.1", "start"),
    ]
    assert plan_text.summary(plan, Style(False)) == ("Plan: 2 to add, 0 to change, 0 to destroy. 1 dyno starts.")


def test_drift_is_told_from_change_by_the_record() -> None:
    found = {**WHOLE, "user.shop-web.1": {**WHOLE["user.shop-web.1"], "shell": "/bin/bash"}}
    applied = {"user.shop-web.1": {"attributes": {**WHOLE["user.shop-web.1"], "groups": []}}}
    (change,) = planned(found, applied).changes
    assert change.drift
    assert change.reason == "changed on the server since the last apply: shell"
    (change,) = planned(found).changes
    assert not change.drift, "without a record, drift cannot be told from change"
    (change,) = planned(found, {"user.shop-web.1": {"attributes": {"shell": "/bin/bash"}}}).changes
    assert not change.drift, "what is found is what was applied: the manifest has changed"


def test_what_happened_is_not_what_somebody_did() -> None:
    """A worker that died after the apply was "changed by hand"."""
    record = {"unit.shop-worker.1": {"attributes": {"state": "running", "enabled": True}}}
    resource = Resource("grid-1", "unit", "shop-worker.1", {"state": "running", "enabled": True}, "worker.1")

    def change(**found: object) -> Change:
        seen = Observed(facts(record=record), {resource.key: Found({"state": "running", "enabled": True, **found})})  # type: ignore[dict-item]
        (only,) = build("shop", [resource], {"grid-1": seen}, Formation((), {}, {}), Everything.providers, {}).changes
        return only

    for state in ("crashing", "failed", "not answering"):
        one = change(state=state)
        assert (one.drift, one.drifted, one.reason) == (False, (), f"worker.1: state is {state}")
    for state in ("stopped", "outdated", "masked"):
        assert change(state=state).drifted == ("state",)
    both = change(state="crashing", enabled=False)
    assert both.drifted == ("enabled",)
    assert both.reason == "changed on the server since the last apply: enabled; worker.1: state is crashing"


def test_a_new_user_restarts_its_dyno_and_a_repaired_one_does_not() -> None:
    plan = planned({"unit.shop-web.1": {"state": "running"}})
    assert [(change.action, change.effect) for change in plan.changes] == [("create", None), ("restart", "restart")]
    assert plan.batches == (("web.1",),)
    mended = planned({**WHOLE, "user.shop-web.1": {**WHOLE["user.shop-web.1"], "shell": "/bin/bash"}})
    assert [change.action for change in mended.changes] == ["update"]


def test_an_interrupted_apply_is_finished() -> None:
    (change,) = planned(WHOLE, pending=frozenset({"web.1"})).changes
    assert (change.action, change.effect) == ("restart", "restart")
    assert "interrupted" in change.reason


def test_removals_begin_with_the_highest_number() -> None:
    more = {
        **WHOLE,
        **{f"unit.shop-web.{n}": {"state": "running"} for n in (2, 10, 9)},
        "user.shop-web.2": {"login": "x"},
    }
    plan = planned(more)
    assert [change.address.partition("/")[2] for change in plan.changes] == [
        "unit.shop-web.10",
        "unit.shop-web.9",
        "unit.shop-web.2",
        "user.shop-web.2",
    ]
    assert {change.effect for change in plan.changes} == {"stop", None}


def test_an_unmanaged_resource_is_an_error_and_never_removed() -> None:
    foreign = Found(WHOLE["user.shop-web.1"], foreign=True)
    plan = planned({**WHOLE, "user.shop-web.1": foreign})
    assert [error.summary for error in plan.errors] == [
        "grid-1/user.shop-web.1 already exists and was not created by dynoctl"
    ]
    assert planned({**WHOLE, "user.shop-web.7": foreign}).changes == ()


def test_a_secret_is_never_printed() -> None:
    secret = Sensitive("hunter2")
    assert {str(secret), repr(secret), f"{secret}", f"{secret!r}"} == {REDACTED}
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        copy.deepcopy(secret)
    with pytest.raises(TypeError):
        json.dumps({"a": secret})
    desired = Resource("grid-1", "env_file", "shop-web.1", {"variables": {"A": secret}}, "web.1")
    plan = build("shop", [desired], {"grid-1": Observed(facts(), {})}, Formation((), {}, {}), Everything.providers, {})
    text = plan_text.render(plan, {}, Style(True), verbose=True) + json.dumps(plan_json.document(plan, {})) + repr(plan)
    assert "hunter2" not in text
    assert REDACTED in text


def test_redaction() -> None:
    redact = redactor(
        [{"URL": Sensitive("postgresql://u:p%40ss@h/d"), "PEM": Sensitive("line one\nline two"), "N": Sensitive("1")}]
    )
    said = redact("connect to postgresql://u:p%40ss@h/d failed for p@ss and p%40ss; line two; 1")
    assert said == f"connect to {REDACTED} failed for {REDACTED} and {REDACTED}; {REDACTED}; {REDACTED}"


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert printable("a\x1b[31mb\r\n\x07") == "a\\x1b[31mb\\x0d\n\\x07"


def test_facts() -> None:
    found = parse(
        "machine_id abc\nhostname grid-1\nconnection 10.0.0.1 4711 10.0.0.11 22\ncores 4\n"
        "systemd systemd 252 (252.39)\n"
        'squashfs yes\nruby ruby 3.1.2\nsystem VERSION_ID="12"\nsystem ID=debian\n'
        "   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1\n"
        "   1: 00000000000000000000000000000000:1388 00000000000000000000000000000000:0000 0A 0:0 0 0\n"
        "   2: 0100007F:1389 0100007F:0016 0A00 x\n"
        "/etc/systemd/system/dyno-shop-web-1.service:X-Dynoctl-App=shop\n"
        "/etc/systemd/system/dyno-shop-web-1.service:X-Dynoctl-Dyno=web.1\n"
        "/etc/systemd/system/dyno-shop-web-1.service:X-Dynoctl-Port=5000\n"
        "/etc/systemd/system/dyno-shop-web-1.service:X-Dynoctl-Cpu=250\n"
        "           |-- 10.0.0.11\n              /32 host LOCAL\n--\n"
        "20010db8000000000000000000000001 02 40 20 80     eth0\n"
        '{"key": "unit.shop-web.1", "port": 5000, "attributes": {}}\n{damaged\nmeta not json\npending web.1\n'
    )
    assert found.addresses == {"10.0.0.11", "2001:db8::1"}
    assert (found.address, found.cores, found.systemd, found.ruby) == ("10.0.0.11", 4, 252, "3.1.2")
    assert found.system == 'ID=debian VERSION_ID="12"'
    assert found.ports == {22, 5000}
    assert found.dynos("shop")["web.1"].port == 5000
    assert list(found.record) == ["unit.shop-web.1"]
    assert (found.meta, found.pending) == ({}, {"web.1"})
    with pytest.raises(ValueError, match="no machine-id"):
        parse("sh: not a server")


def test_the_facts_of_this_machine() -> None:
    asked = server_facts.fragment(Scope("shop", "salt"), "/nonexistent/ruby", ())
    variables = {**asked.variables, "connection": "127.0.0.1 4711 127.0.0.1 22"}
    done = subprocess.run(["sh", "-c", asked.script], env={**os.environ, **variables}, capture_output=True, text=True)
    assert done.returncode == 0
    assert {"127.0.0.1", parse(done.stdout).own_address({})} <= parse(done.stdout).addresses


@pytest.mark.parametrize(
    "line",
    [
        'meta {"serial": "x", "dynos": [], "servers": 1}',
        'meta {"serial": 1, "dynos": {"bogus": "m", "web.0": "m"}, "servers": {"m": 7}}',
        '{"key": "unit.shop-web.1", "port": "5000", "attributes": {}}',
        '{"key": "unit.shop-web.1", "attributes": []}',
        "/etc/systemd/system/dyno-shop-web-1.service:X-Dynoctl-App=shop\n"
        "/etc/systemd/system/dyno-shop-web-1.service:X-Dynoctl-Dyno=../etc",
    ],
)
def test_damaged_records_and_markers_are_ignored(line: str) -> None:
    found = parse(f"machine_id abc\ncores 4\n{line}\n")
    assert (found.record, found.marks) == ({}, ())
    assert found.meta.get("dynos", {}) == {}
    assert found.meta.get("servers", {}) == {}


def test_records_are_one_line_each() -> None:
    command = records.write("shop", [("meta.json", '{"a": "b\\n"}'), ("pending/web.1", None)])
    assert command.stdin == b'meta.json {"a": "b\\n"}\npending/web.1 \n'
    assert "shop" in command.argv[-1]
    assert str(Identity("me@here", "now", 1)) == "me@here since now (pid 1)"


def test_scope_is_a_value() -> None:
    assert Scope("a", "b") == Scope("a", "b")


@pytest.mark.parametrize(
    "secret", ['tok"en\\with', "a#{b}secret", "esc\x1b[0msecret", "two\nlines-here", "sp ace/and+plus"]
)
def test_a_secret_is_found_as_ruby_and_urls_write_it(secret: str) -> None:
    redact = redactor([{"KEY": Sensitive(secret), "PGHOST": Sensitive("shop", common=True)}])
    inspected = (
        secret.replace("\\", "\\\\")
        .replace('"', '\\"')
        .replace("#{", "\\#{")
        .replace("\x1b", "\\e")
        .replace("\n", "\\n")
    )
    assert redact(f'{{"KEY"=>"{inspected}"}} of shop') == f'{{"KEY"=>"{REDACTED}"}} of shop'
    assert secret not in redact(secret)


def test_what_is_said_of_the_source_waits_until_the_servers_were_asked() -> None:
    said = ["Observing 3 servers"]
    reading = prepare._Reading(said.append)
    reading.say("Reading the files of the app: 1 GiB, now a")
    assert said == ["Observing 3 servers"]
    reading.wait()
    reading.say("Reading the files of the app: 2 GiB, now b")
    assert [line[-1] for line in said[1:]] == ["a", "b"]


def test_a_large_slug_is_noted_until_it_runs() -> None:
    slug = Slug("a" * 64, lambda session, say, before: pytest.fail("no image is needed"), large="large")
    runs = replace(release.new(1, "a" * 64, "{}", manifest="m"), result="ok")
    assert prepare._large(slug, []) == prepare._large(slug, [replace(runs, slug="b" * 64)]) == ["large"]
    assert prepare._large(slug, [runs]) == prepare._large(replace(slug, large=""), []) == []
