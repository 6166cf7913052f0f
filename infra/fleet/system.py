"""Which distribution a server has, in the words of os-release(5), and which version of systemd."""

from __future__ import annotations

import re

SCRIPT = """\
if [ -r /etc/os-release ]; then
  while IFS= read -r text; do
    case $text in ID=*|VERSION_ID=*) printf 'system %s\\n' "$text";; esac
  done < /etc/os-release
fi
"""

# systemctl takes 4 ms to say it. Its library has the version in its name; there are two of them during an upgrade.
SYSTEMD = """\
set -- /usr/lib/systemd/libsystemd-shared-*.so /usr/lib/*/systemd/libsystemd-shared-*.so
version=
for file; do [ -e "$file" ] && version="$version ${file##*/libsystemd-shared-}"; done
version=${version# }
case $version in
  *' '*) printf 'systemd '; systemctl --version;;
  [1-9][0-9][0-9].*) printf 'systemd systemd %.3s\\n' "$version";;
  *) printf 'systemd '; systemctl --version;;
esac
"""
"""Shell code that prints the version of systemd after ``systemd``."""

_LINE = re.compile(r"^system (ID|VERSION_ID)=(.{0,100})", re.MULTILINE)


def read(output: str) -> str:
    """What the script printed, such as ``ID=debian VERSION_ID="12"``; "" if nothing."""
    return " ".join(f"{key}={value}" for key, value in sorted(dict(_LINE.findall(output)).items()))
