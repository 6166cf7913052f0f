"""The pages "Coming from ..." are walks: init makes of the files that a page shows the dyno.yaml that it shows."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.cli.app import app
from infra.manifest import check
from tests.golden.test_doc_blocks import blocks

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
PAGES = {
    "from-heroku.md": ["--from", "heroku", "--config", "config.json", "--ps", "ps.json"],
    "from-kamal.md": [],
    "from-capistrano.md": [],
}


@pytest.mark.parametrize("name", PAGES)
def test_a_walk(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, files = HOW_TO / name, dict[str, str]()
    lines = page.read_text().splitlines()
    for block in blocks(page):
        named = re.fullmatch(r"`(\S+)`:", lines[block.line - 3]) if lines[block.line - 2] == "" else None
        if named:
            files[named[1]] = block.text
    shown = files.pop("dyno.yaml")
    for file, text in {**files, "config/environment.rb": ""}.items():
        path = tmp_path / "shop" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path / "shop")
    result = CliRunner().invoke(app, ["init", *PAGES[name]])
    assert result.exit_code == 0, result.output
    made = Path("dyno.yaml").read_text()
    if os.environ.get("DYNOCTL_GOLDEN") == "write":
        page.write_text(
            page.read_text().replace(f"`dyno.yaml`:\n\n```yaml\n{shown}", f"`dyno.yaml`:\n\n```yaml\n{made}")
        )
        shown = made
    assert made == shown, "stale: DYNOCTL_GOLDEN=write pytest tests/golden/test_init_walks.py"
    manifest, problems = check(Path("dyno.yaml"))
    assert manifest is not None, problems
