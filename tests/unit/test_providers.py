"""Providers: what they print for a server is run by a real sh here; what it prints is parsed."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from infra.fleet.applied_records import AppliedRecords
from infra.fleet.facts import Facts
from infra.fleet.observe import Observed
from infra.manifest.model import Writable
from infra.model.provider import Fragment, Scope
from infra.model.resource import Action, Attributes, Change, Found, Resource, fingerprint, same
from infra.plan.diff import diff
from infra.remote import read_only
from infra.remote.quote import assign
from infra.sensitive import Sensitive
from infra.state import records
from infra.views import plan_json
from infra.views.plan_text import change_lines
from infra.views.style import Style
from providers import candidate, credentials, dyno_unit, env_file, ini, user
from providers.env_file import EnvFile, Variables
from providers.unit import Unit
from providers.user import User

HOSTILE = {
    "PLAIN": "info",
    "EMPTY": "",
    "QUOTES": 'a "b" \'c\' `d` $HOME ${X} \\ \\\\ \\" end\\',
    "LINES": '-----BEGIN\nline "two"\n\nKEY="no"\n-----END\n',
    "ONLY_NEWLINE": "\n",
    "BACKSLASHES": "\\\\\\",
    "UNICODE": "Iıİ é 漢字 🚀",
    "HASH": "#not a comment",
    "EQUALS": "a=b=c",
    "SPACES": "  x  ",
}


def observe(directory: Path, scope: Scope, kept: Path) -> str:
    """Run the real fragment with a real sh on files that are here."""
    fragment = EnvFile().observe(scope)
    variables = {**fragment.variables, "directory": str(directory), "kept": str(kept)}
    done = subprocess.run(
        ["sh", "-s"],
        input=assign(variables) + fragment.script,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
    )
    assert done.stderr == ""
    return done.stdout


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "shop").mkdir()
    return tmp_path / "shop"


def test_an_env_file_as_wanted_is_known_by_one_digest(files: Path) -> None:
    scope = Scope("shop", "salt", {"web": HOSTILE})
    (files / "web.1.env").write_text(env_file.render(HOSTILE))
    output = observe(files, scope, files / "none")
    assert [line.split()[0] for line in output.splitlines()] == ["salt", "file", "same"], (
        "and no digest leaves the server"
    )
    assert EnvFile().parse(scope, output)["shop-web.1"].attributes["variables"] == HOSTILE


def test_an_env_file_that_differs_is_compared_key_by_key(files: Path, tmp_path: Path) -> None:
    scope = Scope("shop", "salt", {"web": {**HOSTILE, "PLAIN": "debug", "NEW": "x"}})
    (files / "web.1.env").write_text(env_file.render({**HOSTILE, "OLD": Sensitive("secret")}))
    (tmp_path / "kept").write_text("kept-salt\n")
    output = observe(files, scope, tmp_path / "kept")
    assert "secret" not in output
    found = EnvFile().parse(scope, output)["shop-web.1"].attributes
    desired = Resource("grid-1", "env_file", "shop-web.1", env_file.desired(scope.environments["web"]), "web.1")
    change = Change(desired, Action.UPDATE, found, desired.attributes)
    assert "variables" in change.differing()
    from infra.views.attributes import differences

    names = [name for name, _, _ in differences(found, desired.attributes) if name.startswith("variables")]
    assert sorted(names) == ["variables.NEW", "variables.OLD", "variables.PLAIN"], "all the hostile ones are the same"


@pytest.mark.parametrize("extra", ["FOO=bar\n", "# a note\n", "\n", 'OPEN="never closed\n', "no newline at the end"])
def test_a_line_that_a_person_added_is_found(files: Path, extra: str) -> None:
    scope = Scope("shop", "salt", {"web": HOSTILE})
    (files / "web.1.env").write_text(env_file.render(HOSTILE) + extra)
    found = EnvFile().parse(scope, observe(files, scope, files / "none"))["shop-web.1"].attributes["variables"]
    assert isinstance(found, dict)
    assert found.keys() > HOSTILE.keys()


def test_a_strangers_file_is_left_alone(files: Path) -> None:
    scope = Scope("shop", "salt", {"web": HOSTILE})
    (files / "web.1.env").write_text(env_file.render(HOSTILE))
    (files / "my notes.env").write_text("A=1\n")
    assert list(EnvFile().parse(scope, observe(files, scope, files / "none"))) == ["shop-web.1"]


def test_what_is_remembered_of_an_env_file_holds_no_secret() -> None:
    variables = {"A": Sensitive("secret"), "B": 'in"fo', "C": "x" * 5000}
    kept = EnvFile().recorded(env_file.desired(variables), "salt")
    digests = kept["variables"]
    assert isinstance(digests, dict) and digests.keys() == variables.keys()
    assert (digests["A"], digests["B"]) == (fingerprint("salt", 'A="secret"'), fingerprint("salt", 'B="in\\"fo"'))
    assert kept["plain"] == {"B": "in%22fo", "C": ""}
    assert not re.search("secret|xxx", json.dumps(kept))


BEFORE: dict[str, str | Sensitive] = {
    "KEPT": "same",
    "PLAIN": 'in}"fo\n',
    "BY_HAND": "debug",
    "SECRET": Sensitive("hunter2"),
    "NOW_SECRET": "hunter3",
    "NOW_PLAIN": Sensitive("hunter4"),
    "PASSWORD": "hunter8",
    "GONE": "plain",
    "GONE_SECRET": Sensitive("hunter5"),
}
AFTER: dict[str, str | Sensitive] = {
    "KEPT": "same",
    "PLAIN": "new",
    "BY_HAND": "info",
    "SECRET": Sensitive("hunter6"),
    "NOW_SECRET": Sensitive("hunter7"),
    "NOW_PLAIN": "hello",
    "PASSWORD": "other",
}


@pytest.mark.parametrize("recorded", ["now", "by an older dynoctl", "never"])
def test_the_old_value_of_a_plain_variable_is_shown(files: Path, tmp_path: Path, recorded: str) -> None:
    """It was ``(on the server)``, although it is no secret."""
    scope = Scope("shop", "salt", {"web": AFTER})
    on_server = {**BEFORE, "BY_HAND": "trace", "EXTRA": "1"}
    (files / "web.1.env").write_text(env_file.render(on_server))
    (files / "web.1.env").chmod(0o600)
    (tmp_path / "kept").write_text("kept-salt\n")
    found = EnvFile().parse(scope, observe(files, scope, tmp_path / "kept"))
    attributes = dict(EnvFile().recorded(env_file.desired(BEFORE), "kept-salt"))
    if recorded != "now":
        del attributes["plain"]
    key = "env_file.shop-web.1"
    applied = AppliedRecords()
    wanted = Resource("grid-1", "env_file", "shop-web.1", env_file.desired(AFTER), "web.1")
    if recorded != "never":
        _, line = records.applied(Change(wanted, Action.CREATE, None, wanted.attributes), attributes)
        applied.add(str(line))
    facts = Facts("m", "a", "10.0.0.1", 2, 252, True, "3.1", frozenset(), frozenset(), (), record=applied)
    changes, _ = diff("grid-1", [wanted], Observed(facts, {key: found["shop-web.1"]}), {"env_file": EnvFile()})
    lines = change_lines(changes[0], ("variables",), Style(False), verbose=True)
    shown = {line.strip()[2:].removeprefix("variables.") for line in lines[1:]}
    unknown = {
        'PLAIN: (not read) -> "new"',
        'BY_HAND: (not read) -> "info"',
        "SECRET: (sensitive) -> (sensitive)",
        'PASSWORD: (sensitive) -> "other"',
        "NOW_SECRET: (sensitive) -> (sensitive)",
        'NOW_PLAIN: (not read) -> "hello"',
        "GONE = (not read)",
        "GONE_SECRET = (not read)",
        "EXTRA = (not read)",
    }
    known = {
        'PLAIN: "in}\\"fo\\n" -> "new"',
        'NOW_PLAIN: (sensitive) -> "hello"',
        'GONE = "plain"',
        "GONE_SECRET = (sensitive)",
    }
    names = {line.partition(":")[0].partition(" ")[0] for line in known}
    if recorded == "now":
        unknown = {line for line in unknown if line.partition(":")[0].partition(" ")[0] not in names} | known
    assert shown == unknown
    text = json.dumps([plan_json.change(change) for change in changes])
    assert "hunter" not in text and "trace" not in text


def recorded_plan(files: Path, before: Variables, after: Variables) -> tuple[list[Change], str]:
    """The changes of an env file that was applied and recorded with ``before``, and how a plan shows them."""
    scope = Scope("shop", "salt", {"web": after})
    (files / "web.1.env").write_text(env_file.render(before))
    (files / "web.1.env").chmod(0o600)
    (files.parent / "kept").write_text("kept-salt\n")
    found = EnvFile().parse(scope, observe(files, scope, files.parent / "kept"))
    wanted = Resource("grid-1", "env_file", "shop-web.1", env_file.desired(after), "web.1")
    attributes = EnvFile().recorded(env_file.desired(before), "kept-salt")
    _, line = records.applied(Change(wanted, Action.CREATE, None, wanted.attributes), attributes)
    applied = AppliedRecords()
    applied.add(str(line))
    facts = Facts("m", "a", "10.0.0.1", 2, 252, True, "3.1", frozenset(), frozenset(), (), record=applied)
    observed = Observed(
        facts,
        {
            "env_file.shop-web.1": replace(
                found["shop-web.1"], attributes={**found["shop-web.1"].attributes, "owner": "root:root"}
            )
        },
    )
    changes, _ = diff("grid-1", [wanted], observed, {"env_file": EnvFile()})
    shown = [line for change in changes for line in change_lines(change, ("variables",), Style(False), verbose=True)]
    return changes, "\n".join(shown) + json.dumps([plan_json.change(change) for change in changes])


def test_a_value_that_became_a_secret_leaves_its_record(files: Path) -> None:
    """Its file is the same, so the record kept it, and a plan without the variable showed it."""
    [change], shown = recorded_plan(files, {"KEY": "hunter2", "A": "b"}, {"KEY": Sensitive("hunter2"), "A": "b"})
    assert change.action is Action.UPDATE and not EnvFile().triggers(change) and not change.drift
    assert change.reason == "recorded as no secret: KEY" and "hunter2" not in shown
    assert change.after is not None
    assert EnvFile().recorded(change.after, "kept-salt")["plain"] == {"A": "b"}
    same_again, _ = recorded_plan(
        files, {"KEY": Sensitive("hunter2"), "A": "b"}, {"KEY": Sensitive("hunter2"), "A": "b"}
    )
    assert same_again == []


def test_an_old_value_is_hidden_if_a_secret_was_taken_out_of_it(files: Path) -> None:
    before = {"URL": "https://api.example.org/?key=hunter2", "TOKEN_1": "hunter2", "A": "b"}
    after = {"URL": "https://api.example.org/", "KEY": Sensitive("hunter2"), "A": "c"}
    _, shown = recorded_plan(files, before, after)
    assert "hunter2" not in shown and '"b" -> "c"' in shown and "URL: (sensitive) ->" in shown


def test_a_read_only_login_is_not_told_what_is_recorded(tmp_path: Path) -> None:
    attributes = EnvFile().recorded(env_file.desired({"A": 'a}b"c', "B": "x"}), "salt")
    line = json.dumps({"attributes": attributes, "key": "env_file.shop-web.1"}, sort_keys=True)
    text = read_only.script("shop", {"facts": Fragment("printf '%s\\n' \"$line\"", {"line": line})}, frozenset())
    printed = subprocess.run(["/bin/sh", "-c", text], capture_output=True, text=True, check=True).stdout
    sent = next(json.loads(one) for one in printed.splitlines() if one.startswith("{"))
    assert sent["attributes"]["plain"] == {} and sent["attributes"]["variables"].keys() == {"A", "B"}


def test_the_order_of_systemctls_properties_does_not_matter() -> None:
    output = "\n".join(
        [
            *("dyno-shop-web-1.service", "=[Unit]", "=X-Dynoctl-App=shop", "=X-Dynoctl-Dyno=web.1"),
            *("dyno-shop-admin-web-1.service", "=[Unit]", "=X-Dynoctl-App=shop-admin"),
            "CPUQuotaPerSecUSec=250ms",
            "ActiveState=active",
            "UnitFileState=enabled",
            "Id=dyno-shop-web-1.service",
            "",
            "Id=dyno-shop-web-1-ready.service",
            "ActiveState=active",
        ]
    )
    found = {name: one.attributes for name, one in Unit().parse(Scope("shop", ""), output).items()}
    assert list(found) == ["shop-web.1"], "an app with a longer name is another app"
    assert (found["shop-web.1"]["state"], found["shop-web.1"]["cpu"], found["shop-web.1"]["enabled"]) == (
        "running",
        "25%",
        True,
    )


@pytest.mark.parametrize(
    ("active", "sub", "ready", "reload", "restarts", "state"),
    [
        ("active", "running", "active", "no", 0, "running"),
        ("active", "running", "active", "no", 3, "running"),
        ("active", "running", "activating", "no", 0, "running"),
        ("active", "running", "activating", "no", 1, "crashing"),
        ("active", "running", "failed", "no", 0, "not answering"),
        ("active", "running", "active", "yes", 0, "outdated"),
        ("activating", "start", "inactive", "no", 0, "running"),
        ("activating", "start", "inactive", "no", 1, "crashing"),
        ("activating", "auto-restart", "inactive", "no", 0, "crashing"),
        ("inactive", "dead", "inactive", "no", 0, "stopped"),
        ("failed", "failed", "inactive", "no", 0, "failed"),
    ],
)
def test_states(active: str, sub: str, ready: str, reload: str, restarts: int, state: str) -> None:
    output = (
        "dyno-shop-web-1.service\n=[Unit]\n"
        f"Id=dyno-shop-web-1.service\nActiveState={active}\nSubState={sub}\nNeedDaemonReload={reload}\n"
        f"NRestarts={restarts}\n\nId=dyno-shop-web-1-ready.service\nActiveState={ready}\n"
    )
    assert Unit().parse(Scope("shop", ""), output)["shop-web.1"].attributes["state"] == state


def test_a_user_of_somebody_else_is_foreign() -> None:
    scope = Scope("shop", "")
    ours = "dyno-shop-web-1:x:999:999:dynoctl shop web.1:/nonexistent:/usr/sbin/nologin\nlocked dyno-shop-web-1:yes"
    assert User().parse(scope, ours)["shop-web.1"] == Found(user.desired("shop", "web.1"))
    theirs = ours.replace("dynoctl shop web.1", "a person")
    assert User().parse(scope, theirs)["shop-web.1"].foreign
    assert User().parse(Scope("sh", ""), ours) == {}


def sample() -> dyno_unit.DynoUnit:
    return dyno_unit.DynoUnit(
        app="shop",
        dyno="web.1",
        listen="10.0.0.11",
        port=5000,
        argv=("/usr/bin/thin", "start", "-a", "10.0.0.11", "--tag", 'odd "$x" 100%'),
        environment={"LANG": "C.UTF-8", "ODD": 'a "b" 50% $c'},
        slug="a" * 64,
        files={"rackup": "b" * 64, "server_config": "c" * 64},
        writable=(Writable("tmp"),),
        cpu=250,
        memory=512 << 20,
    )


def test_a_units_text_comes_back_as_its_settings() -> None:
    settings = dyno_unit.service(sample())
    text = ini.render(settings)
    assert ini.parse(text) == settings
    assert ini.parse(f"# a note\n{text}\n; another") == settings
    assert 'ExecStart=/usr/bin/thin start -a 10.0.0.11 --tag "odd \\"$$x\\" 100%%"' in text
    assert 'Environment="ODD=a \\"b\\" 50%% $c"' in text


def test_no_root_line_of_a_unit_sees_the_apps_environment() -> None:
    settings = dyno_unit.service(sample())
    assert not any(value.startswith(("+", "!")) for key, value in settings.items() if ".Exec" in key)
    trial = candidate.settings(sample(), "1a2b3c4d")
    assert not any(value.startswith(("+", "!")) for key, value in trial.items() if ".Exec" in key)
    ready = dyno_unit.ready(sample())
    assert not any("Environment" in key for key in ready)
    assert not ready["Service.ExecStart"].startswith("+"), "what reads from the app is not root's"


def test_systemd_reads_the_units(tmp_path: Path) -> None:
    """Golden: what a person would review. Changing it is a decision, so the whole text is here."""
    golden = Path(__file__).parents[1] / "golden/units"
    worker = replace(sample(), dyno="worker.1", listen="", port=0, files={}, argv=("/bin/sh", "-c", "rake 'a b' $X"))
    for name, settings in (
        ("service", dyno_unit.service(sample())),
        ("ready", dyno_unit.ready(sample())),
        ("worker", dyno_unit.service(worker)),
        ("worker-ready", dyno_unit.ready(worker)),
        ("candidate", candidate.settings(replace(sample(), dyno=candidate.DYNO), "1a2b3c4d")),
    ):
        text = ini.render(settings)
        file = golden / f"{name}.txt"
        if os.environ.get("DYNOCTL_GOLDEN") == "write":
            golden.mkdir(exist_ok=True)
            file.write_text(text)
        assert text == file.read_text()


def test_nothing_in_a_value_ends_a_line_of_a_unit() -> None:
    hostile = "production\rUser=root\x0bGroup=root\u2028PrivateUsers=no\x00\x1b"
    settings = dyno_unit.service(replace(sample(), environment={"RACK_ENV": hostile}, argv=("/bin/sh", "-c", hostile)))
    text = ini.render(settings)
    assert ini.parse(text) == settings
    assert all(line.isprintable() for line in text.split("\n"))
    assert "production\\x0dUser=root" in text


@pytest.mark.parametrize(
    ("text", "percent"), [("250ms", "25%"), ("1s", "100%"), ("1min 4s", "6400%"), ("1min", "6000%")]
)
def test_a_share_of_many_cores(text: str, percent: str) -> None:
    output = "dyno-shop-web-1.service\n=[Service]\n=CPUQuota=1%\n"
    states = f"Id=dyno-shop-web-1.service\nCPUQuotaPerSecUSec={text}\n\nId=dyno-shop-web-1-ready.service\nActiveState=active\n"
    assert Unit().parse(Scope("shop", ""), output + states)["shop-web.1"].attributes["cpu"] == percent


def test_credentials_are_compared_without_leaving_the_server(tmp_path: Path) -> None:
    deep = "-----BEGIN-----\nhunter2 'x'\n\n"
    scope = Scope("shop", "salt", credentials={"deep.key": Sensitive(deep)})
    desired = Resource("grid-1", "credentials", "shop-web.1", credentials.desired(scope.credentials), "web.1")
    provider = credentials.CredentialFiles()
    directory = tmp_path / "dyno/shop/web.1.credentials"

    def look() -> Attributes | None:
        fragment = provider.observe(scope)
        script = assign({**fragment.variables, "directory": str(directory.parent), "kept": "/nonexistent"})
        said = subprocess.run(["sh", "-s"], input=script + fragment.script, capture_output=True, text=True, check=True)
        assert "hunter2" not in said.stdout
        found = provider.parse(scope, said.stdout.replace(whoami(), "root:root")).get("shop-web.1")
        return None if found is None else found.attributes

    assert look() is None
    change = Change(desired, Action.CREATE, None, desired.attributes)
    for command in provider.steps(scope, change):
        argv = [word.replace("/etc/dyno", str(tmp_path / "dyno")) for word in command.argv]
        assert "hunter2" not in " ".join(argv)
        subprocess.run(argv, input=command.stdin, check=True)
    assert (directory / "deep.key").read_text() == deep
    found = look()
    assert found is not None
    assert all(same(value, found.get(name)) for name, value in desired.attributes.items())
    (directory / "deep.key").chmod(0o644)
    found = look()
    assert found is not None and not same(desired.attributes["files"], found["files"])
    (directory / "deep.key").chmod(0o600)
    (directory / "deep.key").write_text(deep + "x")
    (directory / "more").write_text("")
    found = look()
    assert found is not None and not same(desired.attributes["files"], found["files"])
    changed = Change(desired, Action.UPDATE, found, desired.attributes)
    assert provider.triggers(changed)
    assert [command.label for command in provider.steps(scope, changed)][-1] == "remove credentials"
    assert {path.rpartition("/")[2] for path in provider.files(scope, changed)} == {"deep.key", "more"}
    assert "hunter2" not in repr(provider.recorded(desired.attributes, "salt"))


def whoami() -> str:
    return subprocess.run(["stat", "-c", "%U:%G", "."], capture_output=True, text=True, check=True).stdout.strip()
