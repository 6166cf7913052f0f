"""Invalid manifests (NAME.yaml), each with its exact message (NAME.txt)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from infra.manifest import check
from infra.views.diagnostics import render

CASES = Path(__file__).parent / "manifests"


@pytest.mark.parametrize("name", sorted(path.stem for path in CASES.glob("*.yaml")))
def test_bad_manifest(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app").mkdir()
    (tmp_path / "app/config.ru").write_text("run Shop\n")
    shutil.copy(CASES / f"{name}.yaml", "dyno.yaml")
    manifest, diagnostics = check(Path("dyno.yaml"))
    assert manifest is None
    text = render(diagnostics, color=False).replace(str(tmp_path), "/project") + "\n"
    golden = CASES / f"{name}.txt"
    if os.environ.get("DYNOCTL_GOLDEN") == "write":  # then review the diff: users see these messages
        golden.write_text(text)
    assert text == golden.read_text()
    assert "hunter" not in text
    assert "secret" not in text.replace("env-secret", "").replace("!secret", "")
    assert all(character.isprintable() or character == "\n" for character in text)
