"""A dyno's own POSIX user, without home, shell, password or supplementary groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.model import naming, paths
from infra.model.provider import Fragment, Scope
from infra.model.resource import Attributes, Change, Command, Found
from providers import volume
from providers.base import CUT_OFF, Base

SHELL = "/usr/sbin/nologin"
HOME = "/nonexistent"


class User(Base):
    kind = "user"
    headline = ("login", "shell", "groups")

    def observe(self, scope: Scope) -> Fragment:
        return Fragment(_SCRIPT, {"prefix": f"dyno-{scope.app}-", "volumes": paths.VOLUMES})

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        groups: dict[str, list[str]] = {}
        own: set[str] = set()
        sharing: set[str] = set()
        locked: dict[str, bool] = {}
        found: dict[str, tuple[str, ...]] = {}
        for line in output.splitlines():
            fields = tuple(line.split(":"))
            if len(fields) == 7:
                found[fields[0]] = fields
            elif len(fields) == 4:
                own.add(fields[0])
                for member in fields[3].split(","):
                    groups.setdefault(member, []).append(fields[0])
            elif line.startswith("volumes "):
                sharing.add(f"dyno-{line.removeprefix('volumes ')}")  # its group before 0.2.0
            elif line.startswith("locked ") and len(fields) == 2:
                locked[fields[0].removeprefix("locked ")] = fields[1] == "yes"
        users: dict[str, Found] = {}
        for login, fields in found.items():
            named = naming.UNIT_NAME.match(login)
            marked = naming.from_gecos(fields[4])
            if named is None or f"dyno-{scope.app}-{named['type']}-{named['number']}" != login:
                continue
            dyno = f"{named['type']}.{named['number']}"
            attributes: dict[str, str | bool | tuple[str, ...]] = {
                "login": login,
                "gecos": fields[4],
                "home": fields[5],
                "shell": fields[6],
                "password": "locked" if locked.get(login, True) else "set",
                "groups": tuple(sorted(groups.get(login, []))),
            }
            users[f"{scope.app}-{dyno}"] = Found(attributes, foreign=marked != (scope.app, dyno))
        for group in own - found.keys() - sharing:  # the group of the volumes of an app named shop-web-1 is not ours
            named = naming.UNIT_NAME.match(group)
            if named is not None and f"dyno-{scope.app}-{named['type']}-{named['number']}" == group:
                # Its user was removed by hand, or the removal was cut off.
                users[f"{scope.app}-{named['type']}.{named['number']}"] = Found(
                    {"login": group}, damaged=True, reason=CUT_OFF
                )
        return users

    def triggers(self, change: Change) -> bool:
        return change.before is None  # a new user may have a new uid; a repaired one keeps its uid

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        attributes = change.after or change.before or {}
        login = str(attributes["login"])
        if change.after is None:
            left = f"{paths.VOLUMES}/{scope.app}"
            argv = ("sh", "-c", volume.GIVE_UP + _REMOVE, "userdel", login, left)
            return [Command(argv, timeout=600, label=f"remove user {login}")]
        gecos = str(attributes["gecos"])
        if change.before is None:
            return [Command(("sh", "-c", _ADD, "useradd", login, gecos, HOME, SHELL), label=f"add user {login}")]
        return [Command(("sh", "-c", _REPAIR, "usermod", login, gecos, HOME, SHELL), label=f"repair user {login}")]


_SCRIPT = """\
grep -h -e "^$prefix" -e ":.*:.*:.*$prefix" /etc/passwd /etc/group
for path in "$volumes"/*/; do path=${path%/}; [ -d "$path" ] && printf 'volumes %s\\n' "${path##*/}"; done
# What is printed of a hash is whether it is one.
sed -n "/^$prefix/{s/^\\([^:]*\\):[!*].*/\\1:yes/;t locked
s/:.*/:no/;:locked
s/^/locked /p}" /etc/shadow
:
"""

# A user that was removed by hand leaves its group behind, which useradd --user-group would refuse.
_ADD = """\
getent passwd "$1" >/dev/null && exit 0
group=--user-group; getent group "$1" >/dev/null && group="--gid $1"
useradd --system $group --no-create-home --home-dir "$3" --shell "$4" --comment "$2" "$1"
"""

# usermod does not change the home directory of a user that has a process, although for a dyno it is only a word in
# /etc/passwd. vipw edits that file under the same lock, and takes one that has the time of its copy for unchanged.
_REPAIR = """\
login=$1 home=$3
usermod --comment "$2" --shell "$4" --groups '' --lock "$login" || exit
[ "$(getent passwd "$login" | cut -d: -f6)" != "$home" ] || exit 0
EDITOR='edit() {
  sed -i "s|^\\($login:[^:]*:[^:]*:[^:]*:[^:]*:\\)[^:]*|\\1$home|" "$1" && touch -d "5 seconds ago" "$1"
}; edit'
unset VISUAL; export EDITOR login home
said=$(vipw -q </dev/null 2>&1)
[ "$(getent passwd "$login" | cut -d: -f6)" = "$home" ] || { printf '%s\\n' "$said"; exit 1; }
"""

_REMOVE = """\
getent passwd "$1" >/dev/null && { userdel "$1" || exit; }
if getent group "$1" >/dev/null; then groupdel "$1"; fi
"""


def desired(app: str, dyno: str) -> Attributes:
    """The desired user of one dyno."""
    return {
        "login": naming.user_name(app, dyno),
        "gecos": naming.gecos(app, dyno),
        "home": HOME,
        "shell": SHELL,
        "password": "locked",
        "groups": (),
    }
