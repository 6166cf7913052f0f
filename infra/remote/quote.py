"""The only place where values are quoted into shell text."""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Mapping, Sequence
from functools import lru_cache

from infra.model import landlock
from infra.model.provider import Fragment
from infra.model.resource import Command
from infra.model.sandbox import BUILD, SINCE, unset

# The server's locale, aliases and PATH must not change what our scripts read or print.
PRELUDE = """\
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
unset LANGUAGE CDPATH ENV BASH_ENV GREP_OPTIONS POSIXLY_CORRECT SYSTEMD_PAGER SYSTEMD_COLORS
umask 077
"""

# Must parse in any login shell: plain words and one single-quoted constant. A path, as ``sh`` may be an alias. Where a
# login sets PATH, these programs may be missing from it.
ENTRY = (
    '/bin/sh -c \'PATH="$PATH:/usr/bin:/bin"; if [ "$(id -u)" -eq 0 ]; then exec sh -s -- "$SSH_CONNECTION"; '
    'else exec sudo -n -- sh -s -- "$SSH_CONNECTION"; fi\''
)

SPARE = b"\n" * 4
"""Empty lines before each script, for a start file of the login shell that waits for Return."""

# The same for a script already on the server, so that stdin is left to the program. ``NAME`` is a one-off unit's name.
PROGRAM = (
    '/bin/sh -c \'PATH="$PATH:/usr/bin:/bin"; if [ "$(id -u)" -eq 0 ]; then exec sh "$1"; '
    'else exec sudo -n -- sh "$1"; fi\' sh /run/NAME.sh'
)

_ONE_OFF = re.compile(r"^dynoctl-run-[a-z0-9-]+\.[0-9]+$")

_NAME = re.compile(r"^[a-z_][a-z0-9_]*$")

_MARK = re.compile(r" (?:begin (\w+)|end (\w+) ([0-9]{1,3}))(?:\n|\Z)")
"""What follows the nonce where the output of a fragment begins or ends."""


def assign(variables: Mapping[str, str]) -> str:
    """Shell assignments, one per line. Raises ValueError if a name is not lower-case letters, digits and ``_``."""
    lines = []
    for name, value in variables.items():
        if not _NAME.match(name):
            raise ValueError(f"invalid variable name: {name!r}")
        if "\0" in value:
            raise ValueError(f"{name} contains a NUL byte")
        lines.append(f"{name}={shlex.quote(value)}\n")
    return "".join(lines)


def entry(name: str) -> str:
    """The command line that starts the script of the one-off unit ``name``. Raises ValueError."""
    if not _ONE_OFF.match(name) or name.endswith("\n"):
        raise ValueError(f"invalid one-off unit name: {name!r}")
    return PROGRAM.replace("NAME", name)


def program(argv: Sequence[str], mark: str) -> str:
    """A script that prints ``mark`` and then replaces itself with ``argv``."""
    return f'{PRELUDE}{assign({"mark": mark})}printf %s "$mark"\nexec {shlex.join(argv)}\n'


def observation(fragments: Mapping[str, Fragment], nonce: str) -> str:
    """A script that runs every fragment in one round trip: each in a subshell, between lines that carry the nonce."""
    parts = [PRELUDE, 'connection="${1-}"\n', assign({"nonce": nonce})]
    parts += [
        _section(name, fragment.script, tuple(fragment.variables.items())) for name, fragment in fragments.items()
    ]
    parts.append("printf '%s done\\n' \"$nonce\"\n")
    return "".join(parts)


@lru_cache(maxsize=64)  # the same for all servers
def _section(name: str, script: str, variables: tuple[tuple[str, str], ...]) -> str:
    begin = f"printf '\\n%s begin {name}\\n' \"$nonce\"\n(\n"
    end = f') </dev/null 2>&1\nprintf \'\\n%s end {name} %d\\n\' "$nonce" "$?"\n'
    return f"{begin}{assign(dict(variables))}{script}{end}"


def sections(output: str, nonce: str) -> dict[str, tuple[int, str]]:
    """The exit status and output of each fragment, by name. Output of the login shell is ignored."""
    found: dict[str, tuple[int, str]] = {}
    name, began, at = "", 0, 0
    # Lines are looked at only where the nonce is: the record of many servers is long.
    while (at := output.find(f"{nonce} ", at)) >= 0:
        mark = _MARK.match(output, at + len(nonce)) if at == 0 or output[at - 1] == "\n" else None
        if mark is not None and mark[1]:
            name, began = mark[1], mark.end()
        elif mark is not None and mark[2] == name:
            found[name] = (int(mark[3]), output[began:at].removesuffix("\n"))
            name = ""
        at += len(nonce)
    return found


def batch(commands: Sequence[Command], nonce: str) -> str:
    """A script that runs commands in order up to the first that fails; each reports ``NONCE index status``."""
    parts = ["status=0\n"]
    for index, command in enumerate(commands):
        run = f"timeout -k 5 {int(command.timeout)} {shlex.join(command.argv)}"
        # A child that outlives the shell must not keep the locks, so their descriptors are closed for it.
        if command.stdin is None:
            body = f"( {run} ) </dev/null 2>&1 8>&- 9>&-"
        else:
            text = base64.encodebytes(command.stdin).decode("ascii")
            body = f"( base64 -d <<'{nonce}' | {run} ) 2>&1 8>&- 9>&-\n{text}{nonce}"
        parts.append(f"if [ $status -eq 0 ]; then\n{body}\nstatus=$?\n")
        parts.append(f"printf '\\n%s {index} %d\\n' '{nonce}' $status\nfi\n")
    parts.append(f"printf '\\n%s end %d\\n' '{nonce}' $status\n")
    return "".join(parts)


# A transient unit with a dynamic user and a private /tmp, in which the whole build happens, and a time limit. It is in
# the sandbox of a dyno, and may fetch gems from the network. systemd-run refuses settings newer than itself.
#
# Its /tmp is a file system of half of what the server's /var/tmp has free, so no build fills the server. What other
# builds may still write is not free: what their file systems have free, and their metadata, at most a sixteenth, that
# may not be written yet. Under a lock they are counted, and the new one is mounted, in a directory of root's, as dynos
# see new mounts as well. The image has no name once it is mounted. What a build left that was killed with its shell
# goes with the next one.
_BUILD = """\
{ unit=dynoctl-build-$$ scratch=/run/dynoctl-build.$$; }
drop() { umount "$1/tmp"; rmdir "$1/tmp" "$1"; } 2>/dev/null
trap 'systemctl stop "$unit" 2>/dev/null; drop "$scratch"' EXIT HUP TERM
exec 7>>/run/dynoctl-builds.lock
flock -w 60 7 || { echo "another build on the server has been starting for more than 60 s" >&2; exit 1; }
kept=0 others=
for left in /run/dynoctl-build.*; do
  [ -d "$left" ] || continue
  kill -0 "${left##*.}" 2>/dev/null || { drop "$left"; continue; }
  mountpoint -q "$left/tmp" && set -- $(stat -f -c '%b %f %S' "$left/tmp") && [ $# -eq 3 ] || continue
  kept=$((kept + (($1 / 16 + $2) * $3 >> 20))) others="$others dynoctl-build-${left##*.}.service"
done
set -- $(stat -f -c '%a %S' /var/tmp)
free=$(($1 * $2 >> 20))
room=$(((free - kept) / 2))
[ "$room" -le LARGEST ] || room=LARGEST
if [ "$room" -lt $((LEAST / 2)) ]; then
  echo "no space left on device: /var/tmp has $free MiB free, and a build needs LEAST MiB of it" >&2
  [ -z "$others" ] || echo "$kept MiB are kept for other builds:$others" >&2
  exit 1
fi
image=$(mktemp /var/tmp/dynoctl-build.XXXXXX) && mkdir -p "$scratch/tmp" && truncate -s "${room}M" "$image" &&
  mkfs.ext4 -q -F -m 0 -b 4096 -i 8192 -O ^has_journal "$image" >&2 &&
  mount -o loop,nodev,nosuid,noinit_itable "$image" "$scratch/tmp" && chmod 1777 "$scratch/tmp"
status=$?; rm -f "$image"
[ $status -eq 0 ] || { echo "cannot make the scratch directory of the build (it needs e2fsprogs)" >&2; exit 1; }
exec 7>&-
systemd=$(systemctl --version | sed -n '1s/^systemd \\([0-9]*\\).*/\\1/p')
set --
SETTINGS
systemd-run --quiet --pipe --wait --collect --unit="$unit" -p DynamicUser=yes "$@" \\
  -p BindPaths="$scratch/tmp:/tmp $scratch/tmp:/var/tmp" \
  -p RuntimeMaxSec="$seconds" -p WorkingDirectory=/tmp VARIABLES LAUNCHED sh -c '
room=$1; shift
end() {
  [ "$(stat -f -c %a /tmp)" -ge 64 ] || printf "\\nthe build is out of space: it may write %s MiB\\n" "$room" >&2
  exit "$1"
}
mkdir /tmp/app && cd /tmp/app && tar -xf - || end $?
for command; do
  printf "\\$ %s\\n" "$command" >&2
  sh -c "$command" </dev/null >&2 || { status=$?; printf "\\nended with status %s\\n" "$status" >&2; end $status; }
done
tar -cf - .' build "$room" COMMANDS
"""

_SCRATCH = 32 << 10
"""The largest scratch directory of a build, in MiB."""

_LEAST_FREE = 64
"""MiB that the server must have free for a build, without what other builds may write."""


def _settings(settings: Mapping[str, str]) -> str:
    """Lines that add the settings of a unit to the arguments of systemd-run, if ``$systemd`` knows them."""
    lines = []
    for key, value in settings.items():
        add = "".join(f" -p {shlex.quote(f'{key}={part}')}" for part in value.split("\n"))
        since = f'[ "${{systemd:-0}}" -lt {SINCE[key]} ] || ' if key in SINCE else ""
        lines.append(f'{since}set -- "$@"{add}\n')
    return "".join(lines)


def building(commands: Sequence[str], environment: Mapping[str, str], path: str, seconds: int, ready: str) -> str:
    """A script that prints ``ready``, reads a tar from its stdin, runs the build commands in it and prints the
    result as a tar. ``seconds`` is the time limit."""
    variables = {**environment, "HOME": "/tmp", "PATH": path or "/usr/local/bin:/usr/bin:/bin"}  # noqa: S108
    words = shlex.join([f"--setenv={name}={value}" for name, value in variables.items()])
    # systemd expands ``$NAME`` in the arguments of a unit; ``$$`` is a literal dollar sign.
    words_ = [command.replace("$", "$$") for command in commands]
    launched = [word.replace("$", "$$") for word in landlock.inline(())]
    values = {
        "SETTINGS\n": _settings({**BUILD, "UnsetEnvironment": unset(environment)}),
        "LAUNCHED": shlex.join(launched),
        "LARGEST": str(_SCRATCH),
        "LEAST": str(_LEAST_FREE),
        "VARIABLES": words,
        "COMMANDS": shlex.join(words_),
    }
    # At once: a value may have the name of another one in it.
    text = re.sub("|".join(values), lambda found: values[found[0]], _BUILD)
    # One compound command, so that the shell has read all of it before the tar follows on stdin.
    variables = {"seconds": str(seconds), "ready": ready}
    return f"{PRELUDE}{assign(variables)}{{\nprintf '%s\\n' \"$ready\"\n{text}\nexit $?\n}}\n"
