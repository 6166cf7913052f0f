"""What to write in place of a YAML tag, such as ``!secret`` of Home Assistant or ``!vault`` of Ansible."""

from __future__ import annotations

from infra.manifest import known_keys, masking
from infra.manifest.document import Path

_QUOTES = "remove the tag, or put the value in quotes: ! starts a tag"
_ENVIRONMENT = "write a reference: {from_env: NAME}, with NAME in the environment or in .dyno/secrets"

_REFERENCES = {
    **dict.fromkeys(("from_env", "env", "env_var", "environment", "getenv"), _ENVIRONMENT),
    **dict.fromkeys(("secret", "secrets", "password", "vault", "encrypted", "sops", "ssm"), _ENVIRONMENT),
    **dict.fromkeys(("from_file", "file", "read", "include", "include_text"), "write a reference: {from_file: PATH}"),
    **dict.fromkeys(
        ("from_command", "command", "cmd", "exec", "shell", "pipe"), "write a reference: {from_command: [PROGRAM, ARG]}"
    ),
}
"""Tags of other tools, and those that are named as our references, in lower case and without !."""


def explain(tag: str, path: Path) -> tuple[str, str]:
    """What can be shown of a tag at a path, and what to write in its place. What starts with ! may be a secret that is
    not quoted, so a tag that is not known is not shown where one may be."""
    name = tag.removeprefix("!").lower()
    known = name in _REFERENCES
    shown = "" if masking.may_be_secret(path) and not known else tag.replace("tag:yaml.org,2002:", "!!")
    if known and known_keys.takes_reference(path):
        return shown, _REFERENCES[name]
    if name.startswith("include"):
        return shown, "remove the tag; to merge another manifest: extends: FILE, as a key of the top level"
    if known and not known_keys.is_mapping(path):
        return shown, f"remove the tag, and write the value itself: {path[-1]} takes no reference"
    return shown, _QUOTES
