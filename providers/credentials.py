"""A dyno's credentials: files that systemd passes to that dyno only. They are compared on the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.model import naming, paths
from infra.model.provider import Brief, Fragment, Scope
from infra.model.resource import Attribute, Attributes, Change, Command, Fingerprint, Found, Scalar, fingerprint
from infra.sensitive import Sensitive, reveal
from providers import files
from providers.base import Base

Credentials = Mapping[str, str | Sensitive]


class CredentialFiles(Base):
    kind = "credentials"
    headline = ("files",)
    brief = Brief(named=("files",))

    def observe(self, scope: Scope) -> Fragment:
        salt_file = f"{paths.home(scope.app)}/salt"
        return Fragment(_SCRIPT, {"directory": paths.env_directory(scope.app), "kept": salt_file, "salt": scope.salt})

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        salt = ""
        modes: dict[str, str] = {}
        found: dict[str, dict[str, Scalar]] = {}
        for line in output.splitlines():
            word, _, rest = line.partition(" ")
            if word == "salt":
                salt = rest
            elif word == "directory":
                mode, owner, path = rest.split(" ", 2)
                modes[_dyno(path)] = f"{mode.zfill(4)} {owner}"
                found[_dyno(path)] = {}
            elif word == "file":
                mode, owner, digest, path = rest.split(" ", 3)
                directory, _, name = path.rpartition("/")
                # A file that others can read differs from the desired one, whatever it contains.
                whole = digest if (mode, owner) == ("600", "root:root") else f"{mode} {owner}"
                found[_dyno(directory)][name] = Fingerprint(salt, whole, str)
        return {
            f"{scope.app}-{dyno}": Found({"mode": modes[dyno], "files": dict(digests)})
            for dyno, digests in found.items()
            if naming.DYNO_NAME.match(dyno)
        }

    def files(self, scope: Scope, change: Change) -> Sequence[str]:
        names = {*_files(change.before), *_files(change.after)}
        return [paths.credential(scope.app, str(change.resource.dyno), name) for name in sorted(names)]

    def undo(self, scope: Scope, change: Change) -> Sequence[Command]:
        if change.before is not None:
            return []
        directory = paths.credentials(scope.app, str(change.resource.dyno))
        return [Command(("sh", "-c", '[ ! -d "$1" ] || rmdir --ignore-fail-on-non-empty "$1"', "rmdir", directory))]

    def triggers(self, change: Change) -> bool:
        return change.before is None or change.after is None or "files" in change.differing()

    def recorded(self, attributes: Attributes, salt: str) -> Mapping[str, object]:
        digests = {name: fingerprint(salt, reveal(value)) for name, value in _files(attributes).items()}
        return {"mode": attributes["mode"], "files": digests}

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        directory = paths.credentials(scope.app, str(change.resource.dyno))
        if change.after is None:
            return [files.remove(directory)]
        wanted = _files(change.after)
        stale = [f"{directory}/{name}" for name in _files(change.before) if name not in wanted]
        return [
            files.make_directory(paths.env_directory(scope.app), "0700"),
            files.make_directory(directory, "0700"),
            *write(directory, {name: value for name, value in wanted.items() if isinstance(value, str | Sensitive)}),
            *([Command(("rm", "-f", "--", *stale), label="remove credentials")] if stale else []),
        ]


# A credential may have many lines, so the salt and the raw file are hashed, without a trailing newline.
_SCRIPT = """\
set -- "$directory"/*.credentials
[ -e "$1" ] || exit 0
[ -r "$kept" ] && IFS= read -r salt < "$kept"
printf 'salt %s\\n' "$salt"
stat -c 'directory %a %U:%G %n' "$@"
for directory; do
  for file in "$directory"/*; do
    [ -f "$file" ] || continue
    case $file in *.dynoctl-new) continue;; esac  # left by a power cut; no dyno has read it
    sum=$({ printf %s "$salt"; cat "$file"; } | sha256sum)
    printf 'file %s %s %s\\n' "$(stat -c '%a %U:%G' "$file")" "${sum%% *}" "$file"
  done
done
:
"""


def write(directory: str, values: Credentials) -> list[Command]:
    """Write every credential to a directory of root. The values are written unchanged, without a trailing newline."""
    return [
        files.write(f"{directory}/{name}", reveal(value), "0600", secret=True, label=f"write the credential {name}")
        for name, value in sorted(values.items())
    ]


def desired(values: Credentials) -> Attributes:
    """The desired credentials of one dyno."""
    return {"mode": "0700 root:root", "files": {name: values[name] for name in sorted(values)}}


def load(directory: str, names: Sequence[str]) -> dict[str, str]:
    """The unit setting that passes the credentials to a unit; empty without credentials."""
    return {"Service.LoadCredential": "\n".join(f"{name}:{directory}/{name}" for name in names)} if names else {}


def _files(attributes: Attributes | None) -> Mapping[str, Attribute]:
    found = (attributes or {}).get("files")
    return found if isinstance(found, Mapping) else {}


def _dyno(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".credentials")
