"""A login that can observe a server and change nothing: sudo lets it run one program, which takes no input."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

from infra.errors import Unreachable
from infra.model.provider import Fragment
from infra.model.shell import Sections
from infra.remote.quote import PRELUDE, assign, sections
from infra.remote.session import Session

_OWN = ("salt", "kept", "plain")
"""Variables of fragments that the program sets by itself."""

_SALT = "dynoctl-observe"

_HEAD = "dynoctl-observe 4"
"""What the program prints first. The number changes with what the providers read: an older program would show changes
that there are not."""

PATH = "/usr/local/sbin/dynoctl-observe-{app}"


def script(app: str, fragments: Mapping[str, Fragment], plain: frozenset[str]) -> str:
    """The program for one app. Its text is all that it does: it takes no argument and reads no input.

    It prints what a plan needs and no digest from which a secret could be guessed: what is not in ``plain`` is digested
    with a salt that is never shown, as the salts of records are not."""
    parts = [
        "#!/bin/sh\n# dynoctl: observe what an app has on this server. It changes nothing and shows no secret.\n",
        PRELUDE,
        "exec </dev/null\n",
        'connection=$(printf %s "${SSH_CONNECTION-}" | tr -cd "0-9a-fA-F:.% ")\n',
        "read -r nonce < /proc/sys/kernel/random/uuid\nread -r secret_salt < /proc/sys/kernel/random/uuid\n",
        assign({"plain": f" {' '.join(sorted(plain))} "}),
        "observe() {\n",
    ]
    for name, fragment in fragments.items():
        parts.append(f"printf '\\n%s begin {name}\\n' \"$nonce\"\n(\n")
        parts.append(assign({key: value for key, value in fragment.variables.items() if key not in _OWN}))
        if "salt" in fragment.variables:
            parts.append("kept=/nonexistent\n")
            # Only what is plain in the manifest is compared with a salt that the client knows.
            parts.append(f"salt={_SALT}\n" if "plain" in fragment.variables else "salt=$secret_salt\n")
        parts.append(fragment.script)
        parts.append(f') 2>&1\nprintf \'\\n%s end {name} %d\\n\' "$nonce" "$?"\n')
    parts.append("printf '%s done\\n' \"$nonce\"\n}\n")
    hidden = (
        "s/$secret_salt/-/g",
        "s/^salt [0-9a-f][0-9a-f]*\\$/salt -/",
        's/\\"salt\\": *\\"[^\\"]*\\"/\\"salt\\": \\"-\\"/g',
        's/\\"plain\\": *{[^}]*}/\\"plain\\": {}/g',
    )
    hide = " ".join(f'-e "{expression}"' for expression in hidden)
    parts.append(f"printf '{_HEAD} %s\\n' \"$nonce\"\nobserve | sed {hide}\n")
    return "".join(parts)


def digest(text: str) -> str:
    """The digest of the program as sudoers(5) writes it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


class ReadOnlySession(Session):
    """A session of a login that may run only the program of ``script``."""

    app = ""

    def observe(self, fragments: Mapping[str, Fragment], timeout: float = 60) -> Sections:
        """What the program of the server prints. ``fragments`` are not sent."""
        line = f"exec sudo -n -- {PATH.format(app=self.app)}"
        output = self.run("", timeout, "observation", line=line)
        head, _, text = output.stdout.partition(f"{_HEAD} ")
        nonce, _, text = text.partition("\n")
        if output.status != 0 or not nonce or f"{nonce} done" not in text:
            why = (output.stderr or head or output.stdout).strip()[-300:]
            raise Unreachable(
                f"{self.name}: observation by {self.user} failed: {why}",
                "install the program and the sudo rule that this prints: dynoctl sudoers --read-only",
            )
        return sections(text, nonce)


def connect(app: str) -> type[ReadOnlySession]:
    """The class of sessions for one app."""
    return type("ReadOnlySession", (ReadOnlySession,), {"app": app})
