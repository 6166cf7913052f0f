"""Which distribution a server has, in the words of os-release(5)."""

from __future__ import annotations

import re

SCRIPT = """\
if [ -r /etc/os-release ]; then
  while IFS= read -r text; do
    case $text in ID=*|VERSION_ID=*) printf 'system %s\\n' "$text";; esac
  done < /etc/os-release
fi
"""

_LINE = re.compile(r"^system (ID|VERSION_ID)=(.{0,100})", re.MULTILINE)


def read(output: str) -> str:
    """What the script printed, such as ``ID=debian VERSION_ID="12"``; "" if nothing."""
    return " ".join(f"{key}={value}" for key, value in sorted(dict(_LINE.findall(output)).items()))
