"""The command with which a server pulls a slug: its own curl, without privileges, checked by digest before use."""

from __future__ import annotations

import re

from infra.artifacts.source import Access, Source
from infra.model.resource import Command, Upload
from infra.sensitive import reveal

SLOWEST = 16 << 10
"""Bytes in a second, on average of ``PATIENCE`` seconds, below which a store counts as silent."""

PATIENCE = 30
"""Seconds that a store may send less."""

CONNECT = 10
"""Seconds to wait for the connection."""

TRIES = 3
"""How often a store is asked that is busy, or ends a connection early; each time for the rest of the file."""

MARGIN = 120
"""Seconds in addition to the time that the slowest store takes: tries, and a slow disk."""


def command(image: Upload, source: Source, app: str, bandwidth: int = 0, label: str = "pull the slug") -> Command:
    """A command that places the image at its path, or fails and prints why as its last line. What it got stays for the
    next attempt. ``bandwidth`` is in bytes in a second, 0 is no limit."""
    seconds = longest(image, bandwidth)
    argv = (image.path, image.sha256, str(image.size), f"dynoctl-pull-{app}", str(seconds), str(TRIES))
    return Command(
        ("sh", "-c", _PULL, "pull", *argv),
        stdin=_settings(image, source, bandwidth).encode(),
        secret=True,
        timeout=seconds + PATIENCE,
        label=label,
    )


def longest(image: Upload, bandwidth: int = 0) -> int:
    """Seconds that a pull may take."""
    return MARGIN + image.size // _slowest(bandwidth)


def _slowest(bandwidth: int) -> int:
    return min(SLOWEST, bandwidth // 4) if bandwidth else SLOWEST


def reason(output: str) -> str:
    """Why a pull failed, from its output: what curl says last, or else the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip() and not line.startswith("http ")]
    said = [line for line in lines if line.startswith("curl: (")] or lines
    text = re.sub(r"^curl: \([0-9]+\) ", "", said[-1]) if said else "the server gives no reason"
    status = re.fullmatch(r"The requested URL returned error: ([0-9]{3}).*", text)
    return f"the store answers {status[1]}{_MEANING.get(int(status[1]), '')}" if status else text[:300]


_SILENT = re.compile(
    r"^curl: \((5|6|7|28|35|52|55|56)\) |The requested URL returned error: (429|5[0-9]{2})", re.MULTILINE
)
"""curl(1), EXIT CODES: no name, no connection, a timeout, no TLS, or one that ended; or an answer that asks to wait."""


def silent(output: str) -> bool:
    """Whether a pull failed because the store is unreachable or busy, from its output: to ask again takes as long."""
    return _SILENT.search(output) is not None


_MEANING = {401: " (login refused)", 403: " (forbidden)", 404: " (not found)", 429: " (too many requests)"}


def _settings(image: Upload, source: Source, bandwidth: int) -> str:
    """The configuration of curl. It goes through stdin: a server shows the command line of a process to all users."""
    secure = "=http,https" if source.insecure else "=https"
    settings: list[tuple[str, str]] = [
        ("url", reveal(source.url)),
        ("proto", secure),
        ("proto-redir", secure),
        ("max-redirs", "5"),
        ("connect-timeout", str(CONNECT)),
        ("speed-limit", str(_slowest(bandwidth))),
        ("speed-time", str(PATIENCE)),
        ("max-filesize", str(image.size)),
        ("write-out", r"%{stderr}\nhttp %{http_code}\n"),
        *login(source.access),
    ]
    if bandwidth:
        settings.append(("limit-rate", str(bandwidth)))
    flags = ["fail", "silent", "show-error", "globoff"]  # a URL is one URL, whatever brackets it has
    if source.pin:
        # The certificate is of no authority: the key is known instead. A proxy could not be asked for such a server.
        settings += [("pinnedpubkey", source.pin), ("noproxy", "*")]
        flags.append("insecure")
    else:
        flags.append("location")
    return "".join([f"{key} = {quoted(value)}\n" for key, value in settings] + [f"{flag}\n" for flag in flags])


def login(access: Access) -> list[tuple[str, str]]:
    """The settings of curl that log in. It sends them to no other host that it is redirected to."""
    if access.token:
        return [("header", f"Authorization: Bearer {reveal(access.token)}")]
    return [("user", f"{reveal(access.user)}:{reveal(access.password)}")] if access.user else []


def quoted(value: str) -> str:
    """A value in a configuration file of curl (curl(1), --config). Raises ValueError for one of several lines."""
    if not value.isprintable():
        raise ValueError("a setting of curl contains a control character")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


# curl writes to a descriptor that root opened, so that it needs no right to any file, and not past the size of the
# image. What is there of an earlier attempt is continued, as the name has the digest; that of other slugs is removed.
_PULL = r"""
path=$1 sum=$2 size=$3 unit=$4 seconds=$5 tries=$6
new=$path.$sum.new
config=$(cat)
curl=$(command -v curl) || { echo 'curl is not installed'; exit 1; }
mkdir -p "${path%/*}" || exit
for left in "${path%/*}"/*.new; do [ "$left" = "$new" ] || rm -f "$left"; done
trap 'systemctl stop "$unit" 2>/dev/null; exit 1' HUP PIPE TERM
systemctl stop "$unit" 2>/dev/null
: >> "$new" || exit
began=$(wc -c < "$new") number=0
while :; do
  have=$(wc -c < "$new") number=$((number + 1))
  status=0 said=
  if [ "$have" -lt "$size" ]; then
    said=$(printf '%s\n' "$config" | systemd-run --quiet --pipe --wait --collect --unit="$unit" \
      -p DynamicUser=yes -p ProtectSystem=strict -p ProtectHome=yes -p PrivateTmp=yes -p PrivateDevices=yes \
      -p ProtectProc=invisible -p ProtectKernelTunables=yes -p ProtectKernelModules=yes -p ProtectKernelLogs=yes \
      -p ProtectControlGroups=yes -p ProtectClock=yes -p RestrictNamespaces=yes -p RestrictRealtime=yes \
      -p RestrictSUIDSGID=yes -p LockPersonality=yes -p NoNewPrivileges=yes -p CapabilityBoundingSet= \
      -p 'RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX' -p SystemCallFilter=@system-service \
      -p SystemCallArchitectures=native -p LimitFSIZE="$size" -p LimitCORE=0 -p MemoryMax=256M -p TasksMax=32 \
      -p RuntimeMaxSec="$seconds" \
      "$curl" -q --config - --continue-at "$have" 2>&1 >> "$new")
    status=$?
    have=$(wc -c < "$new")
  fi
  if [ "$have" -eq "$size" ]; then
    got=$(sha256sum < "$new")
    [ "$got" != "$sum  -" ] || break
    rm -f "$new"
    # What an earlier attempt left may be what is wrong.
    if [ "$began" -gt 0 ]; then began=0; : > "$new"; continue; fi
    echo "the file has another sha256 than the slug: ${got%% *}"; exit 1
  fi
  [ "$status" -ne 0 ] || said="$said
the file ends after $have of $size bytes"
  if [ "$have" -gt "$size" ]; then rm -f "$new"; echo "the file has more than $size bytes"; exit 1; fi
  again=no
  case $status in 18|52|55|56|92) again=yes;; esac  # it ended early
  case $said in
    *'http 429'*|*'http 500'*|*'http 502'*|*'http 503'*|*'http 504'*) again=yes;;
    *'http 416'*) : > "$new"; began=0 again=yes;;
  esac
  if [ "$status" -eq 33 ]; then : > "$new"; began=0 again=yes; fi  # it cannot continue
  if [ "$again" = no ] || [ "$number" -ge "$tries" ]; then printf '%s\n' "$said"; exit 1; fi
  sleep $((number * number + $$ % 3))  # not all servers at the same moment
done
sync "$new" && mv -f "$new" "$path" && sync "${path%/*}"
"""
