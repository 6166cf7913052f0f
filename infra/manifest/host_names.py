"""Host names of a router in the form that DNS and TLS use: ASCII, with IDNA for all other characters, and wildcards."""

from __future__ import annotations

import ipaddress
import re
import unicodedata

LONGEST = 253
"""Maximum length of a host name, in characters of its ASCII form (RFC 1035)."""

LONGEST_LABEL = 63

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")

_LETTERS = frozenset({"Ll", "Lo", "Lm", "Mn", "Mc", "Nd"})
"""The categories of characters that IDNA 2008 allows in a label (RFC 5892), but for single exceptions."""

_AMBIGUOUS = frozenset("ßẞς\u200c\u200d")
"""Characters that IDNA 2003 and 2008 encode in different ways."""


class InvalidHost(ValueError):
    """Text that is not a host name. The message says why."""


_IGNORED = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
"""Marks and letters that nobody sees, and that some clients drop."""


def ascii_form(text: str) -> str:
    """The host name as a client asks for it, such as ``xn--bcher-kva.example`` for ``bücher.example``. A first label
    of ``*`` stands for any one label. Raises InvalidHost."""
    star, name = ("*.", text[2:]) if text.startswith("*.") else ("", text)
    if "*" in name:
        raise InvalidHost("* is allowed as the whole first label only")
    if not name:
        raise InvalidHost("it is empty")
    labels = [_label(label) for label in name.split(".")]
    host = star + ".".join(labels)
    if len(host) > LONGEST:
        raise InvalidHost(f"it has {len(host)} characters, and at most {LONGEST} are allowed")
    return host


def _label(label: str) -> str:
    label = label.lower()
    if not label:
        raise InvalidHost("a label is empty")
    if not label.isascii():
        label = f"xn--{_mapped(label).encode('punycode').decode()}"
    elif label.startswith("xn--"):
        _check_encoded(label)
    elif label[2:4] == "--":
        raise InvalidHost(f"{label} has -- as its third and fourth character")
    if not _LABEL.fullmatch(label):
        raise InvalidHost(f"{ascii(label)[1:-1]} has a character other than a-z, 0-9 and -, or starts or ends with -")
    if len(label) > LONGEST_LABEL:
        raise InvalidHost(f"a label has {len(label)} characters, and at most {LONGEST_LABEL} are allowed")
    return label


def _mapped(label: str) -> str:
    """A label as clients map it before they encode it: in lower case and composed (UTS 46)."""
    for character in unicodedata.normalize("NFC", label):
        if character in _AMBIGUOUS:
            name = f"U+{ord(character):04X}"
            raise InvalidHost(f"clients encode {name} in different ways; write the label as xn--...")
    mapped = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())
    if (forbidden := _forbidden(mapped)) is not None:
        raise InvalidHost(f"U+{ord(forbidden):04X} is not allowed in a host name")
    if unicodedata.category(mapped[0]).startswith("M"):
        raise InvalidHost("a label starts with a combining mark")
    if mapped.isascii():
        raise InvalidHost(f"write it as {mapped}")
    return mapped


def _forbidden(label: str) -> str | None:
    """The first character that a label may not have, if there is one."""
    for character in label:
        if character != "-" and (unicodedata.category(character) not in _LETTERS or _IGNORED.match(character)):
            return character
    return None


def _check_encoded(label: str) -> None:
    try:
        decoded = label[4:].encode().decode("punycode")
        same = not decoded.isascii() and f"xn--{decoded.encode('punycode').decode()}" == label
    except (UnicodeError, ValueError, OverflowError):
        same = False
    if not same or _forbidden(decoded) is not None:
        raise InvalidHost(f"{label} is not valid punycode")


def link_local(address: str) -> bool:
    """Whether an address is a link-local one of IPv6, which means nothing without an interface: neither systemd 252 nor
    nginx takes one that has it."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return address.isprintable() and found.version == 6 and (found.is_link_local or found.scope_id is not None)


def is_loopback(host: str) -> bool:
    """Whether a host is the machine itself, so that what is sent to it passes no network."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
