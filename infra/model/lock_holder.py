"""Who holds an app's lock, as the file beside the lock says it, and how a server tells it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, tzinfo

from infra.model import paths
from infra.model.moment import local

SCRIPT = (
    f"file={paths.RUN}/$app.lock\n"
    """\
if [ -r "$file.holder" ] && { flock -n -s 7; [ $? = 1 ]; } 2>/dev/null 7<"$file"; then
  IFS= read -r who < "$file.holder" && printf 'lock %s\\n' "$who"
fi
"""
)
"""Prints ``lock`` and the holder of the lock of ``$app``, if there is one. It takes a shared lock for a moment: other
readers may have one, too, and an apply that begins at this moment waits longer than that."""

_HOLDER = re.compile(r"(?P<who>\S+) since (?P<when>\S+) \(pid [0-9]+\)(?:, (?P<doing>.+))?")


@dataclass(frozen=True)
class Holder:
    """``who`` is user and host, ``when`` UTC in ISO 8601, ``doing`` such as ``applying v2``. All are "" if ``text``,
    what the server said, has another form."""

    text: str
    who: str = ""
    when: str = ""
    doing: str = ""

    def sentence(self, zone: tzinfo | None = None, now: datetime | None = None) -> str:
        """``root@vm is applying v2 since 17:30 CET``, with the date if it is not that of ``now``."""
        try:
            then = datetime.fromisoformat(self.when).astimezone(zone)
        except (ValueError, OverflowError):  # such as the year 1
            return f"another apply is running: {self.text}"
        today = (now or datetime.now().astimezone(zone)).date() == then.date()
        return f"{self.who} is {self.doing} since {then:{'%H:%M' if today else '%Y-%m-%d %H:%M'} %Z}".rstrip()


def parse(text: str) -> Holder:
    """The holder from its own words. Those of an older dynoctl do not say what it is doing."""
    found = _HOLDER.fullmatch(text)
    return Holder(text) if found is None else Holder(text, found["who"], found["when"], found["doing"] or "applying")


def words(text: str, zone: tzinfo | None = None) -> str:
    """The holder in its own words, with the time in the zone of this computer."""
    found = _HOLDER.fullmatch(text)
    if found is None:
        return text
    start, end = found.span("when")
    return f"{text[:start]}{local(found['when'], zone)}{text[end:]}"


def read(output: str) -> str:
    """The holder in the output of the script; "" if the lock is free."""
    return next((line.removeprefix("lock ") for line in output.splitlines() if line.startswith("lock ")), "")


def holders(texts: Iterable[str]) -> tuple[Holder, ...]:
    """The holders on all servers, each once; the lock is free where the text is empty."""
    return tuple(parse(text) for text in dict.fromkeys(texts) if text)
