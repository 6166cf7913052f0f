"""Databases and caches: URLs and parts, percent-encoded both ways, as the variables that libraries read."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from infra.errors import ManifestInvalid
from infra.manifest import read
from infra.manifest.backings import Text, from_parts, from_path, from_url, variables
from infra.manifest.references import resolve_environment
from infra.sensitive import Sensitive, reveal

ODD = ["pass", "p@ss:w/rd?#%", "é漢 🚀", "'\"`$(id)\\", "a b+c&d=e", "[x]", "%2F"]


def words(found: dict[str, Text]) -> dict[str, str]:
    return {key: reveal(value) for key, value in found.items()}


@pytest.mark.parametrize("odd", ODD)
def test_every_part_survives_the_way_into_a_url_and_out_of_it(odd: str) -> None:
    service = from_parts("postgresql", "db.example.org", None, odd, odd, Sensitive(odd), options={"sslmode": odd})
    url = reveal(service.url)
    parts = urlsplit(url)
    assert parts.hostname == "db.example.org"
    assert (unquote(parts.username or ""), unquote(parts.password or ""), unquote(parts.path[1:])) == (odd, odd, odd)
    back = from_url("postgresql", url)
    assert (reveal(back.user), reveal(back.password), reveal(back.name), back.options) == (
        odd,
        odd,
        odd,
        {"sslmode": odd},
    )


def test_postgresql() -> None:
    service = from_parts(
        "postgresql", "10.0.0.20", None, "shop", "me", Sensitive("p@ss"), options={"sslmode": "require"}
    )
    assert words(variables("database", service)) == {
        "DATABASE_URL": "postgresql://me:p%40ss@10.0.0.20:5432/shop?sslmode=require",
        "PGHOST": "10.0.0.20",
        "PGPORT": "5432",
        "PGDATABASE": "shop",
        "PGUSER": "me",
        "PGPASSWORD": "p@ss",
        "PGSSLMODE": "require",
    }


def test_sqlite_is_the_absolute_path_that_active_record_reads() -> None:
    service = from_path("storage/a+b@c.sqlite3")
    assert words(variables("database", service)) == {"DATABASE_URL": "sqlite3:///app/storage/a%2Bb%40c.sqlite3"}
    assert list(variables("database", service, "queue")) == ["QUEUE_DATABASE_URL"]


@pytest.mark.parametrize("adapter", ["mysql", "mariadb"])
def test_mysql_under_either_name(adapter: str) -> None:
    service = from_parts(adapter, "fd00::1", 3307, "shop", "me", Sensitive("x"), options={})
    assert words(variables("database", service)) == {
        "DATABASE_URL": "mysql2://me:x@[fd00::1]:3307/shop",
        "MYSQL_HOST": "fd00::1",
        "MYSQL_TCP_PORT": "3307",
        "MYSQL_DATABASE": "shop",
        "MYSQL_USER": "me",
        "MYSQL_PWD": "x",
    }
    assert reveal(from_url(adapter, "mysql://me@db/shop").url) == "mysql2://me@db/shop", "Rails has no adapter mysql"
    assert reveal(from_url(adapter, "trilogy://me@db/shop").url) == "trilogy://me@db/shop"


def test_redis_and_memcached() -> None:
    redis = from_parts("redis", "10.0.0.20", None, "2", "", Sensitive("s:cret"), options={})
    assert words(variables("cache", redis)) == dict.fromkeys(
        ("CACHE_URL", "REDIS_URL"), "redis://:s%3Acret@10.0.0.20:6379/2"
    )
    pages = from_parts("memcached", "a,b,fd00::1", None, "", "", "", options={})
    assert words(variables("cache", pages, "pages")) == {
        "PAGES_CACHE_URL": "memcached://a:11211,b:11211,[fd00::1]:11211",
        "PAGES_MEMCACHE_SERVERS": "a:11211,b:11211,[fd00::1]:11211",
    }
    one = from_url("memcached", "memcached://me:pw@cache:11212")
    assert words(variables("cache", one))["MEMCACHE_SERVERS"] == "cache:11212"
    assert words(variables("cache", one))["MEMCACHE_PASSWORD"] == "pw"


def test_what_is_secret_stays_secret() -> None:
    found = variables("database", from_url("postgresql", Sensitive("postgresql://me:pw@db/shop")))
    assert {key for key, value in found.items() if not isinstance(value, Sensitive)} == {"PGPORT"}
    found = variables("database", from_url("postgresql", "postgresql://me:pw@db/shop"))
    assert {key for key, value in found.items() if isinstance(value, Sensitive)} == {"DATABASE_URL", "PGPASSWORD"}
    found = variables("database", from_parts("postgresql", "db", None, "shop", "me", "pw", options={}))
    assert {key for key, value in found.items() if isinstance(value, Sensitive)} == {"DATABASE_URL", "PGPASSWORD"}


def manifest(directory: Path, **keys: object) -> Path:
    (directory / "app").mkdir(exist_ok=True)
    (directory / "app/config.ru").write_text("run 1\n")
    base = {"version": 1, "app": {"name": "shop", "source": "app"}, "rackup": "config.ru", "dynos": {"web": 1}}
    file = directory / "dyno.yaml"
    file.write_text(yaml.safe_dump({**base, "servers": [{"name": "a", "host": "h"}], **keys}))
    return file


def test_several_by_name_and_env_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_URL", "postgresql://r:pw@reports/r")
    file = manifest(
        tmp_path,
        database={"adapter": "postgresql", "host": "db", "name": "shop", "user": "me", "password": "pw"},
        databases={"reports": {"adapter": "postgresql", "url": {"from_env": "SECRET_URL"}}},
        cache={"adapter": "redis", "url": "redis://cache:6379/0"},
        caches={"sessions": {"adapter": "redis", "host": "cache", "name": 1}},
        env={"PGHOST": "other"},
    )
    found = resolve_environment(read(file))
    assert words(found) == {
        "DATABASE_URL": "postgresql://me:pw@db:5432/shop",
        "PGHOST": "other",
        "PGPORT": "5432",
        "PGDATABASE": "shop",
        "PGUSER": "me",
        "PGPASSWORD": "pw",
        "REPORTS_DATABASE_URL": "postgresql://r:pw@reports/r",
        "CACHE_URL": "redis://cache:6379/0",
        "REDIS_URL": "redis://cache:6379/0",
        "SESSIONS_CACHE_URL": "redis://cache:6379/1",
        "SESSIONS_REDIS_URL": "redis://cache:6379/1",
    }
    assert isinstance(found["REPORTS_DATABASE_URL"], Sensitive)


def test_a_bad_url_from_elsewhere_is_named_and_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_URL", "mysql://hunter2@reports/r")
    file = manifest(tmp_path, databases={"reports": {"adapter": "postgresql", "url": {"from_env": "SECRET_URL"}}})
    with pytest.raises(ManifestInvalid) as caught:
        resolve_environment(read(file))
    (problem,) = caught.value.diagnostics
    assert problem.path == "databases/reports/url"
    assert "hunter2" not in repr(problem)
