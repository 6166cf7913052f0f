"""A dyno that the kernel ended for its memory says so, with its limit."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from providers import failed_dyno

FAKE = """\
#!/bin/sh
case "$*" in
  *"-p Result"*) echo {result};;
  *"-p MemoryMax"*) echo {limit};;
  *NRestarts*) echo 0;;
esac
"""


@pytest.mark.parametrize(
    ("result", "limit", "says"),
    [
        ("oom-kill", "20971520", "killed: out of memory (limit 20 MiB)\n"),
        ("oom-kill", "infinity", "killed: out of memory\n"),
        ("exit-code", "20971520", ""),
        ("success", "20971520", ""),
    ],
)
def test_a_dyno_that_was_out_of_memory_says_its_limit(tmp_path: Path, result: str, limit: str, says: str) -> None:
    for name, text in (("systemctl", FAKE.format(result=result, limit=limit)), ("journalctl", "#!/bin/sh\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    argv = ["sh", "-c", failed_dyno.SCRIPT, "explain", "dyno-shop-web-1.service"]
    done = subprocess.run(argv, capture_output=True, text=True, env={"PATH": path}, check=False)
    assert done.stdout == says, done.stderr
