"""The words of Heroku, Kamal, Terraform and Ansible, each with the command or option of dynoctl that does the same."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

REST = "..."
"""Ends an answer that takes the arguments as they were typed."""


@cache
def load(table: str) -> Mapping[str, str]:
    """The answer for each word of a table: ``commands``, ``options``, or ``options_of`` and ``without_value``, of which
    the words are ``COMMAND --option``."""
    text = files("infra.cli").joinpath("words.toml").read_text(encoding="utf-8")
    return {word: answer for words, answer in tomllib.loads(text)[table].items() for word in words.split(", ")}
