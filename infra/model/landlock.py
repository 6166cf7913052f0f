"""How every process of an app is started: in a Landlock domain, out of which it reaches no abstract unix socket.

Abstract sockets belong to a network namespace, and all that is not ``network: none`` shares the server's. systemd has
no setting for them, a system call filter does not see addresses, and without AF_UNIX nothing could log or reach a
database by its socket. Landlock can since Linux 6.12 (landlock(7)). Older kernels refuse the domain, and the process
starts without it; so it does where there is no Perl, which is essential in Debian and its descendants."""

from __future__ import annotations

from collections.abc import Sequence

# The numbers of landlock_create_ruleset and landlock_restrict_self are the same on every architecture. The attributes
# are the handled rights of files and of the network, none, and the scope, which is that of abstract sockets.
# Perl runs with taint checks, so that no variable of the app (PERL5LIB, PERL5OPT) changes what it does. It then refuses
# a PATH with directories that others can write to, so env sets that of the app.
_ENTER = """\
my ($path) = ($ENV{PATH} // "") =~ /(.*)/s;
delete $ENV{PERL_BADLANG};
($ENV{$_}) = $ENV{$_} =~ /(.*)/s for keys %ENV;
my @words = map { /(.*)/s } @ARGV;
my ($scoped, $domain) = pack("Q3", 0, 0, 1);
$domain = syscall(444, $scoped, 24, 0);
syscall(446, $domain, 0) if $domain > 0;
$ENV{PATH} = "/usr/bin:/bin";
exec "/usr/bin/env", "PATH=$path", @words or die "/usr/bin/env: $!\\n";
"""

LAUNCHER = f"""\
# dynoctl: starts a process of an app so that it reaches no abstract unix socket of another program.
[ -x /usr/bin/perl ] && [ -x /usr/bin/env ] || exec "$@"
PERL_BADLANG=0 exec /usr/bin/perl -T -e '
{_ENTER}' -- "$@"
"""
"""An sh script that replaces itself with the program in its arguments."""

CALLS = "landlock_create_ruleset landlock_restrict_self"
"""The system calls that it needs, for a system call filter."""


def inline(argv: Sequence[str]) -> tuple[str, ...]:
    """A command line that starts ``argv`` so, without a file."""
    return ("/bin/sh", "-c", LAUNCHER, "launch", *argv)
