"""Files of a source tree that hold credentials by their name, and are in a slug only if .slugignore names them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from infra.slug import ignore

PATTERNS = b"""
.env
.env.*
.env-*
.envrc
!.env.example
!.env.sample
!.env.template
!.env.dist
*.key
*.pem
*.p12
*.pfx
*.jks
*.keystore
*.kdbx
*.ppk
id_rsa
id_dsa
id_ecdsa
id_ecdsa_sk
id_ed25519
id_ed25519_sk
.netrc
_netrc
.pgpass
.my.cnf
.mylogin.cnf
.git-credentials
.npmrc
.yarnrc
.yarnrc.yml
.pypirc
.htpasswd
.vault-token
.boto
.s3cfg
.aws/
.azure/
.gnupg/
.ssh/
.kube/
.docker/config.json
.dockercfg
.terraform/
*.tfstate
*.tfstate.*
.config/gcloud/
.config/gh/
.gem/credentials
"""
"""In the syntax of .slugignore, lower-case. Rails keeps its keys in config/master.key and config/credentials/*.key."""

RULES = ignore.parse(PATTERNS)

START = 1 << 16
"""How much of a file ``is_public`` needs, in bytes."""

_SUSPECT = re.compile(rb"(?:^|/)(?:[._][^/]*|id_[a-z0-9_]+|gcloud|gh|credentials|config\.json|[^/]*\.[a-z0-9]*)$")
"""A quick test that holds for every path that a rule can match."""

_KEYS = re.compile(rb"\.(?:pem|key)$")
_PACKAGES = re.compile(rb"(?:^|/)\.(?:npmrc|yarnrc|yarnrc\.yml)$")
_PUBLIC = re.compile(rb"-----BEGIN (?:TRUSTED |X509 )?(?:CERTIFICATE|PUBLIC KEY|CRL)-----")
_LOGIN = re.compile(rb"auth|passw|token", re.IGNORECASE)


def is_credential(path: bytes, is_directory: bool) -> bool:
    """Whether the name of a path is one of a file or a directory with credentials."""
    lower = path.lower()
    return _SUSPECT.search(lower) is not None and ignore.ignored(RULES, lower, is_directory)


def is_public(path: bytes, start: bytes) -> bool:
    """Whether a file with such a name holds none: certificates or public keys alone, or settings without a login."""
    if _KEYS.search(path.lower()):
        return b"PRIVATE KEY" not in start and _PUBLIC.search(start) is not None
    return _PACKAGES.search(path.lower()) is not None and _LOGIN.search(start) is None


def naming(patterns: Iterable[bytes]) -> tuple[ignore.Rule, ...]:
    """The rules of .slugignore that put files back: lines with ! whose last part is not all wildcards."""
    lines = (line for line in patterns if line.startswith(b"!") and line.rstrip(b"/").rpartition(b"/")[2].strip(b"!*?"))
    return ignore.parse(b"\n".join(lines))


def is_named(rules: tuple[ignore.Rule, ...], path: bytes, is_directory: bool) -> bool:
    """Whether one of the rules of ``naming`` matches a path."""
    return any(ignore.matches(rule, path, is_directory) for rule in rules)
