"""How large headers may be, and what is logged of a request: the same for every router program."""

from __future__ import annotations

REQUEST_HEADERS = 36 << 10
"""Bytes of the first line and the headers of a request. What is larger is answered with 431."""

ANSWER_HEADERS = 68 << 10
"""Bytes of the headers of a dyno's answer. What is larger is answered with 502."""

MOST_HEADERS = 1000
"""Headers of a request or an answer, with a program that limits their number."""

LOGGED = 2000
"""Bytes of a path that are logged."""

JOURNAL = "/run/systemd/journal/dev-log"
"""The socket to which syslog messages are sent."""
