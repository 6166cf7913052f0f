"""Run a program of a server to ask it something: only if root alone can change it, and then as nobody.

``ruby.path`` may name any file, also one that a dyno wrote into its volume, and a server is observed as root."""

from __future__ import annotations

from infra.model import paths

PLACES = ("/tmp", "/var/tmp", "/dev", "/proc", "/run/user", "/home", paths.MOUNTS, paths.STATE, paths.VOLUMES)  # noqa: S108
"""Directories whose files a dyno, a login or a build may have written."""

LINKED = ("/home", paths.MOUNTS, paths.STATE.removeprefix("/var"), paths.VOLUMES.removeprefix("/var"))
"""Those of them that may be elsewhere, as links lead there."""

_NOBODY = "65534"


def check(seconds: int = 10) -> str:
    """Shell functions. Only ``as_nobody`` runs anything, for at most ``seconds``, and only what ``trusted_program``
    printed may be given to it."""
    return _CHECK.replace("@SECONDS@", str(seconds))


_CHECK = f"""\
trusted_program() {{ # $1: a program. Prints its path without links; fails with the reason if it must not be run
  real=$(readlink -f -- "$1") && [ -f "$real" ] || {{ echo 'is not a file'; return 1; }}
  case $real/ in {"|".join(f"*{place}/*" for place in LINKED)}|{"|".join(f"{place}/*" for place in PLACES)})
    echo 'is in a directory of other users'; return 1;; esac
  (
    set -f; IFS=/; path=; whole=${{real#/}}; set -- /
    for part in $whole; do path=$path/$part; set -- "$@" "$path"; done
    unset IFS
    LC_ALL=C stat -c '%u %a %n' -- "$@" || echo '- 0 cannot be read'
  ) | {{
    while read -r owner mode name; do
      [ "$owner" = 0 ] || {{ echo "can be changed by others: $name does not belong to root"; exit 1; }}
      case $mode in *[2367]?|*[2367]) echo "can be changed by others: $name has mode $mode"; exit 1;; esac
    done
    printf '%s\\n' "$real"
  }}
}}
as_nobody() {{ # A program that root alone can change; nothing of its environment, no privilege, a time limit
  (cd /; ulimit -c 0; ulimit -t @SECONDS@; exec env -i LC_ALL=C PATH=/usr/bin:/bin HOME=/nonexistent \\
    timeout -k 1 @SECONDS@ setpriv --reuid={_NOBODY} --regid={_NOBODY} --clear-groups --no-new-privs \\
    --inh-caps=-all --bounding-set=-all -- "$@")
}}
"""
