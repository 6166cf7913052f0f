"""The command of a web process: which app server it starts, and with which options."""

from __future__ import annotations

import re
from collections.abc import Mapping

from stacks.sources.found import Setting

SUPPORTED = ("puma", "unicorn", "thin")

_OTHERS = ("falcon", "passenger", "iodine", "webrick", "agoo", "pitchfork", "itsi", "rainbows", "unicorn_rails")
_NUMBER = r"[\"']?(?:\$\{?(\w+)(?::-(\d+))?\}?|(\d+))[\"']?"
_VALUE = rf"(?:=|\s+)?{_NUMBER}"


def server_of(command: str) -> str:
    """The app server that a command starts, also one that is not supported; "" if it names none (``rails server``)."""
    for word in re.split(r"[\s;&|]+", command[:2000]):
        name = word.rpartition("/")[2]
        if name in SUPPORTED or name in _OTHERS:
            return "unicorn" if name == "unicorn_rails" else name
    return ""


def options(command: str) -> dict[str, Setting]:
    """The options of Puma or Unicorn on a command line, such as ``-t 5:5 -w ${WEB_CONCURRENCY:-2}``."""
    command = command[:2000]
    found: dict[str, Setting] = {}
    if server_of(command) != "puma":
        return found
    threads = re.search(rf"(?:\s-t|--threads){_VALUE}(?::{_NUMBER})?", command)
    if threads:
        low, high = threads.group(1, 2, 3), threads.group(4, 5, 6)
        if any(high):
            found["min_threads"], found["threads"] = _setting(*low), _setting(*high)
        else:
            found["threads"] = _setting(*low)
    workers = re.search(rf"(?:\s-w|--workers){_VALUE}", command)
    if workers:
        found["workers"] = _setting(*workers.group(1, 2, 3))
    if re.search(r"\s--preload\b", command):
        found["preload"] = Setting(True)
    return found


def _setting(variable: str | None, default: str | None, number: str | None) -> Setting:
    if variable is None:
        return Setting(int(str(number)[:6]))
    return Setting(int(default[:6]) if default else None, variable)


def replaced(options: Mapping[str, Setting], env: Mapping[str, str]) -> dict[str, int | bool]:
    """The values of options; ``env`` replaces those that a variable sets. One without a known value is left out."""
    values: dict[str, int | bool] = {}
    for name, setting in options.items():
        text = env.get(setting.variable, "")
        if re.fullmatch(r"\d{1,5}", text):
            values[name] = int(text)
        elif setting.value is not None:
            values[name] = setting.value
    return values
