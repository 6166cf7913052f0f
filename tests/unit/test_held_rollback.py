"""``ps`` and ``top`` tell that a rollback is held, and no cure that they name is refused because of it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.fleet import latest_releases
from infra.fleet.site import examine
from infra.fleet.status import ServerStatus
from infra.manifest.model import Manifest
from infra.model import paths
from infra.model.release import OK, Release, hold
from infra.views import releases as releases_view
from infra.views import site as view
from infra.views.style import Style
from tests.unit.test_site import ROUTE, manifest, row, with_rows

__all__ = ["manifest"]


def released(number: int, of: int = 0, *, ours: str = "", **changes: Any) -> Release:
    usual = Release(number, f"{number:02x}" * 32, "cd", "ef", ours or f"{number:012x}", "ann@vm", result=OK, moved=True)
    return replace(usual, of=of, when="2026-11-29T10:46:00Z", **changes)


def rolled_back(manifest: Manifest) -> tuple[Release, ...]:
    """v3 is a rollback from v2, whose manifest is still here, to v1."""
    return released(1), released(2, ours=manifest.digest[:12]), released(3, of=1)


def test_a_held_rollback_is_told_first_with_the_way_out_of_it(manifest: Manifest) -> None:
    stopped = with_rows(routes=(replace(ROUTE, state="stopped"),), releases=rolled_back(manifest))
    site = examine(manifest, stopped, {})
    assert site.state == "down" and site.held is not None
    head, told, cure = view.above("shop", site, Style(False)).splitlines()
    assert head.startswith("shop is down: ")
    assert told.startswith("  v3, a rollback from v2 to v1 by ann@vm at 2026-11-29 ")
    assert told.endswith(
        ", is held: apply is refused until dyno.yaml or the source is no longer that of v2. To undo the rollback: "
        "dynoctl apply --over-rollback"
    )
    assert cure == "  The router on grid-1 is stopped. To repair it: dynoctl rollback v1"
    assert view.document(site)["held"] == {
        "number": 3,
        "of": 1,
        "over": 2,
        "who": "ann@vm",
        "when": "2026-11-29T10:46:00Z",
    }


def test_an_app_that_is_well_stays_up(manifest: Manifest) -> None:
    site = examine(manifest, with_rows(releases=rolled_back(manifest)), {})
    assert site.state == "up" and len(site.problems) == 1 and not site.problems[0].degrades


def test_no_cure_is_one_that_is_refused(manifest: Manifest) -> None:
    """Whatever is wrong: ``apply`` alone, or after an edit of dyno.yaml, would be refused or undo the rollback."""
    found = with_rows(
        row("web.1", memory=511 << 20, restarts=1, uptime=10),
        row("web.9"),
        row("web.2", "grid-2", release=6),
        routes=(replace(ROUTE, upstreams={}),),
        releases=rolled_back(manifest),
    )
    cures = [problem.cure for problem in examine(manifest, found, {"grid-3": "grid-3: timed out"}).problems]
    assert "To raise it: dynos.web.memory in dyno.yaml, then dynoctl rollback v1 --with-changes" in cures
    assert "To finish the rollout: dynoctl rollback v1" in cures
    assert "To see why: dynoctl logs --dyno web.1; if its release is bad, choose another: dynoctl releases" in cures
    assert [cure for cure in cures if "dynoctl apply" in cure] == [
        "To undo the rollback: dynoctl apply --over-rollback",
        "To see what is wrong: dynoctl doctor; if it is gone for good: dynoctl apply --evacuate grid-3",
    ]


def test_a_cure_for_what_only_dyno_yaml_says_includes_it(manifest: Manifest) -> None:
    """A rollback leaves out what is edited in dyno.yaml, so it alone would change nothing."""
    draining = tuple(replace(server, drain=server.name == "grid-2") for server in manifest.servers)
    wanted = replace(
        manifest, servers=draining, dynos={**manifest.dynos, "web": replace(manifest.dynos["web"], count=4)}
    )
    found = with_rows(row("web.9"), row("web.2", "grid-2"), routes=(), releases=rolled_back(manifest))
    cures = {problem.what.partition(" ")[2]: problem.cure for problem in examine(wanted, found, {}).problems}
    repair = "dynoctl rollback v1 --with-changes"
    assert cures["on grid-1 is no longer in dyno.yaml"] == f"To remove it: {repair}"
    assert cures["of web.2, web.3 has to leave its server"] == f"To move it: {repair}"
    assert cures["is on no server"] == f"To start it: {repair}"
    assert cures["router on grid-1 is in dyno.yaml and was not applied yet"] == f"To create it: {repair}"


def test_the_way_forward_again_is_not_held(manifest: Manifest) -> None:
    """v4 runs again what dyno.yaml says, so an apply has nothing to undo."""
    v1, v2, v3 = rolled_back(manifest)
    v3 = replace(v3, manifest=v2.manifest)
    again = replace(released(4, of=2), manifest=v2.manifest, slug=v2.slug)
    assert examine(manifest, with_rows(releases=(v2, v3)), {}).held is not None
    assert examine(manifest, with_rows(releases=(v2, v3, again)), {}).held is None
    further = replace(released(4, of=1), manifest=v2.manifest)
    held = examine(manifest, with_rows(releases=(v1, v2, v3, further)), {}).held
    assert held is not None and (held.number, held.of, held.over) == (4, 1, 2)


def test_who_knows_the_source_is_not_told_of_another_one(manifest: Manifest) -> None:
    """``doctor`` reads the source: an apply of another one is not refused."""
    ours = manifest.digest
    v1, v2, v3 = rolled_back(manifest)
    assert hold((v1, v2, v3), v2.slug, ours) == hold((v1, v2, v3), None, ours)
    assert hold((v1, v2, v3), v1.slug, ours) is None
    again = replace(released(4, of=2), manifest=v2.manifest, slug=v2.slug)
    assert hold((v1, v2, v3, again), v2.slug, ours) is None


@pytest.mark.parametrize("after", ["another manifest", "another release", "none", "rejected"])
def test_when_none_is_held(manifest: Manifest, after: str) -> None:
    releases = {
        "another manifest": (released(1), released(2), released(3, of=1)),
        "another release": (*rolled_back(manifest), released(4)),
        "none": (),
        "rejected": (*rolled_back(manifest), released(4, result="rejected")),
    }[after]
    site = examine(manifest, with_rows(releases=releases), {})
    assert (site.held is not None) == (after == "rejected")  # nothing of that one ran
    assert view.document(site)["held"] is None or after == "rejected"


def test_a_rollout_that_was_cut_off_is_no_rollback(manifest: Manifest) -> None:
    """What runs is known, so only one of two commands can be right."""
    finish = "web.2 on grid-2 runs v6, and others run v7. To finish the rollout: dynoctl apply"
    for releases, cure in ((), f"{finish}; after a rollback: dynoctl rollback"), ((released(7),), finish):
        site = examine(manifest, with_rows(row("web.2", "grid-2", release=6), releases=releases), {})
        assert [str(problem) for problem in site.problems] == [cure]


def test_one_server_alone_does_not_make_one_up(manifest: Manifest) -> None:
    """What most servers say about a release counts."""
    honest = (released(1), released(2, ours=manifest.digest[:12]))
    found = with_rows(releases=honest)
    lying = replace(honest[1], of=1)
    found["grid-2"] = replace(found["grid-2"], releases=honest)
    found["grid-3"] = ServerStatus(releases=(released(1, ours=manifest.digest[:12]), lying))
    assert examine(manifest, found, {}).held is None


def test_the_list_of_releases_does_not_offer_what_was_rolled_back_from(manifest: Manifest) -> None:
    """The last one that ran on all dynos is the one that had to go."""
    stored = dict.fromkeys((1, 2, 3, 4), ("grid-1",))
    v1, v2, v3 = rolled_back(manifest)
    table = releases_view.table([v1, v2], v2, stored, Style(False))
    assert table.endswith("* current release. To roll back: dynoctl rollback v1")
    table = releases_view.table([v1, v2, v3], v3, stored, Style(False))
    assert table.endswith("* current release.")
    v4 = replace(released(4, of=2), number=4)
    v3 = released(3)
    table = releases_view.table([v1, v2, v3, v4], v4, stored, Style(False))
    assert table.endswith("* current release. To roll back: dynoctl rollback v1")


def listed(directory: Path, *releases: Release) -> list[int]:
    """The releases that the script reads of those that a server records."""
    (directory / "shop/releases").mkdir(parents=True)
    for release in releases:
        (directory / f"shop/releases/{release.number}.json").write_text(f"{release.as_json()}\n")
    (directory / "shop/releases/9.body").write_text("{}\n")
    script = "app=shop\n" + latest_releases.SCRIPT.replace(paths.STATE, str(directory))
    done = subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [release.number for release in latest_releases.read(done.stdout)]


def test_a_server_tells_no_more_releases_than_it_takes(tmp_path: Path) -> None:
    """Numbers are in the order of numbers, and what a message says does not end the list."""
    message = json.dumps({"of": 0, "result": "ok"})
    back = (released(9), released(10, of=8, message=message), released(11, result="rejected", of=0))
    assert listed(tmp_path / "a", *(released(number) for number in range(1, 9)), *back) == [9, 10, 11]
    assert listed(tmp_path / "b", released(1), released(2, result="failed")) == [1, 2]
    assert listed(tmp_path / "c") == []
