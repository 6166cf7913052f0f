"""What systemd lays over a unit file: drop-ins of the unit itself, of a prefix of its name, and of its type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from infra.model import answer, paths
from infra.model.resource import Command
from providers import shown

_ABOVE = ("/etc/systemd/system.control", paths.CONTROL, "/run/systemd/transient", "/run/systemd/generator.early")
_BELOW = (
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/run/systemd/generator.late",
)
ROOTS = (*_ABOVE, paths.UNITS, *_BELOW)
"""The directories of unit files in the order of their precedence (systemd.unit(5), Unit File Load Path)."""

LIST = f"""\
drop_ins() {{
  for root in {" ".join(ROOTS)}; do
    for file in "$root"/*.d/*.conf; do
      type=${{file%.d/*}}
      case " $* " in *" ${{type##*[./]}} "*) ;; *) continue;; esac
      if [ -s "$file" ]; then printf 'drop-in set %s\\n' "$file"
      elif [ -e "$file" ]; then printf 'drop-in empty %s\\n' "$file"; fi
    done
  done
}}
"""
"""A shell function that prints all drop-ins of some types of units, such as ``service``. Those that systemd has not
loaded yet count, as it loads them at any time."""

# systemctl revert would also remove the unit file. Drop-ins that other units share are not ours to remove: a link to
# /dev/null of the same name in the unit's own directory masks them for this unit only (systemd.unit(5)).
_REVERT = f"""\
umask 022
mask() {{
  for shared in "$1"/*.conf; do
    [ -s "$shared" ] || continue
    mkdir -p "$2/$unit.d" && ln -sfn /dev/null "$2/$unit.d/${{shared##*/}}" || exit
  done
}}
for unit; do
  for root in /etc/systemd/system /run/systemd/system /etc/systemd/system.control /run/systemd/system.control; do
    rm -rf "$root/$unit.d" || exit
    [ ! -L "$root/$unit" ] || rm -f "$root/$unit" || exit
  done
  for root in {" ".join(_ABOVE)}; do rm -f "$root/$unit" || exit; done
  type=${{unit##*.}} prefix=${{unit%.*}}
  mask "{paths.UNITS}/$type.d" {paths.UNITS}
  while [ "$prefix" != "${{prefix%-*}}" ]; do
    prefix=${{prefix%-*}}
    for root in {" ".join(_ABOVE)}; do mask "$root/$prefix-.$type.d" "$root"; done
    for root in {paths.UNITS} {" ".join(_BELOW)}; do mask "$root/$prefix-.$type.d" {paths.UNITS}; done
  done
done
"""


def revert(*units: str) -> Command:
    """Remove the units' own drop-ins, and mask those that they share with other units."""
    return Command(("sh", "-c", _REVERT, "revert", *units), label=f"revert {units[0]}")


@dataclass(frozen=True)
class DropIns:
    """The drop-ins of a server that ``drop_ins`` printed, by path: whether each sets anything."""

    sets: dict[str, bool]

    @cached_property
    def _by_directory(self) -> Mapping[str, Sequence[tuple[str, bool]]]:
        found: dict[str, list[tuple[str, bool]]] = {}
        for path, sets in self.sets.items():
            found.setdefault(_directory(path), []).append((path, sets))
        return found

    def of(self, unit: str, state: shown.Unit) -> tuple[str, ...]:
        """The files that change ``unit`` and are not part of it. ``state`` is what systemd has loaded.

        Those in the directory of all units of a type, such as ``service.d``, count in /etc only: others belong to the
        distribution or the container platform."""
        # systemd keeps the raised CPU quota in one, which is no change.
        quota, ours = f"{paths.CONTROL}/{unit}.d/50-CPUQuota.conf", f"{paths.UNITS}/{unit}"
        loaded, fragment = state.get("DropInPaths", ""), state.get("FragmentPath", "")
        mine = self._by_directory.get(f"{unit}.d", ())
        shared = [each for directory in _prefixes(unit) for each in self._by_directory.get(directory, ())]
        if not shared and loaded in ("", quota) and fragment in ("", ours) and all(path == quota for path, _ in mine):
            return ()  # as almost always
        masked = {_name(path) for path, sets in mine if not sets}
        found = {path for path, sets in mine if sets}
        found |= {path for path, sets in shared if sets and _name(path) not in masked}
        # What is loaded counts even if its file has been removed since. Older versions of systemd do not quote blanks.
        for path in [path for path in self.sets if " " in path and path in loaded]:
            loaded = loaded.replace(path, "")
            found |= {path} if self.sets[path] else set()
        found |= {path for path in shown.words(loaded) if path and self.sets.get(path, True)}
        type_ = f"/{_type(unit)}.d"
        found = {path for path in found if not path.rpartition("/")[0].endswith(type_) or path.startswith("/etc/")}
        if fragment.startswith("/") and fragment not in ("/dev/null", ours):
            found.add(fragment)
        return tuple(sorted(found - {quota}))

    def of_all(self, states: Mapping[str, shown.Unit]) -> tuple[str, ...]:
        """The same for all units of a resource, by name."""
        return tuple(dict.fromkeys(path for unit, state in states.items() for path in self.of(unit, state)))


def parse(output: str) -> DropIns:
    """Parse the output of the shell function. Other lines are ignored."""
    said = (line.partition(" ") for line in answer.lines(output, "drop-in"))
    return DropIns({path: how == "set" for how, _, path in said})


def _prefixes(unit: str) -> Iterator[str]:
    """``dyno-shop-.service.d``, ``dyno-.service.d``, ``service.d`` for ``dyno-shop-web.service``."""
    name, type_ = unit.rpartition(".")[0], _type(unit)
    while "-" in name:
        name = name.rpartition("-")[0]
        yield f"{name}-.{type_}.d"
    yield f"{type_}.d"


def _type(unit: str) -> str:
    return unit.rpartition(".")[2]


def _name(path: str) -> str:
    return path.rpartition("/")[2]


@lru_cache(maxsize=1024)
def _directory(path: str) -> str:
    return path.rpartition("/")[0].rpartition("/")[2]
