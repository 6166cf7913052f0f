"""Mistakes by kind: other notations of a value, addresses, values of another kind, keys of other tools, what editors and
web pages leave in a file, and command lines."""

from __future__ import annotations

from tests.golden.mistake_cases import MANIFEST, Mistake, manifest, words
from tests.golden.mistake_yaml import FIRST

WEB, WORK, HOST = "web: 4", "{count: 1, command: bin/work}", "host: 127.0.0.1\n"


def web(name: str, settings: str, what: str, cure: str) -> Mistake:
    return manifest(name, WEB, f"web: {{count: 4, {settings}}}", 7, what, cure)


def host(name: str, written: str, what: str, cure: str) -> Mistake:
    return manifest(name, HOST, f"host: {written}\n", 11, what, cure)


def section(name: str, text: str, what: str, cure: str, where: int = 14) -> Mistake:
    return manifest(name, "env:", f"{text}\nenv:", where, what, cure)


def routed(name: str, settings: str, what: str, cure: str) -> Mistake:
    return section(name, f"router: {{kind: nginx, servers: [grid-1], {settings}}}", what, cure)


NOTATIONS = (
    web("size-of-kubernetes", "memory: 512Mi", "'512Mi'", "use 512M"),
    web("size-in-gibibytes", "memory: 1GiB", "'1GiB'", "use 1G"),
    web("size-with-a-fraction", "memory: 1.5G", "'1.5G'", "use 1536M"),
    web("size-in-small-letters", "memory: 1g", "'1g'", "use 1G"),
    web("cores-of-kubernetes", "cpu: 500m", "'500m'", "use 0.5"),
    web("cores-in-percent", "cpu: 50%", "'50%'", "use 0.5"),
    web("cores-with-a-unit", "cpu: 0.5 cpu", "'0.5 cpu'", "use 0.5"),
    web("cores-in-quotes", 'cpu: "0.5"', "'0.5'", "use 0.5"),
    web("duration-of-two-units", "idle: 1h30m", "'1h30m'", "use 90m"),
    web("duration-in-words", "stop_timeout: 30 seconds", "'30 seconds'", "use 30s"),
    section("interval-in-seconds", "schedule: [{name: n, every: 600, command: x}]", "600", "use 10m"),
    section("interval-in-words", "schedule: [{name: n, every: 1 hour, command: x}]", "every", "use 1h"),
    section("cron-as-a-word", "schedule: [{name: n, cron: daily, command: x}]", "cron", "use @daily"),
    section("cron-with-seconds", "schedule: [{name: n, cron: 0 0 3 * * *, command: x}]", "found 6", "0 3 * * *"),
    section("cron-with-a-zone", "schedule: [{name: n, cron: TZ=UTC 0 3 * * *, command: x}]", "found 6", "time zone"),
    section("cron-with-long-names", "schedule: [{name: n, cron: 0 3 * * monday, command: x}]", "monday", "* * mon"),
    section("size-of-a-volume", "volumes: [{name: a, path: storage, size: 10GB}]", "'10GB'", "use 10G"),
    section("ruby-with-x", "ruby: 3.3.x", "'3.3.x'", "use ~> 3.3.0"),
    section("ruby-with-its-name", "ruby: ruby-3.3.0", "'ruby-3.3.0'", "use 3.3.0"),
    section("ruby-version-as-a-number", "ruby: {version: 3.3}", "3.3", "use '~> 3.3.0', which is any 3.3.x"),
    section("path-without-a-slash", "rollout: {health: {path: up}}", "'up'", "use /up"),
    section("path-of-a-container", "volumes: [{name: a, path: /rails/storage}]", "'/rails/storage'", "use storage"),
    section("schedule-name-with-a-dash", "schedule: [{name: a-b, every: 1h, command: x}]", "'a-b'", "use ab"),
    manifest("type-with-a-dash", "  worker:", "  mail-worker:", 8, "'mail-worker'", "use mailworker"),
)

ADDRESSES = (
    host("host-as-a-url", "ssh://127.0.0.1", "'ssh://127.0.0.1'", "use 127.0.0.1"),
    host("host-with-a-mask", "10.0.0.11/24", "'10.0.0.11/24'", "use 10.0.0.11"),
    host("host-of-ipv6-in-brackets", "'[2001:db8::1]'", "'[2001:db8::1]'", "use 2001:db8::1"),
    host("host-of-ipv6-with-a-port", "'[2001:db8::1]:22'", "'[2001:db8::1]:22'", "host: 2001:db8::1, port: 22"),
    host("host-of-three-numbers", "10.0.0", "'10.0.0'", "such as 10.0.0.11"),
    host("host-over-255", "10.0.0.256", "'10.0.0.256'", "such as 10.0.0.11"),
    host("host-as-a-reference", "{from_env: HOST}", "a mapping", "such as host: 10.0.0.11"),
    manifest("host-of-ipv6-in-braces", FIRST, "  - {name: grid-1, host: ::1}\n", 10, "not quoted", "in quotes"),
    routed("route-to-a-url", "hosts: ['https://a.example.org/x']", "invalid host", "use a.example.org"),
    routed("route-to-a-port", "hosts: ['a.example.org:80']", "invalid host", "use a.example.org"),
    routed("route-with-an-underscore", "hosts: [my_a.example.org]", "invalid host", "use my-a.example.org"),
    routed("route-star-not-quoted", "hosts: [*.example.org]", "not quoted", "in quotes"),
    section("router-by-address", "router: {kind: nginx, servers: [127.0.0.1]}", "127.0.0.1", "did you mean grid-1?"),
    section("gateway-as-a-url", "ssh: {gateway: 'ssh://me@jump:22'}", "'ssh://me@jump:22'", "use me@jump:22"),
    section(
        "database-host-with-a-port",
        "database: {adapter: postgresql, host: 'db:5432', name: a}",
        "'db:5432'",
        "host: db, port: 5432",
    ),
    section("redis-with-a-name", "cache: {adapter: redis, url: 'redis://h/shop'}", "the number", "redis://host:port/0"),
)

KINDS = (
    section("list-as-a-word", "router: {kind: nginx, servers: grid-1}", "servers", "such as servers: [grid-1]"),
    routed("list-as-words", "hosts: 'a.example.org, b.example.org'", "hosts", "hosts: [a.example.org, b.example.org]"),
    section("database-as-a-url", "database: postgres://u:hunter2@h/db", "database", "database: {adapter: postgresql"),
    section("middleware-as-a-name", "middleware: [Rack::Deflater]", "middleware[0]", "{use: 'Rack::Deflater'}"),
    section(
        "volume-of-compose", "volumes: ['a:/rails/storage']", "volumes[0]", "- {name: uploads, path: public/uploads"
    ),
    section("health-as-a-path", "rollout: {health: /up}", "'/up'", "such as health: {path: /up}"),
    section("known-hosts-off", "ssh: {known_hosts: false}", "false", "such as known_hosts: ~/.ssh/known_hosts"),
    web("network-off", "network: false", "false", "one of: none, local, all"),
    web("servers-by-name", "servers: [grid-1]", "servers", "such as servers: {labels: {disk: ssd}}"),
    manifest("web-of-a-procfile", WEB, "web: bundle exec puma", 7, "'bundle exec puma'", "app_server: puma"),
    manifest("web-in-a-list", WEB, "web:\n    - count: 4", 8, "a list", "remove the dash or the brackets"),
    section(
        "commands-in-a-list", "release_command: [rake db:migrate, rake x]", "one program", "rake db:migrate && rake x"
    ),
    section("word-in-place-of-a-number", "rollout: {max_parallel: all}", "'all'", "a number of dynos, or a percentage"),
    section("enum-in-capitals", "rollout: {health: {path: /up, scheme: HTTPS}}", "'HTTPS'", "did you mean https?"),
    section("label-of-no-server", "rollout: {by: rack}", "no server has the label rack", "to each server"),
    section("key-itself", "ssh:\n  key: |\n    -----BEGIN hunter2", "key is not a path", "write its path", 15),
    section("misspelt-adapter", "cache: {adapter: memcache, host: h}", "'memcache'", "memcached?"),
    manifest(
        "framework-in-capitals", "rackup: config.ru", "framework: Sinatra", 5, "'Sinatra'", "did you mean sinatra?"
    ),
    manifest(
        "require-without-a-dot",
        "rackup: config.ru",
        "framework: {name: rack, require: app/work, app: Shop}",
        5,
        "app/work is a library",
        "use ./app/work",
    ),
    section(
        "https-on-a-plain-port", "router: {kind: nginx, servers: [grid-1], listen: 443}", "plain HTTP", "router.tls"
    ),
    manifest("release-as-a-type", "  worker:", "  release:", 8, "all the time", "release_command"),
    manifest("quotes-of-a-word-processor", "info", "\u201cinfo\u201d", 15, "typographic quotes", "the quotes of YAML"),
)

TAGS = (
    manifest("tag-for-a-reference", "info", "!from_env LEVEL", 15, "!from_env is not allowed", "{from_env: NAME}"),
    manifest("tag-for-a-secret", "info", "!secret level", 15, "!secret is not allowed", "in .dyno/secrets"),
    manifest("tag-for-a-file", "info", "!file level.txt", 15, "!file is not allowed", "{from_file: PATH}"),
    manifest("tag-of-ansible", "info", "!vault |\n    $ANSIBLE_VAULT;1.1", 15, "!vault is not", "{from_env: NAME}"),
    host("tag-without-a-reference", "!env HOST", "!env is not allowed", "host takes no reference"),
    manifest("tag-to-include", "LOG_LEVEL: info", "<<: !include a", 15, "<< can only merge", "extends: FILE"),
    section("tag-of-a-section", "router: !include router.yaml", "!include is not allowed", "extends: FILE"),
)

REPLACED = (
    section("key-as-a-word", "ssh: {key: hunter2}", "ssh.key was not found", "such as key: ~/.ssh/id_ed25519"),
    section("user-with-a-password", "ssh: {user: 'me:hunter2'}", "invalid value for user", "logs in with keys"),
    section("store-as-a-word", "artifacts: {http: hunter2}", "invalid value for http", "such as http: {url:"),
    section("extends-a-url", "extends: https://me:hunter2@h/base.yaml", "cannot extend a URL", "copy the file"),
)

NUMBERS = (
    section("healthy-over-the-count", "checks: {min_healthy: {web: 5}}", "web has 4 dynos", "add dynos, or lower it"),
    section("healthy-in-percent", "checks: {min_healthy: {web: 75}}", "web has 4 dynos", "did you mean 75%?"),
    section("healthy-without-a-type", "checks: {min_healthy: 75%}", "min_healthy", "min_healthy: {web: 3}"),
    section("healthy-in-quotes", "checks: {min_healthy: {web: '3'}}", "'3'", "remove the quotes"),
    section(
        "spread-over-no-label",
        "checks: {min_spread: {rack: 2}}",
        "no server that runs dynos has this label",
        "add labels: {rack: ...}",
    ),
    section("canary-over-the-count", "rollout: {canary: 75}", "the app has only 5", "such as canary: 1"),
    section("gateway-with-no-port", "ssh: {gateway: 'jump:99999'}", "jump:99999", "jump:PORT (1 to 65535)"),
    host("host-with-no-port", "127.0.0.1:99999", "'127.0.0.1:99999'", "host: 127.0.0.1, port: PORT (1 to 65535)"),
    section("servers-as-all", "router: {kind: nginx, servers: all}", "servers", "such as servers: [grid-1, grid-2]"),
    section("server-as-all", "router: {kind: nginx, servers: [all]}", "unknown server all", "name each server"),
    section("server-as-a-star", "router: {kind: nginx, servers: ['grid-*']}", "server grid-*", "name each server"),
    section(
        "memcached-with-a-port-each",
        "cache: {adapter: memcached, host: 'a:11211,b:11212'}",
        "host has the ports",
        'env: {MEMCACHE_SERVERS: "a:11211,b:11212"}',
    ),
    section(
        "memcached-with-one-port",
        "cache: {adapter: memcached, host: 'a:11213,b:11213'}",
        "host has the ports",
        'host: "a,b", port: 11213',
    ),
    section(
        "memcached-in-a-list", "cache: {adapter: memcached, host: [a, b]}", "a list", 'host: "10.0.0.20,10.0.0.21"'
    ),
    section("memcached-with-spaces", "cache: {adapter: memcached, host: 'a, b'}", "'a, b'", 'use "a,b"'),
    section(
        "memcached-as-a-url", "cache: {adapter: memcached, url: 'memcached://a:1,b:2'}", "several servers", "host:"
    ),
)

FOREIGN = (
    web("key-limits", "limits: {memory: 1G}", "limits", "use cpu: 0.5 and memory: 512M"),
    manifest("key-scale", WEB, "web: {scale: 4}", 7, "scale", "use count: 4"),
    manifest("key-cmd", WORK, "{cmd: bin/work}", 8, "cmd", "use command"),
    manifest("key-hosts-of-a-role", WEB, "web: {hosts: [127.0.0.1]}", 7, "hosts", "use count: 4, and servers"),
    section("key-health", "health: {path: /up}", "health", "use rollout: {health"),
    section("key-env-file", "env_file: .env", "env_file", ".dyno/secrets"),
    section("key-ssh-password", "ssh: {password: hunter2}", "password", "dynoctl logs in with key"),
    section("key-ssh-jump-host", "ssh: {jump_host: a}", "jump_host", "use gateway"),
    section("key-host-key-checking", "ssh: {strict_host_key_checking: false}", "strict_host", "always checked"),
    section("key-database-of-rails", "database: {adapter: mysql, host: h, database: a}", "database", "use name: shop"),
    section("key-pool", "database: {adapter: mysql, url: mysql2://h/a, pool: 5}", "pool", "RAILS_MAX_THREADS"),
    section("key-options-of-puma", "app_server: {name: puma, threads: 5}", "threads", "options: {threads: 5}"),
    section("key-router-type", "router: {type: nginx, servers: [grid-1]}", "type", "use kind: nginx"),
    section("key-router-redirect", "router: {kind: nginx, servers: [grid-1], redirect: true}", "redirect", "with tls"),
    section("key-timezone", "schedule: [{name: n, every: 1h, command: x, timezone: CET}]", "timezone", "in UTC"),
    section("key-at", "schedule: [{name: n, at: '3:00', command: x}]", "at", "use cron: '0 3 * * *'"),
    section("key-batch-size", "rollout: {batch_size: 2}", "batch_size", "use max_parallel"),
    section("key-s3", "artifacts: {s3: {bucket: a}}", "s3", "use http: {presign"),
    web("key-idle-after", "idle_after: 30m", "idle_after", "use idle: 30m"),
    web("key-memory-limit", "memory_limit: 1G", "memory_limit", "use memory: 512M"),
    web("key-restart", "restart: always", "restart", "is started again"),
    section("key-memory-of-all", "mem: 1G", "mem", "memory: 512M"),
    section("key-domain", "domain: shop.example.org", "domain", "router: {kind: nginx"),
    section("key-migrate", "migrate: rake db:migrate", "migrate", "use release_command"),
    section("key-mysql", "mysql: {host: h}", "mysql", "adapter: mysql"),
    section("key-staging", "staging: {web: 1}", "staging", "dyno.staging.yaml"),
    manifest("key-zone", HOST, f"{HOST}    zone: a\n", 12, "zone", "use labels: {zone: a}"),
    manifest("env-in-the-app", "  source: .", "  source: .\n  env: {A: b}", 5, "env", "env is a key of the top level"),
)

LEFTOVERS = (
    manifest(
        "conflict-of-git", WEB, "web: 4\n=======\n  web: 5", 8, "a conflict marker of git", "resolve the conflict"
    ),
    manifest("fence-of-markdown", "version: 1", "```yaml\nversion: 1", 1, "a fence of Markdown", "remove the lines"),
    manifest(
        "command-of-a-shell", "version: 1", "$ cat dyno.yaml\nversion: 1", 1, "a command line", "remove this line"
    ),
    manifest("colon-of-another-script", WEB, "web\uff1a 4", 7, "U+FF1A in place of :", "replace it by :"),
    manifest("pem-without-a-bar", "info", "-----BEGIN A\n  B\n  -----END A", 15, "without |", "write | after the key"),
    manifest("file-of-another-tool", MANIFEST, "web: rake\nworker: rake\n", 1, "missing keys", "dynoctl init"),
    manifest("path-of-windows", "info", '"C:\\Users"', 15, "escape sequence", "single quotes"),
)

LINES_OF_COMMANDS = (
    words("set-with-commas", "config set A=hunter2, B=2", "a comma after the value of A", "A=VALUE B=VALUE"),
    words("set-with-semicolons", "config set 'A=hunter2;' B=2", "a semicolon after the value of A", "A=VALUE B=VALUE"),
    words("set-with-a-lone-comma", "config set A=1 , B=2", "a comma between variables", "A=VALUE B=VALUE"),
    words("set-in-one-word", "config set A=hunter2,B=2 --no-plan", "value of A contains B=", "A=VALUE B=VALUE"),
    words("set-with-spaces", "config set A = hunter2", "spaces around =", "dynoctl config set A=VALUE"),
    words("set-with-a-space", "config set A= hunter2", "spaces around =", "dynoctl config set A=VALUE"),
    words("set-with-a-colon", "config set 'A: hunter2'", "a colon in place of = after A", "dynoctl config set A=VALUE"),
    words("set-not-quoted", "config set A=my hunter2", "argument 2 has no =", "in quotes"),
    words("set-as-in-a-shell", "config set export A=1", "export is not", "dynoctl config set A=VALUE"),
    words("set-twice", "config set A=1 A=2", "A is set twice", "remove one of them"),
    words("trust-an-unknown-server", "plan --trust grid-11", "no such server in dyno.yaml", "did you mean grid-1?"),
    words("trust-a-host", "plan --trust 127.0.0.2", "cannot trust 127.0.0.2", "did you mean grid-2?"),
    words("value-of-a-flag", "apply --auto-approve=true", "--auto-approve=true", "dynoctl apply --auto-approve"),
    words("two-manifests", "plan -f dyno.yaml -f prod.yaml", "-f", "dynoctl reads one manifest"),
    words("destination-as-argument", "plan staging", "staging", "dynoctl plan -d staging"),
    words("help-as-argument", "plan help", "help", "dynoctl plan --help"),
    words("directory-as-argument", "plan ./app", "./app", "dynoctl plan -f ./app/dyno.yaml"),
    words("two-commands", "plan apply", "apply", "then: dynoctl apply"),
    words("release-to-show", "show v3", "v3", "dynoctl releases show v3"),
    words("plan-over-the-manifest", "plan --out dyno.yaml", "it exists, and is not a plan", "another name"),
    words("page-over-the-manifest", "plan --html dyno.yaml", "it exists, and is not a plan", "another name"),
    words("terraform-no-refresh", "plan --no-refresh", "--no-refresh", "leave it out"),
    words("ansible-vault-password", "apply --ask-vault-pass", "--ask-vault-pass", ".dyno/secrets"),
    words("capistrano-revision", "apply --revision main", "--revision", "check the commit out first"),
    words("releases-limit", "releases --limit 5", "--limit", "dynoctl releases --lines N"),
    words("rollback-to", "rollback --to v3", "--to", "dynoctl rollback VERSION"),
    words("preview-create", "preview create pr-1", "preview create", "dynoctl preview up pr-1"),
    words("command-in-capitals", "PLAN", "PLAN", "dynoctl plan"),
    words("bundle-exec", "bundle exec rake", "bundle", "dynoctl run COMMAND"),
)
