"""The size of a dyno's /tmp, and its mount unit on a server."""

from __future__ import annotations

from infra.model.provider import Scope
from providers import dyno_unit, ini, tmp
from providers.dyno_unit import DynoUnit

SCOPE = Scope("my-shop", "salt")
FILE = r"run-dyno-my\x2dshop-web.1.mount"


def test_what_is_written_is_what_is_found() -> None:
    wanted = tmp.desired("my-shop", "web.1", 24 << 20)
    unit = wanted["unit"]
    assert isinstance(unit, dict) and "size=25165824,nr_inodes=6144" in unit["Mount.Options"]
    lines = "".join(f"={line}\n" for line in ini.render(unit).splitlines())
    assert tmp.Tmp().parse(SCOPE, f"file {FILE}\n{FILE}\n{lines}")["my-shop-web.1"].attributes == wanted


def test_an_empty_unit_was_left_by_an_apply_and_others_are_not_ours() -> None:
    found = tmp.Tmp().parse(
        SCOPE, f"file {FILE}\nfile run-dyno-my\\x2dshop-run.1f3a.mount\nfile run-dyno-my-web.1.mount\n"
    )
    assert list(found) == ["my-shop-web.1"] and "cut off" in found["my-shop-web.1"].reason


def test_it_is_mounted_anew_at_each_start_and_is_no_reason_to_restart_the_dyno_by_hand() -> None:
    """The restart of a unit that another one requires restarts that in turn. systemd 257 takes this for a restart by
    hand, and forgets how often it has restarted the dyno."""
    service = dyno_unit.service(DynoUnit("my-shop", "web.1", ("x",), {}, "cafe" * 16, cpu=250, memory=1 << 29))
    assert FILE in service["Unit.Wants"].split() and FILE in service["Unit.After"].split()
    assert FILE not in service["Unit.Requires"] and "Unit.RequiresMountsFor" not in service
    mount = tmp.settings("my-shop", "web.1", "dyno-my-shop-web-1.service", 1 << 20)
    assert (mount["Unit.PartOf"], mount["Mount.LazyUnmount"]) == ("dyno-my-shop-web-1.service", "yes")
    assert mount["Unit.StartLimitIntervalSec"] == "0", "however often it crashes"


def test_a_small_one_has_room_for_some_files() -> None:
    assert "nr_inodes=1024" in tmp.settings("shop", "web.1", "x.service", 1 << 20)["Mount.Options"]
