"""A secret is found in output in every spelling that programs use, and nothing else is taken for it."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
import subprocess
import urllib.parse
from collections.abc import Callable

import pytest

from infra.model.redact import redactor
from infra.sensitive import REDACTED, Sensitive

SECRETS = [
    "hunter2-poison",
    "p@ss/w#rd?%{x}",
    "sp ace\"quo'te\\back",
    "tab\tand\nnewline-here",
    "<tag>&amp;'\"",
    "é-ü-€-\U0001f600-key",
    "$HOME`id`!x*[a]",
    "esc\x1b[0m-secret",
    "abcd",
    "deadbeefcafe",
    "-----BEGIN KEY-----\nMIIEowIBAAKCAQEA1234567890abcdefghijklmnopqrstuvwxyzABCDEFGHIJKL\nqwertyuiop\n-----END KEY-----\n",
]


def _base64(before: int, after: int) -> Callable[[str], str]:
    return lambda secret: base64.b64encode(b"\xfe" * before + secret.encode() + b"\x01" * after).decode()


def _bytes(form: str, joint: str = "") -> Callable[[str], str]:
    return lambda secret: joint.join(form.format(byte) for byte in secret.encode())


SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    **{f"base64 {before} before, {after} after": _base64(before, after) for before in range(4) for after in range(3)},
    "base64 for URLs": lambda secret: base64.urlsafe_b64encode(b"x" + secret.encode()).decode(),
    "base64 without padding": lambda secret: base64.b64encode(secret.encode()).decode().rstrip("="),
    "base64 in lines": lambda secret: base64.encodebytes(b"A login: " * 5 + secret.encode() * 3).decode(),
    "base64 in a query": lambda secret: urllib.parse.quote(base64.b64encode(secret.encode()).decode(), safe=""),
    "basic authentication": lambda secret: "Basic " + base64.b64encode(f"admin:{secret}".encode()).decode(),
    "hex": lambda secret: secret.encode().hex(),
    "hex in upper case": lambda secret: secret.encode().hex().upper(),
    "hex with colons": lambda secret: secret.encode().hex(":"),
    "hex of xxd": lambda secret: secret.encode().hex(" ", 2),
    "escaped bytes": _bytes("\\x{:02x}"),
    "a list of bytes": _bytes("0x{:02x}", ", "),
    "a URL": lambda secret: urllib.parse.quote(secret, safe=""),
    "a URL in lower case": lambda secret: re.sub(
        "%..", lambda found: found[0].lower(), urllib.parse.quote(secret, safe="")
    ),
    "a path": urllib.parse.quote,
    "a form": urllib.parse.quote_plus,
    "encodeURIComponent": lambda secret: urllib.parse.quote(secret, safe="!'()*"),
    "a shell": shlex.quote,
    "JSON": json.dumps,
    "JSON in UTF-8": lambda secret: json.dumps(secret, ensure_ascii=False),
    "JSON of PHP": lambda secret: json.dumps(secret).replace("/", "\\/"),
    "JSON for HTML": lambda secret: (
        json.dumps(secret).replace("<", "\\u003c").replace("&", "\\u0026").replace("'", "\\u0027")
    ),
    "JSON in JSON": lambda secret: json.dumps(json.dumps(secret)),
    "JSON in JSON in JSON": lambda secret: json.dumps(json.dumps(json.dumps(secret))),
    "HTML": html.escape,
    "HTML of ERB": lambda secret: html.escape(secret).replace("&#x27;", "&#39;"),
    "HTML in numbers": lambda secret: "".join(c if c.isalnum() and c.isascii() else f"&#{ord(c)};" for c in secret),
    "HTML in HTML": lambda secret: html.escape(html.escape(secret)),
    "Python": repr,
    "Python in ASCII": ascii,
    "backslashes": lambda secret: "".join(c if c.isalnum() else f"\\{c}" for c in secret),
    "octal": lambda secret: "".join(
        chr(byte) if chr(byte).isalnum() and byte < 128 else f"\\{byte:03o}" for byte in secret.encode()
    ),
}


@pytest.mark.parametrize("secret", SECRETS, ids=range(len(SECRETS)))
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_secret_is_redacted_in_every_spelling(spelling: str, secret: str) -> None:
    spelled = SPELLINGS[spelling](secret)
    said = redactor([{"KEY": Sensitive(secret)}])(f"before <{spelled}> after")
    assert REDACTED in said and said.startswith("before") and said.endswith("after")
    for at in range(max(1, len(spelled) - 7)):  # no eight characters of it are left
        piece = spelled[at : at + 8]
        assert piece not in said.replace(REDACTED, "\0") or piece.strip("=&;\n\\\"'") == ""


SHELLS = ["sh -c 'set -x; : \"$1\"' sh", "bash -c 'printf %q \"$1\"' bash"]


@pytest.mark.parametrize("secret", SECRETS[:-1], ids=range(len(SECRETS) - 1))
@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_that_shows_its_commands_shows_no_secret(shell: str, secret: str) -> None:
    done = subprocess.run([*shlex.split(shell), secret], capture_output=True, text=True, check=False)
    said = redactor([{"KEY": Sensitive(secret)}])(done.stdout + done.stderr)
    assert secret not in said and REDACTED in said


@pytest.mark.parametrize(
    ("url", "password"),
    [
        ("postgresql://u:s3cret-word@h/d", "s3cret-word"),
        ("postgresql://u:a%2Fb%40c%23@h/d", "a/b@c#"),
        ("postgresql://u:s3cr#t-word@h/d", "s3cr#t-word"),
        ("postgresql://u:s3cr/t-word@h/d", "s3cr/t-word"),
        ("postgresql://u:s3@cr@h/d", "s3@cr"),
        ("redis://s3cret-word@h", "s3cret-word"),
        ("mysql2://h/d?user=a&password=s3cret-word", "s3cret-word"),
        ("https://h/?token=s3cret%2Dword", "s3cret-word"),
        ("postgresql://u:s3cret-word@[h/d", "s3cret-word"),
    ],
)
def test_a_password_of_a_url_is_a_secret(url: str, password: str) -> None:
    said = redactor([{"URL": Sensitive(url)}])(f"authentication failed for {password} at {url}")
    assert password not in said and said.startswith("authentication failed for")


@pytest.mark.parametrize(
    ("secret", "text", "expected"),
    [
        ("1", "pin 1, port 5001", f"pin {REDACTED}, port 5001"),
        ("abc", "key=abc abcd xabc", f"key={REDACTED} abcd xabc"),
        ("a/b", 'key "a%2Fb"', f'key "{REDACTED}"'),
        ("", "nothing", "nothing"),
        ("   ", "a   b", "a   b"),
    ],
)
def test_a_short_secret_is_redacted_as_a_word(secret: str, text: str, expected: str) -> None:
    assert redactor([{"KEY": Sensitive(secret)}])(text) in (expected, text if not secret.strip() else expected)


def test_other_text_is_left_alone() -> None:
    text = "\n".join(f"line {number}: GET /items/{number} 200 in {number} ms, {number:08x}" for number in range(2000))
    secrets = {
        "KEY": Sensitive("hunter2-poison"),
        "PEM": Sensitive(SECRETS[-1]),
        "HOST": Sensitive("line", common=True),
    }
    assert redactor([secrets])(text) == text
    assert redactor([])("anything") == "anything"


@pytest.mark.parametrize(
    "spell",
    [
        json.dumps,
        lambda secret: json.dumps(json.dumps(secret)),
        lambda secret: urllib.parse.quote(secret, safe=""),
        html.escape,
        repr,
    ],
    ids=["json", "json in json", "url", "html", "repr"],
)
def test_nothing_of_a_long_secret_on_one_line_is_left(spell: Callable[[str], str]) -> None:
    """Only the first 4096 characters were found, such as of a service account's key in JSON."""
    secret = '{"key": "' + 'a/b"c\\n' * 900 + 'the-end-of-it"}'
    redacted = redactor([{"KEY": Sensitive(secret)}])(f"before {spell(secret)} after")
    assert REDACTED in redacted and "end" not in redacted and "a/b" not in redacted and "a%2Fb" not in redacted


@pytest.mark.parametrize(
    "spell",
    [
        lambda secret: urllib.parse.quote(urllib.parse.quote(secret, safe=""), safe=""),
        lambda secret: html.escape(json.dumps(secret)),
        lambda secret: html.escape(json.dumps(json.dumps(secret))),
        lambda secret: "\n    ".join(re.findall(".{1,20}", base64.b64encode(f"{'x' * 40}{secret}".encode()).decode())),
    ],
    ids=["url in url", "json in html", "json in json in html", "base64 with indented lines"],
)
def test_a_spelling_in_a_spelling_is_found(spell: Callable[[str], str]) -> None:
    secret = "p@ss/w\"o'rd $1+x=é"
    text = spell(secret)
    redacted = redactor([{"KEY": Sensitive(secret)}])(f"before {text} after")
    assert REDACTED in redacted and len(redacted) < len(f"before {text} after") and "1%" not in redacted
    assert not any(part in redacted for part in ("ss/w", "x=", "x%", "ss%", text[-24:-18]))
