"""Mistakes in the YAML of a manifest: what a parser refuses, and sections of the wrong kind."""

from __future__ import annotations

from tests.golden.mistake_cases import MANIFEST, manifest

ENV = "env:\n  LOG_LEVEL: info\n"
DYNOS = "dynos:\n  web: 4\n  worker: {count: 1, command: bin/work}\n"
APP = "app:\n  name: shop\n  source: .\n"
FIRST = "  - name: grid-1\n    host: 127.0.0.1\n    port: 1\n"
SERVERS = f"servers:\n{FIRST}  - {{name: grid-2, host: 127.0.0.2, port: 1}}\n"
COMMA = "add a comma before the next key"
LINES = "on a line of its own below env"

YAML = (
    manifest("env-lost-comma", ENV, "env: {A: one B: two}\n", 14, "missing comma", COMMA),
    manifest("env-lost-comma-of-words", ENV, "env: {A: one two B: two}\n", 14, "missing comma", COMMA),
    manifest("env-lost-comma-in-lines", ENV, "env: {\n  A: one\n  B: two\n}\n", 15, "missing comma", COMMA),
    manifest("env-lost-space", ENV, "env: {A:one}\n", 14, "'A:...'", "add a space after the colon"),
    manifest("env-of-a-shell", ENV, "env: A=1\n", 14, "env: a string", LINES),
    manifest("env-of-a-shell-in-lines", ENV, "env:\n  A=1\n  B=2\n", 15, "env: a string", LINES),
    manifest("env-of-a-shell-in-one-line", ENV, "env:\n  A: 1\n  B=2\n", 16, "= in place of a colon", "a colon and"),
    manifest("env-as-a-list", ENV, "env: [A, B]\n", 14, "env: a list", LINES),
    manifest("env-of-compose", ENV, "env:\n  - A=1\n  - B=2\n", 15, "env: a list", LINES),
    manifest("env-of-kubernetes", ENV, "env:\n  - name: A\n    value: b\n", 15, "env: a list", LINES),
    manifest("env-nested", ENV, "env:\n  LOG: {LEVEL: info}\n", 15, "unknown key", "JSON, put all of it in quotes"),
    manifest("env-list-as-value", "info", "[a, b]", 15, "LOG_LEVEL: a list", "a value"),
    manifest("env-null", "info", "null", 15, "missing value for LOG_LEVEL", "a value"),
    manifest("env-name-with-a-dash", "LOG_LEVEL", "LOG-LEVEL", 15, "'LOG-LEVEL'", "underscores"),
    manifest("env-number-as-name", "LOG_LEVEL", "1", 15, "not a string", "quote the key"),
    manifest("env-duplicate", ENV, ENV + "  LOG_LEVEL: debug\n", 16, "duplicate key", "line 15"),
    manifest("env-duplicate-in-braces", ENV, "env: {A: 1, A: 2}\n", 14, "duplicate key", "line 14"),
    manifest("color-not-quoted", "info", "#fff", 15, "missing value", "# starts a comment"),
    manifest("ampersand-not-quoted", "info", "&info", 15, "missing value", "& starts an anchor"),
    manifest("at-sign-not-quoted", "info", "@info", 15, "not quoted", "quotes"),
    manifest("star-not-quoted", "info", "*.log", 15, "not quoted", "quotes"),
    manifest("bar-not-quoted", "info", "|info", 15, "not quoted", "quotes"),
    manifest("exclamation-not-quoted", "info", "!info x", 15, "tag is not allowed", "! starts a tag"),
    manifest("reference-without-braces", "info", "from_env: LEVEL", 15, "without braces", "{from_env: NAME}"),
    manifest("misspelt-reference", "info", "{fromenv: LEVEL}", 15, "'fromenv'", "did you mean from_env?"),
    manifest("apostrophe-in-quotes", "info", "'it's fine'", 15, "after a closing quote", "all of the value in quotes"),
    manifest("text-after-a-quote", "info", '"a" b', 15, "after a closing quote", "all of the value in quotes"),
    manifest("backslash-in-quotes", "info", '"C:\\dir"', 15, "unknown escape", "single quotes"),
    manifest(
        "text-of-lines-not-indented", "info", "|\n  line\n    two", 16, "not right of its key", "indent the text by 4"
    ),
    manifest("dynos-as-a-list", DYNOS, "dynos:\n  - web: 4\n", 7, "dynos: a list", "dynos: {web: 4}"),
    manifest("dynos-as-names", DYNOS, "dynos: [web, worker]\n", 6, "dynos: a list", "dynos: {web: 4}"),
    manifest("dynos-as-a-number", DYNOS, "dynos: 4\n", 6, "the number 4", "dynos: {web: 4}"),
    manifest("dynos-of-heroku", "  web: 4", "  web=4", 7, "= in place of a colon", "web: ..."),
    manifest("dynos-of-a-procfile", "{count: 1, command: bin/work}", "rake work", 8, "'rake work'", "command: ..."),
    manifest("dynos-without-a-count", "  web: 4", "  web:", 7, "web is empty", "a count"),
    manifest("dynos-negative", "web: 4", "web: -1", 7, "-1", "0 to 10000"),
    manifest("dynos-octal", "web: 4", "web: 012", 7, "'012'", "leading zeros"),
    manifest("dynos-fraction", "web: 4", "web: 1.5", 7, "1.5", "a count"),
    manifest("comma-after-a-count", "web: 4", "web: 4,", 7, "'4,'", "remove the ,"),
    manifest("semicolon-after-a-count", "web: 4", "web: 4;", 7, "'4;'", "remove the ;"),
    manifest("app-as-a-name", APP, "app: shop\n", 2, "the string 'shop'", "app: {name: shop, source: .}"),
    manifest("app-as-a-list", APP, "app:\n  - name: shop\n", 3, "app: a list", "remove the dashes"),
    manifest("app-name-as-a-number", "name: shop", "name: 123", 3, "the number 123", "starting with a letter"),
    manifest("app-name-with-underscore", "name: shop", "name: my_shop", 3, "'my_shop'", "single dashes"),
    manifest("servers-as-a-mapping", SERVERS, "servers:\n  grid-1: 127.0.0.1\n", 10, "a mapping", "use a list item"),
    manifest("servers-as-an-address", SERVERS, "servers: 10.0.0.1\n", 9, "'10.0.0.1'", "servers: [{name: grid-1"),
    manifest("host-with-a-port", "host: 127.0.0.1\n", "host: 127.0.0.1:22\n", 11, "'127.0.0.1:22'", "port: 22"),
    manifest("host-with-a-user", "host: 127.0.0.1\n", "host: me@127.0.0.1\n", 11, "'me@127.0.0.1'", "user: me"),
    manifest("port-as-text", "    port: 1\n", '    port: "1"\n', 12, "the string '1'", "remove the quotes"),
    manifest("dash-without-a-space", "  - name: grid-1", "  -name: grid-1", 10, "space after a dash", "add a space"),
    manifest("version-as-text", "version: 1", 'version: "1"', 1, "'1'", "remove the quotes"),
    manifest("version-2", "version: 1", "version: 2", 1, "version 2", "upgrade dynoctl"),
    manifest("no-version", "version: 1\n", "", 1, "missing key 'version'", "version: 1"),
    manifest("tab-in-a-list", "    host: 127.0.0.1\n", "\t  host: 127.0.0.1\n", 11, "tab", "spaces"),
    manifest("space-of-a-web-page", "  web: 4", "\u00a0\u00a0web: 4", 7, "U+00A0", "replace it by a space"),
    manifest("two-documents", "env:", "---\nenv:", 14, "several documents", "remove the line ---"),
    manifest("alias-of-nothing", "bin/work", "*work", 8, "undefined alias", "put the value in quotes"),
    manifest("lost-bracket", "env:", "router: {servers: [grid-1, grid-2}\nenv:", 14, "[ without ]", "add ]"),
    manifest("brace-too-many", "bin/work}", "bin/work}}", 8, "} without {", "remove it"),
    manifest("bracket-too-many", "port: 1}", "port: 1}]", 13, "] without [", "remove it"),
    manifest("comment-of-json", "env:", "// the variables\nenv:", 14, "// in place of #", "with #"),
    manifest("equals-at-the-top", "rackup: config.ru", "rackup = config.ru", 5, "= in place of a colon", "rackup: ..."),
    manifest("yes-for-true", "env:", "rollout: {auto_revert: yes}\nenv:", 14, "'yes'", "use true"),
    manifest("on-for-true", "env:", "rollout: {auto_revert: on}\nenv:", 14, "'on'", "use true"),
    manifest("true-in-quotes", "env:", 'rollout: {auto_revert: "true"}\nenv:', 14, "'true'", "remove the quotes"),
    manifest("percent-with-a-space", "env:", "rollout: {max_parallel: 50 %}\nenv:", 14, "'50 %'", "25%"),
    manifest("time-with-a-colon", "web: 4", "web: {count: 4, stop_timeout: 1:30}", 7, "'1:30'", "30s"),
    manifest("size-in-megabytes", "web: 4", "web: {count: 4, memory: 512MB}", 7, "'512MB'", "512M"),
    manifest("size-without-a-unit", "web: 4", "web: {count: 4, memory: 512}", 7, "512", "512M"),
    manifest(
        "cron-not-quoted",
        "env:",
        "schedule:\n  - {name: nightly, cron: * * * * *, command: x}\nenv:",
        15,
        "not quoted",
        "quotes",
    ),
    manifest("key-in-capitals", "rackup:", "Rackup:", 5, "'Rackup'", "did you mean rackup?"),
    manifest("key-of-nothing", "env:", "ssh: {key: ~}\nenv:", 14, "key is empty", "a path"),
    manifest("list-at-the-top", MANIFEST, "- web\n- worker\n", 1, "not a mapping", "version: 1"),
)
