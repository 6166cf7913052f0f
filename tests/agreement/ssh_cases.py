"""Cases of ssh_config and known_hosts: what OpenSSH's client and dynoctl must agree about."""

from __future__ import annotations

from dataclasses import dataclass

BASE = "Host *\n  IdentityFile <dir>/ed\n  UserKnownHostsFile <dir>/<case>.known\n  GlobalKnownHostsFile none\n  User <me>\n"
"""What every case ends with. Of most settings the first value counts, so a case sets its own before."""

MAIN = "Host main\n  HostName 127.0.0.1\n  Port <port_main>\n"
SECOND = "Host second\n  HostName 127.0.0.1\n  Port <port_second>\n"
CERTIFIED = "Host certified\n  HostName 127.0.0.1\n  Port <port_certified>\n"

KNOWN = (
    "[127.0.0.1]:<port_main> <key_host_ed>\n"
    "[127.0.0.1]:<port_second> <key_host_second>\n"
    "[127.0.0.1]:<port_tries> <key_host_second>\n"
    "[127.0.0.1]:<port_certified> <key_host_cert>\n"
    "[127.0.0.2]:<port_main> <key_host_ed>\n"
)

AT = "[127.0.0.1]:<port_main>"
AT_CERTIFIED = "[127.0.0.1]:<port_certified>"


@dataclass(frozen=True)
class Case:
    """``connects``: what both must do. ``config`` comes before BASE."""

    name: str
    connects: bool
    config: str = MAIN
    known: str = KNOWN
    host: str = "main"
    key: str = "ed"
    """The key that logs in."""

    user: str | None = None
    port: str | None = None
    jumps: int = 0


def no(name: str, config: str = MAIN, known: str = KNOWN, **more: object) -> Case:
    return Case(name, False, config, known, **more)  # type: ignore[arg-type]


def yes(name: str, config: str = MAIN, known: str = KNOWN, **more: object) -> Case:
    return Case(name, True, config, known, **more)  # type: ignore[arg-type]


def with_key(name: str, lines: str, key: str, **more: object) -> Case:
    return yes(name, MAIN + "".join(f"  {line}\n" for line in lines.splitlines()), key=key, **more)


def without_login(name: str, lines: str) -> Case:
    return no(name, MAIN + "".join(f"  {line}\n" for line in lines.splitlines()))


HOSTS = (
    yes("a plain block"),
    yes("a pattern", "Host ma*\n  HostName 127.0.0.1\n  Port <port_main>\n"),
    yes("a question mark", "Host m?in\n  HostName 127.0.0.1\n  Port <port_main>\n"),
    yes("several patterns", "Host other main third\n  HostName 127.0.0.1\n  Port <port_main>\n"),
    yes("a negated pattern", "Host * !main\n  HostName 127.0.0.9\n" + MAIN),
    no("only a negated pattern", "Host !other\n  HostName 127.0.0.1\n  Port <port_main>\n", host="127.0.0.1"),
    yes("the first value counts", MAIN + "Host main\n  Port 1\n  HostName 127.0.0.9\n"),
    yes("an equals sign, any case and quotes", 'HOST=main\n\tHostname = "127.0.0.1"\n\tPORT=<port_main>\n'),
    yes(
        "comments and spaces at the end",
        "# hello\nHost main # a comment\n  HostName 127.0.0.1   \n  Port <port_main>\n",
    ),
    yes("a host name from a token", "Host 0.0.1\n  HostName 127.%h\n  Port <port_main>\n", host="0.0.1"),
    yes("a literal address", "", host="127.0.0.1", port="<port_main>"),
    yes("a port of the manifest", "Host main\n  HostName 127.0.0.1\n  Port 1\n", port="<port_main>"),
    yes("a user of the manifest", MAIN + "  User nobody-there\n", user="<me>"),
    no("a user of ssh_config", MAIN + "  User nobody-there\n"),
    yes("an include", "Include <dir>/included\n"),
    yes("an include with a pattern", "Include <dir>/incl*ed\n"),
    yes("an include in a block", "Host main\n  Include <dir>/part\n"),
    no("an include in a block of another host", "Host other\n  Include <dir>/part\n"),
    yes("an include that is missing", "Include <dir>/missing\n" + MAIN),
    yes("match host", "Match host main\n  HostName 127.0.0.1\n  Port <port_main>\n"),
    yes("match host sees HostName", MAIN + "  IdentityFile none\nMatch host 127.0.0.1\n  IdentityFile <dir>/ed\n"),
    yes("match originalhost", "Match originalhost main\n  HostName 127.0.0.1\n  Port <port_main>\n"),
    yes("match user", "Match user <me>\n  HostName 127.0.0.1\n  Port <port_main>\n", user="<me>"),
    no("match another user", "Match user nobody-there\n  HostName 127.0.0.1\n  Port <port_main>\n", user="<me>"),
    yes("match localuser", "Match localuser <me>\n  HostName 127.0.0.1\n  Port <port_main>\n"),
    yes("match exec", "Match exec true\n  HostName 127.0.0.1\n  Port <port_main>\n"),
    no("match exec fails", "Match exec false\n  HostName 127.0.0.1\n  Port <port_main>\n"),
    yes("match exec with a token", 'Match exec "test %n = main"\n  HostName 127.0.0.1\n  Port <port_main>\n'),
    yes("match all", "Match all\n  HostName 127.0.0.1\n  Port <port_main>\n"),
    yes("match final", MAIN + "Match final host 127.0.0.1\n  ConnectTimeout 7\n"),
    yes("match negated", "Match !host other\n  HostName 127.0.0.1\n  Port <port_main>\n"),
    no("a setting that does not exist", MAIN + "  Colour blue\n"),
    yes("a setting to ignore", "IgnoreUnknown Colour\n" + MAIN + "  Colour blue\n"),
    no("a port that is not a number", "Host main\n  HostName 127.0.0.1\n  Port ssh\n"),
    yes(
        "settings without meaning here",
        MAIN + "  ControlMaster auto\n  ForwardAgent yes\n  SendEnv LANG\n  Compression yes\n",
    ),
    no("an address family that the host does not have", MAIN + "  AddressFamily inet6\n"),
    yes("an address family that the host has", MAIN + "  AddressFamily inet\n"),
    yes("a bind address", MAIN + "  BindAddress 127.0.0.5\n"),
    no("a bind address of another machine", MAIN + "  BindAddress 192.0.2.1\n"),
    yes("a timeout", MAIN + "  ConnectTimeout 9\n"),
    no("a host that does not exist", "", host="no-such-host.invalid"),
)

KEYS = (
    with_key("an RSA key", "IdentityFile <dir>/rsa", "rsa"),
    with_key("an ECDSA key", "IdentityFile <dir>/ecdsa", "ecdsa"),
    with_key("a key in PEM", "IdentityFile <dir>/pem", "pem"),
    with_key("a key in PKCS#8", "IdentityFile <dir>/pkcs8", "pkcs8"),
    with_key("tokens in the name of a key", "IdentityFile <dir>/%n/%r-key", "token"),
    with_key("a variable in the name of a key", "IdentityFile ${AGREEMENT_DIR}/rsa", "rsa"),
    with_key("spaces in the name of a key", 'IdentityFile "<dir>/with space"', "space"),
    with_key("a missing key before", "IdentityFile <dir>/missing\nIdentityFile <dir>/rsa", "rsa"),
    with_key("another key before", "IdentityFile <dir>/stranger\nIdentityFile <dir>/rsa", "rsa"),
    without_login("a variable that is not set", "IdentityFile ${AGREEMENT_NOT_SET}/rsa"),
    no(
        "no key",
        "Host *\n  IdentityFile none\n  UserKnownHostsFile <dir>/<case>.known\nHost main\n  HostName 127.0.0.1\n",
    ),
    yes("an encrypted key before", MAIN + "  IdentityFile <dir>/locked\n", key="ed"),
    with_key("an encrypted key that the agent holds", "IdentityFile <dir>/locked\nIdentityAgent <agent_all>", "locked"),
    with_key(
        "a public half that the agent holds",
        "IdentityFile <dir>/agent.pub\nIdentitiesOnly yes\nIdentityAgent <agent_all>",
        "agent",
    ),
    yes("a public half without an agent, then a key", MAIN + "  IdentityFile <dir>/agent.pub\n", key="ed"),
    with_key("a key of the agent goes first", "IdentityAgent <agent_one>", "agent"),
    with_key("a key of the agent by a variable", "IdentityAgent $AGREEMENT_AGENT", "agent"),
    with_key("a key of the agent of the environment", "IdentityAgent SSH_AUTH_SOCK", "agent"),
    with_key("no agent", "IdentityAgent none", "ed"),
    with_key("an agent that is not there", "IdentityAgent <dir>/missing.agent", "ed"),
    with_key("a named key before those of the agent", "IdentityFile <dir>/locked\nIdentityAgent <agent_all>", "locked"),
    with_key("only named keys", "IdentitiesOnly yes\nIdentityAgent <agent_one>", "ed"),
    yes("a key that others may read is skipped", MAIN + "  IdentityFile <dir>/open\n", key="ed"),
    with_key("a certificate beside the key", "IdentityFile <dir>/member", "member"),
    with_key("a certificate of ssh_config", "CertificateFile <dir>/named.cert\nIdentityFile <dir>/named", "named"),
    yes("an expired certificate, then a key", MAIN + "  IdentityFile <dir>/expired\n", key="ed"),
    with_key("a certificate in the agent", "IdentityAgent <agent_certificate>", "carried"),
    with_key("an RSA key that is too small before", "RequiredRSASize 4096\nIdentityFile <dir>/rsa", "ed"),
    with_key("a key of the agent for this host", "IdentityAgent <agent_bound>", "agent"),
    with_key("a key of the agent for another host", "IdentityAgent <agent_elsewhere>", "ed"),
    without_login("no public keys", "PubkeyAuthentication no"),
    without_login("only passwords", "PreferredAuthentications password"),
    without_login("an algorithm for another key", "PubkeyAcceptedAlgorithms rsa-sha2-512"),
    with_key(
        "an algorithm for one of two keys", "PubkeyAcceptedAlgorithms rsa-sha2-256\nIdentityFile <dir>/rsa", "rsa"
    ),
    no(
        "too many keys in the agent",
        "Host main\n  HostName 127.0.0.1\n  Port <port_tries>\n  IdentityAgent <agent_many>\n",
    ),
    yes(
        "many keys in the agent and one named",
        "Host main\n  HostName 127.0.0.1\n  Port <port_tries>\n  IdentityAgent <agent_many>\n  IdentitiesOnly yes\n",
    ),
)

WAYS = (
    yes("a jump", MAIN + "  ProxyJump second\n" + SECOND, jumps=1),
    yes("a jump by user, address and port", MAIN + "  ProxyJump <me>@127.0.0.1:<port_second>\n", jumps=1),
    yes("a jump by URI", MAIN + "  ProxyJump ssh://<me>@127.0.0.1:<port_second>\n", jumps=1),
    yes("two jumps", MAIN + "  ProxyJump second,certified\n" + SECOND + CERTIFIED, jumps=2),
    yes("a jump of a jump", MAIN + "  ProxyJump second\n" + SECOND + "  ProxyJump certified\n" + CERTIFIED, jumps=2),
    yes("a jump with its own key", MAIN + "  ProxyJump second\n" + SECOND + "  IdentityFile <dir>/rsa\n", jumps=1),
    no("a jump with a user of its own", MAIN + "  ProxyJump second\n" + SECOND + "  User nobody-there\n"),
    no("a jump with an unknown key", MAIN + "  ProxyJump second\n" + SECOND, f"{AT} <key_host_ed>\n"),
    no("a jump to nowhere", MAIN + "  ProxyJump 127.0.0.1:1\n"),
    yes("no jump", MAIN + "  ProxyJump none\nHost *\n  ProxyJump second\n"),
    # OpenSSH starts itself without end in any other circle, so this is the only one here.
    no("a jump to itself", "Host circle\n  ProxyJump circle\n", host="circle"),
    yes("a command", MAIN + "  ProxyCommand <relay> %h %p\n"),
    yes("a command with quotes and variables", MAIN + '  ProxyCommand sh -c \'exec <relay> "$0" %p\' "%h"\n'),
    yes("a command before a jump", MAIN + "  ProxyCommand <relay> %h %p\n  ProxyJump nowhere\n"),
    yes("no command", MAIN + "  ProxyCommand none\nHost *\n  ProxyCommand false\n"),
    no("a command that fails", MAIN + "  ProxyCommand echo broken >&2; false\n"),
    no("a command that does not exist", MAIN + "  ProxyCommand <dir>/missing %h\n"),
    yes("a jump over a command", MAIN + "  ProxyJump second\n" + SECOND + "  ProxyCommand <relay> %h %p\n", jumps=1),
)


def known(name: str, connects: bool, *lines: str, config: str = MAIN, host: str = "main") -> Case:
    return Case(name, connects, config, "".join(f"{line}\n" for line in lines), host)


KNOWN_HOSTS = (
    known("the key", True, f"{AT} <key_host_ed>"),
    known("a comment after the key", True, f"{AT} <key_host_ed> somebody's key # old"),
    known("tabs and spaces", True, f"  \t{AT}\t  <key_host_ed>"),
    known("an empty file", False),
    known("another host", False, "[127.0.0.9]:<port_main> <key_host_ed>"),
    known("another port", False, "[127.0.0.1]:1 <key_host_ed>"),
    known("the name without the port", True, "127.0.0.1 <key_host_ed>"),
    known("the name without the port and with another key", False, "127.0.0.1 <key_stranger>"),
    known("an RSA key only", True, f"{AT} <key_host_rsa>"),
    known("an ECDSA key only", True, f"{AT} <key_host_ecdsa>"),
    known("an RSA key without the port", False, "127.0.0.1 <key_host_rsa>"),
    known(
        "another type with the port and the key without",
        False,
        f"{AT} <key_rsa>",
        "127.0.0.1 <key_host_ed>",
        config=MAIN + "  HostKeyAlgorithms ssh-ed25519\n",
    ),
    known(
        "a certified key that is revoked with the port only",
        False,
        f"@revoked {AT_CERTIFIED} <key_host_cert>",
        "@cert-authority 127.0.0.1 <key_ca>",
        config=CERTIFIED,
        host="certified",
    ),
    known(
        "an authority that is revoked without the port only",
        True,
        f"@cert-authority {AT_CERTIFIED} <key_ca>",
        "@revoked 127.0.0.1 <key_ca>",
        config=CERTIFIED,
        host="certified",
    ),
    known(
        "a key that is revoked without the port only",
        True,
        f"{AT} <key_host_ed>",
        "@revoked 127.0.0.1 <key_host_ed>",
    ),
    known("a changed key", False, f"{AT} <key_stranger>"),
    known("a changed key and the right one of another type", False, f"{AT} <key_stranger>", f"{AT} <key_host_rsa>"),
    known("an old key and the right one", True, f"{AT} <key_stranger>", f"{AT} <key_host_ed>"),
    known("the right one and an old key", True, f"{AT} <key_host_ed>", f"{AT} <key_stranger>"),
    known("a list of names", True, f"main,{AT},other <key_host_ed>"),
    known("a pattern of addresses", True, "[127.0.0.*]:<port_main> <key_host_ed>"),
    known("a pattern of ports", True, "[127.0.0.1]:* <key_host_ed>"),
    known("a pattern for everything", True, "* <key_host_ed>"),
    known("a question mark in a pattern", True, "[127.0.0.?]:<port_main> <key_host_ed>"),
    known("a negated name", False, f"*,!{AT},!127.0.0.1 <key_host_ed>"),
    known("a negated name with the port only", True, f"*,!{AT} <key_host_ed>"),
    known("a negated name of another host", True, "*,!other <key_host_ed>"),
    known("only a negated name", False, "!other <key_host_ed>"),
    known("a hashed name", True, f"<hashed {AT}>"),
    known("a hashed name without the port", True, "<hashed 127.0.0.1>"),
    known("another hashed name", False, "<hashed other>"),
    known("a hash that is broken", True, "|1|x|y <key_host_ed>", f"{AT} <key_host_ed>"),
    known("a hash of an unknown kind", False, "|2|AAAA|AAAA <key_host_ed>"),
    known("a line without a key", True, f"{AT}", f"{AT} ssh-ed25519", f"{AT} <key_host_ed>"),
    known("a key that is not base64", True, f"{AT} ssh-ed25519 !!!!", f"{AT} <key_host_ed>"),
    known("a key of another type than it says", False, f"{AT} ssh-rsa <data_host_ed>"),
    known("a key of an unknown type", True, f"{AT} ssh-quantum AAAA", f"{AT} <key_host_ed>"),
    known("a key of SSH version 1", True, f"{AT} 1024 35 1234567", f"{AT} <key_host_ed>"),
    known("an unknown marker", True, f"@trusted {AT} <key_stranger>", f"{AT} <key_host_ed>"),
    known("an unknown marker before the key", False, f"@trusted {AT} <key_host_ed>"),
    known("bytes that are not UTF-8", True, "# caf\udce9 \udcff", f"\udcff,{AT} <key_host_ed>"),
    known("lines that end with a carriage return", True, f"{AT} <key_host_ed> x\r"),
    known("a revoked key", False, f"{AT} <key_host_ed>", f"@revoked {AT} <key_host_ed>"),
    known("a key that is revoked for all hosts", False, "@revoked * <key_host_ed>", f"{AT} <key_host_ed>"),
    known("another revoked key", True, "@revoked * <key_stranger>", f"{AT} <key_host_ed>"),
    known("a key that is revoked for another host", True, "@revoked other <key_host_ed>", f"{AT} <key_host_ed>"),
    known("an authority instead of a key", False, f"@cert-authority {AT} <key_host_ed>"),
    known("a certificate", True, f"@cert-authority {AT_CERTIFIED} <key_ca>", config=CERTIFIED, host="certified"),
    known("an authority for a pattern", True, "@cert-authority 127.* <key_ca>", config=CERTIFIED, host="certified"),
    known("an authority for another host", False, "@cert-authority other <key_ca>", config=CERTIFIED, host="certified"),
    known("another authority", False, "@cert-authority * <key_stranger>", config=CERTIFIED, host="certified"),
    known("a certified key without its authority", True, "* <key_host_cert>", config=CERTIFIED, host="certified"),
    known(
        "a revoked authority",
        False,
        "@cert-authority * <key_ca>",
        "@revoked * <key_ca>",
        config=CERTIFIED,
        host="certified",
    ),
    known(
        "a certified key that is revoked",
        False,
        "@cert-authority * <key_ca>",
        "@revoked * <key_host_cert>",
        config=CERTIFIED,
        host="certified",
    ),
    known(
        "a certificate for another name",
        False,
        "@cert-authority * <key_ca>",
        config=CERTIFIED + "  HostKeyAlias other\n",
        host="certified",
    ),
    known(
        "a certificate for an alias",
        True,
        "@cert-authority alias.example <key_ca>",
        config=CERTIFIED + "  HostKeyAlias alias.example\n",
        host="certified",
    ),
    *(
        known(
            f"a certificate that {what}",
            False,
            "@cert-authority * <key_ca>",
            config=f"Host {name}\n  HostName 127.0.0.1\n  Port <port_{name}>\n",
            host=name,
        )
        for name, what in (("expired", "expired"), ("early", "is not valid yet"), ("user", "is for users"))
    ),
    known(
        "a certificate without principals",
        True,
        "@cert-authority * <key_ca>",
        config="Host open\n  HostName 127.0.0.1\n  Port <port_open>\n",
        host="open",
    ),
    known(
        "an expired certificate of a key that is known",
        True,
        "@cert-authority * <key_ca>",
        "[127.0.0.1]:<port_expired> <key_host_expired>",
        config="Host expired\n  HostName 127.0.0.1\n  Port <port_expired>\n",
        host="expired",
    ),
    known("an alias", True, "alias <key_host_ed>", config=MAIN + "  HostKeyAlias alias\n"),
    known("an alias that is not known", False, f"{AT} <key_host_ed>", config=MAIN + "  HostKeyAlias alias\n"),
    known("an alias in capitals", True, "alias <key_host_ed>", config=MAIN + "  HostKeyAlias Alias\n"),
    known("capitals in the file", True, "ALIAS <key_host_ed>", config=MAIN + "  HostKeyAlias alias\n"),
    yes("a file with spaces in its name", MAIN + '  UserKnownHostsFile "<dir>/known in space"\n', ""),
    yes("two files", MAIN + "  UserKnownHostsFile <dir>/missing <dir>/known.good\n", ""),
    yes("two files, one with spaces", MAIN + '  UserKnownHostsFile <dir>/empty "<dir>/known in space"\n', ""),
    yes("a token in the name of a file", MAIN + "  UserKnownHostsFile <dir>/known.%n\n", ""),
    no("no file", MAIN + "  UserKnownHostsFile none\n"),
    yes("a global file", MAIN + "  GlobalKnownHostsFile <dir>/known.good\n", ""),
    no("a key that is revoked in the global file", MAIN + "  GlobalKnownHostsFile <dir>/known.revoked\n"),
    no("a list of revoked keys", MAIN + "  RevokedHostKeys <dir>/host_ed.pub\n"),
    yes("a list of other revoked keys", MAIN + "  RevokedHostKeys <dir>/stranger.pub\n"),
    no("a list of revoked keys that is missing", MAIN + "  RevokedHostKeys <dir>/missing\n"),
    yes("an algorithm of a known key", MAIN + "  HostKeyAlgorithms ssh-ed25519\n"),
    no("an algorithm of a key that is not known", MAIN + "  HostKeyAlgorithms rsa-sha2-512\n"),
    no("an RSA key that is too small", MAIN + "  RequiredRSASize 4096\n", f"{AT} <key_host_rsa>\n"),
    yes("an RSA key that is large enough", MAIN + "  RequiredRSASize 2048\n", f"{AT} <key_host_rsa>\n"),
    no("an algorithm that the server does not have", SECOND + "  HostKeyAlgorithms rsa-sha2-512\n", host="second"),
)

CASES = (*HOSTS, *KEYS, *WAYS, *KNOWN_HOSTS)
