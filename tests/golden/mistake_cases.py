"""A typical mistake, and those of somebody who comes from Heroku, Kamal, Terraform or Ansible, or to YAML."""

from __future__ import annotations

from dataclasses import dataclass

MANIFEST = """\
version: 1
app:
  name: shop
  source: .
rackup: config.ru
dynos:
  web: 4
  worker: {count: 1, command: bin/work}
servers:
  - name: grid-1
    host: 127.0.0.1
    port: 1
  - {name: grid-2, host: 127.0.0.2, port: 1}
env:
  LOG_LEVEL: info
"""


@dataclass(frozen=True)
class Mistake:
    """A command line, in a directory with a manifest that is edited first. The answer says ``what`` on a line that
    starts with error: or warning:, ``where`` if that is a line of the manifest, and ``cure``."""

    name: str
    typed: str
    what: str
    cure: str
    edit: tuple[str, str] | None = None
    where: int | None = None
    directory: str = "."


def words(name: str, typed: str, what: str, cure: str, directory: str = ".") -> Mistake:
    return Mistake(name, typed, what, cure, directory=directory)


def manifest(name: str, old: str, new: str, where: int, what: str, cure: str, typed: str = "validate") -> Mistake:
    return Mistake(name, typed, what, cure, (old, new), where)


HEROKU = (
    words("heroku-deploy-by-git", "git:remote -a shop", "git:remote", "dynoctl apply"),
    words("heroku-create", "create shop", "create", "dynoctl init"),
    words("heroku-config-set", "config:set API_KEY=hunter2", "config:set", "dynoctl config set API_KEY=VALUE"),
    words("heroku-config-get", "config:get LOG_LEVEL", "config:get", "dynoctl config get LOG_LEVEL"),
    words("heroku-config-unset", "config:unset LOG_LEVEL", "config:unset", "dynoctl config unset LOG_LEVEL"),
    words("heroku-config-word", "config LOG_LEVEL", "config LOG_LEVEL", "dynoctl config get LOG_LEVEL"),
    words(
        "heroku-config-set-two-words", "config set LOG_LEVEL debug", "LOG_LEVEL", "dynoctl config set LOG_LEVEL=VALUE"
    ),
    words("heroku-ps-scale", "ps:scale web=3", "ps:scale", "dynoctl scale web=3"),
    words("heroku-ps-restart", "ps:restart web.1", "ps:restart", "dynoctl restart web.1"),
    words("heroku-ps-stop", "ps:stop worker.1", "ps:stop", "dynoctl scale worker=0"),
    words("heroku-ps-exec", "ps:exec", "ps:exec", "dynoctl run bash"),
    words("heroku-pg-psql", "pg:psql", "pg:psql", "dynoctl run sh -c 'psql"),
    words("heroku-redis-cli", "redis:cli", "redis:cli", "dynoctl run sh -c 'redis-cli"),
    words("heroku-addons", "addons:create heroku-postgresql", "addons:create", "database:"),
    words("heroku-login", "login", "login", "dynoctl doctor"),
    words("heroku-open", "open", "open", "dynoctl ps"),
    words("heroku-console", "console", "console", "dynoctl run bundle exec rails console"),
    words("heroku-run-detached", "run:detached bin/work", "run:detached", "dynoctl run --detach bin/work"),
    words("heroku-releases-info", "releases:info v3", "releases:info", "dynoctl releases show v3"),
    words("heroku-releases-word", "releases v3", "releases v3", "dynoctl releases show v3"),
    words("heroku-maintenance-on", "maintenance:on", "maintenance:on", "dynoctl maintenance on"),
    words("heroku-domains-add", "domains:add shop.example.org", "domains:add", "router.hosts"),
    words("heroku-app-option", "ps --app shop", "--app", "-f FILE"),
    words("heroku-logs-tail", "logs --tail", "--tail", "dynoctl logs --follow"),
    words("heroku-logs-word", "logs web", "web", "dynoctl logs --type web"),
    words("heroku-scale-unknown-type", "scale clock=1", "clock", "web=4"),
    words("heroku-status", "status", "status", "dynoctl ps"),
)

KAMAL = (
    words("kamal-deploy", "deploy", "deploy", "dynoctl apply"),
    words("kamal-redeploy", "redeploy --skip-push", "redeploy", "dynoctl apply"),
    words("kamal-setup", "setup", "setup", "dynoctl apply"),
    words("kamal-app-exec", "app exec 'bin/rails console'", "app", "dynoctl run bin/rails console"),
    words("kamal-app-logs", "app logs -f", "app", "dynoctl logs"),
    words("kamal-app-stop", "app stop", "app", "dynoctl scale TYPE=0"),
    words("kamal-lock-release", "lock release", "lock release", "--lock-timeout 10m"),
    words("kamal-remove", "remove", "remove", "dynoctl scale TYPE=0"),
    words("kamal-accessory", "accessory boot redis", "accessory", "cache:"),
    words("kamal-proxy", "proxy reboot", "proxy", "router"),
    words("kamal-rollback-version", "rollback --version v2", "--version", "dynoctl rollback VERSION"),
    words("kamal-audit", "audit", "audit", "dynoctl history"),
    words("kamal-exec-interactive", "run -i bash", "-i", "uses a terminal"),
    words("kamal-exec-hosts", "run --hosts grid-1 bash", "--hosts", "dynoctl run --server"),
    words("kamal-yes", "apply -y", "-y", "dynoctl apply --auto-approve"),
    words("kamal-destination-one-dash", "plan -dstaging", "-dstaging", "dynoctl plan -d staging"),
    words("kamal-no-overlay", "plan -d production", "dyno.production.yaml", "-d staging"),
)

TERRAFORM = (
    words("terraform-out", "plan -out=x.plan", "-out=x.plan", "dynoctl plan --out x.plan"),
    words("terraform-destroy", "plan -destroy", "-destroy", "dynoctl destroy shows what it would remove"),
    words("terraform-target", "plan -target=web", "-target=web", "dynoctl plan --target web"),
    words("terraform-auto-approve", "apply -auto-approve", "-auto-approve", "dynoctl apply --auto-approve"),
    words("terraform-json", "plan -json", "-json", "dynoctl plan --json"),
    words("terraform-detailed-exitcode", "plan -detailed-exitcode", "-detailed-exitcode", "--detailed-exitcode"),
    words("terraform-var", "plan -var level=debug", "-var", "dynoctl config set NAME=VALUE"),
    words("terraform-chdir", "-chdir=prod plan", "-chdir=prod", "-f DIRECTORY/dyno.yaml"),
    words("terraform-input", "apply -input=false -auto-approve", "-input=false", "--auto-approve"),
    words("terraform-force-unlock", "force-unlock 3f1c", "force-unlock", "dynoctl lock status"),
    words("terraform-taint", "taint web.1", "taint", "dynoctl restart web.1"),
    words("terraform-import", "import web.1", "import", "dynoctl plan"),
    words("terraform-refresh", "refresh", "refresh", "dynoctl drift"),
    words("terraform-state", "state list", "state", "dynoctl ps"),
    words("terraform-output", "output address", "output", "dynoctl ps"),
    words("terraform-fmt", "fmt", "fmt", "dynoctl validate"),
    words("terraform-workspace", "workspace select staging", "workspace", "dynoctl plan -d NAME"),
    words("terraform-apply-target", "apply web", "web", "dynoctl apply --target web"),
    words("terraform-plan-of-nothing", "show x.plan", "x.plan", "dynoctl plan --out x.plan"),
    words("terraform-plan-yes", "plan --auto-approve", "--auto-approve", "dynoctl apply"),
    words("terraform-misspelt-destroy", "destory", "destory", "dynoctl --help"),
)

ANSIBLE = (
    words("ansible-check", "apply --check", "--check", "dynoctl plan"),
    words("ansible-limit", "plan --limit grid-1", "--limit", "dynoctl plan --target PATTERN"),
    words("ansible-inventory", "plan -i hosts", "-i", "servers:"),
    words("ansible-extra-vars", "apply -e level=debug", "-e", "dynoctl config set NAME=VALUE"),
    words("ansible-become", "apply --become", "--become", "sudo"),
    words("ansible-verbose", "plan -vvv", "-vvv", "dynoctl plan --verbose"),
    words("ansible-forks", "plan --forks 20", "--forks", "dynoctl plan --parallelism N"),
    words("ansible-ping", "ping", "ping", "dynoctl doctor"),
    words("ansible-playbook", "playbook dyno.yaml", "playbook", "dynoctl apply"),
    words("ansible-vault", "vault encrypt secrets", "vault", ".dyno/secrets"),
    words("ansible-ask-become-pass", "apply -K", "-K", "dynoctl sudoers"),
)

ANYBODY = (
    words("no-manifest", "plan", "dyno.yaml not found in /project/empty", "dynoctl init", "empty"),
    words("no-manifest-in-an-app", "plan", "dyno.yaml not found in /project/rails", "dynoctl init", "rails"),
    words("in-a-subdirectory", "plan", "dyno.yaml not found in /project/app", "-f ../dyno.yaml", "app"),
    words("wrong-directory", "plan -f prod/dyno.yaml", "prod/dyno.yaml", "check the path"),
    words("manifest-as-argument", "plan dyno.staging.yaml", "dyno.staging.yaml", "dynoctl plan -f dyno.staging.yaml"),
    words("option-before-the-command", "-d staging plan", "-d", "dynoctl plan -d staging"),
    words("misspelt-command", "pln", "pln", "dynoctl plan"),
    words("misspelt-option", "plan --verbos", "--verbos", "--verbose"),
    words("option-of-another-command", "ps --follow", "--follow", "dynoctl top"),
    words("missing-value", "plan -f", "-f", "dynoctl plan -f FILE"),
    words("bad-duration", "apply --lock-timeout soon", "--lock-timeout", "--lock-timeout 10m"),
    words("bad-number", "logs -n many", "--lines", "last N lines"),
    words("bad-choice", "maintenance enable", "enable", "on, off"),
    words("bad-count", "scale web", "'web'", "dynoctl scale web=6"),
    words("missing-argument", "releases show", "VERSION", "dynoctl releases show VERSION"),
    words("logs-of-unknown-server", "logs --server gird-1", "gird-1", "grid-1, grid-2"),
    words("unset-variable", "config get LOGLEVEL", "LOGLEVEL", "LOG_LEVEL"),
    words("reserved-variable", "config set PORT=3000", "PORT", "dynos.web.port"),
    words(
        "secret-on-the-command-line",
        "config set API_KEY=hunter2 --secret",
        "secret",
        "dynoctl config set API_KEY --secret",
    ),
    words("destroy-one-type", "destroy web", "web", "dynoctl scale web=0"),
)

MANIFESTS = (
    manifest("lost-colon-of-a-section", "dynos:", "dynos", 6, "missing colon", "dynos:"),
    manifest("lost-colon-of-a-key", "  name: shop", "  name shop", 3, "missing colon", "name:"),
    manifest("lost-colon-in-a-list", "    host: 127.0.0.1\n", "    host 127.0.0.1\n", 11, "missing colon", "host:"),
    manifest("lost-space", "web: 4", "web:4", 7, "missing space", "add a space"),
    manifest("wrong-indentation", "  source: .", "   source: .", 4, "wrong indentation", "indent it by 2"),
    manifest("wrong-indentation-above", "  name: shop", "   name: shop", 3, "wrong indentation", "indent it by 2"),
    manifest("wrong-indentation-in-a-list", "    host:", "   host:", 11, "wrong indentation", "indent it by 4"),
    manifest("indented-section", "rackup:", " rackup:", 5, "wrong indentation", "remove the spaces"),
    manifest("no-indentation", "  name: shop\n  source: .", "name: shop\nsource: .", 3, "name", "indent it below app"),
    manifest("tab", "  web: 4", "\tweb: 4", 7, "tab", "spaces"),
    manifest("lost-dash", "  - {name: grid-2", "  {name: grid-2", 13, "missing dash", "add a dash"),
    manifest("lost-brace", "port: 1}", "port: 1", 13, "{ without }", "add }"),
    manifest("lost-quote", "LOG_LEVEL: info", 'LOG_LEVEL: "info', 15, '" without "', 'add "'),
    manifest("colon-in-a-value", "bin/work}", "bin/work a: b}", 8, "not quoted", "quotes"),
    manifest("template-of-ansible", "info", "{{ level }}", 15, "{{ ... }}", "{from_env: NAME}"),
    manifest("variable-of-a-shell", "info", "${LEVEL}", 15, "LOG_LEVEL", "{from_env: NAME}"),
    manifest("template-of-erb", "info", '<%= ENV["LEVEL"] %>', 15, "ERB", "{from_env: NAME}"),
    manifest("misspelt-key", "rackup:", "rackpu:", 5, "rackpu", "did you mean rackup?"),
    manifest("key-of-kamal-service", "rackup:", "service: shop\nrackup:", 5, "service", "app: {name"),
    manifest("key-of-kamal-image", "rackup:", "image: shop/web\nrackup:", 5, "image", "app.source"),
    manifest("key-of-kamal-proxy", "rackup:", "proxy: {host: shop.example.org}\nrackup:", 5, "proxy", "router"),
    manifest(
        "servers-of-kamal",
        "  - name: grid-1\n    host: 127.0.0.1\n    port: 1\n",
        "  - 127.0.0.1\n",
        10,
        "servers[0]",
        "name: grid-1",
    ),
    manifest("env-of-kamal", "  LOG_LEVEL: info", "  clear: {LOG_LEVEL: info}", 15, "clear", "directly below env"),
    manifest("key-of-heroku-formation", "dynos:", "formation:", 6, "formation", "dynos"),
    manifest("key-of-heroku-addons", "rackup:", "addons: [postgresql]\nrackup:", 5, "addons", "database:"),
    manifest("key-of-ansible-hosts", "servers:", "hosts:", 9, "hosts", "servers, with a list"),
    manifest("host-of-ansible", "    host: 127.0.0.1\n", "    ansible_host: 127.0.0.1\n", 11, "ansible_host", "host"),
    manifest("unknown-app-server", "rackup:", "app_server: passenger\nrackup:", 5, "passenger", "thin, puma, unicorn"),
    manifest(
        "unknown-server", "env:", "router: {kind: nginx, servers: [gird-1]}\nenv:", 14, "gird-1", "grid-1, grid-2"
    ),
    manifest("duration-with-a-space", "web: 4", "web: {count: 4, stop_timeout: 30 s}", 7, "30 s", "30s"),
    manifest("count-as-text", "web: 4", 'web: "4"', 7, "web", "remove the quotes"),
    manifest("rackup-not-there", "rackup: config.ru", "rackup: conf.ru", 5, "conf.ru", "config.ru"),
    manifest("unset-reference", "info", "{from_env: SHOP_LEVEL}", 15, "SHOP_LEVEL", "export SHOP_LEVEL", "plan"),
    manifest("misspelt-section", "dynos:", "dynoz:", 6, "dynoz", "did you mean dynos?"),
    manifest("lost-comma", "name: grid-2, host", "name: grid-2 host", 13, "missing comma", "before the key: host"),
    manifest("lost-comma-at-the-end", "{name: grid-2, ", "{name: grid-2\n    ", 13, "missing comma", "key: host"),
    manifest("lost-comma-after-a-number", "count: 1,", "count: 1", 8, "missing comma", "before the key: command"),
    manifest("count-as-a-word", "web: 4", "web: two", 7, "'two'", "a count"),
    manifest(
        "unknown-server-of-several",
        "env:",
        "router: {kind: nginx, servers: [grid-3]}\nenv:",
        14,
        "grid-3",
        "grid-1, grid-2",
    ),
    manifest("sqlite", "env:", "database: {adapter: sqlite3}\nenv:", 14, "sqlite3", "did you mean sqlite"),
    manifest("duplicate-key", "rackup:", "version: 1\nrackup:", 5, "duplicate key", "line 1"),
    manifest("host-name-twice", "127.0.0.2", "127.0.0.1", 13, "duplicate host", "servers/0"),
)

HABITS = (
    words("heroku-itself", "heroku config:set API_KEY=hunter2", "heroku", "dynoctl config set API_KEY=VALUE"),
    words("heroku-itself-with-options", "heroku logs --tail", "heroku", "dynoctl logs --follow"),
    words("heroku-ps-kill", "ps:kill web.1", "ps:kill", "dynoctl restart web.1"),
    words("heroku-run-inside", "run:inside web.1 bash", "run:inside", "dynoctl run bash"),
    words("heroku-releases-output", "releases:output v2", "releases:output", "dynoctl releases show v2"),
    words("heroku-maintenance-option", "maintenance --on", "--on", "dynoctl maintenance on"),
    words("kamal-itself", "kamal deploy", "kamal", "dynoctl apply"),
    words("terraform-itself", "terraform import web.1", "terraform", "dynoctl plan"),
    words("terraform-itself-destroying", "terraform destroy", "terraform", "dynoctl --help"),
    words("dynoctl-twice", "dynoctl plan", "dynoctl", "dynoctl plan"),
    words("docker-exec", "exec web.1 bash", "exec", "dynoctl run bash"),
    words("drift-to-fix", "drift --fix", "--fix", "dynoctl apply"),
    words("doctor-to-fix", "doctor --fix", "--fix", "its cure beside it"),
    words("ps-to-watch", "ps -w", "-w", "dynoctl top"),
    words("lint", "lint", "lint", "dynoctl validate"),
)
