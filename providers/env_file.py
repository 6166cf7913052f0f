"""A dyno's env file: its variables with database and cache, root only, compared without leaving the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from infra.provider import Fragment, Scope
from infra.resource import (
    Attributes,
    Change,
    Command,
    Fingerprint,
    Scalar,
    fingerprint,
)
from infra.sensitive import Sensitive
from providers import files, paths
from providers.base import Base

Variables = Mapping[str, str | Sensitive]


class EnvFile(Base):
    kind = "env_file"
    headline = ("mode", "variables")

    def observe(self, scope: Scope) -> Fragment:
        wanted = [fingerprint(scope.salt, render(variables)) for variables in scope.environments.values()]
        return Fragment(
            _SCRIPT,
            {
                "directory": paths.env_directory(scope.app),
                "kept": f"{paths.home(scope.app)}/salt",
                "salt": scope.salt,
                "wanted": f" {' '.join(wanted)} ",
            },
        )

    def parse(self, scope: Scope, output: str) -> Mapping[str, Attributes]:
        known = {fingerprint(scope.salt, render(variables)): variables for variables in scope.environments.values()}
        found: dict[str, Attributes] = {}
        variables: dict[str, Scalar] = {}
        dyno = salt = ""
        for line in output.splitlines():
            words = line.split(" ")
            if words[0] == "file":
                mode, owner, file, digest = words[1:5]
                dyno = file.removesuffix(".env")
                variables = dict(known.get(digest, {}))
                found[dyno] = {"mode": mode.zfill(4), "owner": owner, "variables": variables}
            elif words[0] == "salt":
                salt = words[1]
            elif words[0] == "key" and dyno:
                variables[words[1]] = Fingerprint(salt, words[2], partial(record, words[1]))
        return {f"{scope.app}-{dyno}": attributes for dyno, attributes in found.items()}

    def triggers(self, change: Change) -> bool:
        return change.before is None or "variables" in change.differing()

    def recorded(self, attributes: Attributes, salt: str) -> Mapping[str, object]:
        variables = attributes["variables"]
        digests = {}
        if isinstance(variables, Mapping):
            for key, value in variables.items():
                if isinstance(value, str | Sensitive):
                    digests[key] = fingerprint(salt, record(key, _reveal(value)))
        return {
            **super().recorded({k: v for k, v in attributes.items() if k != "variables"}, salt),
            "variables": digests,
        }

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        path = paths.env_file(scope.app, str(change.resource.dyno))
        if change.after is None:
            return [files.remove(path)]
        variables = change.after["variables"]
        assert isinstance(variables, Mapping)  # noqa: S101  # for mypy: desired() makes nothing else
        text = render({key: value for key, value in variables.items() if isinstance(value, str | Sensitive)})
        return [
            files.make_directory(paths.env_directory(scope.app), "0700"),
            files.write(path, text, "0600", secret=True),
        ]


# Two tiers: one digest for a file that is as wanted, one for each record of a file that is not. A record starts at
# ``KEY="`` and ends at the line that ends in a quote with an even number of backslashes before it.
_SCRIPT = """\
hash() { sum=$(printf '%s%s' "$1" "$2" | sha256sum); printf '%s' "${sum%% *}"; }
[ -r "$kept" ] && IFS= read -r salt_kept < "$kept"
for file in "$directory"/*.env; do
  [ -e "$file" ] || continue
  sum=$({ printf '%s' "$salt"; cat "$file"; } | sha256sum); sum=${sum%% *}
  printf 'file %s %s %s\\n' "$(stat -c '%a %U:%G' "$file")" "${file##*/}" "$sum"
  case $wanted in *" $sum "*) continue;; esac
  printf 'salt %s\\n' "${salt_kept:-$salt}"
  record=
  while IFS= read -r line || [ -n "$line" ]; do
    if [ -n "$record" ]; then record="$record
$line"; else record=$line; fi
    key=${record%%=*}
    case $key in
      ''|*[!A-Za-z0-9_]*) printf 'key # %s\\n' "$(hash "${salt_kept:-$salt}" "$record")"; record=; continue;;
    esac
    case ${record#*=} in
      '"'*'"')
        rest=${record#*=}; rest=${rest#?}; rest=${rest%?}; tail=${rest##*[!\\\\]}
        [ $((${#tail} % 2)) -eq 0 ] || continue;;
      '"'*) continue;;
    esac
    printf 'key %s %s\\n' "$key" "$(hash "${salt_kept:-$salt}" "$record")"
    record=
  done < "$file"
  [ -z "$record" ] || printf 'key # %s\\n' "$(hash "${salt_kept:-$salt}" "$record")"
done
:
"""

_ESCAPED = str.maketrans({"\\": "\\\\", '"': '\\"', "`": "\\`", "$": "\\$"})


def record(key: str, value: str) -> str:
    """One variable as its file holds it: double-quoted, with what systemd expands escaped. Newlines survive."""
    return f'{key}="{value.translate(_ESCAPED)}"'


def render(variables: Variables) -> str:
    """The text of an env file, in the order of the names."""
    lines = []
    for key in sorted(variables):
        lines.append(record(key, _reveal(variables[key])) + "\n")
    return "".join(lines)


def _reveal(value: str | Sensitive) -> str:
    return value.reveal() if isinstance(value, Sensitive) else value


def desired(variables: Variables) -> Attributes:
    """The env file of one dyno."""
    return {
        "mode": "0600",
        "owner": "root:root",
        "variables": {key: variables[key] for key in sorted(variables)},
    }
