"""Commands that several resource types share: write a file, remove files, run systemctl."""

from __future__ import annotations

from infra.model.resource import Command

_WRITE = """\
umask 077
new=$1.dynoctl-new
mkdir -p "${1%/*}" && cat > "$new" && chmod "$2" "$new" && mv -f "$new" "$1" || { rm -f -- "$new"; exit 1; }
"""

_REMOVE = """\
rm -rf -- "$@"
for path; do
  parent=${path%/*}
  rmdir "$parent" 2>/dev/null && rmdir "${parent%/*}" 2>/dev/null
done
:
"""


def write(path: str, content: str, mode: str = "0600", *, secret: bool = False, label: str = "") -> Command:
    """Write a root-owned file to a temporary name, set its mode, then rename it. The content is sent on stdin."""
    return Command(
        ("sh", "-c", _WRITE, "write", path, mode),
        stdin=content.encode(),
        secret=secret,
        label=label or f"write {path}",
    )


def make_directory(path: str, mode: str, label: str = "") -> Command:
    """Create a directory with a mode, or set the mode of an existing one."""
    script = 'mkdir -p "$1" && chmod "$2" "$1"'
    return Command(("sh", "-c", script, "mkdir", path, mode), label=label or f"create {path}")


def remove(*paths: str, label: str = "") -> Command:
    """Remove files and trees, then their parent directories if those are empty."""
    return Command(("sh", "-c", _REMOVE, "remove", *paths), label=label or f"remove {paths[0]}")


def systemctl(*words: str, timeout: int = 60, label: str = "", health: bool = False) -> Command:
    """Run systemctl."""
    label = label or "systemctl " + " ".join(words[:2])
    return Command(("systemctl", *words), timeout=timeout, label=label, health=health)
