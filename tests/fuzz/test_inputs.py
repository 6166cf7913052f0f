"""Everything that a user or a pull request may write is read or refused: no other exception, no hang, no raw escape."""

from __future__ import annotations

import io
import json
import random
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from infra import manifest
from infra.cli import scale, time_argument
from infra.engine import plan_file
from infra.errors import Diagnostic, DynoctlError
from infra.manifest import backings, counts, cron, secrets_file, urls
from infra.manifest.nodes import Unusable
from infra.slug import ignore
from infra.slug.untar import unpack
from infra.views import diagnostics
from stacks import detect, requirement
from tests.fuzz.mutation import Mutator, bounded, count
from tests.golden.init_cases import CASES, parts

ROOT = Path(__file__).parents[2]
MANIFESTS = [(ROOT / "dyno.yaml").read_text(), *(parts(name)[1]["dyno.yaml"] for name in CASES)]
SMALL = """\
version: 1
app: {name: shop, source: ., build: [bundle install]}
framework: {name: rack, require: ./a, app: A}
middleware: [{use: Rack::Deflater}, {map: /a, require: ./a, app: A}]
dynos: {web: 2, worker: {count: 1, command: sleep 1, cpu: 0.5, memory: 1G}}
schedule: [{name: tick, cron: "*/5 * * * mon-fri", command: "true"}, {name: hour, every: 1h, command: x}]
env: &e {A: b, K: {from_env: K}, F: {from_file: f}, C: {from_command: [echo, hi]}}
database: {adapter: postgresql, url: "postgresql://u:p%40@h:5432/d?sslmode=require"}
cache: {adapter: redis, url: redis://10.0.0.20:6379/0}
servers: [{name: a, host: 10.0.0.1}, {name: b, host: "fd00::1", user: deploy, port: 2222, labels: {rack: b}, drain: true}]
router: {kind: nginx, servers: [a], listen: 80, hosts: [shop.example.org], timeout: 30}
rollout: {max_parallel: 1, canary: 1, health: {path: /up, timeout: 30}}
volumes: [{name: up, path: public/up}]
x-more: *e
"""


def shown(found: Sequence[Diagnostic]) -> str:
    """The diagnostics as a user sees them."""
    text = diagnostics.render(found, color=False)
    assert not any(ord(character) < 32 and character not in "\n\t" for character in text), text
    assert "Traceback" not in text
    return text


def test_manifests(tmp_path: Path) -> None:
    file = tmp_path / "dyno.yaml"
    for name in ("config.ru", "a.rb", "f"):
        (tmp_path / name).touch()
    mutator, read = Mutator([SMALL, *MANIFESTS], 1), 0
    for _ in range(count(600, 60_000)):
        text = mutator.text()
        file.write_bytes(text.encode(errors="surrogatepass"))
        with bounded(text):
            model, found = manifest.check(file)
        read += model is not None
        assert (model is None) == bool(shown(found))
    assert read > 20, "most of the inputs must not fail at the first character"


def test_bytes(tmp_path: Path) -> None:
    file, chance = tmp_path / "dyno.yaml", random.Random(2009)
    for _ in range(count(500, 30_000)):
        data = SMALL.encode()[: chance.randint(0, 900)] + chance.randbytes(chance.randint(0, 60))
        file.write_bytes(data)
        with bounded(repr(data)):
            model, found = manifest.check(file)
        assert (model is None) == bool(shown(found))


def test_overlays(tmp_path: Path) -> None:
    (tmp_path / "dyno.yaml").write_text(SMALL)
    seeds = [
        "env: {A: c}\n",
        "dynos: {web: 3}\nservers: [{name: a, host: 10.0.0.9}]\n",
        "extends: dyno.yaml\nversion: 1\n",
    ]
    mutator = Mutator([*seeds, SMALL], 2)
    for _ in range(count(300, 30_000)):
        text = mutator.text()
        (tmp_path / "dyno.staging.yaml").write_bytes(text.encode(errors="surrogatepass"))
        with bounded(text):
            shown(manifest.check(tmp_path / "dyno.yaml", "staging")[1])


def refused(read: Callable[[str], object], *errors: type[Exception]) -> Callable[[str], None]:
    """A parser that may refuse a text with these errors."""

    def attempt(text: str) -> None:
        with suppress(*errors):
            read(text)

    return attempt


def _detect(text: str) -> object:
    return detect.detect(dict.fromkeys((name for name in detect.FILES if "*" not in name), text))


def _ignored(text: str) -> object:
    rules = ignore.parse(text.encode(errors="surrogateescape" if "\ud800" not in text else "replace"))
    return [
        ignore.ignored(rules, path, False) for path in (b"app/models/a.rb", b"a" * 200, b"x/" * 60 + b"y", b"\xff\n")
    ]


def _url(text: str) -> object:
    found = []
    for adapter in ("postgresql", "mysql", "redis", "memcached"):
        if urls.check_url(text, adapter) is None:
            found.append(backings.from_url(adapter, text))
    urls.masked(text, "(sensitive)")
    return found


def _edit(text: str) -> object:
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    dynos = data.get("dynos") if isinstance(data, dict) else None
    if not isinstance(dynos, dict) or "web" not in dynos:
        return None
    return counts.edit(text, {"web": 7}, {"web": 1}, "dyno.yaml")


TEXTS: dict[str, tuple[list[str], Callable[[str], None], int]] = {
    "cron": (["*/5 * * * mon-fri", "0 3 1,15 * *", "@daily"], refused(cron.calendar, cron.CronError), 2000),
    "every": (["10m", "1h", "30s", "1d"], refused(cron.every, cron.CronError), 1000),
    "requirements": (["~> 3.1, != 3.2.0", ">= 2.7", "1:3.3+b1"], refused(requirement.parse, ValueError), 2000),
    "versions": (
        ["3.1.2p20", "3.4.0.rc1", "1:3.3+b1"],
        refused(lambda text: requirement.satisfies(text, ">= 3"), ValueError),
        1000,
    ),
    "times": (
        ["10m", "2 hours ago", "2026-01-01T10:00:00Z", "14:30"],
        refused(lambda text: time_argument.since(text, datetime.now(UTC)), DynoctlError),
        1500,
    ),
    "counts": (
        ["web=3", "worker+1", "web-1"],
        refused(lambda text: scale.wanted([text], {"web": 1, "worker": 2}), DynoctlError),
        1000,
    ),
    "apps": (
        [
            "gem 'rails', '~> 7'\nruby '3.2.1'\n",
            "web: bundle exec puma -p $PORT\n",
            "3.2.1\n",
            "ruby file: '.ruby-version'",
        ],
        refused(_detect),
        1500,
    ),
    "ignore files": (
        ["*.log\n!keep.log\n/tmp/\nlog/**/x\n[a-c]?\n", "*a" * 25, "**/" * 20 + "x"],
        refused(_ignored),
        3000,
    ),
    "urls": (
        [
            "postgresql://u:p%40ss@db.example.org:5432/shop?sslmode=require",
            "redis://:s3cret@h:6379/0",
            "memcached://a:1,b:2",
            "mysql2://u@[::1]/d",
        ],
        refused(_url),
        3000,
    ),
    "edits": (
        [SMALL, "dynos: {web: 2}\n", "dynos:\n  web: {count: 2}  # two\n"],
        refused(_edit, DynoctlError, Unusable),
        400,
    ),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_texts(kind: str) -> None:
    seeds, read, usual = TEXTS[kind]
    mutator = Mutator(seeds, 3)
    for number in range(count(usual, 60 * usual)):
        text = mutator.text() if number % 2 else mutator.line()
        with bounded(text):
            read(text)


def test_secrets_files(tmp_path: Path) -> None:
    folder = tmp_path / ".dyno"
    folder.mkdir(mode=0o700)
    file = folder / "secrets"
    file.touch(mode=0o600)
    mutator = Mutator(["KEY=hunter22\nexport B='c d'\n# no\nC=\"x\\ny\"\n"], 4)
    for _ in range(count(200, 20_000)):
        text = mutator.text()
        file.write_bytes(text.encode(errors="surrogatepass"))
        with bounded(text):
            try:
                secrets_file.read(tmp_path, None)
            except DynoctlError as error:
                assert "hunter22" not in f"{error.summary}{error.hint}"


def test_saved_plans(tmp_path: Path) -> None:
    file = tmp_path / "release.plan"
    seeds = [
        (ROOT / "tests/golden/plan-1.json").read_text(),
        json.dumps({"format_version": 1, "plan": {}, "bound": {}}),
    ]
    mutator = Mutator(seeds, 5)
    for _ in range(count(150, 10_000)):
        text = mutator.text()
        file.write_bytes(text.encode(errors="surrogatepass"))
        file.chmod(0o600)
        with bounded(text), suppress(DynoctlError):
            plan_file.read(file)


def _archive() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, kind in (("d", tarfile.DIRTYPE), ("d/f", tarfile.REGTYPE), ("d/l", tarfile.SYMTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, 3 if kind == tarfile.REGTYPE else 0, "f"
            archive.addfile(member, io.BytesIO(b"abc"))
    return stream.getvalue()


def test_archives_of_a_builder(tmp_path: Path) -> None:
    mutator, outside = Mutator([_archive().decode("latin-1")], 6), tmp_path / "outside"
    outside.mkdir()
    for number in range(count(200, 20_000)):
        data = mutator.text().encode("latin-1", errors="replace")
        target = tmp_path / "in" / str(number)
        target.mkdir(parents=True)
        with bounded(repr(data)), suppress(DynoctlError):
            unpack(io.BytesIO(data), target)
        assert list(tmp_path.iterdir()) in ([outside, tmp_path / "in"], [tmp_path / "in", outside])
        subprocess.run(["/bin/rm", "-rf", str(target)], check=True)
