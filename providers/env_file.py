"""A dyno's env file: its config vars, readable by root only. It is compared on the server."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import partial
from urllib.parse import quote

from infra.errors import DynoctlError
from infra.model import naming, paths
from infra.model.provider import Brief, Fragment, Scope
from infra.model.resource import (
    PLAIN,
    Attribute,
    Attributes,
    Change,
    Command,
    Fingerprint,
    Found,
    Scalar,
    fingerprint,
)
from infra.sensitive import Sensitive, reveal
from providers import files
from providers.base import Base

Variables = Mapping[str, str | Sensitive]

SHOWN = 4096
"""Characters of the longest value that is recorded, so that a later plan can show it. Of a longer one, it is only
recorded that it is no secret."""

_UNQUOTED = "/:@,=+ "
"""What stays as it is in a record: no quotes and no braces, by which ``infra.remote.read_only`` tells where it ends."""


class EnvFile(Base):
    kind = "env_file"
    headline = ("mode", "variables")
    brief = Brief(named=("variables",))

    def observe(self, scope: Scope) -> Fragment:
        wanted = "".join(
            f" {type_}={hashlib.sha256(render(variables).encode()).hexdigest()}"
            for type_, variables in scope.environments.items()
        )
        return Fragment(
            _SCRIPT,
            {
                "directory": paths.env_directory(scope.app),
                "kept": f"{paths.home(scope.app)}/salt",
                "salt": scope.salt,
                "wanted": f"{wanted} ",
                "plain": "*",
            },
        )

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        found: dict[str, dict[str, Attribute]] = {}
        variables: dict[str, Scalar] = {}
        salt = ""
        for line in output.splitlines():
            word, _, rest = line.partition(" ")
            if word == "salt":
                salt = rest
            elif word == "file":
                mode, owner, path = rest.split(" ", 2)
                found[_dyno(path)] = {"mode": mode.zfill(4), "owner": owner, "variables": {}}
            elif word == "same":
                path, _, type_ = rest.rpartition(" ")
                found[_dyno(path)]["variables"] = dict(scope.environments[type_])
            elif word == "differs":
                variables = {}
                found[_dyno(rest)]["variables"] = variables
            elif word == "key":
                key, _, digest = rest.partition(" ")
                variables[key] = Fingerprint(salt, digest, partial(record, key))
        return {f"{scope.app}-{dyno}": Found(file) for dyno, file in found.items() if naming.DYNO_NAME.match(dyno)}

    def files(self, scope: Scope, change: Change) -> Sequence[str]:
        return (paths.env_file(scope.app, str(change.resource.dyno)),)

    def triggers(self, change: Change) -> bool:
        return change.before is None or "variables" in change.differing()

    def recorded(self, attributes: Attributes, salt: str) -> Mapping[str, object]:
        variables = attributes["variables"]
        digests: dict[str, str] = {}
        plain: dict[str, str] = {}
        if isinstance(variables, Mapping):
            for key, value in variables.items():
                if isinstance(value, str | Sensitive):
                    digests[key] = fingerprint(salt, record(key, reveal(value)))
                if isinstance(value, str):
                    plain[key] = quote(value if len(value) <= SHOWN else "", safe=_UNQUOTED, errors="replace")
        return {
            **super().recorded({k: v for k, v in attributes.items() if k != "variables"}, salt),
            "variables": digests,
            PLAIN: plain,
        }

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        path = paths.env_file(scope.app, str(change.resource.dyno))
        if change.after is None:
            return [files.remove(path)]
        variables = change.after["variables"]
        assert isinstance(variables, Mapping)  # noqa: S101  # for mypy: desired() returns nothing else
        text = render({key: value for key, value in variables.items() if isinstance(value, str | Sensitive)})
        return [
            files.make_directory(paths.env_directory(scope.app), "0700"),
            files.write(path, text, "0600", secret=True),
        ]


# Values never leave the server. A file that matches the desired digest is reported as "same"; for any other file each
# record is reported as a salted digest. A record starts at ``KEY="`` and ends at the line that ends in a quote with an
# even number of backslashes before it.
_SCRIPT = """\
set -- "$directory"/*.env
[ -e "$1" ] || exit 0
hash() {
  own=$salt
  case $plain in '*'|*" $2 "*) ;; *) own=$secret_salt;; esac
  sum=$(printf '%s%s' "$own" "$1" | sha256sum); printf 'key %s %s\\n' "$2" "${sum%% *}"
}
[ -r "$kept" ] && IFS= read -r salt < "$kept"
printf 'salt %s\\n' "$salt"
stat -c 'file %a %U:%G %n' "$@"
sha256sum "$@" | while read -r sum file; do
  case $wanted in
    *"=$sum "*) type=${wanted%%"=$sum "*}; printf 'same %s %s\\n' "$file" "${type##* }"; continue;;
  esac
  printf 'differs %s\\n' "$file"
  record=
  while IFS= read -r line || [ -n "$line" ]; do
    if [ -n "$record" ]; then record="$record
$line"; else record=$line; fi
    key=${record%%=*}
    case $key in
      ''|*[!A-Za-z0-9_]*) hash "$record" '#'; record=; continue;;
    esac
    case ${record#*=} in
      '"'*'"')
        rest=${record#*=}; rest=${rest#?}; rest=${rest%?}; tail=${rest##*[!\\\\]}
        [ $((${#tail} % 2)) -eq 0 ] || continue;;
      '"'*) continue;;
    esac
    hash "$record" "$key"
    record=
  done < "$file"
  [ -z "$record" ] || hash "$record" '#'
done
:
"""


def _dyno(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".env")


_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ESCAPED = str.maketrans({"\\": "\\\\", '"': '\\"', "`": "\\`", "$": "\\$"})


def record(key: str, value: str) -> str:
    """A variable as a record of the env file: double-quoted, with what systemd expands escaped. Newlines are kept."""
    return f'{key}="{value.translate(_ESCAPED)}"'


def render(variables: Variables) -> str:
    """The text of an env file, sorted by name."""
    lines = []
    for key in sorted(variables):
        if not _KEY.fullmatch(key) or "\0" in reveal(variables[key]):
            raise DynoctlError(f"cannot write config vars: invalid name or value of {ascii(key)[:80]}")
        lines.append(record(key, reveal(variables[key])) + "\n")
    return "".join(lines)


def desired(variables: Variables) -> Attributes:
    """The desired env file of one dyno."""
    return {
        "mode": "0600",
        "owner": "root:root",
        "variables": {key: variables[key] for key in sorted(variables)},
    }
