"""The starters' own Ruby, without a server: a database connection that several threads of Puma share."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

STARTERS = Path(__file__).parents[2] / "stacks/starters"

# The first connection breaks. While the request that saw that makes its answer, another one comes.
PROGRAM = """\
require "./lib/database"
Connection = Struct.new(:number) do
  def count = number > 1 ? "connection #{number}" : raise("broken")
end
opened = 0
Database.define_singleton_method(:open) { |_| Connection.new(opened += 1) }
Database::Unavailable.define_singleton_method(:===) do |error|
  Thread.current[:first] &&= begin
    Thread.new { puts(Database.visits) }.join
    nil
  end
  super(error)
end
Thread.current[:first] = true
begin
  Database.visits
rescue Database::Unavailable => error
  puts error.message
end
puts Database.visits
"""


@pytest.mark.parametrize("starter", ["rack", "sinatra"])
def test_a_broken_connection_fails_one_request(starter: str) -> None:
    """It was forgotten after the next request could use it, and what that one had opened was forgotten with it."""
    done = subprocess.run(
        ["ruby", "-e", PROGRAM],
        cwd=STARTERS / starter,
        env={"DATABASE_URL": "postgres://x", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("connection 2\nRuntimeError\nconnection 2\n", "")
