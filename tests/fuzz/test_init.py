"""Any files of an app give a valid dyno.yaml or none, never an exception, and no secret of them."""

from __future__ import annotations

import random
from pathlib import Path

from infra import manifest
from infra.registry import Everything
from stacks.manifest_text import notes_of
from tests.fuzz.mutation import Mutator, bounded, count
from tests.golden.init_cases import CASES, parts

POISON = "s3cr3t"


def test_any_files_give_a_valid_manifest_or_none(tmp_path: Path) -> None:
    chance, made = random.Random(19), 0
    apps = [{file: text for file, text in parts(name)[1].items() if file != "dyno.yaml"} for name in CASES]
    mutators = {
        file: Mutator([app[file] for app in apps if file in app], number)
        for number, file in enumerate(sorted({file for app in apps for file in app}))
    }
    for name in ("config.ru", "app.rb", "config/environment.rb"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for _ in range(count(400, 30_000)):
        files = dict(chance.choice(apps))
        for file in chance.sample(sorted(files), min(len(files), chance.randint(1, 3))):
            files[file] = mutators[file].text().encode(errors="replace").decode()
        with bounded(repr(files)):
            text = Everything().found(files, "shop", "")
        if text is None:
            continue
        made += 1
        (tmp_path / "dyno.yaml").write_text(text)
        model, problems = manifest.check(tmp_path / "dyno.yaml")
        assert model is not None, (problems, files)
        Everything().stack(model)
        assert all(note.isprintable() for note in notes_of(text)), text
    assert made > 50
