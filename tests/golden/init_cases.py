"""The golden cases of ``init``: the options of a case, the files of an app, and the dyno.yaml that is made of them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

GOLDEN = Path(__file__).parent / "init"
"""One file for each case: what it is, then the files of the app, each after ``-- NAME --``; dyno.yaml is the last."""

CASES = sorted(path.stem for path in GOLDEN.glob("*.txt"))


def parts(name: str) -> tuple[list[str], dict[str, str]]:
    """The options of a case, and its files, with dyno.yaml."""
    head, *rest = re.split(r"^-- (\S+) --\n", (GOLDEN / f"{name}.txt").read_text(), flags=re.MULTILINE)
    found = re.search(r"^\$ dynoctl init (.*)$", head, re.MULTILINE)
    return shlex.split(found[1]) if found else [], dict(zip(rest[::2], rest[1::2], strict=True))


def write(name: str, made: str) -> None:
    """Replace the dyno.yaml of a case."""
    file = GOLDEN / f"{name}.txt"
    mark = "-- dyno.yaml --\n"
    file.write_text(file.read_text().partition(mark)[0] + mark + made)
