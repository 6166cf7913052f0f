"""The shell scripts of the lock, which run in the session that holds it."""

from __future__ import annotations

# Each heartbeat writes a new number to the session's file; the watcher counts ticks without a change, not time. A cut
# network ends no session, so each read has a limit; and a shell that a signal ends runs no trap for EXIT.
HEART = """\
mkdir -p /run/dynoctl
beat=/run/dynoctl/$app.lock.beat.$nonce
trap 'rm -f "$beat" "$beat.new"' EXIT
trap 'exit 1' HUP INT PIPE TERM
while count=$(timeout "$patience" sh -c 'read -r count && printf %s "$count"'); do
  [ -d /run/dynoctl ] && printf '%s\\n' "$count" > "$beat.new" && mv -f "$beat.new" "$beat"
  printf '%s\\n' "$count"
done
exit
"""

# A session that was killed left its heartbeat: one that is older than any that still beats.
OLD_BEATS = """\
find /run/dynoctl -maxdepth 1 -name "$app.lock.beat.*" -mmin +$((patience / 60 + 2)) -exec rm -f {} + 2>/dev/null
"""

# Another app that waits for the shared lock notices that its file was removed, and creates it again.
FORGET = """\
rm -f "$lock" "$lock.holder" "$beat" "$beat.new"
set -- /run/dynoctl/*
[ "$*" = /run/dynoctl/lock ] && rm -f /run/dynoctl/lock
rmdir /run/dynoctl 2>/dev/null
exit
"""

OPEN = """\
mkdir -p /run/dynoctl
lock=/run/dynoctl/$app.lock beat=/run/dynoctl/$app.lock.beat.$nonce
printf '\\n%s open\\n' "$nonce"
"""

LOCK = (
    """\
while :; do
  exec 9>>"$lock"
  if ! flock -w 0.5 9; then  # a status query holds it for a moment
    who=; [ -r "$lock.holder" ] && IFS= read -r who < "$lock.holder"
    printf '\\n%s busy %s\\n' "$nonce" "$who"; exit 75
  fi
  # The last holder may have removed the file with its app; then ours is not the lock any more.
  [ "$lock" -ef "/proc/$$/fd/9" ] && break
done
while :; do
  exec 8>>/run/dynoctl/lock
  if ! flock -w "$shared_wait" 8; then
    who=-
    for file in /run/dynoctl/*.lock.holder; do
      held=${file%.holder}; name=${held##*/}
      [ "$held" != "$lock" ] && [ -r "$file" ] && { flock -n -s 7; [ $? = 1 ]; } 2>/dev/null 7<"$held" || continue
      IFS= read -r other < "$file"; who="${name%.lock} $other"; break
    done
    printf '\\n%s other %s\\n' "$nonce" "$who"; exit 75
  fi
  [ /run/dynoctl/lock -ef "/proc/$$/fd/8" ] && break
  mkdir -p /run/dynoctl
done
printf '%s\\n' "$holder" > "$lock.holder"
"""
    + OLD_BEATS
    + """\
read -r _ _ _ _ _ session _ < "/proc/$$/stat"
(
  exec 8>&- 9>&- </dev/null >/dev/null 2>&1
  idle=0; last=
  while sleep "$beat_every" && kill -0 $$; do
    now=; read -r now < "$beat"
    if [ "$now" = "$last" ]; then idle=$((idle + 1)); else idle=0; last=$now; fi
    [ "$idle" -ge "$ticks" ] || continue
    rm -f "$lock.holder" "$beat"
    # timeout puts the current step into a process group of its own, but it stays in the session of the shell.
    read -r self _ < /proc/self/stat
    for stat in /proc/[0-9]*/stat; do
      read -r line 2>/dev/null < "$stat" || continue
      set -- ${line##*)}
      [ "$4" = "$session" ] && [ "${line%% *}" != "$self" ] && kill -KILL "${line%% *}"
    done
    exit
  done
) &
watch=$!
trap 'kill "$watch" 2>/dev/null; rm -f "$lock.holder" "$beat"' EXIT
trap 'exit 1' PIPE
printf '\\n%s locked\\n' "$nonce"
"""
)
