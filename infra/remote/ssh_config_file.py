"""A small reading of ssh_config for machines without OpenSSH's client. What it does not understand is an error."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from infra.remote.known_hosts import matches
from infra.remote.ssh_settings import home


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ONCE = _words(
    "addressfamily bindaddress connecttimeout hostkeyalias hostkeyalgorithms hostname identitiesonly identityagent port"
    " preferredauthentications proxycommand proxyjump pubkeyacceptedalgorithms pubkeyacceptedkeytypes"
    " pubkeyauthentication revokedhostkeys user casignaturealgorithms verifyhostkeydns pkcs11provider"
    " nohostauthenticationforlocalhost requiredrsasize knownhostscommand proxyusefdpass bindinterface"
)
_FILES = frozenset({"userknownhostsfile", "globalknownhostsfile"})
_MANY = frozenset({"identityfile", "certificatefile"})

IGNORED = _words(
    "addkeystoagent batchmode checkhostip ciphers clearallforwardings compression connectionattempts"
    " controlmaster controlpath controlpersist dynamicforward enableescapecommandline enablesshkeysign escapechar"
    " exitonforwardfailure fingerprinthash forkafterauthentication forwardagent forwardx11 forwardx11timeout"
    " forwardx11trusted gatewayports gssapiauthentication gssapidelegatecredentials hashknownhosts"
    " hostbasedacceptedalgorithms hostbasedauthentication ipqos kbdinteractiveauthentication"
    " challengeresponseauthentication kbdinteractivedevices kexalgorithms localcommand localforward loglevel"
    " logverbose macs numberofpasswordprompts obscurekeystroketiming passwordauthentication permitlocalcommand"
    " permitremoteopen rekeylimit remotecommand remoteforward requesttty securitykeyprovider"
    " sendenv serveralivecountmax serveraliveinterval sessiontype setenv stdinnull streamlocalbindmask"
    " streamlocalbindunlink stricthostkeychecking syslogfacility tcpkeepalive tunnel tunneldevice updatehostkeys"
    " visualhostkey xauthlocation"
)
"""Keywords that change nothing here."""

_ALGORITHMS = frozenset(
    {"hostkeyalgorithms", "pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes", "casignaturealgorithms"}
)


USED = _ONCE | _FILES | _MANY
"""Keywords that decide how to connect."""


class NotUnderstood(Exception):
    """A line that only OpenSSH can read. Names the file and the line."""


def read(
    files: Sequence[Path], host: str, user: str | None, port: int | None, jump: str | None
) -> dict[str, list[str]]:
    """The settings of ``host`` as ``ssh -G`` would print them. Raises NotUnderstood."""
    raw: dict[str, list[str]] = {}
    for key, value in (("user", user), ("port", port), ("proxyjump", jump)):
        if value is not None:
            raw[key] = [str(value)]
    for path in files:
        _file(path, host, raw, True, 0)
    if "proxyjump" in raw and "proxycommand" in raw:  # the first of the two excludes the other
        first = next(key for key in raw if key in ("proxyjump", "proxycommand"))
        raw.pop("proxycommand" if first == "proxyjump" else "proxyjump")
    name = raw.get("hostname", [host])[0]
    if re.search(r"%(?![%h])", name):
        raise NotUnderstood(f"HostName {name}: an unknown token")
    if "hostkeyalias" in raw:
        raw["hostkeyalias"] = [raw["hostkeyalias"][0].lower()]
    raw["hostname"] = [re.sub(r"%(.)", lambda match: {"%": "%", "h": host}[match[1]], name).lower()]
    return raw


def _file(path: Path, host: str, raw: dict[str, list[str]], active: bool, depth: int) -> None:
    try:
        lines = path.read_text(errors="surrogateescape").splitlines()
    except OSError as error:
        raise NotUnderstood(f"{path}: {error.strerror or error}") from None
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}"
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = re.match(r'([A-Za-z0-9]+)(?:\s*=\s*|\s+|(?="))(.*)$', text)
        if match is None:
            raise NotUnderstood(f"{where}: {text[:80]!r}")
        key, rest = match[1].lower(), match[2]
        try:
            words = shlex.split(rest, comments=True)
        except ValueError as error:
            raise NotUnderstood(f"{where}: {error}") from None
        if not words:
            raise NotUnderstood(f"{where}: {match[1]} has no value")
        if key == "host":
            active = host_line_matches(host, words)
        elif key == "match":
            if [word.lower() for word in words] != ["all"]:
                raise NotUnderstood(f"{where}: Match {rest}")
            active = True
        elif key == "include":
            if depth >= 16:
                raise NotUnderstood(f"{where}: too many levels of Include")
            base = home() / ".ssh" if path.is_relative_to(home()) else Path("/etc/ssh")
            for word in words:
                for name in _glob(word, base, where):
                    _file(name, host, raw, active, depth + 1)
        elif key in IGNORED:
            continue
        elif key not in USED:
            raise NotUnderstood(f"{where}: {match[1]}")
        elif active:
            _set(raw, key, rest, words, where)


def _set(raw: dict[str, list[str]], key: str, rest: str, words: list[str], where: str) -> None:
    if key in _ALGORITHMS and words[0][0] in "+-^":
        raise NotUnderstood(f"{where}: {key} {words[0][:40]}")
    if key == "proxycommand":  # the rest of the line, quotes included
        raw.setdefault(key, [rest.strip()])
    elif key in _FILES:
        raw.setdefault(key, words)
    elif len(words) != 1:
        raise NotUnderstood(f"{where}: more than one value")
    elif key in _MANY:
        raw.setdefault(key, []).append(words[0])
    elif key in ("port", "connecttimeout", "requiredrsasize") and not words[0].isdecimal() and words[0] != "none":
        raise NotUnderstood(f"{where}: {words[0][:40]!r} is not a number")
    else:
        raw.setdefault(key, words)


def _glob(word: str, base: Path, where: str) -> list[Path]:
    if word.startswith("~/"):
        word = str(home() / word[2:])
    if word.startswith("~") or "%" in word or "${" in word:
        raise NotUnderstood(f"{where}: Include {word}")
    path = base / word
    parts = path.parts
    return sorted(found for found in Path(parts[0]).glob(str(Path(*parts[1:]))) if found.is_file())


def host_line_matches(host: str, patterns: Sequence[str]) -> bool:
    """Whether a Host line matches: one pattern does, and none that begins with ``!``."""
    found = False
    for pattern in patterns:
        negated = pattern.startswith("!")
        if matches(host, pattern.removeprefix("!")):
            if negated:
                return False
            found = True
    return found
