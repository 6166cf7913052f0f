"""The requests to an app in the last minute, counted on a router's server from its access log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from infra.model import answer, naming
from infra.model.paths import ROUTER, ROUTER_SERVICE
from infra.model.routing import ACCESS_LOG, LIVE

WINDOW = 60
"""Seconds that are read, unless the route changed since: what maintenance mode refused is no failure once it is off."""

BYTES = 512 << 10
"""Bytes of the log that are read, the newest first: some 2,000 requests. A busy router's are those of a few seconds."""

SWITCHED = 101
"""The status of a connection that became a WebSocket: it lasts as long as its client wants, and was no slow answer."""

_UNIT = f"_SYSTEMD_UNIT={ROUTER_SERVICE}"

# Prints each kind of line once, with its number: "at" and a second for the lines of all apps, and status, duration and
# dyno for those of this app. "all" and the seconds stand at the end of the log if it was read completely. Of nginx and
# HAProxy, what clients send has its quotes escaped and comes before the dyno, so the end of a line is the router's own;
# of Caddy, it is JSON. A route changes with its directory, and is in use once the router has loaded it. What is of the
# future is from before the clock was set back.
SCRIPT = f"""\
if [ -e {LIVE}/apps/"$app"/mark.json ]; then
  now=$(date +%s); begin=$((now - {WINDOW}))
  changed=$(stat -c %Y {LIVE}/apps/"$app" || echo 0); loaded=$(stat -c %.3Y {ROUTER}/loaded 2>/dev/null || echo 0)
  [ "$changed" -le $begin ] || [ "${{loaded%.*}}" -le $begin ] || [ "${{loaded%.*}}" -gt $now ] || begin=$loaded
  {{ journalctl -q --no-pager --all -r -o short-unix --since=@$begin --until=@$((now + 1)) \\
    {_UNIT} SYSLOG_IDENTIFIER={ACCESS_LOG} + {_UNIT} SYSLOG_IDENTIFIER=caddy &&
    echo all $((now - ${{begin%.*}})); }} 2>/dev/null |
  head -c {BYTES} | sed -n -e '/^all [0-9]*$/{{p;d;}}' -e h -e 's/^\\([0-9]*\\)\\.[0-9]* .*/at \\1/p' -e g \\
    -e 's/^[^ ]* [^ ]* [^ ]*: app='"$app"' .* dyno="\\([^" ]*\\)" connect="[^"]*" service="\\([^" ]*\\)" '\\
'status="\\([^" ]*\\)" bytes="[^"]*" protocol="[^"]*"$/\\3 \\2 \\1/p' \\
    -e 's/^[^ ]* [^ ]* caddy\\[[0-9]*\\]: {{.*"user_id":"app='"$app"' dyno=\\([^ "]*\\) .*","duration":'\\
'\\([0-9]*\\.\\{{0,1\\}}[0-9]\\{{0,3\\}}\\)[0-9]*\\([-e0-9]*\\),"size":[0-9]*,'\\
'"status":\\([0-9]*\\).*}}$/\\4 \\2\\3s \\1/p' |
  sort | uniq -c | sed "s/^ */traffic $now /"
fi
"""


@dataclass(frozen=True)
class Traffic:
    """The requests through one router in the last ``seconds``: how many had the same dyno ("": the router itself
    answered), status and duration in milliseconds."""

    seconds: float
    requests: Mapping[tuple[str, int, int], int]


@dataclass(frozen=True)
class Rates:
    """``count`` requests were read, which are ``per_second``; ``median`` and ``p95`` are durations in milliseconds, and
    ``failed`` is the share of the answers with a status of 500 or more."""

    count: int = 0
    per_second: float = 0.0
    median: int | None = None
    p95: int | None = None
    failed: float = 0.0


def read(output: str) -> Traffic | None:
    """Parse the output of the script; None if the server has no router of the app. Other lines are ignored."""
    requests: dict[tuple[str, int, int], int] = defaultdict(int)
    now = oldest = whole = None
    for line in output.splitlines():
        words = line.split(" ")
        if words[0] != "traffic" or not 5 <= len(words) <= 6:
            continue
        now, count = answer.digits(words[1]), answer.digits(words[2])
        if words[3] == "all":
            whole = answer.digits(words[4])
        elif words[3] == "at" and (second := answer.digits(words[4])) is not None:
            oldest = second if oldest is None else min(second, oldest)
        elif len(words) == 6 and count is not None:
            status, duration = answer.digits(words[3]), _milliseconds(words[4])
            if status is not None and duration is not None:
                requests[words[5] if naming.DYNO_NAME.match(words[5]) else "", status, duration] += count
    if now is None:
        return None
    span = whole if whole is not None else WINDOW if oldest is None else now - oldest + 1
    return Traffic(float(min(WINDOW, max(1, span))), requests)


def rates(routers: Iterable[Traffic]) -> tuple[Rates, dict[str, Rates]]:
    """What passed through some routers, in all and by dyno."""
    every: list[tuple[int, float, int, int]] = []
    own: dict[str, list[tuple[int, float, int, int]]] = defaultdict(list)
    for traffic in routers:
        for (dyno, status, duration), count in traffic.requests.items():
            entry = (duration, count / traffic.seconds, count, status)
            every.append(entry)
            if dyno:
                own[dyno].append(entry)
    return summary(every), {dyno: summary(entries) for dyno, entries in own.items()}


def summary(entries: Iterable[tuple[int, float, int, int]]) -> Rates:
    """The rates of entries of duration, requests per second, number of requests and status. Routers of which seconds
    and such of which a minute was read count by what they answer in a second."""
    entries = sorted(entries)
    total = sum(entry[1] for entry in entries)
    timed = [(duration, rate) for duration, rate, _, status in entries if status != SWITCHED]
    failed = sum(rate for _, rate, _, status in entries if status >= 500)
    return Rates(
        sum(entry[2] for entry in entries),
        total,
        _quantile(timed, 0.5),
        _quantile(timed, 0.95),
        failed / total if total else 0.0,
    )


def _quantile(timed: list[tuple[int, float]], part: float) -> int | None:
    """The duration that this part of the requests does not exceed; ``timed`` is sorted."""
    rest = part * sum(rate for _, rate in timed)
    for duration, rate in timed:
        rest -= rate
        if rest <= 1e-9:
            return duration
    return None


def _milliseconds(text: str) -> int | None:
    """A duration: in milliseconds, or in seconds with a decimal point (nginx) or an ``s`` (Caddy)."""
    try:
        value = answer.decimal(text.removesuffix("s"))
    except ValueError:
        return None
    return max(0, round(value * 1000 if text.endswith("s") or "." in text else value))
