"""The app's slice, in which all of its processes run. systemd makes it up, so what changes it is made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.model import paths
from infra.model.provider import Fragment, Scope
from infra.model.resource import Attributes, Change, Command, Found
from providers import drop_ins, files, observed_units
from providers.base import Base


class Slice(Base):
    kind = "slice"

    def observe(self, scope: Scope) -> Fragment:
        return observed_units.shared(scope.app)

    def parse(self, scope: Scope, output: str) -> Mapping[str, Found]:
        units, name = observed_units.read(output), observed_units.slice_unit(scope.app)
        lines, own, found = units.lines("slice"), f"{paths.UNITS}/{name}", units.drop_ins(name)
        written = (own,) if own in lines else ()
        attributes: Attributes = {"drop_ins": tuple(sorted({*found, *written}))}
        # A directory with masks is ours. What other slices share stays when the app goes.
        kept = not written and f"{own}.d" not in lines and not any(f"/{name}" in path for path in found)
        return {scope.app: Found(attributes, kept=kept, implicit=True)}

    def triggers(self, change: Change) -> bool:
        return False

    def steps(self, scope: Scope, change: Change) -> Sequence[Command]:
        name = observed_units.slice_unit(scope.app)
        if change.after is None:
            restored = [files.remove(*files.unit_files(name), label=f"remove what was set on {name}")]
        else:
            restored = [files.remove(f"{paths.UNITS}/{name}"), drop_ins.revert(name)]
        return [*restored, files.systemctl("daemon-reload")]


def desired() -> Attributes:
    """The desired attributes, on every server with a dyno."""
    return {"drop_ins": ()}
