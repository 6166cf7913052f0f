"""What systemd says about a unit that failed, in place of the names of programs that would show it."""

from __future__ import annotations

import re

from infra.model.resource import Command

SAID = """\
said_of() (
  prefix="$1: " lines=${2:-5}
  export prefix
  case $1 in *.mount) set -- "UNIT=$1" + "_SYSTEMD_UNIT=$1";; *) set -- "UNIT=$1";; esac  # mount(8) says more
  # journalctl 252 takes -n together with --since for the oldest lines.
  journalctl -q --no-pager -o cat -b --since=-10min "$@" 2>/dev/null | tail -n 200 |
    grep -vE \\
      -e '^(Starting|Started|Stopping|Stopped|Finished|Reloading|Reloaded|Mounting|Mounted|Unmounting|Unmounted) ' \\
      -e '^(Listening on|Closed|Closing|Created slice|Removed slice|Triggering|Condition check) ' \\
      -e ': (Consumed|Scheduled restart job|Deactivated successfully|Ignoring invalid environment|Succeeded)' |
    awk 'index($0, ENVIRON["prefix"]) == 1 { $0 = substr($0, length(ENVIRON["prefix"]) + 1) }
      { line[NR] = $0; last[$0] = NR }
      END { for (i = 1; i <= NR; i++) if (last[line[i]] == i) print line[i] }' |
    tail -n "$lines"
)
"""
"""A shell function that prints the last lines that systemd logged about a unit, at most so many. A line with the value
of a variable is never among them."""

_LOOK = (
    SAID
    + """\
# What a unit needs may be what failed.
for unit; do
  for need in $(systemctl show -p Requires -p BindsTo --value -- "$unit" 2>/dev/null); do
    case $need in dyno*|srv-*|var-*|dynoctl-*) ;; *) continue;; esac
    case " $* " in *" $need "*) ;; *) set -- "$@" "$need";; esac
  done
done
for unit; do
  case $(systemctl show -p LoadState -p ActiveState -p Result -- "$unit" 2>/dev/null) in
    *=failed*|*=bad-setting*|*=error*|*=masked*|*=not-found*) said_of "$unit";;
    *) [ "$unit" != "$1" ] || said_of "$unit";;
  esac
done
:
"""
)

_POINTER = re.compile(r"\s*(?:See (?:(?:system|user) logs and )?)?[\"'](?:systemctl (?:--user )?status|journalctl)\b.*")
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,200}\.(?:service|socket|mount|timer|slice|target)\b")
_SHARED = re.compile(r"dyno-[a-z0-9-]{1,100}")

_MOST = 6
"""Units that are asked about."""


def points_elsewhere(output: str) -> bool:
    """Whether the output of a step ends with where to read why it failed."""
    return bool(_POINTER.search(output))


def look(command: Command, output: str) -> Command:
    """The command that prints what systemd logged about the units that ``command`` or its output names."""
    words = [word for word in command.argv if "\n" not in word]
    # A step is often given the name that the units of a dyno share.
    words += [f"{word}{type_}" for word in words if _SHARED.fullmatch(word) for type_ in (".socket", ".service")]
    units = list(dict.fromkeys(_UNIT.findall("\n".join((output, *words)))))[:_MOST]
    return Command(("sh", "-c", _LOOK, "look", *units), timeout=20, quiet=True, label="read the journal")


def told(output: str, reasons: str) -> str:
    """The output of a step with the reasons in place of where to read them."""
    kept = [_POINTER.sub("", line).rstrip() for line in output.splitlines()]
    lines = [line for line in kept if line.strip()]
    return "\n".join([*lines, *(line for line in reasons.splitlines() if line.strip() and line not in lines)])
