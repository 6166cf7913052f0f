"""A database URL that dynoctl accepts is read in the same way by Ruby's URI (as Sequel, Rails and the redis gem use it) and
by libpq. Everything else is an error, and a secret."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.manifest.backings import from_parts, from_url, variables
from infra.manifest.urls import Url, check_url, has_password, masked, parse
from infra.sensitive import Sensitive, reveal
from tests.agreement.tools import GENERATED, run_tool

READERS = r"""
require "json"
require "uri"
require "pg"
require "redis"
rails = URI::RFC2396_Parser.new
form = URI.method(:decode_www_form_component)
plain = ->(uri, text) { text && rails.unescape(text) }
redis = ->(text) { text && form.call(text) }
read = lambda do |uri, decode|
  { user: decode.call(uri.user) || "", password: decode.call(uri.password) || "",
    host: decode.call(uri.hostname) || "", port: uri.port, path: decode.call((uri.path || "").delete_prefix("/")) }
end
try = ->(&block) { begin; block.call; rescue URI::Error, PG::Error, ArgumentError, Encoding::CompatibilityError; nil; end }
libpq = lambda do |url|
  found = PG::Connection.conninfo_parse(url).to_h { |one| [one[:keyword], one[:val]] }
  { user: found["user"] || "", password: found["password"] || "", host: found["host"] || "", path: found["dbname"] || "",
    port: found["port"].to_s.delete(",").empty? ? nil : found["port"].to_i }
end
gem = lambda do |url|
  client = Redis.new(url: url)._client  # it connects with the first command only
  { user: client.username || "", password: client.password || "", host: client.host || "", port: client.port,
    path: client.db.to_s }
end
answers = JSON.parse($stdin.read).map do |url|
  { "URI" => try.call { read.call(URI.parse(url), ->(text) { text && rails.unescape(text) }) },
    "Rails" => try.call { read.call(rails.parse(url), ->(text) { text && rails.unescape(text) }) },
    "redis" => try.call { read.call(URI.parse(url), redis) },
    "redis-rb" => url.start_with?("redis") ? try.call { gem.call(url) } : nil,
    "libpq" => url.start_with?("postgres") ? try.call { libpq.call(url) } : nil }
end
text = ->(value) { value.is_a?(String) ? value.dup.force_encoding("UTF-8").scrub("\u{fffd}") : value }
puts JSON.generate(answers.map { |found| found.transform_values { |one| one&.transform_values(&text) } })
"""

PASSWORDS = [
    "pa#ss", "#pass", "pass#", "pa/ss", "/pass", "12/34", "123#x", "123?x", "123/x@y", "12", "0", "pa?ss", "?", "pa@ss", "@",
    "@@", "a@b:c@d", "pa%ss", "%", "%%", "%4", "%zz", "pa%41ss", "%00", "%ff", "%c3%a9", "%0a", "pa{ss", "{", "}", "{}", "|",
    "\\", "^", "`", "<a>", '"', "'", "pa ss", " pass", "pass ", "pa+ss", "+", "pa:ss", ":", "::", "pa[ss", "]", "[::1]",
    "[", "pa&ss", "&", "=", "a=b", ";", ",", "!", "*", "(x)", "$HOME", "~", "-", "_", ".", "é", "\u00fc", "漢", "\U0001f680",
    "\t", "\n", "\r", "pa\nss", "\x00", "\x7f", "\u200b", "1e5", "5432", "65536", "99999", "-1", "p/1", "h:1/", "h:5432/d?",
    "a/b/c", "//", "..", "/../", "a?b=c", "a?password=b", "a#@h", "x@h:1/d#", "a@b?c", "%2f", "%2F", "%40", "%3a", "%2520",
]  # fmt: skip

FORMS = [
    "postgresql://u:{0}@h/d",
    "postgresql://u:{0}@h:5432/d?sslmode=require",
    "postgres://:{0}@10.0.0.1/d",
    "postgresql://{0}:p@h/d",
    "postgresql://u:p@{0}/d",
    "postgresql://u:p@h:{0}/d",
    "postgresql://u:p@h/{0}",
    "postgresql://u:p@h/d?application_name={0}",
    "postgresql://u:p@h/d?password={0}",
    "postgresql://u@h/d?{0}",
    "postgresql://{0}",
    "mysql2://u:{0}@h/d",
    "redis://:{0}@h:6379/0",
    "redis://{0}@h",
    "rediss://u:{0}@h",
    "memcached://u:{0}@h",
]

OTHERS = [
    "postgresql://h/d",
    "postgresql://h",
    "postgresql://h/",
    "postgresql://h//d",
    "postgresql://h/a/b",
    "postgresql:///d",
    "postgresql:///d?host=/run/postgresql",
    "postgresql://%2Fvar%2Frun%2Fpostgresql/d",
    "postgresql://a,b/d",
    "postgresql://a:1,b:2/d",
    "postgresql://a_b/d",
    "postgresql://[::1]/d",
    "postgresql://[::1]:5433/d",
    "postgresql://[fe80::1%25eth0]/d",
    "postgresql://u:p@[::1]:5433/d",
    "postgresql://::1/d",
    "postgresql://h:/d",
    "postgresql://h:0/d",
    "postgresql://h:00005432/d",
    "postgresql://h:+5432/d",
    "postgresql://h: 5432/d",
    "postgresql://h:²/d",
    "postgresql://H.Example.ORG/d",
    "POSTGRESQL://h/d",
    "Postgresql://h/d",
    " postgresql://h/d",
    "postgresql://h/d ",
    "postgresql://h/d\n",
    "postgresql://h/d#frag",
    "postgresql://h/d?",
    "postgresql://h/d?&",
    "postgresql://h/d?sslmode",
    "postgresql://h/d?sslmode=require&sslmode=disable",
    "postgresql://h/d?p%61ssword=x",
    "postgresql://h/d?PASSWORD=x",
    "postgresql:/h/d",
    "postgresql:h",
    "postgresql//h",
    "unix:///run/redis.sock",
    "redis://h/0",
    "redis://h:6379",
    "memcached://h:11211",
    "",
    "x",
]


def asked(urls: Sequence[str]) -> list[Mapping[str, Any]]:
    """What every reader says of each URL."""
    output = run_tool("ruby", "ruby-pg", "-W0", "-e", READERS, given=json.dumps(urls).encode())
    answers: list[Mapping[str, Any]] = json.loads(output)
    return answers


def agrees(ours: Url, url: str, reader: str, answer: Mapping[str, Any] | None) -> bool:
    """Whether a reader sees the same parts. One that refuses the URL, or reads another kind, has no say."""
    if answer is None or (reader == "redis" and not ours.scheme.startswith("redis")):
        return True
    if reader in ("URI", "Rails") and ours.scheme.startswith("redis"):
        return True  # the redis gem decodes by its own rule
    host = answer["host"]
    if reader == "redis-rb":
        path = ours.path if ours.path.isdigit() else "0"
        ours = replace(ours, port=ours.port or 6379, path=str(int(path)))
    same_host = host.lower() == ours.host.lower() or (reader == "libpq" and ours.host == "" and "host=" in url)
    mine = (ours.user, ours.password, ours.port, ours.path)
    if reader == "libpq" and any(name in ("password", "user", "port", "dbname", "host") for name, _ in ours.query):
        return True  # options win over the parts before them
    return same_host and (answer["user"], answer["password"], answer["port"], answer["path"]) == mine


def check(urls: Sequence[str]) -> int:
    """Assert for each URL that it is read alike or refused. Returns how many are accepted."""
    accepted = 0
    for url, answers in zip(urls, asked(urls), strict=True):
        ours = parse(url)
        if ours is not None:
            accepted += 1
            for reader, answer in answers.items():
                assert agrees(ours, url, reader, answer), f"{url!r}: {reader} reads {answer}, dynoctl {ours}"
    return accepted


def test_a_table_of_urls_is_read_alike() -> None:
    urls = [form.format(word) for form in FORMS for word in PASSWORDS if "\0" not in word] + OTHERS
    assert len(urls) > 1500
    assert check(urls) > 400


def test_an_encoded_password_arrives() -> None:
    words = [word for word in PASSWORDS if "\0" not in word]
    urls = [f"postgresql://u:{quote(word, safe='')}@h/d" for word in words]
    assert check(urls) == len(urls)
    for word, url, answers in zip(words, urls, asked(urls), strict=True):
        ours = parse(url)
        assert ours is not None and ours.password == word
        assert answers["libpq"]["password"] == word and answers["Rails"]["password"] == word


OPTIONS = r"""
require "json"
require "pg"
puts JSON.generate(JSON.parse($stdin.read).map { |url| PG::Connection.conninfo_parse(url).to_h { |one| [one[:keyword], one[:val]] } })
"""

WORDS = [
    "a b",
    " ",
    "-c search_path=a,b",
    "a+b",
    "a%20b",
    "100%",
    "a&b=c",
    "a=b",
    "#",
    "?",
    "/run/a b",
    "é",
    "a\tb",
    "'x'",
    "\\",
    "@",
]


def test_parts_arrive_at_libpq_as_they_are_written() -> None:
    """libpq takes + for a plus, not for a space: so a space of an option is %20."""
    services = [
        from_parts("postgresql", "h", None, word, word, Sensitive(word), options={"options": word, "sslrootcert": word})
        for word in WORDS
    ]
    urls = [reveal(service.url) for service in services]
    assert "?options=a%20b&" in urls[0]
    output = run_tool("ruby", "ruby-pg", "-W0", "-e", OPTIONS, given=json.dumps(urls).encode())
    for word, service, answer in zip(WORDS, services, json.loads(output), strict=True):
        given = {name: answer[name] for name in ("user", "password", "dbname", "options", "sslrootcert")}
        assert given == dict.fromkeys(given, word), service.url
        back = from_url("postgresql", service.url)
        assert (back.options, reveal(back.name)) == (service.options, word)


SOCKETS = [
    ("postgresql://%2Frun%2Fpostgresql/d", "/run/postgresql"),
    ("postgresql://u:p@%2fvar%2Frun%2Fpostgresql:5433/d", "/var/run/postgresql"),
    ("postgresql://%2Ftmp%2Fa%20b/d", "/tmp/a b"),
    ("postgresql://%40abstract/d", "@abstract"),
    ("postgresql://db.example.org/d", "db.example.org"),
    ("postgresql://[::1]/d", "::1"),
]


def test_the_variables_of_a_socket_are_what_libpq_reads() -> None:
    """A program that reads PGHOST connects where one that reads DATABASE_URL does."""
    for (url, host), answer in zip(SOCKETS, asked([url for url, _ in SOCKETS]), strict=True):
        assert answer["libpq"]["host"] == host
        found = variables("database", from_url("postgresql", url))
        assert reveal(found["PGHOST"]) == host and reveal(found["DATABASE_URL"]) == url
        assert reveal(found["PGPORT"]) == str(answer["libpq"]["port"] or 5432)


REDIS = [
    ("redis://h", ("h", 6379, "", "", "0")),
    ("redis://h:6380/2", ("h", 6380, "", "", "2")),
    ("redis://:p%2F%23%20@h/1", ("h", 6379, "", "p/# ", "1")),
    ("redis://u:p%2B%25@h/1", ("h", 6379, "u", "p+%", "1")),
    ("rediss://u:%C3%A9@cache.example.org:6390/15", ("cache.example.org", 6390, "u", "é", "15")),
    ("redis://[::1]:6380/3", ("::1", 6380, "", "", "3")),
]


def test_a_table_of_redis_urls_against_the_gem() -> None:
    for (url, expected), answer in zip(REDIS, asked([url for url, _ in REDIS]), strict=True):
        theirs = answer["redis-rb"]
        assert (
            theirs["host"].strip("[]"),
            theirs["port"],
            theirs["user"],
            theirs["password"],
            theirs["path"],
        ) == expected
        service = from_url("redis", url)
        host, port, user, password, name = expected
        assert (service.host, service.port, service.user, service.name or "0") == (host, port, user, name)
        assert reveal(service.password) == password


@settings(parent=GENERATED, max_examples=20)
@given(st.lists(st.text("a1#/?@%{ :+[]&=.", max_size=8), min_size=100, max_size=100), st.sampled_from(FORMS))
def test_generated_urls_are_read_alike(words: list[str], form: str) -> None:
    check([form.format(word) for word in words])


@pytest.mark.parametrize("form", [form for form in FORMS if ":{0}@" in form or "password={0}" in form])
def test_a_raw_password_is_never_shown(form: str) -> None:
    """Whether the URL is valid or not: no view shows a password, and no error a part of the URL."""
    for word in PASSWORDS:
        url = form.format(f"{word}hunter2{word}")
        assert has_password(url), url
        assert "hunter2" not in masked(url, "***")
        for adapter in ("postgresql", "mysql", "redis", "memcached"):
            problem = check_url(url, adapter)
            assert problem is None or "hunter2" not in problem.summary + problem.expected + problem.hint


@pytest.mark.parametrize(
    "option", ["pass", "passphrase", "oauth_client_secret", "scram_client_key", "scram_server_key", "SSLPassword"]
)
def test_every_secret_option_of_a_client_is_hidden(option: str) -> None:
    url = f"postgresql://db/x?{option}=hunter2"
    assert has_password(url) and "hunter2" not in masked(url, "***")


def test_a_password_that_is_not_encoded_is_an_error_that_says_how() -> None:
    for word in ("pa#ss", "12/34", "pa?ss", "p@ss", "pa%ss", "{x}", "pa ss", "1#", "a+b", "é"):
        problem = check_url(f"postgresql://u:{word}@h/d", "postgresql")
        assert problem is not None and "percent-encoded" in problem.summary and "%23 for #" in problem.hint


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://h/d", Url("postgresql", "h", None, "", "", "d")),
        ("postgresql://u:p@h:5432/d", Url("postgresql", "h", 5432, "u", "p", "d")),
        ("postgresql://u:p@h:5432/d?sslmode=require", Url("postgresql", "h", 5432, "u", "p", "d", query=(("sslmode", "require"),))),
        ("postgresql://%2Frun%2Fpg/d", Url("postgresql", "/run/pg", None, "", "", "d")),
        ("postgresql://[::1]:5433/d", Url("postgresql", "::1", 5433, "", "", "d")),
        ("postgresql://a,b/d", Url("postgresql", "a,b", None, "", "", "d")),
        ("redis://:p%2F%23@h:6379/0", Url("redis", "h", 6379, "", "p/#", "0")),
        ("redis://h", Url("redis", "h")),
        ("unix:///run/redis.sock", Url("unix", "", None, "", "", "run/redis.sock")),
        ("mysql2://a_b.example.org:65535/d", Url("mysql2", "a_b.example.org", 65535, "", "", "d")),
    ],
)  # fmt: skip
def test_these_are_taken_apart(url: str, expected: Url) -> None:
    assert parse(url) == expected
    assert check([url]) == 1
