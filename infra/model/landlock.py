"""How every process of an app is started: in a Landlock domain, out of which it reaches no abstract unix socket.

Abstract sockets belong to a network namespace, and all that is not ``network: none`` shares the server's. systemd has
no setting for them, a system call filter does not see addresses, and without AF_UNIX nothing could log or reach a
database by its socket. Landlock can since Linux 6.12 (landlock(7)). Older kernels refuse the domain, and the process
starts without it; so it does where there is no Perl, which is essential in Debian and its descendants."""

from __future__ import annotations

from collections.abc import Sequence

# The numbers of landlock_create_ruleset and landlock_restrict_self are the same on every architecture. The attributes
# are the handled rights of files and of the network, none, and the scope, which is that of abstract sockets.
_ENTER = """\
%ENV = map { substr($_, 8) => $ENV{$_} } grep { /^dynoctl_./ } keys %ENV;
my ($scoped, $domain) = pack("Q3", 0, 0, 1);
$domain = syscall(444, $scoped, 24, 0);
syscall(446, $domain, 0) if $domain > 0;
exec { $ARGV[0] } @ARGV;
print STDERR "dynoctl: cannot start $ARGV[0]: $!\\n";
exit($! == 2 ? 127 : 126);
"""

# Perl and the C library obey variables (PERL5OPT, PERL_SIGNALS, LOCPATH), and those of the app must not change what is
# done here. So each gets another name first, by the shell alone, as other programs obey some as well. No variable of an
# app may have such a name (infra.manifest.variables), so none takes the place of another one.
LAUNCHER = f"""\
# dynoctl: starts a process of an app so that it reaches no abstract unix socket of another program.
[ -x /usr/bin/perl ] || exec "$@"
set -f
IFS='
'
for dynoctl_ in $(export -p); do
  case $dynoctl_ in "export "*=*) ;; *) continue;; esac
  dynoctl_=${{dynoctl_#export }}; dynoctl_=${{dynoctl_%%=*}}
  case $dynoctl_ in dynoctl_*|*[!A-Za-z0-9_]*) continue;; esac
  eval "[ -n \\"\\${{$dynoctl_+x}}\\" ] || continue; export dynoctl_$dynoctl_=\\"\\$$dynoctl_\\""
  command unset "$dynoctl_" 2>/dev/null
done
exec /usr/bin/perl -e '
{_ENTER}' -- "$@"
"""
"""An sh script that replaces itself with the program in its arguments."""

CALLS = "landlock_create_ruleset landlock_restrict_self"
"""The system calls that it needs, for a system call filter."""


def inline(argv: Sequence[str]) -> tuple[str, ...]:
    """A command line that starts ``argv`` so, without a file."""
    return ("/bin/sh", "-c", LAUNCHER, "launch", *argv)
