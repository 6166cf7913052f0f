"""The access logs of the router programs, as lines in the form of Heroku's router."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from infra.model import naming
from infra.model.routing import ACCESS_LOG

LONGEST = 2000
"""Bytes of a path that are shown."""

_FIELDS = ("method", "path", "host", "fwd", "dyno", "connect", "service", "status", "bytes", "protocol")

# nginx and HAProxy write one form, in which what a client sends is quoted, and quotes in it are escaped.
_LINE = re.compile(
    r"app=(?P<app>[a-z0-9-]+) " + " ".join(rf'{name}="(?P<{name}>(?:[^"\\]|\\.)*)"' for name in _FIELDS), re.DOTALL
)
_ESCAPE = re.compile(r"((?:\\x[0-9A-Fa-f]{2})+)|\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_USER = re.compile(
    r"app=(?P<app>[a-z0-9-]+) dyno=(?P<dyno>[a-z0-9.]*) protocol=(?P<protocol>[a-z]*) client=(?P<client>[^ ]*)"
    r"(?: proxied=(?P<proxied>.*))?"
)
_METHOD = re.compile(r"[!#$%&'*+.^_`|~A-Za-z0-9-]{1,40}")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]")
_ADDRESS = re.compile(r"[0-9A-Fa-f:.%a-z]{2,60}")
_NUMBER = re.compile(r"[0-9]{1,15}")


def read(app: str, identifier: str, message: str) -> str | None:
    """The line of a request to the app. None for requests to other apps, and for all else that a router logs.

    ``identifier`` is the syslog identifier of the message. All fields are made anew from what the router says, so no
    request can add a field or a line."""
    fields = _of_caddy(message) if identifier == "caddy" else _of_line(message) if identifier == ACCESS_LOG else None
    if fields is None or fields["app"] != app:
        return None
    return " ".join(
        [
            f"method={_token(_METHOD, fields['method'])}",
            f'path="{_path(fields["path"])}"',
            f"host={_token(_HOST, _without_port(fields['host']))}",
            f'fwd="{_token(_ADDRESS, fields["fwd"])}"',
            f"dyno={fields['dyno'] if naming.DYNO_NAME.match(fields['dyno']) else ''}",
            f"connect={_milliseconds(fields['connect'])}",
            f"service={_milliseconds(fields['service'])}",
            f"status={_token(_NUMBER, fields['status'])}",
            f"bytes={_token(_NUMBER, fields['bytes'])}",
            f"protocol={'https' if fields['protocol'] == 'https' else 'http'}",
        ]
    )


def _of_line(message: str) -> Mapping[str, str] | None:
    found = _LINE.fullmatch(message.rstrip("\n"))
    return None if found is None else {name: _unescaped(value) for name, value in found.groupdict().items()}


def _of_caddy(message: str) -> Mapping[str, str] | None:
    try:
        entry = json.loads(message)
        if not str(entry["logger"]).startswith("http.log.access"):
            return None
        request: Mapping[str, Any] = entry["request"]
        found = _USER.fullmatch(str(entry["user_id"]))
        if found is None:
            return None
        texts = {name: str(request[name]) for name in ("method", "host")}
        return {
            **texts,
            **found.groupdict(),
            "path": str(request["uri"]),
            "fwd": found["proxied"] or found["client"],
            "connect": "",
            "service": f"{float(entry['duration']):.3f}",
            "status": str(entry["status"]),
            "bytes": str(entry["size"]),
        }
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None


def _unescaped(text: str) -> str:
    """nginx writes a byte as ``\\xNN``, HAProxy as ``\\u00NN``; else both escape as JSON does."""

    def plain(match: re.Match[str]) -> str:
        if match[1]:
            return bytes.fromhex(match[1].replace("\\x", "")).decode(errors="surrogateescape")
        if match[2]:
            return bytes([int(match[2], 16) & 255]).decode(errors="surrogateescape")
        return match[3]

    return _ESCAPE.sub(plain, text)


def _token(pattern: re.Pattern[str], text: str) -> str:
    return text if pattern.fullmatch(text) else ""


def _without_port(host: str) -> str:
    return re.sub(r":[0-9]*\Z", "", host)


def _path(text: str) -> str:
    """A path as a URL has it: what is not printable ASCII, spaces, quotes and backslashes are percent-encoded."""
    sent = b"".join(_bytes(character) for character in text)
    encoded = "".join(
        chr(byte) if 0x21 <= byte <= 0x7E and byte not in b'"\\' else f"%{byte:02X}" for byte in sent[:LONGEST]
    )
    return encoded if len(sent) < LONGEST else f"{encoded}..."


def _bytes(character: str) -> bytes:
    """The bytes of a character, or the one that is not UTF-8 and was sent as it is."""
    try:
        return character.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return "\ufffd".encode()


def _milliseconds(text: str) -> str:
    """A duration: seconds with a decimal point (nginx, Caddy) or milliseconds. The last of several tries counts."""
    last = re.split(r"[ ,:]+", text)[-1]
    if re.fullmatch(r"[0-9]{1,9}\.[0-9]{1,9}", last):
        return f"{round(float(last) * 1000)}ms"
    return f"{last}ms" if _NUMBER.fullmatch(last) else ""
