"""The settings of ssh_config that a connection uses, as values: what ``ssh -G`` prints is turned into them here."""

from __future__ import annotations

import getpass
import hashlib
import os
import pwd
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

Raw = Mapping[str, Sequence[str]]
"""The values of each keyword in small letters, as ``ssh -G`` prints them."""

SSH_PORT = 22
RSA_BITS = 1024
"""The default of RequiredRSASize."""

DEFAULT_IDENTITIES = tuple(f"~/.ssh/id_{kind}" for kind in ("rsa", "ecdsa", "ecdsa_sk", "ed25519", "ed25519_sk"))
USER_KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
GLOBAL_KNOWN_HOSTS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")

REFUSED = {
    "knownhostscommand": "KnownHostsCommand: dynoctl reads host keys from files only",
    "proxyusefdpass": "ProxyUseFdpass: dynoctl does not take a connection from another program",
    "bindinterface": "BindInterface: dynoctl binds to addresses only (BindAddress)",
}
"""Settings that change who is trusted or where a connection goes, and that are not supported."""

_OFF = frozenset({"", "no", "none", "false"})


class Unsupported(Exception):
    """A setting that OpenSSH would honour and dynoctl cannot."""


@dataclass(frozen=True)
class Settings:
    """How OpenSSH would connect to one host."""

    alias: str
    """The name that it was asked for."""

    host: str
    port: int
    user: str
    identity_files: tuple[Path, ...] = ()
    certificate_files: tuple[Path, ...] = ()
    identities_only: bool = False
    agent: str = ""
    """The socket of the agent, or "" for none."""

    publickey: bool = True
    """Public keys may be used to log in."""

    key_algorithms: tuple[str, ...] = ()
    """PubkeyAcceptedAlgorithms; () for all."""

    host_key_alias: str = ""
    known_hosts: tuple[Path, ...] = ()
    global_known_hosts: tuple[Path, ...] = ()
    revoked_host_keys: Path | None = None
    rsa_bits: int = RSA_BITS
    """The least size of an RSA key, of a host or a user."""

    host_key_algorithms: tuple[str, ...] = ()
    ca_algorithms: tuple[str, ...] = ()
    proxy_jump: str = ""
    proxy_command: str = ""
    connect_timeout: int | None = None
    address_family: socket.AddressFamily = socket.AF_UNSPEC
    bind_address: str = ""
    not_used: tuple[str, ...] = ()
    """Settings that would give OpenSSH more keys or more trust, named in an error if that is what is missing."""

    @property
    def known_name(self) -> str:
        """The name under which known_hosts lists the host key."""
        if self.host_key_alias:
            return self.host_key_alias
        return self.host if self.port == SSH_PORT else f"[{self.host}]:{self.port}"


def home() -> Path:
    """The home directory as OpenSSH has it: that of the user database, whatever HOME says."""
    account = _account(os.getuid())
    return _directory(account.pw_dir) if account else Path.home()


def local_user() -> str:
    """The name of the local user."""
    account = _account(os.getuid())
    return account.pw_name if account else getpass.getuser()


_directory = lru_cache(maxsize=8)(Path)


@cache
def _account(number: int) -> pwd.struct_passwd | None:
    """The local user, who is looked up once: the database may be a directory of the network."""
    try:
        return pwd.getpwuid(number)
    except KeyError:  # a container that runs as any number
        return None


def settings(alias: str, raw: Raw) -> Settings:
    """The settings that ``raw`` has for ``alias``. Raises Unsupported."""

    def last(key: str, default: str = "") -> str:
        return raw[key][0] if raw.get(key) else default

    def words(key: str) -> tuple[str, ...]:
        return tuple(last(key).split(",")) if last(key) else ()

    for key, text in REFUSED.items():
        if last(key).lower() not in _OFF and (key != "proxyusefdpass" or last("proxycommand").lower() not in _OFF):
            raise Unsupported(text)
    host, user = last("hostname", alias), last("user") or local_user()
    port = int(last("port") or SSH_PORT)
    host_key_alias = last("hostkeyalias")
    expand = expander(alias, host, port, user, host_key_alias, jump=last("proxyjump"))
    allowed = [word.strip() for word in last("preferredauthentications").split(",") if word.strip()]
    revoked = last("revokedhostkeys", "none")
    command = last("proxycommand")
    return Settings(
        alias=alias,
        host=host,
        port=port,
        user=user,
        identity_files=tuple(
            expand(path) for path in raw.get("identityfile", DEFAULT_IDENTITIES) if path.lower() != "none"
        ),
        certificate_files=tuple(expand(path) for path in raw.get("certificatefile", ()) if path.lower() != "none"),
        identities_only=last("identitiesonly").lower() in ("yes", "true"),
        agent=_agent(last("identityagent"), expand),
        publickey=last("pubkeyauthentication").lower() not in ("no", "false")
        and (not allowed or "publickey" in allowed),
        key_algorithms=words("pubkeyacceptedalgorithms") or words("pubkeyacceptedkeytypes"),
        host_key_alias=host_key_alias,
        known_hosts=_files(raw.get("userknownhostsfile", USER_KNOWN_HOSTS), expand),
        global_known_hosts=_files(raw.get("globalknownhostsfile", GLOBAL_KNOWN_HOSTS), expand),
        revoked_host_keys=None if revoked.lower() == "none" else expand(revoked),
        rsa_bits=int(last("requiredrsasize") or RSA_BITS),
        host_key_algorithms=words("hostkeyalgorithms"),
        ca_algorithms=words("casignaturealgorithms"),
        proxy_jump="" if last("proxyjump").lower() == "none" else last("proxyjump"),
        proxy_command="" if command.lower() == "none" else _command(command, alias, host, port, user),
        connect_timeout=int(last("connecttimeout")) if last("connecttimeout").isdecimal() else None,
        address_family={"inet": socket.AF_INET, "inet6": socket.AF_INET6}.get(
            last("addressfamily").lower(), socket.AF_UNSPEC
        ),
        bind_address=last("bindaddress"),
        not_used=tuple(
            f"{name} {last(name.lower())}"
            for name in ("VerifyHostKeyDNS", "PKCS11Provider", "NoHostAuthenticationForLocalhost")
            if last(name.lower()).lower() not in _OFF
        ),
    )


def expander(
    alias: str, host: str, port: int, user: str, host_key_alias: str = "", *, jump: str = ""
) -> Callable[[str], Path]:
    """A function that expands ``~``, ``%`` tokens and ``${NAME}`` in the name of a file (ssh_config(5), TOKENS)."""
    node = socket.gethostname()
    tokens = {
        "%": "%",
        "d": str(home()),
        "h": host,
        "i": str(os.getuid()),
        "j": jump,
        "k": host_key_alias or alias,
        "L": node.partition(".")[0],
        "l": node,
        "n": alias,
        "p": str(port),
        "r": user,
        "u": local_user(),
    }

    def token(match: re.Match[str]) -> str:
        if match[2] is not None:
            if match[2] not in os.environ:
                raise Unsupported(f"the environment variable ${{{match[2]}}}, which is not set")
            return os.environ[match[2]]
        if match[1] == "C" and not jump:
            return hashlib.sha1(f"{node}{host}{port}{user}".encode(), usedforsecurity=False).hexdigest()
        if match[1] not in tokens:
            raise Unsupported(f"the token %{match[1]} in the name of a file")
        return tokens[match[1]]

    def expand(text: str) -> Path:
        if "%" not in text and "$" not in text:
            return _path(text, home())
        return Path(re.sub(r"%(.)|\$\{([^}]*)\}", token, _tilde(text)))

    return expand


@lru_cache(maxsize=1024)  # most servers have the same
def _path(text: str, home_: Path) -> Path:
    return Path(_tilde(text))


def _tilde(text: str) -> str:
    if not text.startswith("~"):
        return text
    user, _, rest = text[1:].partition("/")
    try:
        base = Path(pwd.getpwnam(user).pw_dir) if user else home()
    except KeyError:
        raise Unsupported(f"{text}: there is no user {user}") from None
    return str(base / rest)


def _agent(value: str, expand: Callable[[str], Path]) -> str:
    """The agent's socket of IdentityAgent."""
    if value.lower() == "none":
        return ""
    if not value or value == "SSH_AUTH_SOCK":
        return os.environ.get("SSH_AUTH_SOCK", "")
    if value.startswith("$") and not value.startswith("${"):
        return os.environ.get(value[1:], "")
    return str(expand(value))


def _command(text: str, alias: str, host: str, port: int, user: str) -> str:
    """ProxyCommand with its tokens expanded."""
    tokens = {"%": "%", "h": host, "n": alias, "p": str(port), "r": user}

    def token(match: re.Match[str]) -> str:
        if match[1] not in tokens:
            raise Unsupported(f"the token %{match[1]} in ProxyCommand")
        return tokens[match[1]]

    return re.sub(r"%(.?)", token, text)


def _files(names: Sequence[str], expand: Callable[[str], Path]) -> tuple[Path, ...]:
    """The files of a list. ``ssh -G`` has expanded them already, but old versions have not."""
    return tuple(
        expand(name)
        if name.startswith("~") or (re.search(r"%\w|\$\{", name) and not Path(name).exists())
        else _path(name, home())
        for name in names
        if name.lower() not in ("", "none")
    )


def split_files(text: str) -> list[str]:
    """The names in a list of files that ``ssh -G`` prints with spaces between them, without the quotes of names that
    have spaces. The longest name that exists is one file; a name that does not exist has no keys anyway."""
    words, found, start = text.split(" "), [], 0
    while start < len(words):
        ends = range(len(words), start + 1, -1)
        end = next((end for end in ends if Path(" ".join(words[start:end])).is_file()), start + 1)
        found.append(" ".join(words[start:end]))
        start = end
    return found
