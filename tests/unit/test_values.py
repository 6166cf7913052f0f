"""The forms of a value: how large it may be, what of a file is its text, which names it may have, and empty words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.errors import DynoctlError, ManifestInvalid
from infra.manifest import check, read
from infra.manifest.references import resolve_environment, resolve_tls
from infra.manifest.secrets_file import read as read_secrets
from infra.manifest.variables import LARGEST, POINTER, TOTAL
from infra.model import landlock
from infra.ops import one_off
from infra.sensitive import reveal
from infra.slug import build as app_build
from infra.slug.tree import scan
from infra.state import config
from providers import ini

POISON = "hunter2-poison"
FITS = LARGEST - len("BIG=") - 1


def manifest(directory: Path, **keys: Any) -> Path:
    (directory / "source").mkdir(exist_ok=True)
    (directory / "source/config.ru").write_text("")
    file = directory / "dyno.yaml"
    made = {
        "version": 1,
        "app": {"name": "shop", "source": "source", **keys.pop("app", {})},
        "rackup": "config.ru",
        "dynos": {"web": 1},
        "servers": [{"name": "grid-1", "host": "10.0.0.11"}],
        **keys,
    }
    file.write_text(json.dumps(made))
    return file


def summaries(directory: Path, **keys: Any) -> list[tuple[str, str]]:
    return [(found.path, found.summary) for found in check(manifest(directory, **keys))[1]]


def test_the_limit_of_one_variable_is_the_kernels() -> None:
    """A program starts with the largest value, also by the launcher, and not with one byte more."""
    for name in ("BIG", "LONGER_NAME"):
        most = LARGEST - len(name) - 2
        for more, status in ((0, 0), (1, 126)):
            environment = {**os.environ, name: "x" * (most + more)}
            done = subprocess.run(landlock.inline(("true",)), env=environment, stderr=subprocess.PIPE, check=False)
            assert done.returncode == status, done.stderr


def test_the_limit_of_all_variables_leaves_room_for_a_command() -> None:
    """With a stack of 8 MiB a program starts with variables of the largest total and a command of the largest length."""
    count = TOTAL // LARGEST + 1
    environment = {f"V{number:02}": "x" * (TOTAL // count - len("V00=") - 1 - POINTER) for number in range(count)}
    assert TOTAL - count < sum(len(f"{name}={value}") + 1 + POINTER for name, value in environment.items()) <= TOTAL
    text = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_STACK, (8 << 20, resource.RLIM_INFINITY)); "
    text += "command = ['/bin/sh', '-c', ': ' + 'x' * (int(sys.argv[1]) - 3)]; "
    text += "os.execve('/bin/sh', [*sys.argv[2:], *command], eval(sys.stdin.read()))"
    argv = [sys.executable, "-c", text, str(LARGEST), *landlock.inline(())]
    done = subprocess.run(argv, input=repr(environment), text=True)
    assert done.returncode == 0


def test_a_variable_that_is_too_large_is_refused_by_name(tmp_path: Path) -> None:
    assert summaries(tmp_path, env={"BIG": "x" * FITS}) == []
    assert summaries(tmp_path, env={"OK": "1", "BIG": "x" * (FITS + 1)}) == [
        ("env/BIG", f"BIG is too large: {LARGEST + 1} bytes with its name")
    ]
    assert summaries(tmp_path, env={"BIG": "é" * (FITS // 2 + 1)})[0][0] == "env/BIG", "bytes count, not characters"


def test_variables_that_are_too_large_together_name_the_largest(tmp_path: Path) -> None:
    """A manifest has at most 1 MiB; one that extends another may have more."""
    base = {"env": {f"V{number:02}": "x" * 104_000 for number in range(10)}}
    (tmp_path / "base.yaml").write_text(json.dumps(base))
    env = {f"V{number}": "x" * 100_000 for number in range(10, 19)} | {"V07": "x" * 130_000}
    ((path, text),) = summaries(tmp_path, extends="base.yaml", env=env)
    assert path == "env" and text.endswith("bytes in total, the largest are V07, V00, V01")


def test_a_value_that_is_read_is_refused_by_name_and_never_shown(tmp_path: Path) -> None:
    """A reference, a password, the URL of a cache: what a release, a schedule and a release command start with."""
    (tmp_path / "big").write_text(POISON + "x" * LARGEST)
    (tmp_path / ".dyno").mkdir()  # no variable of this process can be so large
    (tmp_path / ".dyno/secrets").write_text(f"BIG_URL=redis://:{POISON}{'x' * LARGEST}@h/0\n")
    (tmp_path / ".dyno/secrets").chmod(0o600)
    env = {"FILE": {"from_file": "big"}, "COMMAND": {"from_command": ["cat", "big"]}, "FINE": "1"}
    model = read(manifest(tmp_path, env=env, cache={"adapter": "redis", "url": {"from_env": "BIG_URL"}}))
    with pytest.raises(ManifestInvalid) as refused:
        resolve_environment(model)
    found = [(problem.path, problem.summary.partition(":")[0]) for problem in refused.value.diagnostics]
    assert found == [
        ("cache", "CACHE_URL is too large"),
        ("cache", "REDIS_URL is too large"),
        ("env/FILE", "FILE is too large"),
        ("env/COMMAND", "COMMAND is too large"),
    ]
    assert all(problem.location is not None for problem in refused.value.diagnostics)
    assert POISON not in str(refused.value) + repr(refused.value.diagnostics)


def test_values_that_are_read_count_together(tmp_path: Path) -> None:
    (tmp_path / "part").write_text("x" * 120_000)
    env = {f"V{number:02}": {"from_file": "part"} for number in range(17)}
    with pytest.raises(ManifestInvalid) as refused:
        resolve_environment(read(manifest(tmp_path, env=env)))
    (problem,) = refused.value.diagnostics
    assert problem.path == "env" and problem.summary.startswith("the variables are too large: ")


def test_variables_of_a_one_off_dyno_have_the_same_limits() -> None:
    assert one_off.variables([f"BIG={'x' * FITS}"], {})["BIG"]
    with pytest.raises(DynoctlError, match="-e BIG is too large") as refused:
        one_off.variables([f"BIG={POISON}{'x' * FITS}"], {})
    assert POISON not in str(refused.value) + refused.value.hint
    with pytest.raises(DynoctlError, match="-e BIG is too large"):
        one_off.variables(["BIG"], {"BIG": "x" * (FITS + 1)})
    with pytest.raises(DynoctlError, match="-e: the variables are too large"):
        one_off.variables([f"V{number}={'x' * 100_000}" for number in range(20)], {})


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"app": {"build": ["true", "x" * LARGEST]}}, "app/build/1"),
        ({"release_command": "x" * LARGEST}, "release_command"),
        ({"release_command": ["x", "y" * LARGEST]}, "release_command"),
        ({"dynos": {"web": 1, "worker": {"command": "x" * LARGEST}}}, "dynos/worker/command"),
        ({"schedule": [{"name": "tick", "every": "1h", "command": "x" * LARGEST}]}, "schedule/0/command"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_command_that_linux_does_not_run_is_refused(tmp_path: Path, keys: dict[str, Any], path: str) -> None:
    ((where, text),) = summaries(tmp_path, **keys)
    assert where == path and text.startswith("the command is too long")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"value", "value"),
        (b"value\n", "value"),
        (b"value\r\n", "value"),
        (b"value\n\n", "value\n"),
        (b"value\r\n\r\n", "value\r\n"),
        (b"value\n\r", "value\n\r"),
        (b"value\r", "value\r"),
        (b"\xef\xbb\xbfvalue\r\n", "value"),
        (b"\xef\xbb\xbf", ""),
        (b"\xef\xbb\xbf\xef\xbb\xbfx", "\ufeffx"),
        (b"a\xef\xbb\xbfb", "a\ufeffb"),
        (b"one\r\ntwo\r\n", "one\r\ntwo"),
        (b" value \n", " value "),
        (b"\n", ""),
        (b"", ""),
    ],
)
@pytest.mark.parametrize("kind", ["from_file", "from_command"])
def test_what_of_a_file_is_its_text(tmp_path: Path, data: bytes, text: str, kind: str) -> None:
    (tmp_path / "value").write_bytes(data)
    reference = {kind: "value" if kind == "from_file" else ["cat", "value"]}
    assert reveal(resolve_environment(read(manifest(tmp_path, env={"KEY": reference})))["KEY"]) == text


def test_a_byte_order_mark_is_no_part_of_secrets_and_certificates(tmp_path: Path) -> None:
    (tmp_path / ".dyno").mkdir()
    (tmp_path / ".dyno/secrets").write_bytes(b"\xef\xbb\xbfKEY=value\r\n")
    (tmp_path / ".dyno/secrets").chmod(0o600)
    assert read_secrets(tmp_path, None) == {"KEY": "value"}
    for name in ("crt", "key"):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf-----BEGIN\r\n")
    tls = {"certificate": {"from_file": "crt"}, "key": {"from_file": "key"}}
    router = {"kind": "nginx", "servers": ["grid-1"], "tls": tls}
    found = resolve_tls(read(manifest(tmp_path, router=router)))
    assert {name: text.reveal() for name, text in found.items()} == dict.fromkeys(
        ("certificate", "key"), "-----BEGIN\r\n"
    )


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "MALLOC_CONF", "GLIBC_TUNABLES", "LOCPATH", "NLSPATH"])
def test_variables_that_tune_the_c_library_are_allowed(tmp_path: Path, name: str) -> None:
    assert summaries(tmp_path, env={name: "2"}) == []
    assert one_off.variables([f"{name}=2"], {}) == {name: "2"}


@pytest.mark.parametrize("name", ["LD_PRELOAD", "GCONV_PATH", "NOTIFY_SOCKET", "BASH_ENV", "PORT", "dynoctl_X"])
def test_variables_that_load_code_or_are_reserved_are_refused(tmp_path: Path, name: str) -> None:
    assert summaries(tmp_path, env={name: "2"}) == [(f"env/{name}", f"{name} cannot be set in env")]


def test_an_empty_word_in_a_command_is_legal(tmp_path: Path) -> None:
    words = ["program", "", "last", ""]
    keys = {
        "release_command": words,
        "dynos": {"web": 1, "worker": {"command": words}},
        "schedule": [{"name": "tick", "every": "1h", "command": words}],
    }
    model = read(manifest(tmp_path, **keys))
    assert model.release_command == model.dynos["worker"].command == model.schedule[0].command == tuple(words)
    assert [ini.quote(word) for word in words] == ["program", '""', "last", '""']
    assert summaries(tmp_path, release_command=["", "x"]) == [("release_command", "the command has no program")]


@pytest.mark.parametrize(
    "command", ["first\nsecond \t\x1b", "x" * (LARGEST - 1), ["sh", "-c", "a\nb", ""], "é" * 20_000]
)
def test_every_command_of_a_manifest_is_read_back_from_a_record(tmp_path: Path, command: Any) -> None:
    """Otherwise, what was edited meanwhile would be applied by a scale or a rollback."""
    dynos = {"web": 1, "worker": {"command": command}}
    schedule = [{"name": "tick", "every": "1h", "command": command}]
    router = {"kind": "nginx", "servers": ["grid-1"], "hosts": ["*.example.org", "bücher.example"]}
    model = read(manifest(tmp_path, dynos=dynos, schedule=schedule, router=router))
    again = config.restored(model, json.loads(json.dumps(config.document(model))), {})
    assert (again.dynos, again.schedule, again.router) == (model.dynos, model.schedule, model.router)


def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *commands: str, **environment: str) -> dict[bytes, bytes]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    source = tmp_path / "app"
    source.mkdir(exist_ok=True)
    (source / "app.rb").write_text("")
    work = app_build.Build("shop", scan(source), commands, environment)
    with app_build.run(work, None, lambda _: None) as tree:
        return {
            entry.path: (tree.source / os.fsdecode(entry.path)).read_bytes()
            for entry in tree.entries
            if entry.size and entry.path != b"app.rb"
        }


def test_a_build_has_nothing_of_the_callers_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["BUNDLE_GEMFILE", "BUNDLE_PATH", "BUNDLE_WITHOUT", "BUNDLER_VERSION", "BUNDLER_ORIG_PATH", "GEM_HOME"]
    names += ["GEM_PATH", "RUBYOPT", "RUBYLIB", "RUBYGEMS_GEMDEPS"]
    for name in names:
        monkeypatch.setenv(name, "caller")
    monkeypatch.setenv("BUNDLED", "kept")
    found = built(tmp_path, monkeypatch, "env > variables", RUBYLIB="own")
    lines = found[b"variables"].decode().splitlines()
    assert not [line for line in lines if line.endswith("=caller")]
    assert {"BUNDLED=kept", "RUBYLIB=own"} <= set(lines)


@pytest.mark.parametrize("real", [False, True])
def test_links_into_the_scratch_directory_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: bool
) -> None:
    """Also if the directory for temporary files is itself a link, and a program resolved it."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setattr(app_build.tempfile, "tempdir", str(tmp_path / "link"))
    here = "$(pwd -P)" if real else "$(pwd -L)"
    with pytest.raises(app_build.BuildFailed) as refused:
        built(tmp_path, monkeypatch, f"mkdir bin; ln -s {here}/app.rb bin/run; ln -s {here}/.. up; ln -s app.rb fine")
    lines = refused.value.hint.splitlines()
    assert refused.value.summary.startswith("build of shop made links into its scratch directory")
    assert [line.split()[0] for line in lines[1:]] == ["bin/run", "up"]
    assert built(tmp_path, monkeypatch, "mkdir bin; ln -s ../app.rb bin/run; ln -s /tmp t; ln -s /etc/hosts h") == {}


def test_the_same_links_of_a_builder_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    source = tmp_path / "app"
    source.mkdir()
    (source / "own").symlink_to("/tmp/app/theirs")  # it was there before, and is no doing of the build

    class Builder:
        name = "grid-1"

        def build(self, job: Any, up: Any, down: Any, log: Any) -> int:
            (tmp_path / "out").mkdir()
            (tmp_path / "out/run").symlink_to("/tmp/app/app.rb")
            (tmp_path / "out/own").symlink_to("/tmp/app/theirs")
            (tmp_path / "out/other").symlink_to("/tmp/apple")
            down.write(subprocess.run(["tar", "-cf", "-", "-C", tmp_path / "out", "."], capture_output=True).stdout)
            return 0

    work = app_build.Build("shop", scan(source), ("true",), {})
    with (
        pytest.raises(app_build.BuildFailed) as refused,
        app_build.run(work, Builder(), lambda _: None),  # type: ignore[arg-type]
    ):
        pass
    assert refused.value.hint.splitlines()[1:] == ["  run -> /tmp/app/app.rb"]
