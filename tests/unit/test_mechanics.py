"""What only follows from a change is in no view of a plan but --verbose: text, Markdown and page show the same attributes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from infra.fleet.observe import Observed
from infra.manifest import read
from infra.model.provider import Scope
from infra.model.resource import Found, Resource
from infra.model.stack import Slug
from infra.plan.build import build
from infra.plan.formation import form
from infra.plan.plan import Plan
from infra.registry import Everything
from infra.views import plan_markdown, plan_screen
from infra.views.page_changes import groups
from infra.views.style import Style
from tests.unit.test_engine import facts

MANIFEST = """\
version: 1
app: {name: shop, source: ., writable: [tmp]}
rackup: config.ru
dynos: {web: {count: 2}, worker: {count: 1, command: bundle exec rake jobs:work}}
schedule: [{name: nightly, cron: "0 3 * * *", command: rake a}]
servers:
  - {name: grid-1, host: 10.0.0.11}
  - {name: grid-2, host: 10.0.0.12}
"""
ROUTER = "router: {kind: nginx, servers: [grid-1], hosts: [a.example.org]}\n"


def web(keys: str) -> Callable[[str], str]:
    return lambda text: text.replace("{count: 2}", f"{{count: 2, {keys}}}")


def more(lines: str) -> Callable[[str], str]:
    return lambda text: text + lines


CASES: dict[str, tuple[Callable[[str], str], set[str]]] = {
    "release": (lambda text: text, set()),
    "idle": (web("idle: 30m"), {"unit.Unit.X-Dynoctl-Idle"}),
    "cpu": (web("cpu: 0.5"), {"unit.Service.CPUQuota"}),
    "memory": (web("memory: 1G"), {"unit.Service.MemoryMax", "unit.Service.TemporaryFileSystem"}),
    "port": (web("port: 7000"), {"unit.Socket.ListenStream", "unit.Service.Environment", "ready.Service.ExecStart"}),
    "stop": (web("stop_timeout: 60"), {"unit.Service.TimeoutStopSec"}),
    "server": (more("app_server: puma\n"), {"unit.Service.ExecStart"}),
    "health": (more("rollout: {health: {path: /up}}\n"), {"ready.Service.ExecStart"}),
    "cron": (lambda text: text.replace("0 3", "0 4"), {"timer.Timer.OnCalendar"}),
    "volume": (
        more("volumes: [{name: reports, path: reports, types: [worker]}]\n"),
        {
            "mode",
            "owner",
            "unit.Service.UMask",
            "unit.Service.BindPaths",
            "unit.Service.SupplementaryGroups",
        },
    ),
    "router": (more(ROUTER), {"kind", "hosts", "ready.Service.ExecStart"}),
}


def desired(manifest: str, directory: Path, digest: str) -> tuple[list[Resource], Callable[..., Plan]]:
    """The resources of a manifest, and a function that plans them from others."""
    (directory / "dyno.yaml").write_text(manifest)
    (directory / "config.ru").write_text("run nil\n")
    model, registry = read(directory / "dyno.yaml"), Everything()
    stack = replace(registry.stack(model), packages=())
    seen = {f"grid-{n}": facts(machine_id=f"m{n}", address=f"10.0.0.1{n}") for n in (1, 2)}
    formation = form(model, seen, ())
    slug = Slug(digest * 16, lambda session, say, before: pytest.fail("no image is needed"))
    scope = Scope("shop", "s", environments={type_: {} for type_ in model.types})
    made = registry.desired(model, stack, slug, formation, scope, [*seen])

    def plan(before: list[Resource]) -> Plan:
        observed = {
            name: Observed(known, {one.key: Found(one.attributes) for one in before if one.server == name})
            for name, known in seen.items()
        }
        return build("shop", made, observed, formation, registry.providers, {}, manifest=model)

    return made, plan


def attributes(text: str) -> set[str]:
    """The names of attributes in a plan as text or Markdown."""
    named = set(re.findall(r"^ *[-+~!]? +(?:[-+~] )?([a-z]\w*(?:\.[A-Z][\w.-]*)?)(?: =|:)(?: |$)", text, re.MULTILINE))
    beside = {word for line in re.findall(r"  (.*\w = .*)", text) for word in re.findall(r"(?:^|, )(\w+) = ", line)}
    return named | beside


@pytest.mark.parametrize("case", CASES)
def test_all_views_leave_out_what_follows(case: str, tmp_path: Path) -> None:
    edit, worth = CASES[case]
    before, _ = desired(MANIFEST, tmp_path, "cafe")
    _, made = desired(edit(MANIFEST), tmp_path, "beef" if case == "release" else "cafe")
    plan, briefs = made(before), Everything().briefs()
    assert plan.changes
    text, markdown = plan_screen.render(plan, briefs, Style(False)), plan_markdown.render(plan, briefs)
    changes = "\n".join(re.findall(r"^```diff\n(.*?)\n```$", markdown, re.DOTALL | re.MULTILINE))
    page = {
        row["name"] for group in groups(plan, briefs) for change in group.values["changes"] for row in change["rows"]
    }
    assert (attributes(text.partition("\nBatch")[0]), attributes(changes), page) == (worth, worth, worth)
    assert changes.count("cleanup:") == (2 if "cleanup:" in text else 0), "a line for each server"
    everything = plan_markdown.render(plan, briefs, verbose=True)
    if case == "release":
        assert "unit.Unit.Requires: " in everything and "unit.Service.BindReadOnlyPaths" in everything
    assert "cleanup:" not in everything


def test_what_was_changed_by_hand_is_in_all_views(tmp_path: Path) -> None:
    resources, plan = desired(MANIFEST, tmp_path, "cafe")
    one = next(one for one in resources if one.key == "unit.shop-web.1")
    unit = {**one.attributes["unit"], "Unit.Requires": "mine.service"}  # type: ignore[dict-item]
    by_hand = replace(one, attributes={**one.attributes, "unit": unit})
    made = plan([by_hand if one.key == "unit.shop-web.1" else one for one in resources])
    drifted = tuple(replace(change, drift=True, drifted=("unit.Unit.Requires",)) for change in made.changes)
    made, briefs = replace(made, changes=drifted), Everything().briefs()
    for text in (plan_screen.render(made, briefs, Style(False)), plan_markdown.render(made, briefs)):
        assert "unit.Unit.Requires: " in text and "by hand:" in text
