"""The servers that volumes may be on, and the notes about volumes that are kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from infra.manifest.model import Volume
from infra.model import release
from infra.plan import volumes
from infra.registry import Everything
from infra.state import release_body
from tests.unit.test_formation import formed, manifest
from tests.unit.test_release import STACK, VARIABLES

UPLOADS = Volume("uploads", "public/uploads", ("web",))
KEY = Everything().volume_key
HERE: dict[str, Any] = {"volume.shop@uploads": {"mode": "2770"}}


def test_dynos_on_several_servers_are_refused_and_others_do_not_matter() -> None:
    one = replace(manifest(3, 2), volumes=(UPLOADS,))
    formation = formed(one, {"web.1": "s1", "web.2": "s2", "worker.1": "s3"})
    (problem,) = volumes.check(one, one.volumes, formation, {}, KEY)
    assert "run on 2 servers, and a volume is on one: web.1 on s1, web.2 on s2" in problem.summary
    assert problem.path == "volumes/0"
    formation = formed(one, {"web.1": "s1", "web.2": "s1", "worker.1": "s3"})
    assert list(volumes.check(one, one.volumes, formation, {"s1": {}, "s2": {}, "s3": {}}, KEY)) == []


def test_data_is_not_moved() -> None:
    one = replace(manifest(3, 1), volumes=(UPLOADS,))
    formation = formed(one, {"web.1": "s2", "worker.1": "s3"})
    (problem,) = volumes.check(one, one.volumes, formation, {"s1": HERE, "s2": {}, "s3": {}}, KEY)
    assert "is on s1, and its dynos would run on s2" in problem.summary
    assert list(volumes.check(one, one.volumes, formation, {"s1": HERE, "s2": HERE, "s3": {}}, KEY)) == []
    assert list(volumes.check(one, one.volumes, formation, {"s1": {}, "s3": {}}, KEY)) == [], "s2 is unreachable"


def test_a_volume_of_an_evacuated_server_is_noted() -> None:
    one = replace(manifest(3, 1), volumes=(UPLOADS,))
    formation = formed(one, {"web.1": "s2", "worker.1": "s3"}, away=("s2",), evacuate=("s2",))
    assert formation.homes["web.1"] != "s2"
    (note,) = volumes.lost_data("shop", one.volumes, formation, {"s2"}, {"s1": {}, "s3": {}}, KEY)
    assert note == "the volume uploads was on s2, which is evacuated: its dynos start with an empty volume"
    assert volumes.lost_data("shop", one.volumes, formation, {"s2"}, {"s1": HERE, "s3": {}}, KEY) == []
    assert volumes.lost_data("shop", one.volumes, formation, (), {"s1": {}, "s3": {}}, KEY) == []


def test_a_release_has_its_own_volumes() -> None:
    stack = replace(STACK, volumes=(UPLOADS,))
    with_, without = (release_body.pack(one, "cafe", VARIABLES) for one in (stack, STACK))
    assert release_body.unpack(1, with_, lambda *_: True).stack.volumes == (UPLOADS,)
    assert release_body.unpack(1, without.replace('"volumes": [], ', ""), lambda *_: True).stack.volumes == ()
    old = release_body.content(without.replace('"volumes": [], ', ""))
    assert release_body.content(without) == old, "a release from before volumes existed has the same content"
    assert not release.new(1, "cafe", old, manifest="").runs(release_body.content(with_))
